# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What several sources come to."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import guests, merging, questions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    AGENT,
    CLAIMED,
    CONFIRMED,
    LEARNED,
    NEIGHBOUR,
    PAUSED,
    PROBE,
    RUNNING,
    SHUT_OFF,
    STALE,
    Findings,
    Found,
    Guest,
    Nic,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
NIC = Nic(A, frozenset({A}), link="macvtap0", link_index=7, uplink="eth0", mode="bridge")


def seen(source: str, state: str, age: float | None = 1, *, mac: str = A, address: str = "192.0.2.7") -> Sighting:
    return Sighting(mac, address, source, state, age, "eth0")


def merged(*sightings: Sighting, unanswered: t.Collection[str] = (), nic: Nic = NIC) -> list[Found]:
    findings = Findings(sightings, {merging.key_of(nic): frozenset(unanswered)})
    return merging.addresses(nic, findings, stale_after=600)


def test_the_surest_source_decides_and_all_are_named() -> None:
    (found,) = merged(seen(NEIGHBOUR, STALE, 40), seen(LEARNED, CLAIMED, 5), seen(PROBE, CONFIRMED, 0.2))
    assert (found.state, found.source, found.age) == (CONFIRMED, PROBE, 0.2)
    assert found.sources == (NEIGHBOUR, LEARNED, PROBE)


def test_of_equally_sure_sources_the_latest_decides() -> None:
    (found,) = merged(seen(LEARNED, CLAIMED, 50), seen(LEARNED, CLAIMED, 3), seen(NEIGHBOUR, CLAIMED, None))
    assert (found.source, found.age) == (LEARNED, 3)


def test_an_old_claim_is_stale() -> None:
    assert [one.state for one in merged(seen(LEARNED, CLAIMED, 601))] == [STALE]
    assert [one.state for one in merged(seen(LEARNED, CLAIMED, 600))] == [CLAIMED]


@pytest.mark.parametrize(
    ("source", "state", "age", "result"),
    [
        (LEARNED, CLAIMED, 31, STALE),
        (NEIGHBOUR, CONFIRMED, 31, STALE),
        (LEARNED, CLAIMED, 29, CLAIMED),
        (NEIGHBOUR, CONFIRMED, 29, CONFIRMED),
        # Somebody has written it down.
        (NEIGHBOUR, CLAIMED, None, CLAIMED),
    ],
)
def test_what_was_seen_before_the_guest_was_started_is_stale(
    source: str, state: str, age: float | None, result: str
) -> None:
    guest = Guest("web1", "u1", RUNNING, (NIC,), runs_for=30)
    (found,) = guests.known([guest], Findings((seen(source, state, age),)), 600)["web1", 0]
    assert found.state == result


@pytest.mark.parametrize(("instance", "runs_for"), [("7 4711 90000", 100.0), ("7", None), ("", None)])
def test_for_how_long_a_guest_runs(instance: str, runs_for: float | None) -> None:
    host = Host("", {"web1": Domain("web1", running=True, instance=instance)})
    (guest,) = guests.of_host(host, None, guests.Clock(1000.0, 100))
    assert guest.runs_for == runs_for


@pytest.mark.parametrize(
    ("source", "state", "result"),
    [
        (LEARNED, CLAIMED, STALE),
        (NEIGHBOUR, CONFIRMED, STALE),
        (AGENT, CONFIRMED, CLAIMED),
        (PROBE, CONFIRMED, CONFIRMED),
    ],
)
def test_silence_when_asked(source: str, state: str, result: str) -> None:
    assert [one.state for one in merged(seen(source, state), unanswered={"192.0.2.7"})] == [result]
    # Nobody has asked for this one.
    assert [one.state for one in merged(seen(source, state), unanswered={"192.0.2.8"})] == [state]


def test_an_address_that_has_moved_to_another_machine_is_stale() -> None:
    moved = seen(PROBE, CONFIRMED, mac=B)
    assert [one.state for one in merged(seen(LEARNED, CLAIMED), moved)] == [STALE]
    assert [one.state for one in merged(seen(LEARNED, CLAIMED), seen(PROBE, CONFIRMED), moved)] == [CONFIRMED]


def test_networks_in_two_vlans_that_have_the_same_addresses() -> None:
    mine, theirs = seen(LEARNED, CLAIMED), Sighting(B, "192.0.2.7", PROBE, CONFIRMED, 0, "eth0.20")
    separate = frozenset({"eth0", "eth0.20"})
    nic = merging.addresses(NIC, Findings((mine, theirs), separate=separate), stale_after=600)
    assert [(one.address, one.state) for one in nic] == [("192.0.2.7", CLAIMED)]
    # A machine of the other network with this MAC address is none of ours.
    elsewhere = Sighting(A, "192.0.2.9", NEIGHBOUR, CONFIRMED, 0, "eth0.20")
    for uplinks, found in ((separate, []), (frozenset({"eth0"}), ["192.0.2.9"])):
        nic = merging.addresses(NIC, Findings((elsewhere,), separate=uplinks), stale_after=600)
        assert [one.address for one in nic] == found


