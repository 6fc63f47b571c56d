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


def may_be_macvtap(interface: str, domain: t.Any) -> bool:
    """Whether an ``<interface>`` of ``domain`` gets a macvtap link, which one on a network does if that is direct.

    True if that is not known.
    """
    element = ElementTree.fromstring(interface)  # noqa: S314  # libvirt's own, or ours
    source = element.find("source")
    if element.get("type") != "network" or source is None:
        return element.get("type") == "direct"
    # Whatever libvirt says, it is said when the NIC is attached.
    with contextlib.suppress(Exception):
        network = _network(source, domain)
        forward, bridge = network.find("forward"), network.find("bridge")
        on_bridge = bridge is not None and bridge.get("name") is not None
        return not on_bridge and forward is not None and forward.get("mode") != "hostdev"
    return True


def _network(source: ElementTree.Element, domain: t.Any) -> ElementTree.Element:
    network = domain.connect().networkLookupByName(source.get("network", ""))
    return ElementTree.fromstring(network.XMLDesc(0))  # noqa: S314  # libvirt's own


def free_target(interface: str, own: int | None) -> str | None:
    """Return the link's name in an ``<interface>``, None where libvirt chooses it, or where another link has it now.

    ``own`` is the index of the NIC's previous link, which may still exist.
    """
    name = target_of(ElementTree.fromstring(interface))  # noqa: S314  # libvirt's own, or ours
    return name if name is not None and ifindex(name) in {None, own} else None


def with_free_target(interface: str, own: int | None, name: str = "") -> str:
    """Return an ``<interface>`` whose link gets this ``name`` if it is free, or else has none that another link has.

    libvirt cannot attach a NIC whose link name is taken. ``own`` is as in :func:`free_target`.
    """
    element = ElementTree.fromstring(interface)  # noqa: S314  # libvirt's own, or ours
    target = element.find("target")
    if name and ifindex(name) is None:
        target = ElementTree.SubElement(element, "target") if target is None else target
        target.set("dev", name)
    elif target is None or free_target(interface, own) is not None:
        return interface
    else:
        element.remove(target)
    return ElementTree.tostring(element, encoding="unicode")


@contextlib.contextmanager
def address_kept(interface: str, domain: t.Any) -> t.Iterator[None]:
    """Restore the address of the source in mode passthrough, if the block fails to attach ``interface`` to ``domain``.

    If libvirt 9.0 cannot attach it, the source keeps the guest's address.
    """
    element = ElementTree.fromstring(interface)  # noqa: S314  # libvirt's own, or ours
    mac = element.find("mac")
    own = "" if mac is None else mac.get("address", "").replace(":", "").lower()
    before = {source: _hardware_address(source) for source in _passed_through(element, domain)}
    try:
        yield
    except BaseException:
        for source, address in before.items():
            now = _hardware_address(source)
            # Another guest may have got another uplink of the network meanwhile.
            if address and now != address and now[2:8].hex() == own:
                _hardware_address(source, address)
        raise


def _passed_through(element: ElementTree.Element, domain: t.Any) -> list[str]:
    """Return the source of an ``<interface>`` in mode passthrough, [] in other modes.

    On a network in that mode, these are all of its uplinks, of which libvirt chooses one.
    """
    source = element.find("source")
    if source is None:
        return []
    if element.get("type") != "network":
        return [source.get("dev", "")] if source.get("mode") == "passthrough" else []
    forward = _network(source, domain).find("forward")
    if forward is None or forward.get("mode") != "passthrough":
        return []
    return [dev for one in (forward, *forward.iterfind("interface")) if (dev := one.get("dev"))]


def _hardware_address(link: str, new: bytes = b"") -> bytes:
    """Return a link's address as in an ifreq, b"" if unknown; ``new``, if any, is set first."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16s", link.encode()) + (new or bytes(16))
        return fcntl.ioctl(control, _SIOCSIFHWADDR if new else _SIOCGIFHWADDR, request)[16:32]
    return b""
