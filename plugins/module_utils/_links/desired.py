# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state of a link that a declaration leads to. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    AS_DECLARED,
    IPV6_MTU,
    MACVLAN_KINDS,
    WITHOUT_IPV6,
    DesiredLink,
    Link,
    Links,
    Tap,
    with_values,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import required, resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.steps import step_between


def desired_state(entry: DesiredLink, before: Link | None, links: Links) -> Link | None:
    """Return the desired state of the link: ``before`` itself where nothing changes."""
    if entry.state == "absent":
        return None
    if before is None and entry.parent is None:
        raise required(entry.name, join_path(entry.path, "parent"))
    base = before or _new(entry)
    parent = resolve(entry, links) if entry.parent is not None else links.get(base.parent or "")
    moved = parent is not None and _moves(entry, base, parent, links)
    mode = entry.mode or base.mode
    up = {"up": True, "down": False}.get(entry.state, base.up)
    values = {"mode": mode, "up": up, "mac": _mac(entry, base, mode, parent), **_given(entry, before)}
    validate.check_allmulticast(entry, mode, up=up, parent=parent)
    if _loses_allmulticast(entry, base, mode, up=up):
        values["allmulticast"] = False
    values["source_macs"] = _source_macs(entry, base, mode)
    differs = {name: value for name, value in values.items() if value != getattr(base, name)}
    if moved and parent is not None:
        # All links of a parent share its limit, so this one does not take its own along.
        differs.update(parent=parent.name, parent_index=parent.index, bclim=entry.bclim)
    tap = _tap(entry, base)
    if tap is not base.tap:
        differs["tap"] = tap
    if before is not None and not differs:
        return before
    validate.check_ipv6(entry, before, differs, parent, links)
    return _with_known_parent(entry, before, with_values(base, **differs), parent)


def _new(entry: DesiredLink) -> Link:
    """Return a new link as it is without options."""
    # A tap is for a guest. Until one holds it, the host's own stack must not answer on the link.
    quiet = False if entry.kind == "macvtap" else None
    return Link(entry.name, kind=entry.kind, mode=DEFAULT_MODE, netns=entry.netns, arp=quiet, accept_ra=quiet)


def _moves(entry: DesiredLink, base: Link, parent: Link, links: Links) -> bool:
    """Whether the link moves to ``parent``.

    :raises MacvtapError: it cannot.
    """
    if parent.name == base.parent or _is_on(base, parent):
        return False
    validate.check_movable(entry, base)
    validate.check_parent(join_path(entry.path, "parent"), parent, links)
    return True


def _loses_allmulticast(entry: DesiredLink, base: Link, mode: str | None, *, up: bool) -> bool:
    """Whether a link in mode passthru that will be down loses the flag.

    It would have no effect once the link comes up, and clearing it then would underflow the parent's count.
    """
    loses = mode == "passthru" and not up and entry.allmulticast is None and base.allmulticast
    return bool(loses and (base.mode != mode or base.up))


def _given(entry: DesiredLink, before: Link | None) -> dict[str, t.Any]:
    given = {name: getattr(entry, name) for name in AS_DECLARED}
    if before is not None and before.addrgenmode is None:
        if not _gets_ipv6(entry, before):
            # A link without IPv6 has these already.
            given.update((option, None) for option, off in WITHOUT_IPV6.items() if given[option] == off)
        elif given["accept_ra"] is None:
            # The kernel sets it as on a new link.
            given["accept_ra"] = _new(entry).accept_ra
    return {name: value for name, value in given.items() if value is not None}


def _with_known_parent(entry: DesiredLink, before: Link | None, after: Link, parent: Link | None) -> Link:
    """Return ``after`` with a parent to create it on, where it is recreated and its own is in another namespace."""
    if before is None or not before.elsewhere or not step_between(before, after).recreates:
        return after
    if parent is None or not _is_on(before, parent):
        validate.check_movable(entry, before)
        return after
    return replace(after, parent=parent.name, parent_index=parent.index)


def _is_on(link: Link, parent: Link) -> bool:
    """Whether ``link`` is on ``parent``, a macvlan link: the kernel puts both on the same lower link."""
    if parent.kind not in MACVLAN_KINDS or not (link.elsewhere and parent.elsewhere):
        return False
    return (link.lower_netns, link.lower) == (parent.lower_netns, parent.lower)


def _gets_ipv6(entry: DesiredLink, before: Link) -> bool:
    return (before.mtu or 0) < IPV6_MTU <= (entry.mtu or before.mtu or 0)


def _mac(entry: DesiredLink, base: Link, mode: str | None, parent: Link | None) -> str | None:
    if mode == "passthru" and parent is not None:
        if entry.mac is not None and entry.mac != parent.mac:
            raise MacvtapError(
                f"{entry.mac} differs from the MAC address of the parent {parent.name} ({parent.mac}). A link in mode "
                "passthru shares its parent's address, so the parent's would change too. Remove mac",
                path=join_path(entry.path, "mac"),
            )
        return parent.mac
    return kept_mac(entry.mac, base)


def kept_mac(declared: str | None, current: Link | None) -> str | None:
    """Return the address that a link in another mode than passthru gets or keeps, None for one by the kernel."""
    # In mode passthru it has its parent's address, which is not allowed in other modes.
    return declared or (current.mac if current is not None and current.mode != "passthru" else None)


def _source_macs(entry: DesiredLink, base: Link, mode: str | None) -> frozenset[str]:
    if mode == "source":
        return base.source_macs if entry.source_macs is None else entry.source_macs
    if entry.source_macs:
        raise MacvtapError(
            f"requires mode source; {entry.name} would be in mode {mode}. Remove source_macs, or set mode: source",
            path=join_path(entry.path, "source_macs"),
        )
    # The kernel clears the list when a link leaves this mode.
    return frozenset()


def _tap(entry: DesiredLink, base: Link) -> Tap | None:
    permissions = (entry.tap_owner, entry.tap_group, entry.tap_mode)
    if not entry.tap_repair and permissions == (None, None, None):
        return base.tap
    tap = base.tap or Tap("")
    if tap.path and tap.fault and not entry.tap_repair:
        raise MacvtapError(
            f"{tap.path} {tap.fault}; its permissions are left alone. "
            "Set tap.repair: true to create the right device node",
            path=join_path(entry.path, "tap"),
        )
    same = all(given in (None, had) for given, had in zip(permissions, (tap.owner, tap.group, tap.mode)))
    if tap.path and same and not tap.fault:
        return base.tap
    return replace(
        tap,
        owner=entry.tap_owner or tap.owner,
        group=entry.tap_group or tap.group,
        mode=tap.mode if entry.tap_mode is None else entry.tap_mode,
        repair=entry.tap_repair,
    )
