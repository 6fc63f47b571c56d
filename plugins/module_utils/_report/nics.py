# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Rows of a report: the NICs of guests and the links of a host, each with what differs from its declaration. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, impact
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import LINK_GONE, NO_HOST, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import networks as networks_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import DeclaredLink, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

Values = t.Mapping[str, t.Any]
# A NIC by its guest, its address, and its number among NICs with that address.
_Key = t.Tuple[str, str, int]
_PRESENT, _ABSENT = "present", "absent"


def of_guests(host: Host, data: Values) -> t.Iterator[dict[str, t.Any]]:
    """Yield a row for each direct NIC that ``host`` has or declares, by guest and in libvirt's order.

    ``data`` has what was ``found``, and with the addresses of guests if macvtap_host_info was asked for them.
    """
    desired = {(nic.domain, nic.mac, nic.number): nic for nic in host.nics}
    states = {one["name"]: _state(one) for one in data["found"].get("domains") or ()}
    addresses, guards = _addresses(data["found"]), _guards(data["found"])
    pending = {(one["domain"], one["mac"]): one for one in data["found"].get("pending") or ()}
    for key, current in _current(data["found"]).items():
        nic = desired.pop(key, None)
        stored, live = _iface(current, "stored"), _iface(current, "live")
        if not _is_direct(host, nic, stored, live):
            continue
        row = _row(host, key, nic, stored, live)
        row["state"] = states[key[0]]
        row["addresses"] = addresses.get(key[:2], [])
        row["guard"], row["guard_packets"] = guards.get(key[1], (None, None))
        row["pending"] = _pending(pending.get(key[:2]))
        row["restart"] = _due_at_restart(stored, live, states[key[0]])
        yield row
    for key, nic in desired.items():
        if nic.desired is not None:
            yield {**_row(host, key, nic, None, None), "state": states.get(key[0], "missing")}


def only_declared(host: Host) -> t.Iterator[dict[str, t.Any]]:
    """Yield the rows of a host that was not inspected. Whether it differs from its declaration is not known."""
    for nic in host.nics:
        yield {**_row(host, (nic.domain, nic.mac, nic.number), nic, None, None), "state": "unknown", "drift": []}
    for link in host.declared_links:
        if not link.absent:
            yield {**_of_link(host, link.name, link, None), "state": "unknown", "drift": []}


def of_links(host: Host) -> t.Iterator[dict[str, t.Any]]:
    """Yield a row for each macvtap or macvlan link that is declared, or that no running guest has."""
    declared = {link.key: link for link in host.declared_links}
    current = {link.key: link for link in host.unmanaged_links()}
    for key in sorted({*declared, *current}):
        link = declared.get(key)
        existing = current.get(key) or (host.link_of(link) if link else None)
        if existing is not None or (link is not None and not link.absent):
            yield _of_link(host, key, link, existing)


def _of_link(host: Host, name: str, declared: DeclaredLink | None, link: Link | None) -> dict[str, t.Any]:
    return {
        **_empty(host, "", link.mac if link else declared.mac if declared else None),
        "link": name,
        "kind": link.kind if link else None,
        "state": link.state if link else "missing",
        "uplink": link.parent if link else host.parent_of(declared) if declared else None,
        "mode": link.mode if link else declared.mode if declared else None,
        "declared": declared is not None,
        "drift": [] if declared is None else list(_drift_of_link(host, declared, link)),
    }


def _drift_of_link(host: Host, declared: DeclaredLink, link: Link | None) -> t.Iterator[dict[str, t.Any]]:
    if (link is None) != declared.absent:
        there, wanted = (_ABSENT, _PRESENT) if link is None else (_PRESENT, _ABSENT)
        yield _difference("state", wanted, there)
        return
    if link is None:
        return
    for name in ("parent", "mode", "mac", "mtu"):
        desired = host.parent_of(declared) if name == "parent" else getattr(declared, name)
        if desired is not None and desired != "auto" and desired != getattr(link, name):
            yield _difference(name, getattr(declared, name), getattr(link, name))


def _empty(host: Host, guest: str, mac: str | None) -> dict[str, t.Any]:
    return {
        "host": host.name,
        "guest": guest,
        "mac": mac or None,
        "kind": None,
        "state": "",
        "link": None,
        "uplink": None,
        "network": None,
        "portgroup": None,
        "mode": None,
        "addresses": [],
        "guard": None,
        "guard_packets": None,
        "multicast": None,
        "pending": None,
        "declared": False,
        "drift": [],
        "restart": [],
    }


def _row(host: Host, key: _Key, nic: Nic | None, stored: Iface | None, live: Iface | None) -> dict[str, t.Any]:
    """Return the row of a guest's NIC: what is live, else what is stored, else what is declared."""
    desired = (nic and nic.desired) or {}
    shown = live or stored
    on = _network(host, nic, stored)
    return {
        **_empty(host, key[0], key[1]),
        "kind": "macvtap",
        "link": live and live.get("target"),
        "uplink": (shown.get("source") if shown else desired.get("source")) or (on and _uplink_of(host, on)),
        "network": on,
        "portgroup": stored.get("portgroup") if stored else desired.get("portgroup"),
        "mode": (shown.get("mode") if shown else desired.get("mode")) or _mode_of(host, on),
        "multicast": _multicast(shown),
        "declared": nic is not None and nic.desired is not None,
        "drift": _drift(nic, _compared(nic, stored, live)),
    }


