# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which hypervisors are asked, and what a cache keeps of their answers."""

from __future__ import annotations

import json
import re
import typing as t

import pytest

pytest.importorskip("ansible.errors")

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import (
    ask_hypervisors,
    hypervisor_answers,
)

Values = t.Dict[str, t.Any]
QUESTION = ask_hypervisors.Question(("hosts.yml",), "hypervisors", {"probe": True}, False, 10, 60, 50)
DOWN = {"unreachable": True, "msg": "no route"}


def answer(name: str, number: int) -> Values:
    """Return the answer of a host with a guest that others have to be asked for."""
    nic = {"mac": f"52:54:00:00:00:{number:02x}", "not_asked": "in mode private", "addresses": []}
    guest = {"name": f"web{number}", "uuid": str(number), "state": "running", "interfaces": [nic]}
    result = {"guests": [guest], "others": []}
    return {"result": result, "connection": {"inventory_hostname": name}, "unreadable": {}}


class Fleet:
    """Hosts, of which some are ``down``, and some fail to ask for the guests of ``others``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names = names
        self.down: set[str] = set()
        self.others_fail: set[str] = set()
        self.breaks = False
        self.asked: list[tuple[str, ...]] = []
        self.kept: hypervisor_answers.Stored | None = None
        monkeypatch.setattr(ask_hypervisors, "ask", self.ask)

    def ask(self, question: ask_hypervisors.Question) -> hypervisor_answers.Answers:
        if self.breaks:
            raise ask_hypervisors.AskError("it did not end within 60 seconds")
        pattern = question.pattern.split(",")
        names = self.names if question.pattern == "hypervisors" else [n for n in self.names if n in pattern]
        others = "macs" in question.arguments
        self.asked.append((*(("others",) if others else ()), *names))
        fails = self.down | (self.others_fail if others else set())
        return {
            name: {**answer(name, n), **({"result": DOWN} if name in fails else {})} for n, name in enumerate(names)
        }

    def gather(self, now: float = 0) -> list[str]:
        """Ask, as the plugin does with a cache of a minute; return those whose guests are known."""
        self.asked = []
        known = hypervisor_answers.stored(json.loads(json.dumps(self.kept and self.kept.as_dict())), 60, now)
        found = hypervisor_answers.gather(QUESTION, known, ask_others=True)
        self.kept = hypervisor_answers.to_store(found, known.asked if known else now)
        return [name for name, one in sorted(found.items()) if "guests" in one["result"]]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    return Fleet(monkeypatch, "hv1", "hv2", "hv3")


def test_nobody_is_asked_again_who_has_answered(fleet: Fleet) -> None:
    assert fleet.gather() == ["hv1", "hv2", "hv3"]
    assert fleet.asked == [("hv1", "hv2", "hv3"), ("others", "hv1", "hv2", "hv3")]
    assert fleet.gather(59) == ["hv1", "hv2", "hv3"]
    assert fleet.asked == []


def test_who_has_not_answered_is_asked_again_and_nothing_is_said_of_it_that_was_true_then(fleet: Fleet) -> None:
    fleet.down = {"hv2"}
    assert fleet.gather() == ["hv1", "hv3"]
    assert fleet.gather() == ["hv1", "hv3"]
    assert fleet.asked == [("hv2",), ("others", "hv1", "hv3")]
    fleet.down = set()
    assert fleet.gather() == ["hv1", "hv2", "hv3"]
    # Its guests are new, and it may find those of others.
    assert fleet.asked == [("hv2",), ("others", "hv1", "hv2", "hv3")]
    fleet.gather()
    assert fleet.asked == []


def test_what_others_did_not_learn_is_asked_again(fleet: Fleet) -> None:
    fleet.others_fail = {"hv3"}
    fleet.gather()
    fleet.others_fail = set()
    fleet.gather()
    assert fleet.asked == [("others", "hv3")]
    fleet.gather()
    assert fleet.asked == []


def test_what_is_added_makes_nothing_else_younger(fleet: Fleet) -> None:
    fleet.down = {"hv2"}
    fleet.gather(0)
    fleet.gather(50)
    fleet.gather(61)
    assert fleet.asked[0] == ("hv1", "hv2", "hv3")


def test_nothing_is_kept_where_nobody_has_answered(fleet: Fleet) -> None:
    fleet.down = {"hv1", "hv2", "hv3"}
    fleet.gather()
    assert fleet.kept is None


@pytest.mark.parametrize("why", ["unreadable", "form"])
def test_an_answer_that_cannot_be_used_is_none(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    spoilt = {"unreadable": {"macvtap_segment": "x"}} if why == "unreadable" else {"result": {"guests": [{"name": 1}]}}
    ask = fleet.ask
    monkeypatch.setattr(
        ask_hypervisors,
        "ask",
        lambda question: {n: {**a, **(spoilt if n == "hv1" else {})} for n, a in ask(question).items()},
    )
    fleet.gather()
    assert fleet.kept is not None
    assert (sorted(fleet.kept.answers), fleet.kept.again) == (["hv2", "hv3"], ("hv1",))


def test_a_run_that_fails_hides_nothing_that_is_known(fleet: Fleet) -> None:
    fleet.breaks = True
    with pytest.raises(ask_hypervisors.AskError):
        fleet.gather()
    fleet.breaks = False
    fleet.down = {"hv2"}
    fleet.gather()
    fleet.breaks = True
    assert fleet.gather() == ["hv1", "hv3"]


@pytest.mark.parametrize("change", [{"answers": []}, {"more": 1}, {"asked": "now"}, {"again": None}])
def test_a_cache_of_another_form_is_not_used(fleet: Fleet, change: Values) -> None:
    fleet.gather()
    assert fleet.kept is not None
    kept = fleet.kept.as_dict()
    assert hypervisor_answers.stored(kept, 0, 1e9) == fleet.kept
    assert hypervisor_answers.stored({**kept, **change}, 0, 0) is None
    # As it was before.
    assert hypervisor_answers.stored(fleet.kept.answers, 0, 0) is None


def test_the_names_of_hypervisors_are_no_pattern_and_no_template(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = ["{{ x }}", "hv1:hv2", "a b"]
    patterns = []

    def ask(question: ask_hypervisors.Question) -> hypervisor_answers.Answers:
        patterns.append(question.pattern)
        return {name: answer(name, n) for n, name in enumerate(strange)}

    monkeypatch.setattr(ask_hypervisors, "ask", ask)
    fleet.gather()
    (pattern,) = patterns[1:]
    assert "{" not in re.sub(r"\\x\w\w", "", pattern)
    assert all(re.match(pattern[1:], name) for name in strange)
