# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One host's links and domains as macvtap_host_info returns them, and read back from that. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links

# What a link and its report call by the same names.
_LINK = ("name", "kind", "parent", "master", "mode", "mac", "mtu", "group", "pci")
Said = t.Mapping[str, t.Any]


def links(observed: Links, reflects: t.Mapping[str, bool | None]) -> list[dict[str, t.Any]]:
    """Return the host's links, by their index; ``reflects`` is what is known of the switch behind some of them."""
    return [
        {
            **{name: getattr(link, name) for name in _LINK},
            "ifindex": link.index,
            "altnames": sorted(link.altnames),
            "state": link.state,
            "carrier": link.carrier,
            "unfit": unfit(link, observed),
            "reflective_relay": reflects.get(link.name),
        }
        for link in sorted(observed.values(), key=lambda link: link.index)
    ]


def unfit(link: Link, observed: Links) -> str | None:
    """Say why the kernel would make no macvtap link on ``link``, or None if it would."""
    try:
        refusals.check_parent("", link, observed)
    except MacvtapError as exc:
        return exc.message
    return None


def domains(observed: t.Iterable[Domain]) -> list[dict[str, t.Any]]:
    """Return the domains with all their interfaces, of every type."""
    return [
        {
            "name": domain.name,
            "uuid": domain.uuid,
            "running": domain.running,
            "persistent": domain.persistent,
            "interfaces": [
                {"mac": _mac_of(stored, live), "stored": stored and _iface(stored), "live": live and _iface(live)}
                for stored, live in inspection.pairs(domain)
            ],
        }
        for domain in observed
    ]


def _mac_of(stored: Iface | None, live: Iface | None) -> str:
    return (stored or live or Iface("")).mac


def _iface(iface: Iface) -> dict[str, t.Any]:
    return {"type": iface.type, "origin": iface.origin, **fields.nested(iface.values)}


def read_links(said: t.Iterable[Said]) -> Links:
    """Return the links that were reported, less what the report leaves out."""
    found: dict[str, Link] = {}
    for link in said:
        values: dict[str, t.Any] = {name: link.get(name) for name in _LINK}
        values["kind"] = values["kind"] or ""
        found[link["name"]] = Link(**values, altnames=frozenset(link.get("altnames") or ()))
    return found


def read_domains(said: t.Iterable[Said]) -> dict[str, Domain]:
    """Return the domains that were reported; of their interfaces what tells one from the other, and the mode."""
    found = {}
    for domain in said:
        interfaces = domain.get("interfaces") or ()
        found[domain["name"]] = Domain(
            name=domain["name"],
            uuid=domain.get("uuid") or "",
            running=bool(domain.get("running")),
            persistent=domain.get("persistent", True),
            stored=tuple(_read_iface(one["mac"], one["stored"]) for one in interfaces if one.get("stored")),
            live=tuple(_read_iface(one["mac"], one["live"]) for one in interfaces if one.get("live")),
        )
    return found


def _read_iface(mac: str, said: Said) -> Iface:
    # The rest of its values takes longer to read than all else that is done with a fleet.
    values = {name: said[name] for name in ("source", "mode", "target", "alias") if said.get(name)}
    return Iface(mac, said.get("type") or "", values, said.get("origin"))