def _compared(nic: Nic | None, stored: Iface | None, live: Iface | None) -> Iface | None:
    """Return what a declaration is compared with: what is stored.

    A host without udev stores no allmulticast. There the running link's counts, and no guest's that does not run.
    """
    current = stored or live
    if current is None or nic is None or nic.desired is None or current.get("allmulticast") is not None:
        return current
    value = live.get("allmulticast") if live is not None else nic.desired.get("allmulticast")
    return replace(current, values={**current.values, "allmulticast": value or "no"})


def _network(host: Host, nic: Nic | None, stored: Iface | None) -> str | None:
    if stored is not None:
        return stored.get("network") or (stored.origin if stored.type == "network" else None)
    return nic.network if nic is not None and nic.network in host.networks else None


def _uplink_of(host: Host, network: str) -> str | None:
    """Return the uplink of a network that has only one: a guest's start decides among several."""
    interfaces = host.networks[network].interfaces if network in host.networks else ()
    return interfaces[0] if len(interfaces) == 1 else None


def _mode_of(host: Host, network: str | None) -> str | None:
    found = host.networks.get(network or "")
    return found.mode or None if found is not None else None


def _drift(nic: Nic | None, current: Iface | None) -> list[dict[str, t.Any]]:
    if nic is None:
        # Preflight's view is the one after the roles: the NIC is declared absent.
        return [_difference("state", _ABSENT, _PRESENT)]
    if nic.desired is None:
        return []
    if current is None:
        return [_difference("state", _PRESENT, _ABSENT)]
    desired = ((fields.BY_NAME[name], text) for name, text in nic.desired.items() if name in fields.BY_NAME)
    return [
        _difference(field.name, field.value(text), field.value(current.get(field.name)))
        for field, text in desired
        if text != "auto" and (text or field.implied) != (current.get(field.name) or field.implied)
    ]


def _difference(field: str, declared: t.Any, current: t.Any) -> dict[str, t.Any]:
    return {"field": field, "declared": declared, "current": current}


def _due_at_restart(stored: Iface | None, live: Iface | None, state: str) -> list[dict[str, t.Any]]:
    """Return what the running guest gets only at its next start."""
    if state not in {"running", "paused"}:
        return []
    if stored is None or live is None:
        word = {True: _PRESENT, False: _ABSENT}
        return [{"field": "state", "stored": word[stored is not None], "live": word[live is not None]}]
    lost = [{"field": LINK_GONE, "stored": _PRESENT, "live": _ABSENT}] if LINK_GONE in live.values else []
    return lost + [
        {"field": name, "stored": _value(stored, name), "live": _value(live, name)}
        for name in impact.due_at_restart(live, stored, NO_HOST)
    ]


def _value(iface: Iface, name: str) -> t.Any:
    return iface.type if name == "type" else fields.BY_NAME[name].value(iface.get(name))


def _current(found: Values) -> dict[_Key, Values]:
    """Return the NICs that macvtap_host_info reports, numbered as in Host.nics."""
    result: dict[_Key, Values] = {}
    for domain in found.get("domains") or ():
        counts: dict[str, int] = {}
        for one in domain.get("interfaces") or ():
            number = counts[one["mac"]] = counts.get(one["mac"], -1) + 1
            result[domain["name"], one["mac"], number] = one
    return result


def _iface(current: Values, side: str) -> Iface | None:
    """Return one side of a reported NIC with all its fields, which a comparison of fleets does not read."""
    data = current.get(side)
    if not data:
        return None
    texts = {name: fields.BY_NAME[name].text(value) for name, value in fields.TABLE.flat(data).items()}
    values = {name: text for name, text in texts.items() if text is not None}
    values.update((name, data[name]) for name in (LINK_GONE,) if data.get(name))
    return Iface(current["mac"], data.get("type") or "", values, data.get("origin"))


def _is_direct(host: Host, nic: Nic | None, *sides: Iface | None) -> bool:
    if nic is not None and (nic.desired is not None or networks_of.of_nic(host, nic) is not None):
        return True
    return any(side is not None and side.type == "direct" for side in sides)


def _state(domain: Values) -> str:
    if domain.get("running"):
        return "running"
    return "saved" if domain.get("saved") else "shut off"


def _addresses(found: Values) -> dict[tuple[str, str], list[str]]:
    """Return the addresses of NICs by guest and MAC address, without stale ones."""
    return {
        (guest["name"], nic["mac"]): [one["address"] for one in nic["addresses"] if one.get("state") != "stale"]
        for guest in (found.get("addresses") or {}).get("guests") or ()
        for nic in guest.get("interfaces") or ()
    }


def _guards(found: Values) -> dict[str, tuple[str, int]]:
    """Return each guard's policy, and how many frames it has dropped or counted."""
    return {
        one["mac"]: (one["policy"], sum(each["packets"] for each in (one.get("counters") or {}).values()))
        for one in found.get("guards") or ()
    }


def _multicast(iface: Iface | None) -> str | None:
    """Return which multicast a NIC receives beyond the groups that the host itself is in, None if no more."""
    if iface is None:
        return None
    if iface.get("allmulticast") == "yes":
        return "all"
    return "as the guest asks" if iface.get("trust_guest_rx_filters") == "yes" else None


def _pending(request: Values | None) -> dict[str, t.Any] | None:
    """Return a request to a guest to release its NIC, without the NIC that is attached afterwards."""
    if request is None:
        return None
    names = ("state", "unguarded", "since", "error")
    return {**{name: request.get(name) for name in names}, "returns": bool(request["returns"])}
