# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Interfaces on direct networks: what they are, what they become, and what a running guest feels of it."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    auto,
    declare,
    disruptions,
    element,
    networks,
    planner,
    resolution,
    rollback,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hostlinks import with_link_state
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    UPDATED,
    Desired,
    Domain,
    Host,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network, Portgroup
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan, Step

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")
GROUPS = (Portgroup("web"), Portgroup("trusted", values={"trust_guest_rx_filters": "yes"}))


def network(name: str, mode: str, *uplinks: str, active: bool = True, **more: t.Any) -> Network:
    live = Definition(mode, uplinks, portgroups=GROUPS, forward=mode) if active else None
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
        options = {**options, "portid": "6a1", "dev": options.pop("uplink", of.interfaces[0]), "mode": of.mode}
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
    values = {"version": 9_000_000, **values}
    host = networks.with_direct(Host("qemu:///system", {name: domain}, known=(name,), **values))
    return with_links(host)


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


def test_which_interfaces_are_direct_ones() -> None:
    texts = [stored(A, network="lan"), stored(B, network="nat"), stored(C, network="lost")]
    found = on(texts).domains["web1"].stored
    assert [(one.type, one.origin, one.get("network"), one.get("mode")) for one in found] == [
        ("direct", None, "lan", None),
        ("network", "nat", "nat", None),
        ("network", "lost", "lost", None),
    ]
    # Unknown is no.
    assert {one.type for one in on(texts, networks=None).domains["web1"].stored} == {"network"}
    host = replace(on(texts), networks=None)
    assert [one.xml for one in host.domains["web1"].stored] == texts


def test_a_running_one_is_direct_whatever_its_network_is_now() -> None:
    (one,) = on([stored(network="nat")], [live(network="lan", portgroup="trusted")]).domains["web1"].live
    assert (one.type, one.get("network"), one.get("source"), one.get("mode")) == ("direct", "lan", "eth0", "bridge")
    # libvirt does not show that.
    assert one.get("trust_guest_rx_filters") == "yes"
    bridge = (
        "<interface type='bridge'><mac address='{}'/><source network='lan' portid='6' bridge='virbr0'/></interface>"
    )
    (other,) = on([], [bridge.format(A)]).domains["web1"].live
    assert (other.type, other.origin) == ("network", "lan")


def test_an_element_that_was_copied_from_a_running_guest_is_what_libvirt_makes_of_it() -> None:
    host = on([live(network="lan1")])
    (one,) = host.domains["web1"].stored
    assert (one.type, one.get("network"), one.get("source"), one.get("mode")) == ("direct", None, "eth1", "bridge")
    (step,) = planner.plan([want(network="lan1")], host).steps
    assert step.after is not None
    assert step.after.stored is not None
    text = element.render(step.after.stored)
    assert text.startswith("<interface type='network'>")
    assert "<source network='lan1'/>" in text


ON_ETH0: dict[str, str] = {"source": "eth0", "mode": "bridge"}


@pytest.mark.parametrize(
    ("before", "options", "changes", "remaining"),
    [
        # What the guest has stays as it is.
        (ON_ETH0, {"network": "lan"}, {"network": "config", "source": "config", "mode": "config"}, []),
        ({"network": "lan"}, ON_ETH0, {"network": "config", "source": "config", "mode": "config"}, []),
        ({"network": "lan"}, {"network": "also"}, {"network": "config"}, []),
        ({"network": "lan"}, {"network": "pool"}, {"network": "config"}, []),
        ({"network": "lan"}, {"portgroup": "web"}, {"portgroup": "config"}, []),
        # Only the mode differs, which the link itself can get.
        (ON_ETH0, {"network": "vep"}, {"network": "config", "source": "config", "mode": "live"}, []),
        ({"network": "vep"}, {"network": "lan"}, {"network": "config", "mode": "live"}, []),
        # Another uplink.
        ({"network": "lan"}, {"network": "lan1"}, {"network": "restart"}, ["network", "source"]),
        (ON_ETH0, {"network": "pass"}, None, ["network", "source", "mode"]),
        # More than the name.
        (
            {"network": "lan"},
            {"portgroup": "trusted"},
            {"portgroup": "restart", "trust_guest_rx_filters": "restart"},
            ["trust_guest_rx_filters", "portgroup"],
        ),
        ({"network": "lan"}, {"trust_guest_rx_filters": True}, None, ["trust_guest_rx_filters"]),
        ({"network": "lan"}, {"bandwidth": {"inbound": {"average": 9}}}, None, ["bandwidth.inbound.average"]),
        ({"network": "lan"}, {"link_state": "down"}, {"link_state": "live"}, []),
        ({"network": "lan"}, {"allmulticast": True}, {"allmulticast": "live"}, []),
    ],
)
def test_what_a_running_guest_feels(
    before: dict[str, str], options: dict[str, t.Any], changes: dict[str, str] | None, remaining: list[str]
) -> None:
    host = on([stored(**before)], [live(**before)], version=11_000_000)
    planned = planner.plan([want(**options)], host)
    assert changes is None or impacts(planned) == changes
    assert due(want(**options), host) == remaining
    # A replug is made for what is due, and for nothing else.
    replugged = planner.plan([want(**options)], host, level="replug")
    assert ("replug" in impacts(replugged).values()) == bool(remaining)
    assert due(want(**options), host, "replug") == []


