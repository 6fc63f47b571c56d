# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Parses libvirt URIs: where the guests run, and hints for connection errors. Pure."""

from __future__ import annotations

import functools
import typing as t
import urllib.parse

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_DENIALS = ("Permission denied", "polkit", "system bus", "access denied")
# The drivers that have a daemon. For an unknown driver, modular libvirt reports that its daemon does not answer.
_DRIVERS = ("qemu", "xen", "lxc", "vbox", "ch", "bhyve", "vz")
_SILENCES = ("socket", "connect to server", "End of file", "Connection reset")


class _Parts(t.NamedTuple):
    """The parts of ``driver[+transport]://host/path?socket=…``, "" for a missing one."""

    driver: str
    transport: str
    host: str
    path: str
    socket: str

    @property
    def uses_socket_file(self) -> bool:
        return self.transport in {"", "unix"} and not self.host


def validate(uri: str, path: str = "uri") -> None:
    """Refuse what cannot be a URI; ``path`` is the option or the variable that has it.

    :raises MacvtapError: it cannot.
    """
    try:
        _parse(uri)
    except MacvtapError as exc:
        exc.path = path
        raise


def is_local(uri: str) -> bool:
    """Whether the guests of ``uri`` (as libvirt reports it) run on this host.

    Only a socket file proves that: ``ext`` or a tunnel to ``localhost`` may lead to any host.

    :raises MacvtapError: it is no URI.
    """
    parts = _parse(uri)
    return parts.driver == "qemu" and parts.uses_socket_file


def names_host(uri: str) -> bool:
    """Whether ``uri`` names a host, so that it is not local. An alias of libvirt's may stand for any URI.

    What is no URI, such as one that another host reports, may mean anything.
    """
    try:
        return bool(_parse(uri).host)
    except MacvtapError:
        return True


def unknown_links(uri: str) -> str:
    """Return why the links of the guests' host are not known."""
    return f"uri {uri} may lead to another host, whose links cannot be read"


def is_session(uri: str) -> bool:
    """Whether ``uri`` is a user's own libvirt, which cannot create macvtap links unless the user is root."""
    return _parse(uri).path == "/session"


def advice(uri: str, message: str, *, denied: bool = False, silent: bool = False, no_driver: bool = False) -> str:
    """Return what to do about the error ``message`` that libvirt gives for a connection to ``uri``, "" if unknown.

    ``denied``, ``silent`` and ``no_driver`` come from its error code, in any language: no permission, no daemon, no
    such driver. Some of these errors have no code of their own.
    """
    parts = _parse(uri)
    if "ssh" in parts.transport and "Cannot recv data" in message:
        return f"Does ssh to {parts.host} work for this user without a prompt? If so, does libvirt run there?"
    if denied or any(word in message for word in _DENIALS):
        return "This user has no permission. Set become: true, or add the user to the group of the daemon's socket"
    silent = silent or any(word in message for word in _SILENCES)
    no_driver = no_driver or "no connection driver" in message
    if no_driver and not parts.driver:
        return "A libvirt URI begins with the driver, as qemu:///system does"
    if no_driver or (silent and parts.driver and parts.driver not in _DRIVERS):
        return f"libvirt has no driver {parts.driver}; the guests of QEMU and KVM are those of qemu:///system"
    return _start_hint(parts, message) if silent else ""


def _start_hint(parts: _Parts, message: str) -> str:
    """Return which daemon to start."""
    daemon = f"virt{parts.driver or 'qemu'}d"
    if parts.path == "/session":
        return f"libvirt starts this daemon itself. Check that its package is installed (libvirtd or {daemon})"
    # libvirt defaults to TLS with a host, and to this host with only a transport.
    kind = parts.transport or ("tls" if parts.host else "")
    where = "" if parts.uses_socket_file else f" on {parts.host or 'localhost'}"
    if kind in {"tcp", "tls"}:
        return (
            f"Does the daemon{where} listen for {kind}? Start libvirtd-{kind}.socket there or, where libvirt has a "
            f"daemon for each driver, virtproxyd-{kind}.socket"
        )
    # Most of libvirt's messages name the file, but not if the daemon ends during a call.
    files = parts.socket or f"/run/libvirt/libvirt-sock or /run/libvirt/{daemon}-sock"
    unnamed = "" if "'/" in message else f" (it listens on {files})"
    return (
        f"Is the daemon running{where}? Start libvirtd.socket or, where libvirt has a daemon for each driver, "
        f"{daemon}.socket{unnamed}"
    )


@functools.lru_cache(maxsize=64)
def _parse(uri: str) -> _Parts:
    try:
        split = urllib.parse.urlsplit(uri)
        host = split.hostname or ""
        uri.encode()
    except UnicodeEncodeError:
        raise _malformed(uri, "it has characters that no text has") from None
    except ValueError as exc:
        raise _malformed(uri, str(exc)) from None
    if "\0" in uri:
        raise _malformed(uri, "it has a NUL character")
    if "[" in split.netloc and ":" not in host:
        # Python checks it since 3.11.4.
        raise _malformed(uri, f"{host!r} does not appear to be an IPv4 or IPv6 address")
    # Case matters: libvirt accepts only lower-case drivers.
    driver, _plus, transport = uri[: len(split.scheme)].partition("+")
    (file,) = urllib.parse.parse_qs(split.query).get("socket", [""])[:1]
    return _Parts(driver, transport, host, split.path, file)


def _malformed(uri: str, why: str) -> MacvtapError:
    return MacvtapError(
        f"{uri!r} is not a libvirt URI: {why}. It looks like qemu:///system or qemu+ssh://host/system, and only "
        "an IPv6 address in it has brackets",
        path="uri",
    )
