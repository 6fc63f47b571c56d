# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the connections that Ansible runs over: those of this process's ancestors."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Connection

# include/net/tcp_states.h
_ESTABLISHED, _LISTENING = "01", "0A"
_SERVERS = ("sshd", "sshd-session", "dropbear")


class _Socket(t.NamedTuple):
    state: str
    inode: str
    port: str
    connection: Connection


def find() -> tuple[Connection, ...]:
    """Return the connections of this process's ancestors, and the one in SSH_CONNECTION if it is established.

    A background task, and one from a terminal that has outlived its session, have no SSH server as an ancestor. Then
    every SSH session of the host counts. Without any, as in a container, every inbound connection does.
    """
    sockets = list(_sockets())
    established = {one.inode: one.connection for one in sockets if one.state == _ESTABLISHED}
    ancestors = list(_ancestors())
    found = _held(ancestors, established) | _from_environment(
        os.environ.get("SSH_CONNECTION", ""), established.values()
    )
    if not _held(filter(_is_server, ancestors), established):
        found |= _held(filter(_is_server, filter(str.isdigit, os.listdir("/proc"))), established)
    if not found:
        ports = {one.port for one in sockets if one.state == _LISTENING}
        found = {one.connection for one in sockets if one.state == _ESTABLISHED and one.port in ports}
    return tuple(sorted(found, key=str))


def _from_environment(value: str, established: t.Collection[Connection]) -> set[Connection]:
    parts = value.split()
    if len(parts) != 4:
        return set()
    try:
        connection = Connection(_plain(parts[2]), _plain(parts[0]))
    except ValueError:
        return set()
    # A terminal keeps the variable of its first session, which may be over.
    known = connection in established or ipaddress.ip_address(connection.peer).is_link_local
    return {connection} if known else set()


def _held(pids: t.Iterable[str], established: t.Mapping[str, Connection]) -> set[Connection]:
    found = set()
    for pid in pids if established else ():
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:  # the process has ended
            continue
        for descriptor in descriptors:
            try:
                target = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            except OSError:
                continue
            match = re.fullmatch(r"socket:\[([0-9]+)\]", target)
            if match and match[1] in established:
                found.add(established[match[1]])
    return found


def _ancestors() -> t.Iterator[str]:
    pid = str(os.getpid())
    while pid != "0":
        yield pid
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                # The name, in parentheses, may have any character in it.
                pid = file.read().rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            return


def _is_server(pid: str) -> bool:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip() in _SERVERS
    except OSError:
        return False


def _sockets() -> t.Iterator[_Socket]:
    """Yield the TCP sockets of this network namespace that are established or listening."""
    for name in ("tcp", "tcp6"):
        try:
            with open(f"/proc/self/net/{name}", encoding="ascii", errors="replace") as file:
                lines = file.read().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            words = line.split()
            if len(words) < 10 or words[3] not in (_ESTABLISHED, _LISTENING):
                continue
            try:
                connection = Connection(_address(words[1]), _address(words[2]))
            except ValueError:  # no addresses of a form that is known
                continue
            yield _Socket(words[3], words[9], words[1].rpartition(":")[2], connection)


def _address(address: str) -> str:
    # 32-bit words in host byte order.
    words = [int(word, 16) for word in re.findall(".{8}", address.partition(":")[0])]
    data = struct.pack(f"={len(words)}I", *words)
    return _plain(socket.inet_ntop(socket.AF_INET if len(data) == 4 else socket.AF_INET6, data))


def _plain(text: str) -> str:
    """Return the address without a zone, and an IPv4-mapped one as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address)
