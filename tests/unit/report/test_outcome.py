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
OK: Values = {"macvtap_links_result": {"changed": False, "changes": []}}
DOWN: Values = {"macvtap_kernel_result": {"changed": False, "unreachable": True, "msg": "no route\nto host"}}
GONE: Values = {"macvtap_links_result": {"changed": False, "failed": True, "msg": "no such device"}}


def drift(target: str = "spare0", before: t.Any = "up", after: t.Any = "down") -> Values:
    change = {"target": target, "field": "state", "before": before, "after": after}
    return {"macvtap_links_result": {"changed": True, "changes": [change]}}


def conflict(*hosts: str, allowed: bool = False) -> Values:
    return {"allowed": allowed, "where": [{"host": host} for host in hosts]}


def of(hostvars: Values, **more: t.Any) -> Values:
    """Return the outcome as it is after writing and reading it."""
    made = fleet_outcome(list(hostvars), hostvars, **more)
    return t.cast("Values", json.loads(json.dumps(made)))


def test_each_state_of_a_host_is_told_from_the_others_and_the_fleet_has_the_worst() -> None:
    hosts = {"hv1": OK, "hv2": drift(), "hv3": OK, "hv4": DOWN, "hv5": GONE}
    states = []
    for number in range(1, len(hosts) + 1):
        some = dict(list(hosts.items())[:number])
        got = of(some, finished=["hv1", "hv2", "hv3"], conflicts=[conflict("hv3")] if number > 2 else [])
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
    hosts = {"hv1": drift(), "hv2": drift("web1 52:54:00:00:00:01", None, True), "hv3": DOWN, "hv4": {}}
    got = of(hosts, finished=["hv1", "hv2"])
    assert got["drift"][0] == {"host": "hv1", "what": "spare0", "field": "state", "declared": "down", "found": "up"}
    assert outcome_table(got) == [
        "host  what                    field  declared  found",
        "hv1   spare0                  state  down      up",
        "hv2   web1 52:54:00:00:00:01  state  true      none",
        "hv3: unreachable: no route",
        "hv4: failed: a task has failed, whose output has the reason",
        "0 of 4 hosts ok, 2 with drift (2 differences), 1 unreachable, 1 failed",
    ]


def test_what_hosts_report_cannot_reach_the_terminal_and_a_long_table_is_cut() -> None:
    got = of(
        {"hv1": drift("\x1b[31mweb\u202e"), "hv2": {"macvtap_kernel_result": {"unreachable": True, "msg": "\x07"}}}
    )
    assert "�[31mweb�" in outcome_table(got)[1]
    assert outcome_table(got)[2] == "hv2: unreachable: �"
    many = drift()
    many["macvtap_links_result"]["changes"] *= 250
    got = of({"hv1": many})
    assert len(got["drift"]) == 250
    assert outcome_table(got)[-2:] == ["and 50 differences more", "0 of 1 host ok, 1 with drift (250 differences)"]


def test_other_variables_and_failures_that_a_task_allows_do_not_count() -> None:
    read = [
        {"macvtap_verify_guards": {"failed": True, "msg": "no library"}},
        # What an earlier job of a workflow has passed on is an extra variable of this one.
        {"macvtap_verify_outcome": {"state": "unreachable", "unreachable": [{"host": "hv1"}]}},
        {"macvtap_links_result": {"skipped": True, "changed": False}},
        {"other_result": {"changed": True}},
        {"macvtap_links_links": {"changed": True, "unreachable": True}},
    ]
    assert [of({"hv1": one})["state"] for one in read] == ["ok"] * len(read)


def test_a_change_without_details_is_drift_and_pending_nics_are_named() -> None:
    waiting = [{"domain": "web1", "mac": "52:54:00:00:00:01", "fields": ["mode"], "more": 1}]
    hosts = {
        "hv1": {"macvtap_kernel_result": {"changed": True}},
        "hv2": {"macvtap_domains_result": {"changed": False, "restart_required": waiting}},
    }
    got = of(hosts)
    assert [(one["what"], one["field"]) for one in got["drift"]] == [("macvtap_kernel_result", "changed")]
    assert got["restart_required"] == [
        {"host": "hv2", "domain": "web1", "mac": "52:54:00:00:00:01", "fields": ["mode"]}
    ]
    assert outcome_table(got)[-1].endswith("1 NIC waiting for a restart")


def test_what_is_undeclared_is_no_drift() -> None:
    got = of({"hv1": {**OK, "macvtap_verify_undeclared": ["link stray0 on eth0"]}})
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
