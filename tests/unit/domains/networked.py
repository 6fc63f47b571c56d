# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests of interfaces on networks share: networks, interfaces on them as libvirt shows them, and hosts."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    declare,
    networks,
    planner,
    resolution,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hostlinks import with_link_state
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    Definition,
    Network,
    Port,
    Portgroup,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")
GROUPS = (Portgroup("web"), Portgroup("trusted", values={"trust_guest_rx_filters": "yes"}))


def network(name: str, mode: str, *uplinks: str, active: bool = True, **more: t.Any) -> Network:
    live = Definition(mode, uplinks, portgroups=GROUPS, forward=mode, connections={}) if active else None
    return Network(mode, uplinks, portgroups=GROUPS, forward=mode, name=name, active=active, live=live, **more)


NAT = Network(forward="nat", name="nat", active=True, live=Definition(forward="nat"))
NETWORKS = {
    one.name: one
    for one in (
        NAT,
        network("lan", "bridge", "eth0"),
        network("also", "bridge", "eth0"),
        network("lan1", "bridge", "eth1"),
        network("vep", "vepa", "eth0"),
        network("pool", "bridge", "eth0", "eth1"),
        network("pass", "passthrough", "eth2"),
        network("vfs", "passthrough", "eth2", "eth3"),
        network("gone", "bridge", "eth9"),
        network("off", "bridge", "eth0", active=False),
        # Redefined, and still active as it was.
        replace(network("was", "bridge", "eth0"), live=Definition(forward="nat")),
    )
}
LINKS = {f"eth{n}": Link(f"eth{n}", n + 1, mac=f"02:00:00:00:00:0{n}", up=True) for n in range(4)}
MODES = {"passthrough": "passthru"}


def place(options: t.Mapping[str, str]) -> str:
    names = {"source": "dev"}
    attributes = "".join(f" {names.get(name, name)}='{value}'" for name, value in options.items())
    return f"<source{attributes}/>"


def stored(mac: str = A, more: str = "", **options: str) -> str:
    kind = "network" if "network" in options else "direct"
    return f"<interface type='{kind}'><mac address='{mac}'/>{place(options)}<model type='virtio'/>{more}</interface>"


def live(mac: str = A, more: str = "", **options: str) -> str:
    """A running interface as libvirt shows it: with what its network gives it."""
    if "network" in options:
        of = NETWORKS[options["network"]]
        options = {**options, "portid": f"6a{mac[-1]}", "dev": options.pop("uplink", of.interfaces[0]), "mode": of.mode}
    alias = "<alias name='net0'/>"
    names = f"<target dev='macvtap{int(mac[-1], 16)}'/>{more or alias}"
    return f"<interface type='direct'><mac address='{mac}'/>{place(options)}{names}<model type='virtio'/></interface>"


def on(stored_: t.Sequence[str] = (), live_: t.Sequence[str] | None = None, name: str = "web1", **more: t.Any) -> Host:
    """A host as it is observed, with the links of a running guest."""
    document = f"<domain><devices>{''.join(stored_)}</devices></domain>"
    running = xml.interfaces(f"<domain><devices>{''.join(live_ or ())}</devices></domain>")
    links = dict(LINKS)
    for iface in running:
        mode = MODES.get(iface.get("mode") or "", iface.get("mode"))
        name_ = iface.get("target") or ""
        links[name_] = Link(
            name_, 20 + len(links), kind="macvtap", parent=iface.get("source"), mode=mode, mac=iface.mac, up=True
        )
    domain = Domain(name, "u", live_ is not None, document=document, stored=xml.interfaces(document), live=running)
    values: dict[str, t.Any] = {"links": links, "networks": NETWORKS, "managed_rules": frozenset(), **more}
    values = {"version": 9_000_000, "ports": ports(running, values["networks"]), **values}
    host = networks.with_direct(Host("qemu:///system", {name: domain}, known=(name,), **values))
    return with_links(host)


def ports(running: t.Iterable[Iface], known: t.Mapping[str, Network] | None) -> dict[str, Port]:
    """The ports of guests that have just started: they have what the networks have now."""
    found = {}
    for iface in running:
        given = (known or {}).get(iface.get("network") or "", NAT)
        group = given.portgroup(iface.get("portgroup"))
        found[iface.port] = Port(given.name, values={**given.values, **(group.values if group is not None else {})})
    return found


def with_links(host: Host) -> Host:
    domains = {
        name: replace(domain, live=tuple(with_link_state(iface, host.links or {}) for iface in domain.live))
        for name, domain in host.domains.items()
    }
    return replace(host, domains=domains)


def want(mac: str | None = A, **options: t.Any) -> Desired:
    (desired,) = declare.declare([("interfaces[2]", {"domain": "web1", "mac": mac, **options})])
    return desired


def impacts(plan: Plan[Nic]) -> dict[str, str]:
    return {change.field: change.impact.value for change in plan.changes}


def due(desired: Desired, host: Host, level: str = "update") -> list[str]:
    (one,) = resolution.resolve([desired], host, level=level)
    return list(one.restart_fields())


def refusal(desired: Desired, host: Host) -> str:
    with pytest.raises(MacvtapError) as raised:
        planner.plan([desired], host, level="replug")
    return str(raised.value)


MORE = "<boot order='2'/><alias name='ua-a'/>"
