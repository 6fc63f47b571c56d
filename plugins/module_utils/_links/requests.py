# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which requests carry out a step: what to ask the kernel for, and in which order."""

from __future__ import annotations

import errno
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    ADDRGENMODES,
    INCOMPLETE_GROUP,
    MACVLAN_KINDS,
    MODES,
    Link,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import PROTOCOLS

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

_MACADDR_ADD, _MACADDR_DEL, _MACADDR_SET = 0, 1, 3
_NOPROMISC, _NODST = 1, 2


def create(step: Step[Link], descriptor: int | None) -> bytes:
    """Return the request; ``descriptor`` is that of the network namespace that the link is to be in, if another one."""
    link = t.cast("Link", step.after)
    attrs: list[tuple[str, t.Any]] = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_LINK", link.parent_index),
        _particular(link),
    ]
    # The kernel gives the parent's address to a link in mode passthru and ignores ours.
    given = {
        "IFLA_ADDRESS": None if link.mode == "passthru" else link.mac,
        "IFLA_MTU": link.mtu,
        "IFLA_TXQLEN": link.txqueuelen,
        # A VLAN link is known by its alias, which the kernel takes only for a link that exists.
        "IFLA_GROUP": INCOMPLETE_GROUP if link.kind == "vlan" else link.group or None,
        "IFLA_NUM_TX_QUEUES": link.tx_queues,
        "IFLA_NUM_RX_QUEUES": link.rx_queues,
    }
    attrs += [(name, value) for name, value in given.items() if value is not None]
    # Up in the same message, so that an address that is taken on the parent fails here and leaves no link.
    flags, mask = _link_flags(link, None)
    if descriptor is not None:
        attrs.append(("IFLA_NET_NS_FD", descriptor))
    if comes_up_later(link):
        flags, mask = flags & ~rtnetlink.IFF_UP, mask & ~rtnetlink.IFF_UP
    if hears_later(link):
        flags, mask = flags & ~rtnetlink.IFF_ALLMULTI, mask & ~rtnetlink.IFF_ALLMULTI
    return messages.create(tuple(attrs), flags, mask)


def _particular(link: Link) -> tuple[str, messages.Attributes]:
    if link.kind == "vlan":
        protocol = PROTOCOLS[link.vlan_protocol or "802.1Q"]
        return messages.kind("vlan", ("IFLA_VLAN_ID", link.vlan_id), ("IFLA_VLAN_PROTOCOL", protocol))
    data: list[tuple[str, t.Any]] = [("MODE", MODES[link.mode or "vepa"])]
    if link.promiscuous is False or link.nodst:
        data.append(("FLAGS", _macvlan_flags(link)))
    data += _shared(link)
    if link.source_macs:
        listed = tuple(("IFLA_MACVLAN_MACADDR", mac) for mac in sorted(link.source_macs))
        data += [("MACADDR_MODE", _MACADDR_SET), ("MACADDR_DATA", listed)]
    return messages.macvlan(link.kind, *data)


def comes_up_later(link: Link) -> bool:
    # It is when it comes up that the kernel gives it an address; and a link that changes its namespace goes down.
    return bool(link.addrgenmode or link.netns)


def hears_later(link: Link) -> bool:
    # In mode passthru macvlan_open() does not pass on to the parent what was set before: see apart().
    return bool(link.mode == "passthru" and link.up and link.allmulticast)


def finish(step: Step[Link], index: int) -> t.Iterator[bytes]:
    """What a link can be told only when it exists."""
    link = t.cast("Link", step.after)
    attrs: list[tuple[str, t.Any]] = [("IFLA_IFALIAS", link.alias)] if link.alias else []
    if link.kind == "vlan":
        attrs.append(("IFLA_GROUP", link.group or 0))
    if attrs:
        yield messages.change(index, tuple(attrs))
    for name in sorted(link.altnames):
        yield messages.altname(index, name, add=True)
    if link.addrgenmode:
        yield _addrgenmode(index, link.addrgenmode)
    if link.up and comes_up_later(link):
        yield messages.change(index, (), rtnetlink.IFF_UP, rtnetlink.IFF_UP)
    if hears_later(link):
        yield _allmulticast(index, on=True)


def before_removal(step: Step[Link]) -> t.Iterator[bytes]:
    # macvlan_stop() leaves to the parent what a link in mode passthru has added to its count.
    link = step.before
    if link and link.mode == "passthru" and link.up and link.allmulticast and link.parent_allmulti:
        yield _allmulticast(link.index, on=False)


def apart(before: Link, after: Link) -> tuple[bool, bool | None]:
    """Return whether a link in mode passthru loses allmulticast before all else, and what it is told of it after.

    macvlan_open() and macvlan_stop() leave it out of the parent's count there, and macvlan_change_rx_flags() adds or
    takes 1 while the link is up. So what was set while it was down has no effect, and taken off while it is up drives
    the count below zero; and what was set while it was up stays on the parent when the link goes down with it.
    """
    was = bool(before.allmulticast)
    wanted = was if after.allmulticast is None else after.allmulticast
    stays = before.up and after.up and wanted
    first = was and not stays and bool(before.parent_allmulti if before.up else after.up or not wanted)
    if wanted and (first or not was):
        return first, True
    return first, False if was and not first and not wanted and not after.up else None


def _allmulticast(index: int, *, on: bool) -> bytes:
    return messages.change(index, (), rtnetlink.IFF_ALLMULTI if on else 0, rtnetlink.IFF_ALLMULTI)


