# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernel would refuse, or do otherwise than asked, seen before anything is done. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    ARPHRD_ETHER,
    IPV6_MTU,
    MACVLAN_KINDS,
    Link,
    Links,
    Wanted,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names

# Masters that own the rx_handler of their ports, which macvlan_port_create() needs for itself.
_MASTERS = ("bridge", "bond", "team", "openvswitch", "hsr")
# Kinds of links that have the rx_handler of what they are on.
_TAKERS = ("ipvlan", "ipvtap", "macsec")
_COUNT_MAX = 1 << 31
_DATAPATH = "ovs-system"  # lib/dpif-netlink.c of Open vSwitch: the master of the ports of every bridge
# The kernel's and iproute2's word, and libvirt's.
PASSTHRU = ("passthru", "passthrough")

# Which links have each name, in each network namespace.
Names = t.Dict[t.Tuple[t.Optional[str], str], t.Set[str]]


def check_parent(path: str, parent: Link, links: Links) -> None:
    """Refuse a parent, said in the option ``path``, on which the kernel makes no macvtap link, or not on it."""
    name = parent.name
    if parent.kind in MACVLAN_KINDS and not parent.elsewhere:
        real = parent.parent or "that"
        raise MacvtapError(
            f"{name} is itself a {parent.kind} link, and the kernel would silently use the link below it. "
            f"Use {real} instead",
            path=path,
        )
    if parent.kind in ("ipvlan", "ipvtap"):
        raise MacvtapError(
            f"{name} is itself an {parent.kind} link, and the kernel makes no macvtap link on it. Use another link",
            path=path,
        )
    takers = [link for link in links.values() if link.kind in _TAKERS and link.parent_index == parent.index]
    if takers:
        raise MacvtapError(
            f"{name} has the {takers[0].kind} link {takers[0].name} on it, which takes all its frames, and the kernel "
            "makes no macvtap link beside one. Use another link, or remove that one first",
            path=path,
        )
    check_lower(path, parent, links, "macvtap")
    check_master(path, parent, links)
    check_counts(path, parent)


def check_movable(want: Wanted, link: Link) -> None:
    """Refuse to recreate a link that somebody has made from another network namespace: a pod's or a container's."""
    if link.elsewhere:
        raise MacvtapError(
            f"{link.name} is on a link of another network namespace, as one that is made for a pod is, and is not "
            "recreated here. Choose another name, or leave out what needs it recreated",
            path=join_path(want.path, "parent" if want.parent else "name"),
        )


def check_addrgenmode(want: Wanted, before: Link | None, differs: t.Mapping[str, t.Any], parent: Link | None) -> None:
    """Refuse to say how a link generates IPv6 addresses that has no IPv6."""
    if differs.get("addrgenmode") in (None, "none"):
        return
    mtu = differs.get("mtu") or (before.mtu if before else parent.mtu if parent else None)
    if mtu is not None and mtu < IPV6_MTU:
        raise MacvtapError(
            f"with an mtu of {mtu} the link has no IPv6, which takes {IPV6_MTU}. Leave it out, or raise the mtu",
            path=join_path(want.path, "addrgenmode"),
        )


def check_counts(path: str, parent: Link) -> None:
    """Refuse a parent, said in the option ``path``, one of whose counts is broken."""
    for what, count, why, so in (
        (
            "promiscuity",
            parent.promiscuity,
            "nopromisc was set on a passthru link that was down",
            "nothing can be opened",
        ),
        (
            "allmulti",
            parent.allmulti,
            "allmulticast was taken off a passthru link that had got it while down",
            "no link with allmulticast comes up",
        ),
    ):
        if count is not None and count >= _COUNT_MAX:
            raise MacvtapError(
                f"the {what} of {parent.name} is {count}: a kernel bug has driven it below zero ({why}), and {so} on "
                "it until it is made anew or the host restarted",
                path=path,
            )


def check_allmulticast(want: Wanted, mode: str | None, *, up: bool, parent: Link | None) -> None:
    """Refuse to have a link hear all multicast where the kernel would not let it, or break the parent's count."""
    path = join_path(want.path, "allmulticast")
    if want.allmulticast and mode == "passthru" and not up:
        raise MacvtapError(
            "the kernel passes this on to the parent of a link in mode passthru only while that link is up, and takes "
            "from the parent's count what was never added if it is taken off later; the link is to be down. Say "
            "state: up, or allmulticast: false",
            path=path,
        )
    if want.allmulticast and parent is not None:
        check_counts(path, parent)


def check_lower(path: str, parent: Link, links: Links, what: str) -> None:
    """Refuse a parent, said in the option ``path``, that is of no use to ``what``: macvtap or a VLAN."""
    name = parent.name
    if parent.loopback or parent.hardware != ARPHRD_ETHER:
        found = "the loopback link" if parent.loopback else f"no Ethernet link (hardware type {parent.hardware})"
        raise MacvtapError(f"{name} is {found}; {what} needs an Ethernet link", path=path)
    if parent.wireless:
        raise MacvtapError(
            f"{name} is a wireless link: access points drop frames from any address but its own, so that no guest "
            "would be reached. Use a wired link, or route",
            path=path,
        )
    if parent.kind == "openvswitch" and name == _DATAPATH:
        raise MacvtapError(
            f"{name} is the datapath of Open vSwitch and no bridge: nothing passes it. {_bridges(links)}", path=path
        )