@pytest.mark.parametrize(
    ("before", "options", "impact"),
    [
        (ON_ETH0, {"network": "lan"}, "live"),
        ({"network": "lan"}, ON_ETH0, "live"),
        # Libvirt might choose the other uplink, if only in a rollback.
        (ON_ETH0, {"network": "pool"}, "config"),
        ({"network": "pool"}, ON_ETH0, "config"),
        ({"network": "lan"}, {"network": "also"}, "config"),
        # It does not know of the mode that the link gets.
        (ON_ETH0, {"network": "vep"}, "config"),
        (ON_ETH0, {"network": "lan1"}, "restart"),
    ],
)
def test_a_newer_libvirt_connects_a_running_nic_with_a_network(
    before: dict[str, str], options: dict[str, str], impact: str
) -> None:
    host = on([stored(**before)], [live(**before)], version=11_003_000)
    plan = planner.plan([want(**options)], host)
    assert impacts(plan)["network"] == impact
    (step,) = plan.steps
    assert step.before is not None
    assert step.after is not None
    (now,) = [one for one in (step.after.live,) if one is not None]
    assert (now.get("network") == options.get("network")) == (impact == "live")
    # The way back is the same.
    journal: Journal[Nic] = Journal()
    journal.record(step, UPDATED)
    domain = replace(host.domains["web1"], live=(now,))
    undone = rollback.undo(journal, replace(host, domains={"web1": domain}))
    assert {change.impact.value for change in undone.changes} == {"live"} & set(impacts(plan).values())


def test_a_network_that_was_changed_is_another_place() -> None:
    host = on([stored(network="lan1")], [live(network="lan1", uplink="eth0")])
    assert due(want(network="lan1"), host) == ["source"]
    assert impacts(planner.plan([want(network="lan1")], host, level="replug")) == {"source": "replug"}
    # Nobody has declared where it is to be.
    assert not planner.plan([want(link_state="up")], host, level="replug").changed


def test_what_is_not_known_is_no_difference() -> None:
    host = replace(on([stored(network="lan")], [live(network="lan")]), networks=None)
    assert due(want(network="lan"), host) == []
    assert due(want(network="also"), host) == ["network"]


MORE = "<boot order='2'/><alias name='ua-a'/>"
PLACES: tuple[dict[str, str], ...] = (
    *({"source": source, "mode": mode} for source in ("eth0", "eth1") for mode in ("bridge", "vepa", "private")),
    {"source": "eth2", "mode": "passthrough"},
    *({"network": name} for name in ("lan", "also", "lan1", "vep", "pool", "pass", "vfs")),
    {"network": "lan", "portgroup": "web"},
    {"network": "lan", "portgroup": "trusted"},
    {"network": "nat"},
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(PLACES),
    st.lists(st.sampled_from([one for one in PLACES if one.get("network") != "nat"]), min_size=1, max_size=3),
    st.sampled_from(["update", "replug", "none"]),
    st.booleans(),
)
def test_an_interface_becomes_what_is_declared_and_stays_so(
    first: dict[str, str], others: list[dict[str, str]], level: str, runs: bool
) -> None:
    host = on(
        [stored(more=MORE, **first)], [live(more=MORE, **first)] if runs and first != {"network": "nat"} else None
    )
    for options in others:
        host = applied([want(**options, convert=True)], host, level)
        (iface,) = host.domains["web1"].stored
        assert {name: iface.get(name) for name in (*networks.NAMES, "source", "mode")} == {
            **dict.fromkeys((*networks.NAMES, "source", "mode")),
            # A portgroup that is not declared stays with its network.
            **({"portgroup": iface.get("portgroup")} if "network" in options else {}),
            **options,
        }
        assert (iface.get("boot_order"), iface.get("alias"), iface.get("model")) == ("2", "ua-a", "virtio")
        assert iface.get("trust_guest_rx_filters") == (None if "network" in options else "no")
        assert not planner.plan([want(**options)], host, level=level).changed
        if level == "replug":
            assert due(want(**options), host) == []


