# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Decodes netlink messages about links, and adds what only sysfs has."""

from __future__ import annotations

import functools
import os
import socket
import struct
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import decoding
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink, wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import WITH_WIRE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, with_values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place

# include/uapi/linux/if_link.h
_ADDRESS, _IFNAME, _LINK, _STATS, _MASTER, _STATS64, _AF_SPEC = 1, 3, 5, 7, 10, 23, 26
_PROMISCUITY, _CARRIER, _LINK_NETNSID, _PARENT_DEV_NAME, _PARENT_DEV_BUS, _ALLMULTI = 30, 33, 37, 56, 57, 61
_PERM_ADDRESS = 54
_INFO_KIND = 1
_VXLAN_LINK, _BR_VLAN_FILTERING = 3, 7
_RTA_DST, _RTA_OIF, _RTPROT_KERNEL, _RTN_UNICAST = 1, 4, 2, 1  # include/uapi/linux/rtnetlink.h
_BRIDGE_VLAN_INFO, _PVID = 2, 2  # include/uapi/linux/if_bridge.h
_AF_INET6, _INET6_CACHEINFO = 10, 5  # include/uapi/linux/socket.h, if_link.h
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, SCOPE_LINK = 1, 2, 8, 253  # include/uapi/linux/if_addr.h, rtnetlink.h

# struct rtnl_link_stats64 begins with these.
_COUNTERS = tuple(f"{way}_{what}" for what in ("packets", "bytes", "errors", "dropped") for way in ("rx", "tx"))
# Field, bit, and whether the value is true without it.
_FLAGS = tuple(
    (row.field, row.wire.bit, row.wire.inverted) for row in WITH_WIRE if row.wire and row.wire.place is Place.FLAGS
)
# Field, attribute number and reader, by place.
_READERS: dict[Place, tuple[tuple[str, int, wire.Reader], ...]] = {
    place: tuple(
        (row.field, row.wire.number, row.wire.reader()) for row in WITH_WIRE if row.wire and row.wire.place is place
    )
    for place in Place
    if place is not Place.FLAGS
}
_U32 = struct.Struct("=I").unpack_from
_S32 = struct.Struct("=i").unpack_from
_ZERO = b"\0\0\0\0"


class Known(t.NamedTuple):
    """What was decoded from a message: the link without the names of others, and the index of its master."""

    link: Link
    master: int


# By the whole message: a link that is the same in the next dump need not be decoded again.
Memory = t.Dict[bytes, Known]


@decoding("links")
def links(bodies: t.Sequence[bytes], parents: t.Collection[str] = (), memory: Memory | None = None) -> dict[str, Link]:
    """Return the links of a dump by name, without their taps; see :func:`netlink.observe`.

    ``memory`` is of the dump before, and becomes that of this one.
    """
    known = _decoded(bodies, {} if memory is None else memory)
    names = {link.index: link.name for link, _master in known}
    found = {}
    for link, master in known:
        if link.parent_index or master:
            link = with_values(link, parent=names.get(link.parent_index), master=names.get(master))  # noqa: PLW2901
        if parents and link.kind != "macvtap":
            link = _with_sysfs(link, parents)  # noqa: PLW2901
        found[link.name] = link
    return found


@decoding("links of another network namespace")
def foreign_links(bodies: t.Sequence[bytes], netns: str, own: t.Mapping[int, str], nsid: int | None) -> list[Link]:
    """Return the links of the namespace ``netns``, without their taps.

    ``own`` are the names of our links by index. ``nsid`` is that namespace's ID of ours: an index of a parent with
    this ID is one of ours.
    """
    found = []
    for link, _master in _decoded(bodies, {}):
        ours = link.lower_netns is not None and nsid is not None and link.lower_netns == nsid
        lower = link.lower if ours else 0
        found.append(with_values(link, netns=netns, parent=own.get(lower), parent_index=lower))
    return found


def _decoded(bodies: t.Sequence[bytes], memory: Memory) -> list[Known]:
    found = [memory.get(body) or _known(body) for body in bodies]
    memory.clear()
    memory.update(zip(bodies, found))
    return found


def with_parents_counts(found: dict[str, Link]) -> None:
    """Set ``parent_allmulti`` of links in mode passthru, in this namespace and others."""
    for key, link in found.items():
        if link.mode == "passthru" and link.parent in found:
            found[key] = replace(link, parent_allmulti=found[link.parent].allmulti)


