# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which requests carry out a step: what to ask the kernel for, and in which order."""

from __future__ import annotations

import errno
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import (
    ADDRGENMODES,
    IFF_ALLMULTI,
    MODES,
    ROWS,
    VLAN_ROWS,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    INCOMPLETE_GROUP,
    MACVLAN_KINDS,
    Link,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place, Wire

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

_MACADDR_ADD, _MACADDR_DEL, _MACADDR_SET = 0, 1, 3
_MODE, _FLAGS = t.cast("Wire", ROWS["mode"].wire), t.cast("Wire", ROWS["nodst"].wire)


def _plain(place: Place) -> tuple[tuple[Row, Wire], ...]:
    """Return the attributes in ``place`` that are one value each, and may be asked for along with others."""
    pairs = [(row, row.wire) for row in ROWS.values() if row.wire and row.wire.place is place]
    return tuple((row, wire) for row, wire in pairs if not (wire.bit or wire.words or row.elements))


_OF_LINK, _OF_MACVLAN = _plain(Place.LINK), _plain(Place.MACVLAN)


def create(step: Step[Link], descriptor: int | None) -> bytes:
    """Return the request; ``descriptor`` is that of the network namespace that the link is to be in, if another one."""
    link = t.cast("Link", step.after)
    attrs: list[tuple[str, t.Any]] = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_LINK", link.parent_index),
        _particular(link),
    ]
    # A VLAN link is known by its alias, which the kernel takes only for a link that exists; and to a link in mode
    # passthru the kernel gives the parent's address and ignores ours.
    asked = replace(
        link,
        group=INCOMPLETE_GROUP if link.kind == "vlan" else link.group or None,
        mac=None if link.mode == "passthru" else link.mac,
    )
    attrs += _values(_OF_LINK, asked, made_with=True)
    # Up in the same message, so that an address that is taken on the parent fails here and leaves no link.
    flags, mask = _link_flags(link, None)
    if descriptor is not None:
        attrs.append(("IFLA_NET_NS_FD", descriptor))
    if comes_up_later(link):
        flags, mask = flags & ~rtnetlink.IFF_UP, mask & ~rtnetlink.IFF_UP
    if hears_later(link):
        flags, mask = flags & ~IFF_ALLMULTI, mask & ~IFF_ALLMULTI
    return messages.create(tuple(attrs), flags, mask)


def _values(
    rows: t.Iterable[tuple[Row, Wire]], after: Link, before: Link | None = None, *, made_with: bool | None = None
) -> list[tuple[str, t.Any]]:
    """Return those attributes of ``rows`` that ``after`` has otherwise than ``before``, or has at all."""
    asked = ((row, wire) for row, wire in rows if made_with in (None, row.made_with))
    values = ((wire.name, getattr(after, row.field), getattr(before, row.field, None)) for row, wire in asked)
    return [(name, new) for name, new, old in values if new is not None and new != old]


def _particular(link: Link) -> tuple[str, messages.Attributes]:
    if link.kind == "vlan":
        wires = ((t.cast("Wire", row.wire), getattr(link, row.field)) for row in VLAN_ROWS.values())
        return messages.kind("vlan", *((wire.name, wire.number_of(value)) for wire, value in wires))
    data: list[tuple[str, t.Any]] = [(_MODE.name, MODES[link.mode or "vepa"])]
    if _macvlan_flags(link):
        data.append((_FLAGS.name, _macvlan_flags(link)))
    data += _values(_OF_MACVLAN, link)
    if link.source_macs:
        listed = tuple(("IFLA_MACVLAN_MACADDR", mac) for mac in sorted(link.source_macs))
        data += [("IFLA_MACVLAN_MACADDR_MODE", _MACADDR_SET), ("IFLA_MACVLAN_MACADDR_DATA", listed)]
    return messages.kind(link.kind, *data)


def comes_up_later(link: Link) -> bool:
    # It is when it comes up that the kernel gives it an address; and a link that changes its namespace goes down.
    return bool(link.addrgenmode or link.netns)


def hears_later(link: Link) -> bool:
    # In mode passthru macvlan_open() does not pass on to the parent what was set before: see apart().
    return bool(link.mode == "passthru" and link.up and link.allmulticast)


def finish(step: Step[Link], index: int) -> t.Iterator[bytes]:
    """What a link can be told only when it exists."""
    link = t.cast("Link", step.after)
    # An alias of no bytes is none.
    attrs = _values(_OF_LINK, replace(link, alias=link.alias or None), made_with=False)
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
    return messages.change(index, (), IFF_ALLMULTI if on else 0, IFF_ALLMULTI)


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
    flags = messages.kind(after.kind, (_FLAGS.name, _macvlan_flags(after)))
    new_flags = _macvlan_flags(before) != _macvlan_flags(after)
    first, last = apart(before, after) if before.mode == "passthru" else (False, None)
    if first:
        yield _allmulticast(index, on=False)
    if new_flags and before.up:
        yield messages.change(index, (flags,))
    # Of one that has no IPv6 yet it can only be said when it has: see below.
    generates = after.addrgenmode if after.addrgenmode != before.addrgenmode else None
    if generates and before.addrgenmode:
        yield _addrgenmode(index, generates)
    data = [(_MODE.name, MODES[after.mode])] if after.mode and after.mode != before.mode else []
    data += _values(_OF_MACVLAN, after, before)
    attrs: list[tuple[str, t.Any]] = [messages.kind(after.kind, *data)] if data else []
    attrs += _values(_OF_LINK, after, before)
    bits, mask = _link_flags(after, before)
    if before.mode == "passthru":
        bits, mask = bits & ~IFF_ALLMULTI, mask & ~IFF_ALLMULTI
    if attrs or mask:
        yield messages.change(index, tuple(attrs), bits, mask)
    if generates and not before.addrgenmode:
        yield _addrgenmode(index, generates)
    if last is not None:
        yield _allmulticast(index, on=last)
    if new_flags and not before.up:
        yield messages.change(index, (flags,))
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
            data = (("IFLA_MACVLAN_MACADDR_MODE", how), ("IFLA_MACVLAN_MACADDR", mac))
            yield messages.change(index, (messages.kind(link.kind, *data),))


def _macvlan_flags(link: Link) -> int:
    """Return IFLA_MACVLAN_FLAGS: those of the bits that the link is to have otherwise than the kernel has it."""
    bits = 0
    for row in ROWS.values():
        wire = row.wire
        if wire and wire.name == _FLAGS.name and getattr(link, row.field) is (not wire.inverted):
            bits |= wire.bit
    return bits


def _link_flags(after: Link, before: Link | None) -> tuple[int, int]:
    flags = mask = 0
    bits = (
        (rtnetlink.IFF_UP, before.up if before else False, after.up),
        (IFF_ALLMULTI, before.allmulticast if before else False, after.allmulticast),
    )
    for bit, old, new in bits:
        if new is not None and new != old:
            mask |= bit
            flags |= bit if new else 0
    return flags, mask