def applied(declared: list[Desired], host: Host, level: str) -> Host:
    """Return ``host`` as it is when libvirt has done what is planned."""
    plan = planner.plan(declared, host, level=level)
    domain = host.domains["web1"]
    replugs = "replug" in impacts(plan).values()
    for step in plan.steps:
        before, after = t.cast("Nic", step.before), t.cast("Nic", step.after)
        document = xml.edit(domain.document, [(before.stored, after.stored)])
        running = [one for one in domain.live if one.mac != before.mac]
        domain = replace(domain, document=document)
        if after.live is not None and not replugs:
            domain = replace(domain, live=(*running, after.live))
    (text,) = [one.xml for one in xml.interfaces(domain.document)]
    if not domain.running:
        return on([text])
    if replugs:
        found: dict[str, str] = dict(re.findall(r"(\w+)='([^']*)'", re.findall("<source (.*?)/>", text)[0]))
        return on([text], [live(more=MORE, **{{"dev": "source"}.get(name, name): one for name, one in found.items()})])
    made = on([text], [])
    return replace(made, domains={"web1": replace(made.domains["web1"], live=domain.live)}, links=host.links)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "lam"}, "interfaces[2].network: there is no network 'lam' on qemu:///system. Did you mean lan"),
        ({"network": "xyz"}, "interfaces[2].network: there is no network 'xyz' on qemu:///system. Direct networks"),
        ({"network": "nat"}, "interfaces[2].network: 'nat' is not a direct network: it is of forward mode nat"),
        ({"network": "was"}, "interfaces[2].network: 'was' is not a direct network: it is of forward mode nat"),
        ({"network": "off"}, "interfaces[2].network: the network 'off' is not active"),
        ({"network": "gone"}, "interfaces[2].network: the network 'gone' has the uplink eth9, and there is no such"),
        ({"network": "lan", "portgroup": "db"}, "interfaces[2].portgroup: the network 'lan' has no portgroup 'db'"),
        ({"network": "lan", "vlan": 4}, "interfaces[2].vlan: libvirt stores a VLAN for an interface in mode bridge"),
        ({"source": "eth0", "portgroup": "db"}, "interfaces[2].portgroup: excludes source"),
        ({"network": "lan", "mode": "vepa"}, "interfaces[2].network: excludes mode"),
        ({"network": ""}, "interfaces[2].network: an empty name"),
        (
            {"network": "lan", "allmulticast": True, "portgroup": "trusted"},
            "interfaces[2].allmulticast: allmulticast and",
        ),
        ({"network": "pass", "allmulticast": True}, "interfaces[2].allmulticast: allmulticast has no effect in mode"),
        ({}, "interfaces[2].source: is required"),
        ({"portgroup": "web"}, "interfaces[2].source: is required"),
    ],
)
def test_what_gives_a_new_interface_no_link_is_refused(options: dict[str, t.Any], message: str) -> None:
    def attempt() -> str:
        return refusal(want(**options), on())

    with pytest.raises(MacvtapError) as raised:
        raise MacvtapError(attempt())
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("before", "options", "message"),
    [
        ({"network": "lan"}, {"mode": "vepa"}, "interfaces[2].mode: 52:54:00:00:00:0a is on the network 'lan'"),
        ({"source": "eth0"}, {"portgroup": "web"}, "interfaces[2].portgroup: only a network has portgroups"),
        ({"network": "nat"}, {"network": "nat"}, "interfaces[2].network: 'nat' is not a direct network"),
        ({"network": "lost"}, {"network": "lost"}, "interfaces[2].network: there is no network 'lost'"),
        (
            {"network": "nat"},
            {"network": "lan"},
            "interfaces[2].mac: domain 'web1' has 52:54:00:00:00:0a as an interface",
        ),
    ],
)
def test_what_does_not_fit_an_existing_interface_is_refused(
    before: dict[str, str], options: dict[str, t.Any], message: str
) -> None:
    assert refusal(want(**options), on([stored(**before)])).startswith(message)


