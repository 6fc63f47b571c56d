# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Return values about direct interfaces: stored, live, and their links and taps on the host. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, impact, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    LINK_DOWN,
    LINK_GONE,
    LINK_MAC,
    NO_HOST,
    RELEASED,
    UNGUARDED,
    Domain,
    Host,
    Iface,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, report

_LINK = ("name", "ifindex", "parent", "mode", "mac", "mtu", "state")


def domains(host: Host, *, all_of_them: bool) -> list[dict[str, t.Any]]:
    """Return the module's list of domains; unless ``all_of_them``, only those with a direct interface."""
    direct = {domain.name: direct_pairs(domain) for domain in host.domains.values()}
    return [
        {
            "name": domain.name,
            "uuid": domain.uuid,
            "running": domain.running,
            "persistent": domain.persistent,
            "pid": _pid(domain, host),
            "interfaces": [_interface(stored, live, domain, host) for stored, live in direct[domain.name]],
        }
        for domain in host.domains.values()
        if all_of_them or direct[domain.name]
    ]


def pending(outstanding: t.Sequence[t.Mapping[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the ``outstanding`` requests, each with the NIC that is attached afterwards."""
    return [{**one, "returns": one["returns"] and fields.TABLE.nested(one["returns"].values)} for one in outstanding]


def keeper_warnings(outstanding: t.Sequence[t.Mapping[str, t.Any]], host: Host) -> list[str]:
    """Return a warning for each NIC that should be attached again, but cannot be or has no keeper."""
    return [
        pending_warning(one, host, outlives_boot=True)
        for one in outstanding
        if one["unguarded"] or (one["returns"] and (one["error"] or one["pid"] is None))
    ]


def pause_warnings(paused: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Return a warning for each guest that no run and no keeper restores, or that cannot be restored."""
    warnings = []
    for one in paused:
        if one["state"] != "interrupted" or not one["saved"] or not (one["error"] or one["pid"] is None):
            continue
        what = f"{one['domain']}: a run was killed while it paused the guest, which is not running again yet"
        if one["pid"] is None:
            warnings.append(f"{what}: the keeper does not run. virsh start {one['domain']} restores it")
        else:
            warnings.append(f"{what}: {one['error']}. Process {one['pid']} tries again until it can be")
    return warnings


def pending_warning(one: t.Mapping[str, t.Any], host: Host, *, outlives_boot: bool) -> str:
    """Return the warning about a NIC with an outstanding request.

    ``outlives_boot`` is whether the keeper handles it after a reboot of the host too.
    """
    name = f"{one['domain']} {one['mac']}"
    persistent = host.domains[one["domain"]].persistent
    if one["state"] == UNGUARDED:
        by = "The keeper does not run" if one["pid"] is None else f"Process {one['pid']} tries again until it is"
        return f"{name}: this NIC is attached, and its guard is not on its link yet: {one['error']}. {by}"
    if one["pid"] is None:
        by = (
            "The process that would attach it again (the keeper) does not run: the next run of libvirt_direct_iface "
            "that is not in check mode starts it"
        )
    elif one["state"] == RELEASED:
        by = f"Process {one['pid']} tries again until it can be"
    else:
        stored = {iface.mac for iface in host.domains[one["domain"]].stored} if persistent else set()
        as_what = " as it is stored" if one["mac"] in stored else ""
        by = f"As soon as it does, the NIC is attached again{as_what}, by process {one['pid']}"
    if one["state"] == RELEASED:
        just_now = host.domains[one["domain"]].running
        why = one["error"] or ("it was released just now" if just_now else "the guest was saved before that")
        return f"{name}: the guest has released this NIC, and it is not attached again yet: {why}. {by}"
    if not one["returns"]:
        by = "It is gone from the stored configuration already" if persistent else "It does not come back then"
    elif one["pid"] is not None:
        exception = "" if outlives_boot else "after a reboot of this host or "
        by += f", but not {exception}on another host that the guest has migrated to: run this again there"
    if one["state"] == HELD:
        unguarded = f". Its guard is not on its link yet: {one['error']}" if one["unguarded"] else ""
        return (
            f"{name}: the guest was asked to release this NIC and still holds it. It may release it at any time, at "
            f"the latest at its next reset. {by}{unguarded}"
        )
    return (
        f"{name}: the guest was saved after it was asked to release this NIC. Once restored it may release it at any "
        f"time, at the latest at its next reset. {by}"
    )


def direct_pairs(domain: Domain) -> list[selection.Pair]:
    """Return the (stored, live) pairs of which at least one is direct."""
    return [
        pair for pair in selection.pairs(domain) if any(iface is not None and iface.type == "direct" for iface in pair)
    ]


def differences(
    stored: Iface | None, live: Iface | None, domain: Domain, host: Host = NO_HOST
) -> list[dict[str, t.Any]]:
    """Return how the running guest's interface differs from the stored one; [] if the domain is not both."""
    if not (domain.running and domain.persistent):
        return []
    if stored is None or live is None:
        return [{"field": "state", "stored": _presence(stored), "live": _presence(live)}]
    return [
        {"field": name, "stored": _value(stored, name), "live": _value(live, name)}
        for name in impact.due_at_restart(live, stored, host, all_names=True)
    ] + [
        {"field": name, "stored": expected, "live": live.get(name)}
        for name, expected in ((LINK_GONE, "present"), (LINK_DOWN, "up"), (LINK_MAC, stored.mac))
        if name in live.values
    ]


def version_text(number: int) -> str:
    """Return libvirt's version number as text: 9000000 is 9.0.0."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _interface(stored: Iface | None, live: Iface | None, domain: Domain, host: Host) -> dict[str, t.Any]:
    link = _link(live, host)
    reported = None if link is None else report(link)
    visible = _holders(live, link, host)
    return {
        "mac": (stored or live or Iface("")).mac,
        "stored": stored and fields.TABLE.nested(stored.values),
        "live": live and fields.TABLE.nested(live.values),
        "differences": differences(stored, live, domain, host),
        "stale_mode": live and live.stale_mode,
        "link": reported and {name: reported[name] for name in _LINK},
        "tap": reported and reported["tap"],
        "held_by_domain": _held_by(domain, visible, complete=host.all_holders),
        "holders": [vars(holder) for holder in visible] if visible is not None and host.all_holders else None,
    }


def _link(live: Iface | None, host: Host) -> Link | None:
    link = (host.links or {}).get((live and live.get("target")) or "")
    return link if live and live.type == "direct" and link and link.kind == "macvtap" else None


def _holders(live: Iface | None, link: Link | None, host: Host) -> tuple[Holder, ...] | None:
    """Return the known holders of the interface's tap, None where they cannot be determined."""
    if live is None or live.type != "direct" or host.links is None:
        return None
    return () if link is None else host.holders.get(link.name)


def _held_by(domain: Domain, visible: tuple[Holder, ...] | None, *, complete: bool) -> bool | None:
    if visible is not None and any(holder.domain == domain.name for holder in visible):
        return True
    # A process that could not be inspected may be the holder.
    return False if visible is not None and complete else None


def _pid(domain: Domain, host: Host) -> int | None:
    targets = [iface.get("target") or "" for iface in domain.live if iface.type == "direct"]
    held = (holder for target in targets for holder in host.holders.get(target, ()))
    return next((holder.pid for holder in held if holder.domain == domain.name), None)


def _presence(iface: Iface | None) -> str:
    return "absent" if iface is None else "present"


def _value(iface: Iface, name: str) -> t.Any:
    return iface.type if name == "type" else fields.BY_NAME[name].value(iface.get(name))
