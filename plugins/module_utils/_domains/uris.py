# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a libvirt URI says of where its guests are, and what to do where no daemon answers it. Pure."""

from __future__ import annotations

import typing as t
import urllib.parse

_REFUSALS = ("Permission denied", "polkit", "system bus", "access denied")
# Of these libvirt has a daemon; of another one, a libvirt with a daemon for each driver says that it does not answer.
_DRIVERS = ("qemu", "xen", "lxc", "vbox", "ch", "bhyve", "vz")
_SILENCES = ("socket", "connect to server", "End of file", "Connection reset")


class _Parts(t.NamedTuple):
    """A URI's parts, "" for what is not said: ``driver[+transport]://host/path?socket=…``."""

    driver: str
    transport: str
    host: str
    path: str
    socket: str

    @property
    def uses_socket_file(self) -> bool:
        return self.transport in {"", "unix"} and not self.host


def is_local(uri: str) -> bool:
    """Whether the guests of ``uri`` (as libvirt gives it) are on this host, so that its links are theirs.

    Only what goes over a socket file counts: behind ``ext``, or a tunnel to ``localhost``, may be any host.
    """
    parts = _parse(uri)
    return parts.driver == "qemu" and parts.uses_socket_file


def is_session(uri: str) -> bool:
    """Whether ``uri`` is a user's own libvirt, which cannot make macvtap links."""
    return _parse(uri).path == "/session"


def advice(uri: str, said: str, *, denied: bool = False, silent: bool = False, no_driver: bool = False) -> str:
    """Return what to do about the error ``said`` that libvirt gives for a connection to ``uri``, "" if unknown.

    ``denied``, ``silent`` and ``no_driver`` are whether its code says that this user may not, that no daemon answers,
    or that there is no such driver, whatever the language. Some of these errors have no code of their own.
    """
    parts = _parse(uri)
    if "ssh" in parts.transport and "Cannot recv data" in said:
        return f"Does ssh to {parts.host} work for this user, with nothing to be typed? If so, does libvirt run there?"
    if denied or any(word in said for word in _REFUSALS):
        return "This user may not: become root, or a member of the group that the daemon's socket lets in"
    silent = silent or any(word in said for word in _SILENCES)
    no_driver = no_driver or "no connection driver" in said
    if no_driver and not parts.driver:
        return "An address begins with the driver, as qemu:///system does"
    if no_driver or (silent and parts.driver and parts.driver not in _DRIVERS):
        return f"libvirt has no driver {parts.driver}; the guests of QEMU and KVM are those of qemu:///system"
    return _start(parts, said) if silent else ""


def _start(parts: _Parts, said: str) -> str:
    """Say which daemon is to be started."""
    daemon = f"virt{parts.driver or 'qemu'}d"
    if parts.path == "/session":
        return f"libvirt starts this daemon itself: is its package installed, with libvirtd or {daemon}?"
    # With a host and no transport said, libvirt takes TLS; with a transport and no host, this one.
    kind = parts.transport or ("tls" if parts.host else "")
    where = "" if parts.uses_socket_file else f" on {parts.host or 'localhost'}"
    if kind in {"tcp", "tls"}:
        return (
            f"Does the daemon{where} listen for {kind}? Start libvirtd-{kind}.socket there or, where libvirt has a "
            f"daemon for each driver, virtproxyd-{kind}.socket"
        )
    # libvirt names the file in most of its messages, but not if a daemon ends while it is talked to.
    files = parts.socket or f"/run/libvirt/libvirt-sock or /run/libvirt/{daemon}-sock"
    unnamed = "" if "'/" in said else f" (it listens on {files})"
    return (
        f"Is the daemon running{where}? Start libvirtd.socket or, where libvirt has a daemon for each driver, "
        f"{daemon}.socket{unnamed}"
    )


def _parse(uri: str) -> _Parts:
    split = urllib.parse.urlsplit(uri)
    # As it is written: libvirt's drivers are in lower case, and it takes no other.
    driver, _plus, transport = uri[: len(split.scheme)].partition("+")
    (file,) = urllib.parse.parse_qs(split.query).get("socket", [""])[:1]
    return _Parts(driver, transport, split.hostname or "", split.path, file)
