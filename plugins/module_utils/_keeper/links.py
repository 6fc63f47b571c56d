# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The host's links behind a guest's NICs, as far as attaching a NIC again needs them.

Part of the keeper's program: standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import typing as t
from xml.etree import ElementTree

_ALLMULTI = 0x200
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFHWADDR, _SIOCGIFHWADDR = 0x8913, 0x8914, 0x8924, 0x8927


def ifindex(target: str | None) -> int | None:
    """Return the index of the host's link of this name; indexes are never reused."""
    try:
        with open(f"/sys/class/net/{target}/ifindex", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None


def allmulticast(link: str) -> bool | None:
    """Return whether a link receives all multicast, None if unknown."""
    with contextlib.suppress(OSError, ValueError), open(f"/sys/class/net/{link}/flags", encoding="ascii") as file:
        return bool(int(file.read(), 16) & _ALLMULTI)
    return None


def set_allmulticast(link: str) -> None:
    """Set allmulticast on a link."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        name = struct.pack("16s", link.encode())
        flags = struct.unpack("16sH", fcntl.ioctl(control, _SIOCGIFFLAGS, name + bytes(16))[:18])[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, name + struct.pack("H14x", flags | _ALLMULTI))


def target_of(interface: ElementTree.Element) -> str | None:
    """Return the link's name in an ``<interface>``, None where libvirt chooses it."""
    target = interface.find("target")
    return None if target is None else target.get("dev")


def with_free_target(interface: str, own: int | None) -> str:
    """Return an ``<interface>`` without its link's name, if another link has that name now.

    libvirt cannot attach a NIC whose link name is taken. ``own`` is the index of the NIC's previous link, which may
    still exist.
    """
    element = ElementTree.fromstring(interface)  # noqa: S314  # libvirt's own, or ours
    target = element.find("target")
    index = None if target is None else ifindex(target.get("dev"))
    if target is None or index is None or index == own:
        return interface
    element.remove(target)
    return ElementTree.tostring(element, encoding="unicode")


def passed_through(interface: str) -> str | None:
    """Return the source of an ``<interface>`` in mode passthrough, None in other modes."""
    source = ElementTree.fromstring(interface).find("source")  # noqa: S314  # libvirt's own, or ours
    return source.get("dev") if source is not None and source.get("mode") == "passthrough" else None


@contextlib.contextmanager
def address_kept(source: str | None) -> t.Iterator[None]:
    """Restore the address of the link ``source`` if the block fails.

    If libvirt 9.0 cannot attach a NIC in mode passthrough, the source keeps the guest's address.
    """
    before = _hardware_address(source) if source else b""
    try:
        yield
    except BaseException:
        if source and before and _hardware_address(source) != before:
            _hardware_address(source, before)
        raise


def _hardware_address(link: str, new: bytes = b"") -> bytes:
    """Return a link's address as in an ifreq, b"" if unknown; ``new``, if any, is set first."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16s", link.encode()) + (new or bytes(16))
        return fcntl.ioctl(control, _SIOCSIFHWADDR if new else _SIOCGIFHWADDR, request)[16:32]
    return b""
