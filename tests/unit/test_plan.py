# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The Plan, and the run of every module: all or nothing, and verified."""

from __future__ import annotations

import pytest
from unit.shelf import Host, Shelf, step

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step, converge


def test_a_run_reaches_the_desired_state_and_a_second_changes_nothing() -> None:
    host = Host({"a": "old"})
    assert host.run({"a": "new", "b": "new"}).changed
    assert host.values == {"a": "new", "b": "new"}
    assert not host.run({"a": "new", "b": "new"}).changed


def test_all_of_the_plan_remains_in_check_mode() -> None:
    host = Host({"a": "old"})

    def remaining(*, check_mode: bool) -> tuple[Change, ...]:
        return converge(
            host.observe,
            lambda seen, _answers: Plan((step("a", seen["a"], "new"),)),
            host.apply,
            lambda _journal, _seen: Plan(),
            check_mode=check_mode,
        ).remaining.changes

    assert [change.after for change in remaining(check_mode=True)] == ["new"]
    # The plan is carried out, or has nothing to do.
    assert [remaining(check_mode=False) for _run in range(2)] == [(), ()]


def test_check_mode_plans_and_leaves_the_host_alone() -> None:
    host = Host({"a": "old"})
    assert host.run({"a": "new"}, check_mode=True).changed
    assert host.values == {"a": "old"}


def test_inquire_runs_once_and_the_plan_gets_its_answers() -> None:
    host, asked = Host({}), []

    def inquire(seen: Shelf) -> str:
        asked.append(dict(seen))
        return "answer"

    converge(
        host.observe,
        lambda seen, answer: Plan((step("a", seen.get("a"), answer),)),
        host.apply,
        lambda journal, seen: Plan(tuple(step(s.target, seen.get(s.target), s.before) for s in journal.steps)),
        inquire=inquire,
        check_mode=False,
    )
    assert (host.values, asked) == ({"a": "answer"}, [{}])


def test_verify_can_use_the_identity_that_was_planned_for() -> None:
    host = Host({})

    def verify(planned: Plan[str], seen: Shelf, _answers: None) -> Plan[str]:
        return Plan(tuple(step(s.target, seen.get(s.target), s.after) for s in planned.steps))

    outcome = converge(
        host.observe,
        # Looked up again by the user's option, it would be a different object each time.
        lambda seen, _answers: Plan((step(f"new{len(seen)}", None, "x"),)),
        host.apply,
        lambda journal, seen: Plan(tuple(step(s.target, seen.get(s.target), s.before) for s in journal.steps)),
        verify=verify,
        check_mode=False,
    )
    assert (outcome.host, host.values) == ({"new0": "x"}, {"new0": "x"})


def test_result_changes_and_diff_come_from_one_plan() -> None:
    planned = Plan((step("a", "old", "new"), step("same", "x", "x")))
    assert planned.result(diff=True) == {
        "changed": True,
        "changes": [{"target": "a", "field": "value", "before": "old", "after": "new", "impact": "in_place"}],
        "diff": [
            {
                "before_header": "a",
                "after_header": "a value: old → new (in_place)",
                "before": "value: old\n",
                "after": "value: new\n",
            }
        ],
    }
    assert "diff" not in planned.result(diff=False)


@pytest.mark.parametrize(
    ("targets", "named"), [(["guard of a"], "guard of a"), (["on a", "a"], "a"), (["a", "on a"], "a")]
)
def test_a_diff_is_named_by_what_it_changes(targets: list[str], named: str) -> None:
    changes = tuple(Change(target, "mtu", 1500, 1400, Impact.NONE) for target in targets)
    (shown,) = Plan((Step("a", None, None, changes, "old", "new"),)).result(diff=True)["diff"]
    assert shown["before_header"] == named
    assert shown["after_header"].startswith(named)


def test_a_view_of_fields_has_a_line_for_each() -> None:
    change = Change("a", "mtu", None, 1400, Impact.NONE)
    shown = Plan((Step("a", None, "x", (change,), "", {"mtu": 1400, "alias": None}),)).result(diff=True)["diff"][0]
    assert (shown["before"], shown["after"]) == ("", "mtu: 1400\nalias: none\n")
