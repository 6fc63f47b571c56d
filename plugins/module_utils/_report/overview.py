# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a fleet has and what it declares, as plain values: the data of every report. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import (
    compare,
    plans,
    segments,
    unchecked,
    undeclared,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.fleet import (
    DAMAGED,
    MALFORMED,
    damaged,
    hosts,
    plain,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._forms import checked, texts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import nics

# The version of the returned form. A report that is compared with an earlier one must have the same.
VERSION = 1
# The types of what is shown of a host, where it is not None: the host has chosen it.
_NIC = {
    **dict.fromkeys(("guest", "mac", "kind", "state", "link", "uplink", "network", "portgroup", "mode"), str),
    "guard": str,
    "guard_packets": int,
    "multicast": str,
}
_UPLINK = {
    **dict.fromkeys(("kind", "parent", "mac", "state", "unfit"), str),
    **dict.fromkeys(("vlan_id", "mtu", "speed"), int),
}
_NETWORK = dict.fromkeys(("name", "mode", "pf"), str)
_LISTS = (("nics", _NIC, "addresses"), ("uplinks", _UPLINK, "addresses"), ("networks", _NETWORK, "interfaces"))
Values = t.Mapping[str, t.Any]


def overview(fleet: t.Any) -> dict[str, t.Any]:
    """Return what the hosts of ``fleet`` have and declare.

    ``fleet`` has for each host name what is ``declared`` and what was ``found``, as for compare.conflicts(). What was
    found has the addresses of guests and the counters of guards if macvtap_host_info was asked for them.

    :raises MacvtapError: ``fleet`` is not a dictionary of dictionaries.
    """
    data = plain(fleet)
    conflicts = [one.as_dict() for one in compare.conflicts(data)]
    gaps = compare.gaps(data)
    reported = [_host(host, data[host.name], conflicts, gaps) for host in hosts(data) if not host.outside]
    return {
        "version": VERSION,
        "summary": _summary(reported, conflicts),
        "hosts": reported,
        "conflicts": conflicts,
        "gaps": gaps,
    }


def _host(host: Host, data: Values, conflicts: t.Sequence[Values], gaps: t.Sequence[Values]) -> dict[str, t.Any]:
    """Return one host; of one whose result has another form no more than that, and what it declares."""
    notes = [one.message for one in host.problems if one.message.startswith(DAMAGED)]
    if host.inspected:
        try:
            return _checked(_reported(host, data, conflicts, gaps))
        except MALFORMED as exc:
            notes = [damaged(exc)]
    nothing = {**data, "found": {}}
    if host.inspected:
        (host,) = hosts({host.name: nothing})
    made = _reported(host, nothing, conflicts, gaps)
    return {**made, "notes": [*made["notes"], *notes]}


def _reported(host: Host, data: Values, conflicts: t.Sequence[Values], gaps: t.Sequence[Values]) -> dict[str, t.Any]:
    found = data.get("found") or {}
    # That libvirt did not answer is said of every host, also of one that declares no guest.
    reasons = [gap["reason"] for gap in gaps if gap["host"] == host.name and gap["what"] != unchecked.LIBVIRT]
    rows = [*nics.of_guests(host, data), *nics.of_links(host)] if host.inspected else list(nics.only_declared(host))
    return {
        "name": host.name,
        "segment": host.segment,
        "inspected": host.inspected,
        "notes": [*reasons, *_unknown(found)],
        "kernel": (found.get("kernel") or {}).get("kernel"),
        "libvirt": (found.get("libvirt") or {}).get("version"),
        "uplinks": _uplinks(host, found, rows),
        "networks": _networks(found),
        "nics": rows,
        "undeclared": list(undeclared.of_host(host)) if host.inspected else [],
        "conflicts": sum(
            not one["allowed"] and any(place["host"] == host.name for place in one["where"]) for one in conflicts
        ),
    }


def _checked(reported: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a reported host if all that is shown of it has the expected form.

    :raises TypeError: something has another form.
    """
    checked(reported, {"kernel": str, "libvirt": str})
    for name, kinds, listed in _LISTS:
        for one in reported[name]:
            found = texts(checked(one, kinds), listed)
            one.update({listed: list(found)} if listed in one else {})
    return reported


def _unknown(found: Values) -> t.Iterator[str]:
    """Yield what could not be gathered: an empty column must not look as if there were nothing."""
    unknown = unchecked.libvirt_error(found)
    if unknown:
        yield plans.unknown_guests(unknown)
    if found.get("domains") and found.get("pending", ()) is None:
        yield "outstanding requests to its guests are not known"
    # Without libvirt, that is what is said.
    asked = (found.get("libvirt") or {}).get("available")
    reasons = {
        "addresses": (found.get("addresses") or {}).get("reason") if asked else None,
        "guards": found.get("guards_reason"),
    }
    for what, reason in reasons.items():
        if reason:
            yield f"its guests' {what} are not known: {unchecked.first_line(reason)}"


def _uplinks(host: Host, found: Values, rows: t.Sequence[Values]) -> list[dict[str, t.Any]]:
    """Return the links that NICs and links are on, and what the VLAN links among them are on."""
    used = {row["uplink"] for row in rows if row["uplink"]}
    used |= {name for network in found.get("networks") or () for name in network.get("interfaces") or ()}
    by_name = {link["name"]: link for link in found.get("links") or ()}
    more = used
    while more:
        vlans = (by_name[name] for name in more if name in by_name and by_name[name].get("kind") == "vlan")
        more = {link["parent"] for link in vlans} - used
        used |= more
    return [
        {
            "name": name,
            "segment": segments.of_link(host, name),
            "nics": sum(row["uplink"] == name for row in rows),
            **_link(by_name.get(name)),
        }
        for name in sorted(name for name in used if name)
    ]


def _link(link: Values | None) -> dict[str, t.Any]:
    if link is None:
        return {"exists": False}
    names = ("kind", "parent", "vlan_id", "mac", "mtu", "state", "carrier", "speed", "reflective_relay", "unfit")
    return {"exists": True, **{name: link.get(name) for name in (*names, "addresses")}}


def _networks(found: Values) -> list[dict[str, t.Any]]:
    names = ("name", "mode", "interfaces", "pf", "active", "autostart")
    direct = (one for one in found.get("networks") or () if one.get("mode"))
    return [
        {**{name: one.get(name) for name in names}, "portgroups": [group["name"] for group in one["portgroups"]]}
        for one in direct
    ]


def _summary(reported: t.Sequence[Values], conflicts: t.Sequence[Values]) -> dict[str, int]:
    rows = [row for host in reported for row in host["nics"]]
    guests = {(row["host"], row["guest"]): row["state"] for row in rows if row["guest"]}
    return {
        "hosts": len(reported),
        "not_inspected": sum(not host["inspected"] for host in reported),
        "guests": len(guests),
        "running": sum(state in {"running", "paused"} for state in guests.values()),
        "nics": len(rows),
        "undeclared": sum(not row["declared"] for row in rows),
        "drift": sum(bool(row["drift"]) for row in rows),
        "restart_required": sum(bool(row["restart"]) for row in rows),
        "pending": sum(row["pending"] is not None for row in rows),
        "conflicts": sum(not one["allowed"] for one in conflicts),
    }
