# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host's links, networks and domains, read from what macvtap_host_info returned of it. Pure.

All functions raise AttributeError, KeyError, TypeError or ValueError if a report has another form.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import LINK_GONE, Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._forms import checked, texts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    Address,
    Connection,
    Reach,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Portgroup

# Attributes with the same name in Link and in the report.
LINK = (
    *("name", "kind", "parent", "master", "mode", "mac", "permanent_mac", "mtu", "group", "alias"),
    *("vlan_id", "vlan_protocol", "pci"),
)
# The types of what is read, where it is not None.
_TYPES = {
    **dict.fromkeys(LINK, str),
    **dict.fromkeys(("mtu", "group", "vlan_id", "ifindex", "parent_ifindex"), int),
    **dict.fromkeys(("unfit", "unfit_vlan"), str),
}
_NAMED = {"name": str, "uuid": str}
_NETWORK = {**_NAMED, "mode": str, "forward": str, "pf": str}
_TRUST = "trust_guest_rx_filters"
Values = t.Mapping[str, t.Any]


def links(data: t.Iterable[Values]) -> Links:
    """Return the reported links, without the attributes that a report does not have."""
    result: dict[str, Link] = {}
    for link in data:
        checked(link, _TYPES, needs="name")
        values: dict[str, t.Any] = {name: link.get(name) for name in LINK}
        values["kind"] = values["kind"] or ""
        result[link["name"]] = Link(
            **values,
            index=link.get("ifindex") or 0,
            parent_index=link.get("parent_ifindex") or 0,
            altnames=frozenset(texts(link, "altnames")),
            up=link.get("state") == "up",
        )
    return result


def networks(data: t.Iterable[Values]) -> dict[str, Network]:
    """Return the reported networks."""
    return {
        one["name"]: Network(
            name=one["name"],
            uuid=one.get("uuid") or "",
            mode=one.get("mode") or "",
            forward=one.get("forward") or "",
            interfaces=texts(one, "interfaces"),
            pf=one.get("pf"),
            values=_trust(one),
            portgroups=tuple(
                Portgroup(
                    checked(group, _NAMED, needs="name")["name"],
                    bool(group.get("default")),
                    _trust(group),
                )
                for group in one["portgroups"]
            ),
            active=bool(one.get("active")),
            persistent=one.get("persistent", True),
            autostart=bool(one.get("autostart")),
        )
        for one in (checked(one, _NETWORK, needs="name") for one in data)
    }


def _trust(data: Values) -> dict[str, str]:
    """Return what a network or a portgroup says of its trust in guests; "no" of a group overrides its network."""
    value = data.get(_TRUST)
    return {} if value is None else {_TRUST: "yes" if value else "no"}


def reach(data: t.Iterable[Values], connections: t.Iterable[Values]) -> Reach:
    """Return how a host is reached, by its reported links and Ansible's ``connections``."""
    addresses, routes, indexes = [], [], {}
    for link in data:
        index = indexes[link["name"]] = link.get("ifindex") or 0
        for text in texts(link, "addresses"):
            address, _slash, prefix = text.partition("/")
            addresses.append(Address(address, int(prefix), index=index))
        routes += [Route(destination, index) for destination in texts(link, "routes")]
    known = (checked(one, dict.fromkeys(("local", "peer", "link"), str)) for one in connections)
    result = (Connection(one["local"], one["peer"], indexes.get(one.get("link"), 0)) for one in known)
    return Reach(tuple(addresses), tuple(routes), tuple(result))


def domains(data: t.Iterable[Values]) -> dict[str, Domain]:
    """Return the reported domains. Their interfaces have only identifying values and the mode."""
    result = {}
    for domain in data:
        checked(domain, _NAMED, needs="name")
        interfaces = domain.get("interfaces") or ()
        result[domain["name"]] = Domain(
            name=domain["name"],
            uuid=domain.get("uuid") or "",
            running=bool(domain.get("running")),
            persistent=domain.get("persistent", True),
            stored=tuple(_iface(one["mac"], one["stored"]) for one in interfaces if one.get("stored")),
            live=tuple(_iface(one["mac"], one["live"]) for one in interfaces if one.get("live")),
            saved=tuple(_iface(one["mac"], one) for one in domain.get("saved_interfaces") or ())
            if domain.get("saved")
            else None,
        )
    return result


def _iface(mac: str, data: Values) -> Iface:
    # Reading all values would take longer than the whole comparison.
    values = {
        name: data[name]
        for name in ("source", "mode", "network", "portgroup", "target", "alias", "model", LINK_GONE)
        if data.get(name)
    }
    for name, value in (("mac", mac), ("type", data.get("type")), ("origin", data.get("origin")), *values.items()):
        if value is not None and not isinstance(value, str):
            raise TypeError(f"{name} of an interface is {repr(value)[:60]}")
    values.update((name, "yes") for name in ("allmulticast", _TRUST) if data.get(name) is True)
    if data.get(_TRUST) is False and "network" in (data.get("type"), *values):
        # Its network may say otherwise.
        values[_TRUST] = "no"
    return Iface(mac, data.get("type") or "", values, data.get("origin"))