def test_a_guest_that_answers_on_each_nic_for_all_its_addresses() -> None:
    other = Nic(B, frozenset({B}), link="macvtap1", link_index=8, uplink="eth1", mode="bridge")
    guest = Guest("web1", "u1", RUNNING, (NIC, other))
    answers = [
        Sighting(mac, address, PROBE, CONFIRMED, 0, uplink)
        for mac, uplink in ((A, "eth0"), (B, "eth1"))
        for address in ("192.0.2.7", "192.0.2.8")
    ]

    def found(*more: Sighting) -> list[dict[str, str]]:
        known = guests.known([guest], Findings((*answers, *more)), 600)
        return [{one.address: one.state for one in known["web1", number]} for number in (0, 1)]

    both = {"192.0.2.7": CLAIMED, "192.0.2.8": CLAIMED}
    assert found() == [both, both]
    claims = seen(LEARNED, CLAIMED), Sighting(B, "192.0.2.8", LEARNED, CLAIMED, 1, "eth1")
    assert found(*claims) == [{"192.0.2.7": CONFIRMED}, {"192.0.2.8": CONFIRMED}]


def test_an_address_that_follows_from_the_mac_address_is_first() -> None:
    found = merged(*(seen(LEARNED, CLAIMED, address=f"2001:db8::{one}") for one in ("1", "5054:ff:fe00:a")))
    assert [one.address for one in found] == ["2001:db8::5054:ff:fe00:a", "2001:db8::1"]


def test_by_which_shim_a_host_reaches_an_address() -> None:
    (found,) = merged(seen(LEARNED, CLAIMED))
    shim = {"192.0.2.7": ("host0", "eth0")}
    assert guests.shim_to(NIC, found, shim) == "host0"
    assert guests.shim_to(NIC, found, {"192.0.2.7": ("host0", "eth1")}) is None
    assert guests.shim_to(replace(NIC, mode="private"), found, shim) is None


def test_what_others_have_is_not_a_nics() -> None:
    assert merged(seen(LEARNED, CLAIMED, mac=B)) == []


def test_global_addresses_come_before_link_local_ones() -> None:
    found = merged(*(seen(LEARNED, CLAIMED, address=one) for one in ("fe80::1", "2001:db8::1", "192.0.2.7")))
    assert [one.address for one in found] == ["192.0.2.7", "2001:db8::1", "fe80::1"]


def test_a_mac_address_on_two_uplinks() -> None:
    other = Nic(A, frozenset({A}), link="macvtap1", link_index=8, uplink="eth1", mode="bridge")
    both = [Guest("web1", "u1", RUNNING, (NIC,)), Guest("web2", "u2", RUNNING, (other,))]
    found = guests.known(both, Findings((seen(LEARNED, CLAIMED), Sighting(A, "192.0.2.9", AGENT, CONFIRMED, 0))), 600)
    # The agent does not say on which uplink.
    assert [one.address for one in found["web1", 0]] == ["192.0.2.7"]
    assert found["web2", 0] == []


def test_a_guest_that_does_not_run_has_no_address() -> None:
    guest = Guest("web1", "u1", SHUT_OFF, (NIC,))
    assert guests.known([guest], Findings((seen(NEIGHBOUR, CONFIRMED),)), 600) == {("web1", 0): []}


def test_two_machines_that_answer_for_one_address() -> None:
    guest = Guest("web1", "u1", RUNNING, (NIC,))
    both = Findings((seen(PROBE, CONFIRMED), seen(PROBE, CONFIRMED, mac=B)))
    assert merging.conflicts([guest], both) == [f"192.0.2.7 is in use more than once on eth0: by {B}, web1 {A}"]
    assert merging.conflicts([], both) == []
    assert merging.conflicts([guest], Findings(both.sightings[:1])) == []


class Answers(t.NamedTuple):
    sightings: t.Tuple[Sighting, ...] = ()
    asked: t.FrozenSet[str] = frozenset({"192.0.2.7", "192.0.2.8"})
    failure: str = ""


def silence(nic: Nic, state: str = RUNNING, **answers: t.Any) -> Findings:
    return questions.findings([Guest("web1", "u1", state, (nic,))], (), {"eth0": Answers(**answers)}, asked=True)


def test_silence_of_a_nic_in_mode_bridge_means_something() -> None:
    assert silence(NIC).unanswered == {(A, "eth0"): frozenset({"192.0.2.7", "192.0.2.8"})}


@pytest.mark.parametrize(
    ("findings", "reason"),
    [
        (silence(Nic(A, link_index=7, uplink="eth0", mode="private")), "in mode private"),
        (silence(Nic(A, link_index=7, uplink="eth0", mode="vepa")), "in mode vepa"),
        (silence(NIC, PAUSED), "paused"),
        (silence(NIC, failure="eth0 is down"), "eth0 is down"),
        (silence(Nic(A, type="bridge", uplink="eth0")), "of type bridge"),
        (silence(Nic(A, link_index=7, uplink="eth1", mode="bridge")), "not one of those that are asked on"),
    ],
)
def test_silence_of_a_nic_that_may_not_have_been_reached_means_nothing(findings: Findings, reason: str) -> None:
    assert findings.unanswered == {}
    (text,) = findings.not_asked.values()
    assert reason in text
