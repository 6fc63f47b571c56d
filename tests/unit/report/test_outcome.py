# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The outcome of verify and preflight, as a job reads it."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_outcome import fleet_outcome
from ansible_collections.linuxvirt.macvtap.plugins.filter.outcome_table import outcome_table

Values = t.Dict[str, t.Any]
# As the action returns them.
DOWN: Values = {
    "macvtap_plan": {"unreachable": True, "msg": "no route\nto host", "stages": [], "differences": "no route"}
}
GONE: Values = {
    "macvtap_plan": {"failed": False, "msg": "no such device", "stages": [], "differences": "no such device"}
}


def plan(*changes: Values, differences: str = "", **stage: t.Any) -> Values:
    """Return the variables of a host whose plan has one stage with these changes."""
    stages = [{"name": "links", "changed": bool(changes), "changes": list(changes), **stage}]
    return {"macvtap_plan": {"stages": stages, "differences": differences}}


def change(target: str = "spare0", before: t.Any = "up", after: t.Any = "down") -> Values:
    return {"target": target, "field": "state", "before": before, "after": after}


OK = plan()


def conflict(*hosts: str, allowed: bool = False) -> Values:
    return {"allowed": allowed, "where": [{"host": host} for host in hosts]}


def of(hostvars: Values, **more: t.Any) -> Values:
    """Return the outcome as it is after writing and reading it."""
    made = fleet_outcome(list(hostvars), hostvars, **more)
    return t.cast("Values", json.loads(json.dumps(made)))


def test_each_state_of_a_host_is_told_from_the_others_and_the_fleet_has_the_worst() -> None:
    hosts = {"hv1": OK, "hv2": plan(change()), "hv3": OK, "hv4": DOWN, "hv5": GONE}
    states = []
    for number in range(1, len(hosts) + 1):
        some = dict(list(hosts.items())[:number])
        got = of(some, conflicts=[conflict("hv3")] if number > 2 else [])
        states.append(got["state"])
    assert states == ["ok", "drift", "conflict", "unreachable", "failed"]
    assert [one["state"] for one in got["by_host"].values()] == states
    assert {name: number for name, number in got["counts"].items() if number != 1} == {
        "hosts": 5,
        "restart_required": 0,
        "undeclared": 0,
    }
    assert got["unreachable"] == [{"host": "hv4", "reason": "no route"}]
    assert got["failed"] == [{"host": "hv5", "reason": "no such device"}]


def test_the_table_has_what_differs_and_who_is_not_known() -> None:
    other = change("web1 52:54:00:00:00:01", None, True)
    got = of({"hv1": plan(change()), "hv2": plan(other), "hv3": DOWN, "hv4": {}})
    assert got["drift"][0] == {"host": "hv1", "what": "spare0", "field": "state", "declared": "down", "found": "up"}
    assert outcome_table(got) == [
        "host  what                    field  declared  found",
        "hv1   spare0                  state  down      up",
        "hv2   web1 52:54:00:00:00:01  state  true      none",
        "hv3: unreachable: no route",
        "hv4: failed: no reason is known",
        "0 of 4 hosts ok, 2 with drift (2 differences), 1 unreachable, 1 failed",
    ]


def test_what_hosts_report_cannot_reach_the_terminal_and_a_long_table_is_cut() -> None:
    lost = {"macvtap_plan": {"unreachable": True, "msg": "\x07"}}
    got = of({"hv1": plan(change("\x1b[31mweb\u202e")), "hv2": lost})
    assert "�[31mweb�" in outcome_table(got)[1]
    assert outcome_table(got)[2] == "hv2: unreachable: �"
    got = of({"hv1": plan(*[change()] * 250)})
    assert len(got["drift"]) == 250
    assert outcome_table(got)[-2:] == ["and 50 differences more", "0 of 1 host ok, 1 with drift (250 differences)"]


def test_what_an_earlier_job_has_passed_on_does_not_count() -> None:
    # It is an extra variable of this one.
    assert of({"hv1": {**OK, "macvtap_verify_outcome": {"unreachable": [{"host": "hv1"}]}}})["state"] == "ok"


def test_what_a_module_would_refuse_is_drift_and_pending_nics_are_named() -> None:
    waiting = [{"domain": "web1", "mac": "52:54:00:00:00:01", "fields": ["mode"], "more": 1}]
    hosts = {
        "hv1": plan(error="no such link", differences="no such link"),
        "hv2": plan(restart_required=waiting),
        "hv3": plan(differences="something else"),
    }
    got = of(hosts)
    assert [(one["what"], one["field"], one["found"]) for one in got["drift"]] == [
        ("links", "error", "no such link"),
        ("host", "state", "something else"),
    ]
    assert got["restart_required"] == [
        {"host": "hv2", "domain": "web1", "mac": "52:54:00:00:00:01", "fields": ["mode"]}
    ]
    waits = "hv2: web1 52:54:00:00:00:01 has its former mode until the guest is stopped and started"
    assert outcome_table(got)[-2:] == [
        waits,
        "1 of 3 hosts ok, 2 with drift (2 differences), 1 NIC waiting for a restart",
    ]


def test_a_note_that_hosts_share_is_one_line_and_no_drift() -> None:
    lacking = plan(missing_packages=["python3-pyroute2"])
    got = of({"hv1": lacking, "hv2": OK, "hv3": lacking})
    assert (got["state"], len(got["notes"])) == ("ok", 2)
    assert outcome_table(got) == ["hv1, hv3: lacks the packages python3-pyroute2", "3 of 3 hosts ok"]


def test_what_is_undeclared_is_no_drift() -> None:
    got = of({"hv1": OK}, undeclared={"hv1": ["link stray0 on eth0"]})
    assert (got["state"], got["undeclared"]) == ("ok", [{"host": "hv1", "what": "link stray0 on eth0"}])


def test_conflicts_count_once_and_allowed_ones_not_at_all() -> None:
    got = fleet_outcome(["hv1", "hv2"], conflicts=[conflict("hv1", "hv2", "hv2"), conflict("hv1", allowed=True)])
    assert got["counts"]["conflicts"] == 1
    assert [one["conflicts"] for one in got["by_host"].values()] == [1, 1]
    assert fleet_outcome(["hv1"], conflicts=[conflict("hv1", allowed=True)])["state"] == "ok"


@pytest.mark.parametrize(
    ("what", "reason", "state"),
    [
        ("host", "cannot be reached: no route", "unreachable"),
        ("host", "could not be checked: no library", "failed"),
        ("libvirt", "no daemon", "failed"),
        ("domain", "it is transient", "ok"),
        ("limit", "outside of --limit", "ok"),
    ],
)
def test_what_preflight_could_not_check(what: str, reason: str, state: str) -> None:
    got = fleet_outcome(["hv1"], gaps=[{"host": "hv1", "what": what, "reason": reason}])
    assert got["state"] == got["by_host"]["hv1"]["state"] == state


def test_a_fleet_that_nobody_has_looked_at_is_not_ok() -> None:
    assert fleet_outcome([])["state"] == "failed"


@pytest.mark.parametrize("wrong", [5, None, ["hv9"]])
def test_other_input_is_an_error(wrong: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="names of hosts that hostvars has"):
        fleet_outcome(wrong, {})
    with pytest.raises(AnsibleFilterError, match="the result of fleet_outcome"):
        outcome_table({"counts": wrong})
