# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Builds the netlink requests of a step, in their order."""

from __future__ import annotations

import errno
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import (
    ADDRGENMODES,
    IFF_ALLMULTI,
    IFF_NOARP,
    MODES,
    ROWS,
    VLAN_ROWS,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    INCOMPLETE_GROUP,
    MACVLAN_KINDS,
    Link,
    with_values,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place, Wire

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

_MACADDR_ADD, _MACADDR_DEL, _MACADDR_SET = 0, 1, 3
_MODE, _FLAGS = t.cast("Wire", ROWS["mode"].wire), t.cast("Wire", ROWS["nodst"].wire)


def _plain(place: Place) -> tuple[tuple[Row, Wire], ...]:
    """Return the attributes in ``place`` with a single value, which can share a request."""
    pairs = [(row, row.wire) for row in ROWS.values() if row.wire and row.wire.place is place]
    return tuple((row, wire) for row, wire in pairs if not (wire.bit or wire.words or row.elements))


_OF_LINK, _OF_MACVLAN = _plain(Place.LINK), _plain(Place.MACVLAN)


def create(step: Step[Link], descriptor: int | None) -> bytes:
    """Return the request; ``descriptor`` is of the link's network namespace, None for our own."""
    link = t.cast("Link", step.after)
    attrs: list[tuple[str, t.Any]] = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_LINK", link.parent_index),
        _linkinfo_data(link),
    ]
    # The alias marks a VLAN link as ours, but can only be set on an existing link: until then the group marks it. A
    # link in mode passthru gets the parent's address.
    asked = with_values(
        link,
        group=INCOMPLETE_GROUP if link.kind == "vlan" else link.group or None,
        mac=None if link.mode == "passthru" else link.mac,
    )
    attrs += _values(_OF_LINK, asked, made_with=True)
    # Up in the same message: a duplicate address then fails here, and leaves no link behind.
    flags, mask = _link_flags(link, None)
    if descriptor is not None:
        attrs.append(("IFLA_NET_NS_FD", descriptor))
    if up_after_create(link):
        flags, mask = flags & ~rtnetlink.IFF_UP, mask & ~rtnetlink.IFF_UP
    if allmulticast_after_up(link):
        flags, mask = flags & ~IFF_ALLMULTI, mask & ~IFF_ALLMULTI
    return messages.create(tuple(attrs), flags, mask)


def _values(
    rows: t.Iterable[tuple[Row, Wire]], after: Link, before: Link | None = None, *, made_with: bool | None = None
) -> list[tuple[str, t.Any]]:
    """Return the attributes of ``rows`` that differ between ``before`` and ``after``, or that ``after`` sets."""
    asked = ((row, wire) for row, wire in rows if made_with in (None, row.made_with))
    values = ((wire.name, getattr(after, row.field), getattr(before, row.field, None)) for row, wire in asked)
    return [(name, new) for name, new, old in values if new is not None and new != old]


def _linkinfo_data(link: Link) -> tuple[str, messages.Attributes]:
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


def up_after_create(link: Link) -> bool:
    # The kernel generates the address when the link comes up, and then accepts router advertisements; and a link that
    # changes its namespace goes down.
    return bool(link.addrgenmode or link.netns or link.accept_ra is not None)


def allmulticast_after_up(link: Link) -> bool:
    # In mode passthru macvlan_open() does not pass on what was set before: see passthru_allmulticast().
    return bool(link.mode == "passthru" and link.up and link.allmulticast)


def post_create(step: Step[Link], index: int) -> t.Iterator[bytes]:
    """Yield the requests that only work on an existing link."""
    link = t.cast("Link", step.after)
    # An empty alias is no alias.
    attrs = _values(_OF_LINK, with_values(link, alias=link.alias or None), made_with=False)
    if link.kind == "vlan":
        attrs.append(("IFLA_GROUP", link.group or 0))
    if attrs:
        yield messages.change(index, tuple(attrs))
    for name in sorted(link.altnames):
        yield messages.altname(index, name, add=True)
    if link.addrgenmode:
        yield addrgenmode(index, link.addrgenmode)
    if link.up and up_after_create(link):
        yield messages.change(index, (), rtnetlink.IFF_UP, rtnetlink.IFF_UP)
    if allmulticast_after_up(link):
        yield _allmulticast(index, on=True)


def sysctls(before: Link, after: Link) -> t.Iterator[tuple[str, int]]:
    """Yield the settings below /proc/sys/net that differ, with ``{}`` for the link's name, and their values."""
    if after.accept_ra is not None and after.accept_ra != before.accept_ra:
        yield "ipv6/conf/{}/accept_ra", int(after.accept_ra)


def before_removal(step: Step[Link]) -> t.Iterator[bytes]:
    # macvlan_stop() does not take back what a link in mode passthru has added to the parent's count.
    link = step.before
    if link and link.mode == "passthru" and link.up and link.allmulticast and link.parent_allmulti:
        yield _allmulticast(link.index, on=False)


def passthru_allmulticast(before: Link, after: Link) -> tuple[bool, bool | None]:
    """Return whether to clear allmulticast of a passthru link first, and what to set at the end (None: nothing).

    macvlan_open() and macvlan_stop() do not change the parent's count; macvlan_change_rx_flags() adds or subtracts 1
    while the link is up. So the flag has no effect if set while the link is down, and clearing it while it is up then
    makes the count underflow. If set while the link is up, it stays on the parent when the link goes down.
    """
    was = bool(before.allmulticast)
    desired = was if after.allmulticast is None else after.allmulticast
    stays = before.up and after.up and desired
    first = was and not stays and bool(before.parent_allmulti if before.up else after.up or not desired)
    if desired and (first or not was):
        return first, True
    return first, False if was and not first and not desired and not after.up else None


