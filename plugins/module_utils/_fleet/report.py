# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One host's links and domains as return values of macvtap_host_info, and their inverse. Pure."""

from __future__ import annotations

import re
import typing as t
from types import MappingProxyType

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import LINK_GONE, Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import FoundGuard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.options import TRUST
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._forms import checked, texts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    Reach,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate, vlan_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import reported
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Portgroup

Values = t.Mapping[str, t.Any]
NO_REACH = Reach()
_MEMORY = re.compile(r"<memory unit='KiB'>(\d+)</memory>")


def links(
    current: Links,
    reflects: t.Mapping[str, bool | None],
    reach: Reach = NO_REACH,
    functions: t.Mapping[str, t.Sequence[str]] = MappingProxyType({}),
    speeds: t.Mapping[str, int] = MappingProxyType({}),
) -> list[dict[str, t.Any]]:
    """Return the host's links by ifindex.

    ``reflects`` has which links' switches reflect, ``functions`` their virtual functions, ``speeds`` what is known of
    their speed in Mbit/s; ``reach`` is the host's.
    """
    return [
        {
            **{name: getattr(link, name) for name in reported.LINK},
            "ifindex": link.index,
            "parent_ifindex": link.parent_index if link.parent else None,
            "altnames": sorted(link.altnames),
            "state": link.state,
            "carrier": link.carrier,
            "speed": speeds.get(link.name),
            "unfit": _refusal(validate.check_parent, link, current),
            "unfit_vlan": _refusal(vlan_validate.check_parent, link, current),
            "reflective_relay": reflects.get(link.name),
            "virtual_functions": list(functions[link.name]) if link.name in functions else None,
            "addresses": reachability.own_addresses(link, reach),
            "routes": reachability.own_routes(link, reach),
        }
        for link in sorted(current.values(), key=lambda link: link.index)
    ]


def connections(current: Links, reach: Reach) -> list[dict[str, t.Any]]:
    """Return the connections that Ansible runs over."""
    names = {link.index: link.name for link in current.values()}
    return [{"local": one.local, "peer": one.peer, "link": names.get(one.index)} for one in reach.connections]


def _refusal(check: t.Callable[[str, Link, Links], None], link: Link, current: Links) -> str | None:
    """Return why the kernel would refuse such a link on ``link``, or None."""
    try:
        check("", link, current)
    except MacvtapError as exc:
        return exc.message
    return None


def below_vepa(current: Links, domains: t.Iterable[Domain], networks: t.Iterable[Network] = ()) -> list[str]:
    """Return the names of links with macvtap or macvlan links in mode vepa, now or by the network that they are in."""
    on = [link.parent for link in current.values() if link.mode == "vepa" and link.kind in MACVLAN_KINDS]
    for domain in domains:
        ifaces = (iface for iface in (*domain.stored, *domain.live) if iface.type == "direct")
        # libvirt's default is vepa.
        on += [iface.get("source") for iface in ifaces if iface.get("mode") in ("vepa", None)]
    on += [uplink for network in networks if network.mode == "vepa" for uplink in network.interfaces]
    return list(dict.fromkeys(name for name in on if name))


def domains(current: t.Iterable[Domain]) -> list[dict[str, t.Any]]:
    """Return the domains with all their interfaces, of every type."""
    return [
        {
            "name": domain.name,
            "uuid": domain.uuid,
            "running": domain.running,
            "persistent": domain.persistent,
            "saved": domain.saved is not None,
            "memory": _memory(domain.document),
            "saved_interfaces": [{"mac": one.mac, **_iface(one)} for one in domain.saved or ()],
            "interfaces": [
                {"mac": _mac_of(stored, live), "stored": stored and _iface(stored), "live": live and _iface(live)}
                for stored, live in selection.pairs(domain)
            ],
        }
        for domain in current
    ]


def _memory(document: str) -> int | None:
    """Return the MiB of memory in a domain's XML by libvirt, None if it is not stored."""
    found = _MEMORY.search(document)
    return int(found[1]) >> 10 if found else None


def _mac_of(stored: Iface | None, live: Iface | None) -> str:
    return (stored or live or Iface("")).mac


def _iface(iface: Iface) -> dict[str, t.Any]:
    # What else is in the values is no field of the interface.
    gone = {LINK_GONE: iface.values[LINK_GONE]} if LINK_GONE in iface.values else {}
    return {"type": iface.type, "origin": iface.origin, **fields.TABLE.nested(iface.values), **gone}


def networks(current: t.Iterable[Network]) -> list[dict[str, t.Any]]:
    """Return the libvirt networks, of every kind."""
    return [
        {
            "name": one.name,
            "uuid": one.uuid,
            "mode": one.mode or None,
            "forward": one.forward,
            "interfaces": list(one.interfaces),
            "pf": one.pf,
            "portgroups": [
                {"name": group.name, "default": group.default, TRUST: _trust(group)} for group in one.portgroups
            ],
            TRUST: _trust(one),
            "active": one.active,
            "persistent": one.persistent,
            "autostart": one.autostart,
        }
        for one in current
    ]


def _trust(one: Network | Portgroup) -> bool | None:
    """Return whether a network or a portgroup trusts guests, None if it leaves that to what is above it."""
    return NETWORK.by_name[TRUST].value(one.values.get(TRUST))


def read_guards(data: t.Iterable[Values] | None) -> tuple[FoundGuard, ...] | None:
    """Return the reported guards, None if the host could not read them."""
    if data is None:
        return None
    return tuple(
        FoundGuard(
            one["mac"],
            one.get("policy") or "",
            bool(one.get("other_macs")),
            bool(one.get("persistent")),
            one.get("rules") == "modified",
        )
        for one in (checked(one, {"mac": str, "policy": str}, needs="mac") for one in data)
    )


def read_version(text: str | None) -> int | None:
    """Return a version as libvirt's number, the inverse of inspection.version_text()."""
    parts = re.findall(r"\d+", text or "")[:3]
    return sum(int(part) * factor for part, factor in zip(parts, (1_000_000, 1_000, 1))) if parts else None


def read_functions(data: t.Iterable[Values]) -> dict[str, tuple[str, ...]]:
    """Return the virtual functions of links, where they are known."""
    known = (link for link in data if link.get("virtual_functions") is not None)
    return {link["name"]: texts(link, "virtual_functions") for link in known}
