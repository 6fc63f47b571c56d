# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel's messages say of links, and what only sysfs says."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    ADDRGENMODES,
    MACVLAN_KINDS,
    MODES,
    Link,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import PROTOCOLS

# include/uapi/linux/if_link.h
_ADDRESS, _IFNAME, _MTU, _LINK, _MASTER, _TXQLEN, _LINKINFO, _IFALIAS = 1, 3, 4, 5, 10, 13, 18, 20
_AF_SPEC, _GROUP, _PROMISCUITY, _NUM_TX_QUEUES, _NUM_RX_QUEUES, _CARRIER = 26, 27, 30, 31, 32, 33
_LINK_NETNSID, _PROP_LIST, _PARENT_DEV_NAME, _PARENT_DEV_BUS, _ALLMULTI = 37, 52, 56, 57, 61
_STATS64 = 23
_INFO_KIND, _INFO_DATA = 1, 2
_MODE, _FLAGS, _MACADDR_DATA, _BC_QUEUE_LEN, _BC_CUTOFF = 1, 2, 5, 7, 9
_VLAN_ID, _VLAN_PROTOCOL = 1, 5
_VXLAN_LINK, _BR_VLAN_FILTERING = 3, 7
_RTA_DST, _RTA_OIF, _RTPROT_KERNEL, _RTN_UNICAST = 1, 4, 2, 1  # include/uapi/linux/rtnetlink.h
_BRIDGE_VLAN_INFO, _PVID = 2, 2  # include/uapi/linux/if_bridge.h
_AF_INET6, _ADDR_GEN_MODE = 10, 8
_IFA_ADDRESS, _IFA_LOCAL, _SCOPE_LINK = 1, 2, 253  # include/uapi/linux/if_addr.h, rtnetlink.h

_MODE_NAMES = {number: name for name, number in MODES.items()}
_PROTOCOL_NAMES = {number: name for name, number in PROTOCOLS.items()}
_ADDRGENMODE_NAMES = {number: name for name, number in ADDRGENMODES.items()}
# struct rtnl_link_stats64 begins with these.
_COUNTERS = (
    "rx_packets",
    "tx_packets",
    "rx_bytes",
    "tx_bytes",
    "rx_errors",
    "tx_errors",
    "rx_dropped",
    "tx_dropped",
)
_U32 = struct.Struct("=I").unpack_from
_S32 = struct.Struct("=i").unpack_from
_ZERO = b"\0\0\0\0"
_PCI_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


def links(bodies: t.Sequence[bytes], parents: t.Collection[str] = ()) -> dict[str, Link]:
    """Return the links of a dump by name, without their taps; see :func:`netlink.observe`."""
    split = [(rtnetlink.IFINFO.unpack_from(body), rtnetlink.attributes(body, 16, len(body))) for body in bodies]
    names = {head[2]: _text(attrs[_IFNAME]) for head, attrs in split}
    found = {}
    for (_family, hardware, index, flags, _change), attrs in split:
        link = _link(names, index, hardware, flags, attrs)
        if parents and link.kind != "macvtap":
            link = _with_sysfs(link, parents)
        found[link.name] = link
    return found


def foreign_links(bodies: t.Sequence[bytes], netns: str, own: t.Mapping[int, str], nsid: int | None) -> list[Link]:
    """Return the links of the namespace ``netns``, without their taps.

    ``own`` are the names of our links by their indexes, and ``nsid`` is what that namespace calls ours: only with it
    is the index of a parent one of ours.
    """
    split = [(rtnetlink.IFINFO.unpack_from(body), rtnetlink.attributes(body, 16, len(body))) for body in bodies]
    names = {head[2]: _text(attrs[_IFNAME]) for head, attrs in split}
    found = []
    for (_family, hardware, index, flags, _change), attrs in split:
        link = _link(names, index, hardware, flags, attrs)
        said = attrs.get(_LINK_NETNSID)
        ours = said is not None and nsid is not None and _S32(said)[0] == nsid
        lower = _U32(attrs.get(_LINK, _ZERO))[0] if ours else 0
        found.append(replace(link, netns=netns, parent=own.get(lower), parent_index=lower, master=None))
    return found


def with_parents_counts(found: dict[str, Link]) -> None:
    """Give the links in mode passthru, of this namespace and others, what their parents count."""
    for key, link in found.items():
        if link.mode == "passthru" and link.parent in found:
            found[key] = replace(link, parent_allmulti=found[link.parent].allmulti)