def _allmulticast(index: int, *, on: bool) -> bytes:
    return messages.change(index, (), IFF_ALLMULTI if on else 0, IFF_ALLMULTI)


def release_conflicts(steps: t.Sequence[Step[Link]]) -> t.Iterator[tuple[Step[Link], bytes]]:
    """Yield requests that free values which another link takes, as when two links swap addresses."""
    changing = [(step, step.before, step.after) for step in steps if step.before and step.after]
    taken = {(after.parent_index, after.mac) for _step, _before, after in changing}
    for step, before, after in changing:
        for name in sorted(before.altnames - after.altnames):
            yield step, messages.altname(before.index, name, add=False)
        if after.mac not in (None, before.mac) and (before.parent_index, before.mac) in taken:
            yield step, messages.change(before.index, (("IFLA_ADDRESS", _temporary_mac()),))


class _Fulfilled(bytes):
    """A request that is already fulfilled if the link has no IPv6."""


def addrgenmode(index: int, mode: str) -> bytes:
    """Return the request; see :func:`is_fulfilled` for its answer."""
    request = messages.change(index, (messages.addrgenmode(ADDRGENMODES[mode]),))
    # inet6_validate_link_af(): no IPv6 below its minimum MTU, or with ipv6.disable=1. No address is generated then.
    return _Fulfilled(request) if mode == "none" else request


def is_fulfilled(request: bytes, refusal: rtnetlink.Refusal) -> bool:
    """Whether the refused request is already fulfilled."""
    return isinstance(request, _Fulfilled) and refusal.code == errno.EAFNOSUPPORT


def with_address(step: Step[Link]) -> Step[Link]:
    """Return the step with a MAC address for the new link, which identifies it.

    If the kernel chose one, udev would change it a moment later (MACAddressPolicy=).
    """
    link = step.after
    if link is None or link.kind not in MACVLAN_KINDS or link.mac or link.mode == "passthru":
        return step
    return replace(step, after=replace(link, mac=_temporary_mac()))


def on_created(step: Step[Link], made: t.Mapping[str, int]) -> Step[Link]:
    """Return the step with the current index of its parent, if that is among ``made``: index by name."""
    link = step.after
    index = made.get(link.parent or "") if link else None
    return step if link is None or index is None else replace(step, after=replace(link, parent_index=index))


def _temporary_mac() -> str:
    # Locally administered, by the bit 02.
    return "02:" + os.urandom(5).hex(":")


def change(step: Step[Link]) -> t.Iterator[bytes]:
    """Yield the requests: what needs the link as it was, then all that fits one request, then what needs it changed."""
    before, after = t.cast("Link", step.before), t.cast("Link", step.after)
    clears_first, last = passthru_allmulticast(before, after) if before.mode == "passthru" else (False, None)
    if clears_first:
        yield _allmulticast(before.index, on=False)
    if before.up:
        yield from _changed_flags(before, after)
    if before.addrgenmode:
        yield from _changed_addrgenmode(before, after)
    yield from _changed_values(before, after)
    if not before.addrgenmode:
        # A link without IPv6 accepts it only once it has IPv6, by its new MTU.
        yield from _changed_addrgenmode(before, after)
    if last is not None:
        yield _allmulticast(before.index, on=last)
    if not before.up:
        yield from _changed_flags(before, after)
    if after.mode == "source":
        had = before.source_macs if before.mode == "source" else frozenset()
        yield from _source_macs(after, before.index, had)
    for name in sorted(after.altnames - before.altnames):
        yield messages.altname(before.index, name, add=True)


def _changed_flags(before: Link, after: Link) -> t.Iterator[bytes]:
    # The promiscuity of the parent changes with these flags only while the link is up: see impacts.py.
    if _macvlan_flags(before) != _macvlan_flags(after):
        yield messages.change(before.index, (messages.kind(after.kind, (_FLAGS.name, _macvlan_flags(after))),))


def _changed_addrgenmode(before: Link, after: Link) -> t.Iterator[bytes]:
    if after.addrgenmode and after.addrgenmode != before.addrgenmode:
        yield addrgenmode(before.index, after.addrgenmode)


def _changed_values(before: Link, after: Link) -> t.Iterator[bytes]:
    data = [(_MODE.name, MODES[after.mode])] if after.mode and after.mode != before.mode else []
    data += _values(_OF_MACVLAN, after, before)
    attrs: list[tuple[str, t.Any]] = [messages.kind(after.kind, *data)] if data else []
    attrs += _values(_OF_LINK, after, before)
    bits, mask = _link_flags(after, before)
    if before.mode == "passthru":
        bits, mask = bits & ~IFF_ALLMULTI, mask & ~IFF_ALLMULTI
    if attrs or mask:
        yield messages.change(before.index, tuple(attrs), bits, mask)


def _source_macs(link: Link, index: int, had: frozenset[str]) -> t.Iterator[bytes]:
    # One by one, additions first: addresses that stay are allowed all the time.
    desired = link.source_macs
    for how, macs in ((_MACADDR_ADD, desired - had), (_MACADDR_DEL, had - desired)):
        for mac in sorted(macs):
            data = (("IFLA_MACVLAN_MACADDR_MODE", how), ("IFLA_MACVLAN_MACADDR", mac))
            yield messages.change(index, (messages.kind(link.kind, *data),))


def _macvlan_flags(link: Link) -> int:
    """Return the value of IFLA_MACVLAN_FLAGS."""
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
        (IFF_NOARP, before is not None and before.arp is False, None if after.arp is None else not after.arp),
    )
    for bit, old, new in bits:
        if new is not None and new != old:
            mask |= bit
            flags |= bit if new else 0
    return flags, mask
