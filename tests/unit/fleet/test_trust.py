# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that may take any MAC address, with a guard that keeps them to their own and without."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, U1, A, B, fleet, nic, on_lan, web
from fleet import Values, declared, found, iface, network

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, trust
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Portgroup

TRUST = "trust_guest_rx_filters"
TRUSTED = nic("web1", mac=A, trust_guest_rx_filters=True)
RISK = f"web1 {A}: {TRUST} lets the guest take any MAC address."
KEPT = trust.KEPT.format(TRUST, f"web1 {A}")


def notes(variables: Values, there: Values = H1) -> list[str]:
    return [one["reason"] for one in compare.gaps(fleet((variables, there))) if TRUST in one["reason"]]


def guard(mac: str = A, **values: t.Any) -> Values:
    """Return a guard as macvtap_host_info reports it."""
    return {"mac": mac, "policy": "drop", "other_macs": False, "persistent": True, "rules": "loaded", **values}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (None, "Add a guard to keep it to its own, unless macvtap_guard manages one"),
        ({}, None),
        ({"state": "absent"}, "Add a guard to keep it to its own"),
        ({"policy": "count"}, "Its guard only counts. Set policy: drop to keep it to its own"),
        ({"other_macs": True}, "Its guard allows other MAC addresses. Set other_macs: false to keep it to its own"),
    ],
)
def test_the_guard_of_a_nic_that_is_trusted(options: Values | None, why: str | None) -> None:
    assert notes(declared({**TRUSTED, "guard": options})) == [KEPT if why is None else f"{RISK} {why}"]


@pytest.mark.parametrize(("policy", "safe"), [("drop", True), ("count", False)])
def test_a_guard_of_the_role(policy: str, safe: bool) -> None:
    (note,) = notes(declared(TRUSTED, guard_guards=[{"mac": A}], guard_policy=policy))
    assert (note == KEPT) is safe


@pytest.mark.parametrize(
    ("guards", "why"),
    [
        (None, "Add a guard to keep it to its own, unless macvtap_guard manages one"),
        ([], "Add a guard to keep it to its own"),
        ([guard(B)], "Add a guard to keep it to its own"),
        ([guard()], None),
        ([guard(policy="count")], "Its guard only counts. Set policy: drop to keep it to its own"),
        (
            [guard(rules="modified")],
            "Others have changed the rules of its guard. Run macvtap_guard to keep it to its own",
        ),
        ([guard(persistent=False)], "Its guard is not stored, and is gone after the next start of the host"),
    ],
)
def test_a_guard_that_the_host_has_and_nothing_declares(guards: list[Values] | None, why: str | None) -> None:
    assert notes(declared(TRUSTED), {**H1, "guards": guards}) == [KEPT if why is None else f"{RISK} {why}"]


def test_what_is_declared_counts_and_not_what_the_host_has() -> None:
    there = {**H1, "guards": [guard()]}
    (note,) = notes(declared({**TRUSTED, "guard": {"policy": "count"}}), there)
    assert note.startswith(f"{RISK} Its guard only counts")
    (note,) = notes(declared({**TRUSTED, "guard": {"state": "absent"}}), there)
    assert note == f"{RISK} Add a guard to keep it to its own"


def test_a_nic_that_nothing_declares() -> None:
    card = iface(A, trust_guest_rx_filters="yes")
    assert notes(declared(), {**found(web("web1", U1, card)), "guards": []}) == [
        f"{RISK} Add a guard to keep it to its own"
    ]
    assert notes(declared(), found(web("web1", U1, iface(A)))) == []
    # It will not be trusted.
    there = found(web("web1", U1, card))
    assert notes(declared(nic("web1", mac=A, trust_guest_rx_filters=False)), there) == []


def _on_lan(*groups: Portgroup, **nic_values: str) -> Values:
    lan: t.Any = network("lan", "eth0")
    stored: Domain = web("web1", U1, on_lan(A, **nic_values))
    return found(lan.__class__(**{**vars(lan), "portgroups": groups}), stored)


