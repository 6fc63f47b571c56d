# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates desired links: finds what the kernel would refuse, or do differently, before any change. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    ARPHRD_ETHER,
    IPV6_MTU,
    MACVLAN_KINDS,
    WHY_NO_IPV6,
    WITHOUT_IPV6,
    DesiredLink,
    Link,
    Links,
    has_ipv6,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names

# Masters that own the rx_handler of their ports, which macvlan_port_create() needs.
_MASTERS = ("bridge", "bond", "team", "openvswitch", "hsr")
# Kinds of links that own the rx_handler of their lower link.
_TAKERS = ("ipvlan", "ipvtap", "macsec")
_COUNT_MAX = 1 << 31
_DATAPATH = "ovs-system"  # lib/dpif-netlink.c of Open vSwitch: the master of the ports of every bridge
# The kernel's and iproute2's word, and libvirt's.
PASSTHRU = ("passthru", "passthrough")

# Which links have each name, in each network namespace.
Names = t.Dict[t.Tuple[t.Optional[str], str], t.Set[str]]


def check_parent(path: str, parent: Link, links: Links) -> None:
    """Refuse a parent (option ``path``) on which the kernel creates no macvtap link, or creates it elsewhere."""
    name = parent.name
    if parent.kind in MACVLAN_KINDS and not parent.elsewhere:
        lower = parent.parent or "that link"
        raise MacvtapError(
            f"{name} is a {parent.kind} link; the kernel would silently use its lower link. Use {lower} instead",
            path=path,
        )
    if parent.kind in ("ipvlan", "ipvtap"):
        raise MacvtapError(
            f"{name} is an {parent.kind} link; the kernel creates no macvtap link on it. Use another parent",
            path=path,
        )
    takers = [link for link in links.values() if link.kind in _TAKERS and link.parent_index == parent.index]
    if takers:
        raise MacvtapError(
            f"{name} is the parent of the {takers[0].kind} link {takers[0].name}, which receives all its frames; the "
            f"kernel creates no macvtap link beside it. Use another parent, or remove {takers[0].name} first",
            path=path,
        )
    check_lower(path, parent, links, "macvtap")
    check_master(path, parent, links)
    check_counts(path, parent)


def check_movable(entry: DesiredLink, link: Link) -> None:
    """Refuse to recreate a link whose parent is in another network namespace: a pod's or a container's."""
    if link.elsewhere:
        raise MacvtapError(
            f"{link.name} has its parent in another network namespace, as a pod's link does, and is not recreated. "
            "Choose another name, or remove the options that would recreate it",
            path=join_path(entry.path, "parent" if entry.parent else "name"),
        )


def check_ipv6(
    entry: DesiredLink, before: Link | None, differs: t.Mapping[str, t.Any], parent: Link | None, links: Links
) -> None:
    """Refuse settings of IPv6 for a link that has none."""
    option = next((option for option, off in WITHOUT_IPV6.items() if differs.get(option) not in (None, off)), None)
    if option is None:
        return
    if not has_ipv6(links):
        raise MacvtapError(
            f"requires IPv6, and this kernel has no IPv6 ({WHY_NO_IPV6}). Remove {option}, or enable IPv6",
            path=join_path(entry.path, option),
        )
    mtu = differs.get("mtu") or (before.mtu if before else parent.mtu if parent else None)
    if mtu is not None and mtu < IPV6_MTU:
        raise MacvtapError(
            f"requires IPv6, which needs an MTU of at least {IPV6_MTU}; the link has {mtu}. Remove it, or raise mtu",
            path=join_path(entry.path, option),
        )


def check_counts(path: str, parent: Link) -> None:
    """Refuse a parent (option ``path``) with a reference count that has underflowed."""
    for what, count, why, so in (
        (
            "promiscuity",
            parent.promiscuity,
            "nopromisc was set on a passthru link that was down",
            "no tap on it can be opened",
        ),
        (
            "allmulti",
            parent.allmulti,
            "allmulticast was cleared on a passthru link that got it while down",
            "no link with allmulticast on it can be set up",
        ),
    ):
        if count is not None and count >= _COUNT_MAX:
            raise MacvtapError(
                f"the {what} count of {parent.name} is {count}: a kernel bug made it underflow ({why}), and {so} until "
                f"{parent.name} is recreated or the host rebooted",
                path=path,
            )