@decoding("VLANs of bridges")
def with_bridge_vlans(found: dict[str, Link], bodies: t.Sequence[bytes]) -> None:
    """Set the bridge's own VLANs on bridges that filter VLANs, from a dump of bridges."""
    names = {link.index: name for name, link in found.items() if link.bridge_vlans is not None}
    for body in bodies:
        name = names.get(index_of(body))
        attrs = rtnetlink.attributes(body, 16, len(body))
        # A message about a port names its bridge.
        if name is None or (_MASTER in attrs and _U32(attrs[_MASTER])[0] != index_of(body)):
            continue
        vlans = (one for kind, one in wire.attribute_pairs(attrs.get(_AF_SPEC, b"")) if kind == _BRIDGE_VLAN_INFO)
        ids = {number: flags for flags, number in (struct.unpack("=HH", one) for one in vlans)}
        pvid = next((number for number, flags in ids.items() if flags & _PVID), None)
        found[name] = replace(found[name], bridge_vlans=frozenset(ids), bridge_pvid=pvid)


def counters(body: bytes) -> dict[str, int]:
    """Return the link's counters, from a dump with statistics."""
    data = rtnetlink.attributes(body, 16, len(body)).get(_STATS64, b"")
    values = struct.unpack_from("=8Q", data) if len(data) >= 64 else (0,) * 8
    return dict(zip(_COUNTERS, values))


class IfAddr(t.NamedTuple):
    """An RTM_NEWADDR message; ``link`` is the index of its link, ``length`` the prefix's, ``flags`` are IFA_F_*."""

    family: int
    address: bytes
    length: int
    flags: int
    scope: int
    link: int


def ifaddr(body: bytes) -> IfAddr:
    family, length, flags, scope, index = rtnetlink.IFADDR.unpack_from(body)
    attrs = rtnetlink.attributes(body, rtnetlink.IFADDR.size, len(body))
    flags = _U32(attrs[_IFA_FLAGS])[0] if _IFA_FLAGS in attrs else flags
    # On a point-to-point link IFA_LOCAL is its own address, IFA_ADDRESS the peer's.
    return IfAddr(family, attrs.get(_IFA_LOCAL, attrs.get(_IFA_ADDRESS, b"")), length, flags, scope, index)


@decoding("addresses")
def addresses(bodies: t.Sequence[bytes]) -> dict[int, list[str]]:
    """Return the IP addresses by the index of their link, without link-local ones."""
    found: dict[int, list[str]] = {}
    for one in map(ifaddr, bodies):
        if one.scope != SCOPE_LINK and one.family in (socket.AF_INET, socket.AF_INET6):
            found.setdefault(one.link, []).append(f"{socket.inet_ntop(one.family, one.address)}/{one.length}")
    return found


@decoding("routes")
def routes(bodies: t.Sequence[bytes]) -> list[tuple[int, str]]:
    """Return the link's index and the destination of each route that the kernel did not create for an address."""
    found = []
    for body in bodies:
        family, length, _source, _tos, _table, protocol, _scope, kind, _flags = rtnetlink.RTMSG.unpack_from(body)
        attrs = rtnetlink.attributes(body, rtnetlink.RTMSG.size, len(body))
        if protocol == _RTPROT_KERNEL or kind != _RTN_UNICAST or _RTA_OIF not in attrs:
            continue
        destination = attrs.get(_RTA_DST)
        named = f"{socket.inet_ntop(family, destination)}/{length}" if destination else "default"
        found.append((_U32(attrs[_RTA_OIF])[0], named))
    return found


def index_of(body: bytes) -> int:
    return int(rtnetlink.IFINFO.unpack_from(body)[2])


class _Layout(t.NamedTuple):
    """What the message of a link is like, but for what many links differ in, and the link without that.

    ``same`` are the bytes that another message like it has too, at ``places``, the headers of all attributes among
    them. So it has its ``name`` and ``mac`` address at the same place.
    """

    places: tuple[slice, ...]
    same: list[bytes]
    name: slice
    mac: slice
    known: Known


# By lengths of the message and its name, and by its flags.
_layouts: dict[tuple[int, bytes], _Layout] = {}


def _known(body: bytes) -> Known:
    like = (len(body), body[8:20])
    layout = _layouts.get(like)
    if layout is None or [body[place] for place in layout.places] != layout.same:
        layout = _layouts[like] = _layout(body)
    link, master = layout.known
    index = rtnetlink.IFINFO.unpack_from(body)[2]
    return Known(
        with_values(link, name=wire.text(body[layout.name]), index=index, mac=wire.mac(body[layout.mac])), master
    )


