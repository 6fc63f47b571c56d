# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What there is to tell of domains' direct interfaces: stored, live, and what is behind them on the host. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, impact, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    LINK_DOWN,
    LINK_MAC,
    RELEASED,
    Domain,
    Host,
    Iface,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Links, report

_LINK = ("name", "ifindex", "parent", "mode", "mac", "mtu", "state")


def domains(host: Host, *, all_of_them: bool) -> list[dict[str, t.Any]]:
    """Return the host's domains as the module returns them; not ``all_of_them``: those with a direct interface."""
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
    """Return what is ``outstanding``, each with the NIC that is attached when it is carried out."""
    return [{**one, "returns": one["returns"] and fields.nested(one["returns"].values)} for one in outstanding]


def alarms(outstanding: t.Sequence[t.Mapping[str, t.Any]], host: Host) -> list[str]:
    """Return warnings of the NICs that are to come back, and cannot or would not."""
    return [
        pending_warning(one, host, outlives_boot=True)
        for one in outstanding
        if one["returns"] and (one["error"] or one["pid"] is None)
    ]


def pending_warning(one: t.Mapping[str, t.Any], host: Host, *, outlives_boot: bool) -> str:
    """Return what will become of a NIC that is outstanding.

    ``outlives_boot`` is whether it is known and watched after a reboot of the host too.
    """
    name = f"{one['domain']} {one['mac']}"
    persistent = host.domains[one["domain"]].persistent
    if one["pid"] is None:
        by = (
            "The process that would attach it again (the keeper) does not run: the next run of libvirt_direct_iface "
            "that is not in check mode starts it"
        )
    elif one["state"] == RELEASED:
        by = f"Process {one['pid']} tries again until it can be"
    else:
        as_what = " as it is stored" if persistent else ""
        by = f"As soon as it does, the NIC is attached again{as_what}, by process {one['pid']}"
    if one["state"] == RELEASED:
        just_now = host.domains[one["domain"]].running
        why = one["error"] or ("it was released just now" if just_now else "the guest was saved before that")
        return f"{name}: the guest has released this NIC, and it is not attached again yet: {why}. {by}"
    if not one["returns"]:
        by = "It is gone from the stored configuration already" if persistent else "It does not come back then"
    elif one["pid"] is not None:
        lost = "" if outlives_boot else "after a reboot of this host or "
        by += f", but not {lost}on another host that the guest has migrated to: run this again there"
    if one["state"] == HELD:
        return (
            f"{name}: the guest was asked to release this NIC and still holds it. It may release it at any time, at "
            f"the latest at its next reset. {by}"
        )
    return (
        f"{name}: the guest was saved after it was asked to release this NIC. Once restored it may release it at any "
        f"time, at the latest at its next reset. {by}"
    )


def direct_pairs(domain: Domain) -> list[selection.Pair]:
    """Return those of its pairs that are direct ones in at least one of the two."""
    return [
        pair for pair in selection.pairs(domain) if any(iface is not None and iface.type == "direct" for iface in pair)
    ]


def differences(
    stored: Iface | None, live: Iface | None, domain: Domain, links: Links | None = None
) -> list[dict[str, t.Any]]:
    """Return in what the running guest's interface is not the stored one; nothing where there are not two sides."""
    if not (domain.running and domain.persistent):
        return []
    if stored is None or live is None:
        return [{"field": "state", "stored": _presence(stored), "live": _presence(live)}]
    return [
        {"field": name, "stored": _value(stored, name), "live": _value(live, name)}
        for name in impact.unsettled(live, stored, links)
    ] + [
        {"field": name, "stored": must, "live": live.get(name)}
        for name, must in ((LINK_DOWN, "up"), (LINK_MAC, stored.mac))
        if name in live.values
    ]


def version_text(number: int) -> str:
    """Return a version as people write it: libvirt counts 9.0.0 as 9000000."""
    return f"{number // 1_000_000}.{number // 1_000 % 1_000}.{number % 1_000}"


def _interface(stored: Iface | None, live: Iface | None, domain: Domain, host: Host) -> dict[str, t.Any]:
    link = _link(live, host)
    reported = None if link is None else report(link)
    seen = _holders(live, link, host)
    return {
        "mac": (stored or live or Iface("")).mac,
        "stored": stored and fields.nested(stored.values),
        "live": live and fields.nested(live.values),
        "differences": differences(stored, live, domain, host.links),
        "stale_mode": live and live.stale_mode,
        "link": reported and {name: reported[name] for name in _LINK},
        "tap": reported and reported["tap"],
        "held_by_domain": _held_by(domain, seen, complete=host.all_holders),
        "holders": [vars(holder) for holder in seen] if seen is not None and host.all_holders else None,
    }


def _link(live: Iface | None, host: Host) -> Link | None:
    link = (host.links or {}).get((live and live.get("target")) or "")
    return link if live and live.type == "direct" and link and link.kind == "macvtap" else None


def _holders(live: Iface | None, link: Link | None, host: Host) -> tuple[Holder, ...] | None:
    """Return who is seen to hold the interface's tap, None where that cannot be looked for."""
    if live is None or live.type != "direct" or host.links is None:
        return None
    return () if link is None else host.holders.get(link.name)


def _held_by(domain: Domain, seen: tuple[Holder, ...] | None, *, complete: bool) -> bool | None:
    if seen is not None and any(holder.domain == domain.name for holder in seen):
        return True
    # Whom we may not look into may be the one.
    return False if seen is not None and complete else None


def _pid(domain: Domain, host: Host) -> int | None:
    targets = [iface.get("target") or "" for iface in domain.live if iface.type == "direct"]
    held = (holder for target in targets for holder in host.holders.get(target, ()))
    return next((holder.pid for holder in held if holder.domain == domain.name), None)


def _presence(iface: Iface | None) -> str:
    return "absent" if iface is None else "present"


def _value(iface: Iface, name: str) -> t.Any:
    return iface.type if name == "type" else fields.BY_NAME[name].value(iface.get(name))
