# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Interfaces on direct networks: which they are, what selects them, and what they become."""

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
    element,
    networks,
    planner,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Nic

from .networked import MORE, A, B, C, due, impacts, live, on, refusal, stored, want


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
        before, after = step.before, step.after
        assert isinstance(before, Nic)
        assert isinstance(after, Nic)
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
    assert "but several on that uplink: " in refusal(
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
