# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which mode auto stands for, whose switch is asked for it, and what the user is told: with plain values."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import auto as domains_auto
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner as domains_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner as links_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import choice, link_modes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO, Case
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import Answers, RelayResult

YES: Answers = {"eth0": RelayResult("eth0", True)}
NO: Answers = {"eth0": RelayResult("eth0", False, "none came back")}
UNKNOWN: Answers = {"eth0": RelayResult("eth0", None, "eth0 is down")}


def case(declared: str | None = AUTO, had: str | None = None, parent: str | None = "eth0") -> Case:
    return Case("links[0]", "mt0", parent, declared, had)


@pytest.mark.parametrize(
    ("had", "always", "answers", "mode"),
    [
        (None, False, YES, "vepa"),
        (None, False, NO, "bridge"),
        (None, False, UNKNOWN, "bridge"),
        (None, False, {}, "bridge"),
        # What exists keeps its mode,
        ("bridge", False, YES, None),
        ("vepa", False, NO, None),
        # unless the user says otherwise,
        ("bridge", True, YES, "vepa"),
        ("vepa", True, NO, "bridge"),
        # which is about those modes that depend on the switch,
        ("private", True, NO, None),
        ("passthru", True, YES, None),
        ("source", True, YES, None),
        # and then too where nothing is known.
        ("vepa", True, UNKNOWN, None),
        ("vepa", True, {}, None),
    ],
)
def test_what_auto_stands_for(had: str | None, always: bool, answers: Answers, mode: str | None) -> None:
    assert choice.modes([case(had=had)], answers, always=always) == {"links[0]": mode}


@pytest.mark.parametrize(
    ("one", "always", "check", "asked"),
    [
        (case(), False, False, {"eth0"}),
        (case(had="vepa"), False, False, set()),
        (case(had="vepa"), True, False, {"eth0"}),
        (case(parent=None), True, True, set()),
        (case("vepa"), False, False, set()),
        (case("vepa", "bridge"), False, True, {"eth0"}),
        (case("bridge"), True, True, set()),
        # bridge by default, or vepa still
        (case(None), False, True, set()),
        (case(None, "vepa"), False, True, {"eth0"}),
        (case(None, "bridge"), False, True, set()),
        (case(AUTO, "vepa"), False, True, {"eth0"}),
    ],
)
def test_whose_switch_is_asked(one: Case, always: bool, check: bool, asked: set[str]) -> None:
    assert choice.to_ask([one], always=always, check=check) == asked


@pytest.mark.parametrize(
    ("one", "answers", "how", "words"),
    [
        (case(), YES, {}, None),
        (case(), NO, {}, None),
        (case(), UNKNOWN, {}, "eth0: .* unknown (eth0 is down). Mode auto becomes bridge, .* every switch: mt0"),
        (case(parent=None), {}, {}, "mt0: .* unknown (the links of its host cannot be read from here). Mode auto"),
        (case(had="vepa"), UNKNOWN, {"always": True}, "Existing ones keep their mode: mt0"),
        (case("vepa"), NO, {}, "eth0: its switch port does not reflect .* cannot reach each other: mt0. Set mode"),
        (case(None, "vepa"), NO, {}, "cannot reach each other: mt0"),
        (case("vepa"), UNKNOWN, {}, None),
        (case("vepa"), UNKNOWN, {"check": True}, "unknown (eth0 is down). In mode vepa on it: mt0"),
        (case("vepa"), YES, {"check": True}, None),
        (case("bridge"), NO, {"check": True}, None),
    ],
)
def test_what_the_user_is_told(one: Case, answers: Answers, how: dict[str, bool], words: str | None) -> None:
    result = choice.warnings([one], answers, **{"always": False, "check": False, **how})
    assert len(result) == (words is not None)
    for part in (words or "").split(" .* "):
        assert part in "".join(result)


def test_one_warning_for_all_of_a_parent() -> None:
    many = [Case(f"links[{n}]", f"mt{n}", "eth0", "vepa") for n in range(9)]
    (result,) = choice.warnings(many, NO, always=False, check=True)
    assert "mt4 and 4 more" in result


def test_a_run_after_the_first_changes_nothing_and_asks_nobody() -> None:
    for answers, mode in itertools.product((YES, NO, UNKNOWN), ("vepa", "bridge", "private")):
        one = case(had=mode)
        assert choice.to_ask([one], always=False, check=False) == set()
        assert choice.modes([one], answers, always=False) == {"links[0]": None}


LINKS = {
    "eth0": Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True, altnames=frozenset({"lan0"})),
    "mt0": Link("mt0", 10, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:10", 1500, up=True),
}


def test_links_on_one_parent_however_it_is_called() -> None:
    wanted = [
        DesiredLink("mt0", "links[0]", mode=AUTO),
        DesiredLink("mt1", "links[1]", parent="lan0", mode=AUTO),
        DesiredLink("mt2", "links[2]", parent="eth0", mode="private"),
        DesiredLink("mt3", "links[3]", state="absent", mode=AUTO),
    ]
    cases = link_modes.cases(wanted, LINKS, check=False)
    assert choice.to_ask(cases, always=False, check=False) == {"eth0"}
    decided = link_modes.resolve_modes(wanted, choice.modes(cases, YES, always=False))
    assert [want.mode for want in decided] == [None, "vepa", "private", None]
    planned = links_planner.plan(decided, LINKS)
    assert [(step.target, step.after.mode) for step in planned.steps if step.after] == [
        ("mt1", "vepa"),
        ("mt2", "private"),
    ]
    assert planned.warnings == ()


ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500, up=True)