def _layout(body: bytes) -> _Layout:
    places = wire.places(body, 16, len(body))
    inner = places.get(_AF_SPEC, slice(0, 0))
    inner = wire.places(body, inner.start, inner.stop).get(_AF_INET6, slice(0, 0))
    inet6 = wire.places(body, inner.start, inner.stop)
    nowhere = slice(16, 16)
    varying = (slice(4, 8), *(places.get(kind, nowhere) for kind in (_IFNAME, _ADDRESS, _STATS, _STATS64)))
    varying = tuple(sorted((*varying, inet6.get(_INET6_CACHEINFO, nowhere)), key=lambda place: place.start))
    starts, stops = (0, *(place.stop for place in varying)), (*(place.start for place in varying), len(body))
    kept = tuple(slice(start, stop) for start, stop in zip(starts, stops) if start < stop)
    attrs, of_inet6 = ({kind: body[place] for kind, place in found.items()} for found in (places, inet6))
    known = _anonymous(body, attrs, of_inet6)
    return _Layout(kept, [body[place] for place in kept], places[_IFNAME], places.get(_ADDRESS, nowhere), known)


def _anonymous(body: bytes, attrs: t.Mapping[int, bytes], inet6: t.Mapping[int, bytes]) -> Known:
    """Return a link without name, index and address."""
    _family, hardware, _index, flags, _change = rtnetlink.IFINFO.unpack_from(body)
    get = attrs.get
    # With IFLA_LINK_NETNSID the index belongs to another namespace.
    ifla_link = _U32(get(_LINK, _ZERO))[0]
    kind, of_kind = _of_kind(get(wire.LINKINFO, b""))
    values = {**_read(Place.LINK, attrs), **of_kind}
    for field, bit, inverted in _FLAGS:
        values[field] = bool(flags & bit) is not inverted
    # The loopback link shows whether the kernel has IPv6 (model.has_ipv6()).
    if kind in MACVLAN_KINDS or flags & rtnetlink.IFF_LOOPBACK:
        values.update(_read(Place.INET6, inet6))
    link = Link(
        name="",
        kind=kind,
        parent_index=0 if _LINK_NETNSID in attrs else ifla_link,
        lower=ifla_link,
        lower_netns=_S32(attrs[_LINK_NETNSID])[0] if _LINK_NETNSID in attrs else None,
        up=bool(flags & rtnetlink.IFF_UP),
        hardware=hardware,
        loopback=bool(flags & rtnetlink.IFF_LOOPBACK),
        # The kernel keeps the carrier flag of a link that is down.
        carrier=bool(flags & rtnetlink.IFF_UP) and get(_CARRIER, b"\0") != b"\0",
        promiscuity=_U32(get(_PROMISCUITY, _ZERO))[0],
        allmulti=_U32(attrs[_ALLMULTI])[0] if _ALLMULTI in attrs else None,
        permanent_mac=wire.mac(get(_PERM_ADDRESS, b"")),
        pci=wire.text(get(_PARENT_DEV_NAME, b"")) if get(_PARENT_DEV_BUS) == b"pci\0" else None,
        **values,
    )
    return Known(link, _U32(get(_MASTER, _ZERO))[0])


@functools.lru_cache(maxsize=256)
def _of_kind(info: bytes) -> tuple[str, dict[str, t.Any]]:
    """Return the kind of a link and the values of its kind, which many links have in common."""
    attrs = rtnetlink.attributes(info, 0, len(info))
    kind = wire.text(attrs.get(_INFO_KIND, b""))
    data = attrs.get(wire.INFO_DATA, b"")
    values = rtnetlink.attributes(data, 0, len(data))
    if kind in MACVLAN_KINDS:
        return kind, _read(Place.MACVLAN, values)
    if kind == "vlan":
        return kind, _read(Place.VLAN, values)
    if kind == "vxlan":
        # vxlan_handle_lowerdev_unregister(); the kernel does not report it as IFLA_LINK.
        return kind, {"under": _U32(values.get(_VXLAN_LINK, _ZERO))[0]}
    if kind == "bridge" and values.get(_BR_VLAN_FILTERING) == b"\1":
        return kind, {"bridge_vlans": frozenset[int]()}
    return kind, {}


def _read(place: Place, attrs: t.Mapping[int, bytes]) -> dict[str, t.Any]:
    get = attrs.get
    return {field: read(get(number)) for field, number, read in _READERS[place]}


def _with_sysfs(link: Link, parents: t.Collection[str]) -> Link:
    if link.pci is None and not link.kind:
        # Before 5.14 the kernel does not report it; and a virtio device has a PCI device of its own.
        parts = os.path.realpath(f"/sys/class/net/{link.name}/device").split("/")
        pci = [part for part in parts if _values.pci_address(part)]
        link = replace(link, pci=pci[-1] if pci else None)
    if any(name in parents for name in (link.name, link.mac, link.pci, *link.altnames)):
        link = replace(link, wireless=os.path.exists(f"/sys/class/net/{link.name}/phy80211"))
    return link
