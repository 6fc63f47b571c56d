# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One host's links and domains as macvtap_host_info returns them, and read back from that. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Address, Connection, Reach, Route
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals, vlan_refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links

# What a link and its report call by the same names.
_LINK = ("name", "kind", "parent", "master", "mode", "mac", "mtu", "group", "alias", "vlan_id", "vlan_protocol", "pci")
Said = t.Mapping[str, t.Any]
NO_REACH = Reach()


def links(observed: Links, reflects: t.Mapping[str, bool | None], reach: Reach = NO_REACH) -> list[dict[str, t.Any]]:
    """Return the host's links, by their index; ``reflects`` is what is known of the switch behind some of them, and
    ``reach`` by what the host is reached.
    """
    return [
        {
            **{name: getattr(link, name) for name in _LINK},
            "ifindex": link.index,
            "parent_ifindex": link.parent_index if link.parent else None,
            "altnames": sorted(link.altnames),
            "state": link.state,
            "carrier": link.carrier,
            "unfit": _refusal(refusals.check_parent, link, observed),
            "unfit_vlan": _refusal(vlan_refusals.check_parent, link, observed),
            "reflective_relay": reflects.get(link.name),
            "addresses": reachability.own_addresses(link, reach),
            "routes": reachability.own_routes(link, reach),
        }
        for link in sorted(observed.values(), key=lambda link: link.index)
    ]


def connections(observed: Links, reach: Reach) -> list[dict[str, t.Any]]:
    """Return the connections that Ansible runs over."""
    names = {link.index: link.name for link in observed.values()}
    return [{"local": one.local, "peer": one.peer, "link": names.get(one.index)} for one in reach.connections]


def _refusal(check: t.Callable[[str, Link, Links], None], link: Link, observed: Links) -> str | None:
    """Say why the kernel would make no such link on ``link``, or None if it would."""
    try:
        check("", link, observed)
    except MacvtapError as exc:
        return exc.message
    return None


def below_vepa(observed: Links, domains: t.Iterable[Domain]) -> list[str]:
    """Return the names of the links that something in mode vepa is on."""
    on = [link.parent for link in observed.values() if link.mode == "vepa" and link.kind in MACVLAN_KINDS]
    for domain in domains:
        ifaces = (iface for iface in (*domain.stored, *domain.live) if iface.type == "direct")
        # libvirt makes vepa of what says none.
        on += [iface.get("source") for iface in ifaces if iface.get("mode") in ("vepa", None)]
    return list(dict.fromkeys(name for name in on if name))


def domains(observed: t.Iterable[Domain]) -> list[dict[str, t.Any]]:
    """Return the domains with all their interfaces, of every type."""
    return [
        {
            "name": domain.name,
            "uuid": domain.uuid,
            "running": domain.running,
            "persistent": domain.persistent,
            "saved": domain.saved is not None,
            "saved_interfaces": [{"mac": one.mac, **_iface(one)} for one in domain.saved or ()],
            "interfaces": [
                {"mac": _mac_of(stored, live), "stored": stored and _iface(stored), "live": live and _iface(live)}
                for stored, live in selection.pairs(domain)
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
        found[link["name"]] = Link(
            **values,
            index=link.get("ifindex") or 0,
            parent_index=link.get("parent_ifindex") or 0,
            altnames=frozenset(link.get("altnames") or ()),
            up=link.get("state") == "up",
        )
    return found


def read_reach(said: t.Iterable[Said], connections: t.Iterable[Said]) -> Reach:
    """Return by what the host that reported its links and Ansible's ``connections`` is reached."""
    addresses, routes, indexes = [], [], {}
    for link in said:
        index = indexes[link["name"]] = link.get("ifindex") or 0
        for text in link.get("addresses") or ():
            address, _slash, prefix = text.partition("/")
            addresses.append(Address(address, int(prefix), index=index))
        routes += [Route(destination, index) for destination in link.get("routes") or ()]
    found = (Connection(one["local"], one["peer"], indexes.get(one.get("link"), 0)) for one in connections)
    return Reach(tuple(addresses), tuple(routes), tuple(found))


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
            saved=tuple(_read_iface(one["mac"], one) for one in domain.get("saved_interfaces") or ())
            if domain.get("saved")
            else None,
        )
    return found


def _read_iface(mac: str, said: Said) -> Iface:
    # The rest of its values takes longer to read than all else that is done with a fleet.
    values = {name: said[name] for name in ("source", "mode", "target", "alias", "model") if said.get(name)}
    values.update((name, "yes") for name in ("allmulticast", "trust_guest_rx_filters") if said.get(name) is True)
    return Iface(mac, said.get("type") or "", values, said.get("origin"))