def test_an_inactive_network_that_stays_is_a_warning() -> None:
    (message,) = planner.plan([want(network="off")], on([stored(network="off")])).warnings
    assert message.startswith(f"web1 {A}: the network 'off' is not active, so the guest does not start")
    # Its portgroups are those that are stored.
    assert not planner.plan([want(link_state="up")], on([stored(network="off", portgroup="db")])).changed


@pytest.mark.parametrize(
    ("before", "options", "after"),
    [
        # It keeps the mode that it had on the network.
        ({"network": "vep"}, {"source": "eth1"}, {"source": "eth1", "mode": "vepa"}),
        ({"network": "lan", "portgroup": "web"}, {"network": "lan1"}, {"network": "lan1"}),
        ({"network": "lan", "portgroup": "web"}, {"network": "lan"}, {"network": "lan", "portgroup": "web"}),
        ({"network": "lan", "portgroup": "web"}, {"portgroup": ""}, {"network": "lan"}),
    ],
)
def test_what_else_changes_with_the_place(
    before: dict[str, str], options: dict[str, t.Any], after: dict[str, str]
) -> None:
    (iface,) = applied([want(**options)], on([stored(**before)]), "update").domains["web1"].stored
    assert {n: one for n in ("source", "mode", *networks.NAMES) if (one := iface.get(n))} == after


def meant(options: dict[str, t.Any], *texts: str, running: t.Sequence[str] | None = None) -> str | None:
    """Return the address of the NIC that changes, None if nothing does."""
    steps = planner.plan([want(None, **options)], on(texts, running)).steps
    return steps[0].after.mac if steps and steps[0].after else None


def test_a_network_or_source_selects_what_is_on_the_same_uplink() -> None:
    # What is on the network itself comes first.
    assert meant({"network": "lan", "boot_order": 1}, stored(A, network="lan"), stored(B, source="eth0")) == A
    assert meant({"source": "eth0", "boot_order": 1}, stored(A, network="lan"), stored(B, source="eth0")) == B
    for options in ({"network": "lan"}, {"source": "eth0"}, {"network": "pool"}, {"network": "also"}):
        for before in ({"network": "vep"}, {"source": "eth0", "mode": "private"}):
            if options != {"source": before.get("source")}:
                assert meant(options, stored(A, **before), stored(B, source="eth2")) == A
    # It is not taken to be removed, or if another entry has it.
    assert meant({"network": "lan", "state": "absent"}, stored(A, source="eth0")) is None
    both = [want(A, boot_order=1), want(None, network="lan")]
    steps = planner.plan(both, on([stored(A, source="eth0")])).steps
    assert [(step.before.stored is None, step.after.mac == A) for step in steps if step.before and step.after] == [
        (False, True),
        (True, False),
    ]
    # With two it is not known which is meant.
    assert "and 2 that are on the same uplink" in refusal(
        want(None, network="lan"), on([stored(A, source="eth0"), stored(B, network="vep")])
    )
    # A new one's address is always the same.
    assert meant({"network": "lan"}) == meant({"network": "lan"}) != meant({"network": "lan1"})


def test_a_purge_removes_what_is_on_direct_networks() -> None:
    texts = [stored(A, network="lan"), stored(B, network="lan1"), stored(C, network="nat")]
    host = on(texts, [live(A, network="lan"), live(B, network="lan1")])
    plan = planner.plan([want(network="lan")], host, purge=True)
    assert [step.target for step in plan.steps] == [f"web1 {B}"]
    # What is on a network that is not known stays.
    nothing = want("52:54:00:00:00:0d", state="absent")
    assert not planner.plan([nothing], on(texts, networks=None), purge=True).changed


def used(*texts: str, name: str = "other", running: bool = False) -> Domain:
    host = on([*texts], [*texts] if running else None, name=name)
    return host.domains[name]