def with_bridge_vlans(found: dict[str, Link], bodies: t.Sequence[bytes]) -> None:
    """Give the bridges that filter VLANs those that they have themselves, out of a dump of bridges."""
    names = {link.index: name for name, link in found.items() if link.bridge_vlans is not None}
    for body in bodies:
        name = names.get(index_of(body))
        attrs = rtnetlink.attributes(body, 16, len(body))
        # That of a port says the bridge that it is in.
        if name is None or (_MASTER in attrs and _U32(attrs[_MASTER])[0] != index_of(body)):
            continue
        vlans = (one for kind, one in rtnetlink.attribute_pairs(attrs.get(_AF_SPEC, b"")) if kind == _BRIDGE_VLAN_INFO)
        ids = {number: flags for flags, number in (struct.unpack("=HH", one) for one in vlans)}
        pvid = next((number for number, flags in ids.items() if flags & _PVID), None)
        found[name] = replace(found[name], bridge_vlans=frozenset(ids), bridge_pvid=pvid)


def group_of(body: bytes) -> int:
    return int(_U32(rtnetlink.attributes(body, 16, len(body)).get(_GROUP, _ZERO))[0])


def counters(body: bytes) -> dict[str, int]:
    """Return what the link has sent and received, in packets and bytes, out of a dump with statistics."""
    data = rtnetlink.attributes(body, 16, len(body)).get(_STATS64, b"")
    values = struct.unpack_from("=8Q", data) if len(data) >= 64 else (0,) * 8
    return dict(zip(_COUNTERS, values))


def addresses(bodies: t.Sequence[bytes]) -> dict[int, list[str]]:
    """Return the IP addresses by the index of their link, without those that the kernel gives to each (link-local)."""
    found: dict[int, list[str]] = {}
    for body in bodies:
        family, prefix, _flags, scope, index = rtnetlink.IFADDR.unpack_from(body)
        attrs = rtnetlink.attributes(body, rtnetlink.IFADDR.size, len(body))
        # Of a point-to-point link the first is its own, the second that of its peer.
        address = attrs.get(_IFA_LOCAL, attrs.get(_IFA_ADDRESS, b""))
        if scope != _SCOPE_LINK and family in (socket.AF_INET, socket.AF_INET6):
            found.setdefault(index, []).append(f"{socket.inet_ntop(family, address)}/{prefix}")
    return found


def routes(bodies: t.Sequence[bytes]) -> t.Iterator[tuple[int, str]]:
    """Return the index of the link and the destination of each route that has not come with an address by itself."""
    for body in bodies:
        family, length, _source, _tos, _table, protocol, _scope, kind, _flags = rtnetlink.RTMSG.unpack_from(body)
        attrs = rtnetlink.attributes(body, rtnetlink.RTMSG.size, len(body))
        if protocol == _RTPROT_KERNEL or kind != _RTN_UNICAST or _RTA_OIF not in attrs:
            continue
        destination = attrs.get(_RTA_DST)
        named = f"{socket.inet_ntop(family, destination)}/{length}" if destination else "default"
        yield _U32(attrs[_RTA_OIF])[0], named


def index_of(body: bytes) -> int:
    return int(rtnetlink.IFINFO.unpack_from(body)[2])