def check_allmulticast(entry: DesiredLink, mode: str | None, *, up: bool, parent: Link | None) -> None:
    """Refuse allmulticast where it would have no effect, or make the parent's count underflow."""
    path = join_path(entry.path, "allmulticast")
    if entry.allmulticast and mode == "passthru" and not up:
        raise MacvtapError(
            "has no effect on a link in mode passthru that is down, and clearing it later would make the parent's "
            "count underflow. Set state: up, or allmulticast: false",
            path=path,
        )
    if entry.allmulticast and parent is not None:
        check_counts(path, parent)


def check_lower(path: str, parent: Link, links: Links, what: str) -> None:
    """Refuse a parent (option ``path``) that cannot carry ``what``: macvtap or a VLAN."""
    name = parent.name
    if parent.loopback or parent.hardware != ARPHRD_ETHER:
        kind = "the loopback link" if parent.loopback else f"not an Ethernet link (hardware type {parent.hardware})"
        raise MacvtapError(f"{name} is {kind}; {what} requires an Ethernet link", path=path)
    if parent.wireless:
        raise MacvtapError(
            f"{name} is a wireless link: access points drop frames from any other MAC address, so no guest would be "
            "reachable. Use a wired link, or route",
            path=path,
        )
    if parent.kind == "openvswitch" and name == _DATAPATH:
        raise MacvtapError(
            f"{name} is the datapath of Open vSwitch, not a bridge, and passes no frames. {_bridges(links)}", path=path
        )


def check_master(path: str, parent: Link, links: Links) -> None:
    """Refuse a parent (option ``path``) whose untagged frames go to its master."""
    master = links.get(parent.master or "")
    if master is None or master.kind not in _MASTERS:
        return
    if master.kind == "openvswitch":
        raise MacvtapError(
            f"{parent.name} is a port of Open vSwitch, which receives all its frames. {_bridges(links)}; "
            f"`ovs-vsctl port-to-br {parent.name}` shows which bridge",
            path=path,
        )
    raise MacvtapError(
        f"{parent.name} is a port of the {master.kind} {master.name}, which receives all its frames. "
        f"Use {master.name} instead",
        path=path,
    )


def _bridges(links: Links) -> str:
    names = [link.name for link in links.values() if link.kind == "openvswitch" and link.name != _DATAPATH]
    return f"Use its bridge instead ({join_names(names)})" if names else "Use its bridge instead"


def check_declared_once(desired: t.Sequence[DesiredLink]) -> None:
    for option in ("name", "mac"):
        seen: dict[str, DesiredLink] = {}
        for entry in desired:
            value = entry.key if option == "name" else entry.mac
            if value is None or (option == "mac" and entry.state == "absent"):
                continue
            duplicate = seen.get(value)
            # check() covers a link that sets no parent.
            if duplicate and (option == "name" or (entry.parent is not None and entry.parent == duplicate.parent)):
                raise declared_twice(value, join_path(entry.path, option), join_path(duplicate.path, option))
            seen[value] = entry


def limits(desired: t.Sequence[DesiredLink], final: Links) -> dict[int, int]:
    """Return the broadcast limit declared for the links of a parent, by its index.

    :raises MacvtapError: there are two.
    """
    declared: dict[int, DesiredLink] = {}
    for entry in desired:
        link = final.get(entry.key)
        if link is None or entry.bclim is None:
            continue
        other = declared.setdefault(link.parent_index, entry)
        if other.bclim != entry.bclim:
            raise MacvtapError(
                f"{entry.bclim} differs from {other.bclim} in {join_path(other.path, 'bclim')}; all links of the "
                f"parent {link.parent} share one limit. Use the same value for both",
                path=join_path(entry.path, "bclim"),
            )
    return {index: entry.bclim for index, entry in declared.items() if entry.bclim is not None}