@pytest.mark.parametrize(("had", "then"), [("bridge", None), ("vepa", None), ("private", "private")])
def test_what_moves_to_another_switch_is_like_new(had: str, then: str | None) -> None:
    links = {**LINKS, "eth1": ETH1, "mt0": replace(LINKS["mt0"], mode=had)}
    (moves,) = link_modes.cases([DesiredLink("mt0", "links[0]", parent="eth1", mode=AUTO)], links, check=False)
    (stays,) = link_modes.cases([DesiredLink("mt0", "links[0]", parent="lan0", mode=AUTO)], links, check=False)
    assert (moves.parent, moves.had, stays.parent, stays.had) == ("eth1", then, "eth0", had)
    there = Iface(DIRECT.mac, values={"source": "eth0", "mode": had})
    host = Host("qemu:///system", {"web1": Domain("web1", stored=(there,))}, links=links, macs={})
    (moves,) = domains_auto.cases([desired(DIRECT.mac, given={"source": "eth1", "mode": AUTO})], host, check=False)
    (stays,) = domains_auto.cases([desired(DIRECT.mac)], host, check=False)
    assert (moves.parent, moves.had, stays.parent, stays.had) == ("eth1", then, "eth0", had)


@pytest.mark.parametrize("had", ["bridge", "vepa", "private"])
def test_what_moves_without_a_mode_keeps_its_own(had: str) -> None:
    links = {**LINKS, "eth1": ETH1, "mt0": replace(LINKS["mt0"], mode=had)}
    (link,) = link_modes.cases([DesiredLink("mt0", "links[0]", parent="eth1")], links, check=True)
    there = Iface(DIRECT.mac, values={"source": "eth0", "mode": had})
    host = Host("qemu:///system", {"web1": Domain("web1", stored=(there,))}, links=links, macs={})
    (nic,) = domains_auto.cases([desired(DIRECT.mac, given={"source": "eth1"})], host, check=True)
    assert (link.parent, link.had, nic.parent, nic.had) == ("eth1", had, "eth1", had)
    for one in (link, nic):
        assert choice.to_ask([one], always=False, check=True) == ({"eth1"} if had == "vepa" else set())


def test_links_that_say_their_mode_are_no_cases() -> None:
    assert link_modes.cases([DesiredLink("mt1", parent="nowhere", mode="vepa")], LINKS, check=False) == []


DIRECT = Iface("52:54:00:00:00:01", values={"source": "eth0", "mode": "private", "model": "virtio"})
BRIDGE = Iface("52:54:00:00:00:02", type="bridge", origin="br0")


def desired(mac: str, **more: t.Any) -> Desired:
    given = {"source": "lan0", "mode": AUTO}
    return Desired(f"interfaces[{mac[-1]}]", "web1", "mac", mac, mac, **{"given": given, **more})


def on_host(**more: t.Any) -> Host:
    return Host("qemu:///system", {"web1": Domain("web1", stored=(DIRECT, BRIDGE))}, **{"macs": {}, **more})


def test_interfaces_that_are_new_converted_or_there() -> None:
    declared = [
        desired(DIRECT.mac, given={"mode": AUTO}),
        desired(BRIDGE.mac, convert=True),
        desired("52:54:00:00:00:03"),
        desired("52:54:00:00:00:04", present=False),
    ]
    for answers, always, modes in (
        (YES, False, ["private", "vepa", "vepa"]),
        (NO, False, ["private", "bridge", "bridge"]),
        (YES, True, ["private", "vepa", "vepa"]),
        (UNKNOWN, True, ["private", "bridge", "bridge"]),
    ):
        host = on_host(links=LINKS)
        cases = domains_auto.cases(declared, host, check=False)
        assert choice.to_ask(cases, always=always, check=False) == {"eth0"}
        decided = domains_auto.resolve_modes(declared, choice.modes(cases, answers, always=always))
        planned = domains_planner.plan(decided, host)
        stored = {step.after.mac: step.after.stored for step in planned.steps if step.after}
        found = [iface.get("mode") if (iface := stored.get(one.mac or "", DIRECT)) else None for one in declared[:3]]
        assert found == modes


def test_interfaces_of_another_host_get_bridge_and_a_warning() -> None:
    declared = [desired("52:54:00:00:00:03"), desired(DIRECT.mac)]
    cases = domains_auto.cases(declared, on_host(links=None), check=False)
    assert choice.to_ask(cases, always=False, check=False) == set()
    assert list(choice.modes(cases, {}, always=False).values()) == ["bridge", None]
    (result,) = choice.warnings(cases, {}, always=False, check=False)
    assert "cannot be read from here" in result