def _link(names: t.Mapping[int, str], index: int, hardware: int, flags: int, attrs: dict[int, bytes]) -> Link:
    get = attrs.get
    info = rtnetlink.attributes(get(_LINKINFO, b""), 0, len(get(_LINKINFO, b"")))
    kind = _text(info.get(_INFO_KIND, b""))
    # With IFLA_LINK_NETNSID the index is one of another namespace.
    said = _U32(get(_LINK, _ZERO))[0]
    lower = 0 if _LINK_NETNSID in attrs else said
    data = info.get(_INFO_DATA, b"")
    particular: dict[str, t.Any] = {}
    if kind in MACVLAN_KINDS:
        particular = _macvlan(data, get(_AF_SPEC, b""))
    elif kind == "vlan":
        particular = _vlan(data)
    elif kind == "vxlan":
        # vxlan_handle_lowerdev_unregister(); as a link that it is on the kernel does not say it.
        particular = {"under": _U32(rtnetlink.attributes(data, 0, len(data)).get(_VXLAN_LINK, _ZERO))[0]}
    elif kind == "bridge" and rtnetlink.attributes(data, 0, len(data)).get(_BR_VLAN_FILTERING) == b"\1":
        particular = {"bridge_vlans": frozenset()}
    return Link(
        name=names[index],
        index=index,
        kind=kind,
        parent=names.get(lower),
        parent_index=lower,
        lower=said,
        lower_netns=_S32(attrs[_LINK_NETNSID])[0] if _LINK_NETNSID in attrs else None,
        mac=get(_ADDRESS, b"").hex(":") or None,
        mtu=_U32(get(_MTU, _ZERO))[0],
        up=bool(flags & rtnetlink.IFF_UP),
        txqueuelen=_U32(get(_TXQLEN, _ZERO))[0],
        group=_U32(get(_GROUP, _ZERO))[0],
        alias=_text(get(_IFALIAS, b"")),
        altnames=_altnames(get(_PROP_LIST)),
        tx_queues=_U32(get(_NUM_TX_QUEUES, _ZERO))[0],
        rx_queues=_U32(get(_NUM_RX_QUEUES, _ZERO))[0],
        allmulticast=bool(flags & rtnetlink.IFF_ALLMULTI),
        master=names.get(_U32(get(_MASTER, _ZERO))[0]),
        hardware=hardware,
        loopback=bool(flags & rtnetlink.IFF_LOOPBACK),
        # The kernel keeps the carrier of a link that is down, which nothing passes.
        carrier=bool(flags & rtnetlink.IFF_UP) and get(_CARRIER, b"\0") != b"\0",
        promiscuity=_U32(get(_PROMISCUITY, _ZERO))[0],
        allmulti=_U32(attrs[_ALLMULTI])[0] if _ALLMULTI in attrs else None,
        pci=_text(get(_PARENT_DEV_NAME, b"")) if get(_PARENT_DEV_BUS) == b"pci\0" else None,
        **particular,
    )


def _macvlan(data: bytes, af_spec: bytes) -> dict[str, t.Any]:
    attrs = rtnetlink.attributes(data, 0, len(data))
    flags = int.from_bytes(attrs.get(_FLAGS, b""), sys.byteorder)
    listed = attrs.get(_MACADDR_DATA)
    families = rtnetlink.attributes(af_spec, 0, len(af_spec))
    inet6 = families.get(_AF_INET6, b"")
    return {
        "mode": _MODE_NAMES.get(_U32(attrs.get(_MODE, _ZERO))[0]),
        "promiscuous": not flags & 1,
        "nodst": bool(flags & 2),
        "bcqueuelen": _U32(attrs[_BC_QUEUE_LEN])[0] if _BC_QUEUE_LEN in attrs else None,
        # Left out of the message where it is 1, the default.
        "bclim": _S32(attrs[_BC_CUTOFF])[0] if _BC_CUTOFF in attrs else 1,
        "source_macs": frozenset(mac.hex(":") for mac in rtnetlink.attribute_list(listed)) if listed else frozenset(),
        "addrgenmode": _addrgenmode(inet6),
    }


def _vlan(data: bytes) -> dict[str, t.Any]:
    attrs = rtnetlink.attributes(data, 0, len(data))
    protocol = int.from_bytes(attrs.get(_VLAN_PROTOCOL, b""), "big")
    return {
        "vlan_id": int.from_bytes(attrs[_VLAN_ID], sys.byteorder) if _VLAN_ID in attrs else None,
        "vlan_protocol": _PROTOCOL_NAMES.get(protocol),
    }


def _addrgenmode(inet6: bytes) -> str | None:
    mode = rtnetlink.attributes(inet6, 0, len(inet6)).get(_ADDR_GEN_MODE)
    return _ADDRGENMODE_NAMES.get(mode[0]) if mode else None


def _altnames(listed: bytes | None) -> frozenset[str]:
    return frozenset(map(_text, rtnetlink.attribute_list(listed))) if listed else frozenset()


def _with_sysfs(link: Link, parents: t.Collection[str]) -> Link:
    if link.name in parents or link.altnames & set(parents) or link.mac in parents:
        link = replace(link, wireless=os.path.exists(f"/sys/class/net/{link.name}/phy80211"))
    if link.pci is None and not link.kind:
        # The kernel before 5.14 does not say; and behind a virtio device is a PCI device of its own.
        pci = _PCI_ADDRESS.findall(os.path.realpath(f"/sys/class/net/{link.name}/device"))
        link = replace(link, pci=pci[-1] if pci else None)
    return link


def _text(data: bytes) -> str:
    return data.rstrip(b"\0").decode(errors="replace")