def check(desired: t.Sequence[DesiredLink], final: Links) -> None:
    """Refuse what the kernel would refuse of ``desired``, links to create or change, among the ``final`` links."""
    siblings: dict[int, list[Link]] = {}
    addresses: dict[tuple[int, str | None], list[Link]] = {}
    passthru: dict[int, Link] = {}
    names = names_of(final)
    for link in final.values():
        if link.kind in MACVLAN_KINDS:
            siblings.setdefault(link.parent_index, []).append(link)
            if link.mode == "passthru":
                passthru[link.parent_index] = link
            addresses.setdefault((link.parent_index, link.mac), []).append(link)
    for entry in desired:
        link = final[entry.key]
        for option, own in (("name", (link.name,)), ("altnames", entry.altnames or ())):
            check_names(join_path(entry.path, option), own, link, names)
        parent = final.get(link.parent or "")
        if parent is not None:
            check_mtu(entry, link, parent)
            if link.mode == "passthru" and parent.kind in MACVLAN_KINDS:
                _check_alone(entry, parent, link, (parent, link))
            elif parent.index in passthru:
                _check_alone(entry, parent, passthru[parent.index], siblings[parent.index])
            _check_address(entry, link, parent, addresses[parent.index, link.mac])


def names_of(links: Links) -> Names:
    names: Names = {}
    for link in links.values():
        for name in (link.name, *link.altnames):
            names.setdefault((link.netns, name), set()).add(link.name)
    return names


def check_names(path: str, own: t.Iterable[str], link: Link, names: Names) -> None:
    """Refuse names of ``link`` (option ``path``) that another link has."""
    for name in own:
        others = names[link.netns, name] - {link.name}
        if others:
            raise MacvtapError(
                f"{name} is already a name of the link {join_names(sorted(others))}. Choose another name",
                path=path,
            )


def check_mtu(entry: DesiredLink | DesiredVlan, link: Link, parent: Link) -> None:
    if link.mtu and parent.mtu and link.mtu > parent.mtu:
        raise MacvtapError(
            f"{link.mtu} exceeds the MTU of the parent {parent.name} ({parent.mtu}). Lower it, or raise the parent's",
            path=join_path(entry.path, "mtu" if entry.mtu else "parent"),
        )


def _check_alone(entry: DesiredLink, parent: Link, alone: Link, siblings: t.Sequence[Link]) -> None:
    also = [other.name for other in siblings if other is not alone]
    if also:
        named = [(name, "") for name in also]
        raise MacvtapError(
            not_alone(parent.name, alone.name, "passthru", named),
            path=join_path(entry.path, "mode" if entry.mode else "parent"),
        )


def crowded(modes: t.Sequence[str | None]) -> bool:
    """Whether links in these modes cannot share a parent; modes are the kernel's words, or libvirt's."""
    return len(modes) > 1 and any(mode in PASSTHRU for mode in modes)


def not_alone(parent: str, name: str, mode: str | None, others: t.Sequence[tuple[str, str | None]]) -> str:
    """Return the message that ``name`` and ``others``, with their modes, cannot share ``parent``."""
    everybody = [(name, mode), *others]
    alone = next((one for one in everybody if one[1] in PASSTHRU), everybody[0])
    also = [who for who, how in everybody if (who, how) != alone]
    return (
        f"a link in mode passthru must be the only one on its parent; {parent} would have {alone[0]} "
        f"in that mode and also {join_names(also)}"
    )


def _check_address(entry: DesiredLink, link: Link, parent: Link, sharing: t.Sequence[Link]) -> None:
    if link.mac is None or link.mode == "passthru":
        return
    duplicate = parent if parent.mac == link.mac else next((other for other in sharing if other is not link), None)
    if duplicate is not None:
        whose = "the parent itself" if duplicate is parent else f"another link of the parent {parent.name}"
        raise MacvtapError(
            f"{link.mac} is the MAC address of {duplicate.name}, {whose}. Choose another address: on one parent each "
            "must be unique",
            path=join_path(entry.path, "mac"),
        )


def kind_of(link: Link) -> str:
    return f"a {link.kind} link" if link.kind else "a physical or loopback link"