def check_master(path: str, parent: Link, links: Links) -> None:
    """Refuse a parent, said in the option ``path``, whose untagged frames something else takes."""
    master = links.get(parent.master or "")
    if master is None or master.kind not in _MASTERS:
        return
    if master.kind == "openvswitch":
        raise MacvtapError(
            f"{parent.name} is a port of Open vSwitch, which takes all its frames. {_bridges(links)}; "
            f"`ovs-vsctl port-to-br {parent.name}` says in which it is",
            path=path,
        )
    raise MacvtapError(
        f"{parent.name} is a port of the {master.kind} {master.name}, which takes all its frames. "
        f"Use {master.name} instead",
        path=path,
    )


def _bridges(links: Links) -> str:
    names = [link.name for link in links.values() if link.kind == "openvswitch" and link.name != _DATAPATH]
    return f"Use its bridge instead ({join_names(names)})" if names else "Use its bridge instead"


def check_declared_once(wanted: t.Sequence[Wanted]) -> None:
    for option in ("name", "mac"):
        seen: dict[str, Wanted] = {}
        for want in wanted:
            value = want.key if option == "name" else want.mac
            if value is None or (option == "mac" and want.state == "absent"):
                continue
            twin = seen.get(value)
            # On what a link is that says no parent, check() knows.
            if twin and (option == "name" or (want.parent is not None and want.parent == twin.parent)):
                raise declared_twice(value, join_path(want.path, option), join_path(twin.path, option))
            seen[value] = want


def limits(wanted: t.Sequence[Wanted], final: Links) -> dict[int, int]:
    """Return the broadcast limit declared for the links of a parent, by its index.

    :raises MacvtapError: there are two.
    """
    declared: dict[int, Wanted] = {}
    for want in wanted:
        link = final.get(want.key)
        if link is None or want.bclim is None:
            continue
        other = declared.setdefault(link.parent_index, want)
        if other.bclim != want.bclim:
            raise MacvtapError(
                f"{want.bclim} differs from the {other.bclim} of {join_path(other.path, 'bclim')}; the limit is one, "
                f"shared by all links of the parent {link.parent}",
                path=join_path(want.path, "bclim"),
            )
    return {index: want.bclim for index, want in declared.items() if want.bclim is not None}


def check(wanted: t.Sequence[Wanted], final: Links) -> None:
    """Refuse what the kernel refuses of ``wanted``, those that will be made or changed, among the ``final`` links."""
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
    for want in wanted:
        link = final[want.key]
        for option, own in (("name", (link.name,)), ("altnames", want.altnames or ())):
            check_names(join_path(want.path, option), own, link, names)
        parent = final.get(link.parent or "")
        if parent is not None:
            check_mtu(want, link, parent)
            if link.mode == "passthru" and parent.kind in MACVLAN_KINDS:
                _check_alone(want, parent, link, (parent, link))
            elif parent.index in passthru:
                _check_alone(want, parent, passthru[parent.index], siblings[parent.index])
            _check_address(want, link, parent, addresses[parent.index, link.mac])


def names_of(links: Links) -> Names:
    names: Names = {}
    for link in links.values():
        for name in (link.name, *link.altnames):
            names.setdefault((link.netns, name), set()).add(link.name)
    return names


def check_names(path: str, own: t.Iterable[str], link: Link, names: Names) -> None:
    """Refuse names of ``link``, said in the option ``path``, that another link has."""
    for name in own:
        others = names[link.netns, name] - {link.name}
        if others:
            raise MacvtapError(
                f"{name} is a name of the link {join_names(sorted(others))} already; each name is once on a host",
                path=path,
            )


def check_mtu(want: Wanted | WantedVlan, link: Link, parent: Link) -> None:
    if link.mtu and parent.mtu and link.mtu > parent.mtu:
        raise MacvtapError(
            f"{link.mtu} exceeds the mtu of its parent {parent.name} ({parent.mtu}); raise the parent's mtu first",
            path=join_path(want.path, "mtu" if want.mtu else "parent"),
        )


def _check_alone(want: Wanted, parent: Link, alone: Link, siblings: t.Sequence[Link]) -> None:
    also = [other.name for other in siblings if other is not alone]
    if also:
        named = [(name, "") for name in also]
        raise MacvtapError(
            not_alone(parent.name, alone.name, "passthru", named),
            path=join_path(want.path, "mode" if want.mode else "parent"),
        )


def crowded(modes: t.Sequence[str | None]) -> bool:
    """Whether links in these modes cannot be on one parent together: the kernel's word for it, or libvirt's."""
    return len(modes) > 1 and any(mode in PASSTHRU for mode in modes)


def not_alone(parent: str, name: str, mode: str | None, others: t.Sequence[tuple[str, str | None]]) -> str:
    """Say that ``name`` and ``others``, with their modes, cannot all be on ``parent``."""
    everybody = [(name, mode), *others]
    alone = next((one for one in everybody if one[1] in PASSTHRU), everybody[0])
    also = [who for who, how in everybody if (who, how) != alone]
    return (
        f"a link in mode passthru must be the only one on its parent; {parent} would have {alone[0]} "
        f"in that mode and also {join_names(also)}"
    )


def _check_address(want: Wanted, link: Link, parent: Link, sharing: t.Sequence[Link]) -> None:
    if link.mac is None or link.mode == "passthru":
        return
    twin = parent if parent.mac == link.mac else next((other for other in sharing if other is not link), None)
    if twin is not None:
        whose = "the parent itself" if twin is parent else f"another link of the parent {parent.name}"
        raise MacvtapError(
            f"{link.mac} is the address of {twin.name}, {whose}; the kernel allows each address once on a parent",
            path=join_path(want.path, "mac"),
        )


def kind_of(link: Link) -> str:
    return f"a {link.kind} link" if link.kind else "a physical or loopback link"