@pytest.mark.parametrize(
    ("groups", "values", "risk"),
    [
        ([Portgroup("web", values={TRUST: "yes"})], {"portgroup": "web"}, True),
        ([Portgroup("web", values={TRUST: "yes"})], {}, False),
        ([Portgroup("web", default=True, values={TRUST: "yes"})], {}, True),
        ([Portgroup("web")], {"portgroup": "web"}, False),
        # Its own value goes before that of the network.
        ([Portgroup("web", values={TRUST: "yes"})], {"portgroup": "web", TRUST: "no"}, False),
    ],
)
def test_the_portgroup_of_a_network_trusts_its_guests(
    groups: list[Portgroup], values: dict[str, str], risk: bool
) -> None:
    assert [note.startswith(RISK) for note in notes(declared(), _on_lan(*groups, **values))] == [True] * risk


@pytest.mark.parametrize(
    ("own", "groups", "values", "risk"),
    [
        ("yes", [], {}, True),
        ("yes", [Portgroup("web")], {"portgroup": "web"}, True),
        ("yes", [Portgroup("web", values={TRUST: "no"})], {"portgroup": "web"}, False),
        ("no", [Portgroup("web", values={TRUST: "yes"})], {"portgroup": "web"}, True),
        ("yes", [], {TRUST: "no"}, False),
        ("no", [], {}, False),
    ],
)
def test_a_network_trusts_its_guests(own: str, groups: list[Portgroup], values: dict[str, str], risk: bool) -> None:
    lan: t.Any = network("lan", "eth0", values={TRUST: own}, portgroups=tuple(groups))
    there = found(lan, web("web1", U1, on_lan(A, **values)))
    assert [note.startswith(RISK) for note in notes(declared(), there)] == [True] * risk


def test_a_running_guest_is_trusted_as_it_was_when_it_started() -> None:
    running = on_lan(A, live="eth0", **{TRUST: "yes"})
    lan: t.Any = network("lan", "eth0")
    domain = Domain("web1", U1, True, stored=(on_lan(A),), live=(running,))
    (note,) = notes(declared(), found(lan, domain))
    assert note.startswith(RISK)


def test_a_portgroup_that_is_declared() -> None:
    lan = {"name": "lan", "interfaces": ["eth0"], "portgroups": [{"name": "web", "trust_guest_rx_filters": True}]}
    entry = nic("web1", mac=A, network="lan", portgroup="web")
    (note,) = notes(declared(entry, networks_networks=[lan]), found())
    assert note.startswith(RISK)
    off = {**lan, "portgroups": [{"name": "web", "trust_guest_rx_filters": False}]}
    there = _on_lan(Portgroup("web", values={TRUST: "yes"}), portgroup="web")
    assert notes(declared(networks_networks=[off]), there) == []


def test_one_line_for_all_nics_that_are_kept_to_their_address() -> None:
    both = [
        {**nic(name, mac=mac, trust_guest_rx_filters=True), "guard": {}} for name, mac in (("web1", A), ("web2", B))
    ]
    (note,) = notes(declared(*both))
    assert f"web1 {A}, web2 {B}" in note


def test_hosts_outside_of_the_limit_have_no_notes() -> None:
    compared = fleet((declared(TRUSTED), H1), (declared(nic("web2", mac=B, trust_guest_rx_filters=True)), H2))
    compared["hv2"] = {"declared": compared["hv2"]["declared"], "outside": True}
    assert [one["host"] for one in compare.gaps(compared) if TRUST in one["reason"]] == ["hv1"]


@pytest.mark.parametrize(
    "there",
    [
        {"domains": [{"name": "web1", "uuid": U1, "interfaces": 1}]},
        {"networks": [{"portgroups": 1}]},
        {"networks": 1},
    ],
)
def test_a_report_of_another_form_is_no_traceback(there: Values) -> None:
    assert notes(declared(nic("web1", mac=A)), {**H1, **there}) == []