def test_a_pool_has_an_uplink_for_each_nic() -> None:
    on_pool = {"network": "vfs"}
    host = on([], [])
    assert not planner.plan([want(**on_pool)], host).warnings
    other = replace(used(live(B, source="eth2", mode="passthrough"), running=True), running=True)
    both = replace(host, domains={**host.domains, "other": other})
    assert not planner.plan([want(**on_pool)], both).warnings
    third = used(stored(C, network="vfs"), name="third")
    (message,) = planner.plan([want(**on_pool)], replace(both, domains={**both.domains, "third": third})).warnings
    assert "has 2 for more NICs: 1 taken, 2 of guests that do not have one yet" in message
    taken = replace(used(live(C, source="eth3", mode="passthrough"), name="third", running=True), running=True)
    full = replace(both, domains={**both.domains, "third": taken})
    assert refusal(want(**on_pool), full).startswith(
        "interfaces[2].network: the network 'vfs' gives each NIC an uplink for itself, and all are taken: eth2 by other"
    )
    # With one uplink it is a source in mode passthrough.
    assert "eth2" in refusal(want(network="pass"), both)


def test_a_nic_is_not_to_share_the_uplink_of_a_network_in_mode_passthrough() -> None:
    other = used(stored(B, network="pass"))
    host = on([])
    host = replace(host, domains={**host.domains, "other": other})
    (message,) = planner.plan([want(source="eth2", mode="bridge")], host).warnings
    assert f"other {B}" in message


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        (None, {"network": "pass"}, ["eth2"]),
        (None, {"network": "vfs"}, ["eth2", "eth3"]),
        ({"network": "pass"}, {"source": "eth2", "mode": "passthrough"}, []),
        ({"source": "eth2", "mode": "passthrough"}, {"network": "pass"}, []),
        ({"network": "pass"}, {"network": "vfs"}, ["eth3"]),
        (None, {"network": "lan"}, []),
    ],
)
def test_which_links_the_host_may_lose(before: dict[str, str] | None, after: dict[str, str], taken: list[str]) -> None:
    host = on([stored(**before)] if before else [])
    steps: t.Sequence[Step[Nic]] = planner.plan([want(**after)], host).steps
    assert [one.link for one in disruptions.of_steps(steps, host)] == taken


def test_the_default_of_allmulticast_is_left_out_where_it_is_impossible() -> None:
    def rule(**options: str) -> str | None:
        entry = {"domain": "web1", "mac": A, "allmulticast": True, **options}
        desired = declare.declare([("", entry)], defaults={"": frozenset({"allmulticast"})})
        (step,) = planner.plan(desired, on()).steps
        assert step.after is not None
        assert step.after.stored is not None
        return step.after.stored.get("allmulticast")

    assert rule(network="lan") == rule(network="lan", portgroup="web") == "yes"
    assert rule(network="pass") is rule(network="vfs") is rule(network="lan", portgroup="trusted") is None


def test_the_switch_of_a_network_in_mode_vepa_is_asked_too() -> None:
    host = on([stored(network="vep")])
    (case,) = auto.cases([want(network="vep")], host, check=True)
    assert (case.parent, case.had) == ("eth0", "vepa")


@pytest.mark.parametrize(
    ("defaults", "own", "result"),
    [
        ({"source": "eth0", "mode": "vepa"}, {"network": "lan"}, {"network": "lan"}),
        ({"source": "eth0", "mode": "vepa"}, {"portgroup": "web"}, {"portgroup": "web"}),
        ({"network": "lan", "portgroup": "web"}, {"source": "eth1"}, {"source": "eth1"}),
        ({"network": "lan", "portgroup": "web"}, {"mode": "vepa"}, {"mode": "vepa"}),
        ({"network": "lan", "portgroup": "web"}, {"portgroup": "db"}, {"network": "lan", "portgroup": "db"}),
        ({"network": "lan"}, {}, {"network": "lan"}),
    ],
)
def test_an_entry_has_its_own_place(defaults: dict[str, str], own: dict[str, str], result: dict[str, str]) -> None:
    ((path, options),) = declare.with_own_place([("interfaces[0]", {**defaults, **own})], [own])
    assert (path, {name: value for name, value in options.items() if value is not None}) == ("interfaces[0]", result)
    assert declare.with_own_place([("", {**defaults, **own})], None) == [("", {**defaults, **own})]