def make_way(steps: t.Sequence[Step[Link]]) -> t.Iterator[tuple[Step[Link], bytes]]:
    """What one of the links gives up and another one takes, as when two change their addresses with each other."""
    changing = [(step, step.before, step.after) for step in steps if step.before and step.after]
    taken = {(after.parent_index, after.mac) for _step, _before, after in changing}
    for step, before, after in changing:
        for name in sorted(before.altnames - after.altnames):
            yield step, messages.altname(before.index, name, add=False)
        if after.mac not in (None, before.mac) and (before.parent_index, before.mac) in taken:
            yield step, messages.change(before.index, (("IFLA_ADDRESS", _passing_address()),))


class _Fulfilled(bytes):
    """A request that asks for what is so already where the link has no IPv6."""


def _addrgenmode(index: int, mode: str) -> bytes:
    request = messages.change(index, (messages.addrgenmode(ADDRGENMODES[mode]),))
    # inet6_validate_link_af(): no IPv6 below its least MTU, or with ipv6.disable=1. No address is generated then.
    return _Fulfilled(request) if mode == "none" else request


def is_fulfilled(request: bytes, refusal: rtnetlink.Refusal) -> bool:
    """Whether what the kernel has refused is so already."""
    return isinstance(request, _Fulfilled) and refusal.code == errno.EAFNOSUPPORT


def with_address(step: Step[Link]) -> Step[Link]:
    """Return the step with a MAC address for the link that it makes.

    Where the kernel chooses one, udev gives the link another a moment later (MACAddressPolicy=), and nobody knows by it
    which link was made here.
    """
    link = step.after
    if link is None or link.kind not in MACVLAN_KINDS or link.mac or link.mode == "passthru":
        return step
    return replace(step, after=replace(link, mac=_passing_address()))


def on(step: Step[Link], made: t.Mapping[str, int]) -> Step[Link]:
    """Return the step with the index that the parent has now, where that is among those ``made``: index by name."""
    link = step.after
    index = made.get(link.parent or "") if link else None
    return step if link is None or index is None else replace(step, after=replace(link, parent_index=index))


def _passing_address() -> str:
    # Of those that are for local use: 02 is the bit that says so.
    return "02:" + os.urandom(5).hex(":")


def change(step: Step[Link]) -> t.Iterator[bytes]:
    before, after = t.cast("Link", step.before), t.cast("Link", step.after)
    index = before.index
    # The promiscuity of the parent changes with this flag only while the link is up: see impacts.py.
    flags = ("FLAGS", _macvlan_flags(after))
    new_flags = _macvlan_flags(before) != _macvlan_flags(after)
    first, last = apart(before, after) if before.mode == "passthru" else (False, None)
    if first:
        yield _allmulticast(index, on=False)
    if new_flags and before.up:
        yield messages.change(index, (messages.macvlan(after.kind, flags),))
    # Of one that has no IPv6 yet it can only be said when it has: see below.
    generates = after.addrgenmode if after.addrgenmode != before.addrgenmode else None
    if generates and before.addrgenmode:
        yield _addrgenmode(index, generates)
    data = [("MODE", MODES[after.mode])] if after.mode and after.mode != before.mode else []
    data += _shared(after, before)
    attrs: list[tuple[str, t.Any]] = [messages.macvlan(after.kind, *data)] if data else []
    given = (
        ("IFLA_ADDRESS", before.mac, after.mac),
        ("IFLA_MTU", before.mtu, after.mtu),
        ("IFLA_TXQLEN", before.txqueuelen, after.txqueuelen),
        ("IFLA_GROUP", before.group, after.group),
        ("IFLA_IFALIAS", before.alias, after.alias),
    )
    attrs += [(name, new) for name, old, new in given if new is not None and new != old]
    bits, mask = _link_flags(after, before)
    if before.mode == "passthru":
        bits, mask = bits & ~rtnetlink.IFF_ALLMULTI, mask & ~rtnetlink.IFF_ALLMULTI
    if attrs or mask:
        yield messages.change(index, tuple(attrs), bits, mask)
    if generates and not before.addrgenmode:
        yield _addrgenmode(index, generates)
    if last is not None:
        yield _allmulticast(index, on=last)
    if new_flags and not before.up:
        yield messages.change(index, (messages.macvlan(after.kind, flags),))
    if after.mode == "source":
        had = before.source_macs if before.mode == "source" else frozenset()
        yield from _source_macs(after, index, had)
    for name in sorted(after.altnames - before.altnames):
        yield messages.altname(index, name, add=True)


def _source_macs(link: Link, index: int, had: frozenset[str]) -> t.Iterator[bytes]:
    # One by one, and what is new first: who is allowed before and after is allowed all the time.
    wanted = link.source_macs
    for how, macs in ((_MACADDR_ADD, wanted - had), (_MACADDR_DEL, had - wanted)):
        for mac in sorted(macs):
            data = (("MACADDR_MODE", how), ("MACADDR", mac))
            yield messages.change(index, (messages.macvlan(link.kind, *data),))


def _shared(after: Link, before: Link | None = None) -> list[tuple[str, t.Any]]:
    pairs = (("BC_QUEUE_LEN", "bcqueuelen"), ("BC_CUTOFF", "bclim"))
    values = ((name, getattr(after, field), getattr(before, field, None)) for name, field in pairs)
    return [(name, new) for name, new, old in values if new is not None and new != old]


def _macvlan_flags(link: Link) -> int:
    return (_NOPROMISC if link.promiscuous is False else 0) | (_NODST if link.nodst else 0)


def _link_flags(after: Link, before: Link | None) -> tuple[int, int]:
    flags = mask = 0
    bits = (
        (rtnetlink.IFF_UP, before.up if before else False, after.up),
        (rtnetlink.IFF_ALLMULTI, before.allmulticast if before else False, after.allmulticast),
    )
    for bit, old, new in bits:
        if new is not None and new != old:
            mask |= bit
            flags |= bit if new else 0
    return flags, mask
