# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""All that preflight finds, shows and stops at."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from fleet import declared, found, mac

from ansible_collections.linuxvirt.macvtap.plugins.filter.conflict_table import conflict_table
from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_comparison import fleet_comparison
from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_conflicts import fleet_conflicts
from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_gaps import fleet_gaps
from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_outcome import fleet_outcome
from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_summary import fleet_summary
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain

Values = t.Dict[str, t.Any]
DOWN: Values = {"declared": {}, "found": {"unreachable": True, "msg": "no route"}}


def host(number: int, nic: int, **variables: t.Any) -> Values:
    """Return a host that declares a NIC with this number in its address."""
    one = declared({"domain": f"web{number}", "mac": mac(nic)}, **variables)
    return {"declared": one, "found": found(Domain(f"web{number}"), number=number)}


CLEAN = {"hv1": host(1, 1), "hv2": host(2, 2)}
TWICE = {"hv1": host(1, 1), "hv2": host(2, 1), "hv3": host(3, 3)}


def text(fleet: Values) -> dict[str, str]:
    """Return it as the playbook hands it over."""
    return {name: json.dumps(data) for name, data in fleet.items()}


def test_it_has_what_the_single_filters_return() -> None:
    fleet = text({**TWICE, "hv4": DOWN})
    got = fleet_comparison(fleet, time="2026-01-31T12:00:00Z")
    conflicts, gaps = fleet_conflicts(fleet), fleet_gaps(fleet)
    assert (got["conflicts"], got["gaps"]) == (conflicts, gaps)
    assert got["outcome"] == {
        **fleet_outcome(list(fleet), conflicts=conflicts, gaps=gaps),
        "playbook": "preflight",
        "time": "2026-01-31T12:00:00Z",
    }
    *declarations, conclusion = fleet_summary(fleet, conflicts)
    table = conflict_table(conflicts, gaps).splitlines()
    numbers = "1 of 4 hosts ok, 2 with conflicts, 1 unreachable"
    assert got["lines"] == [*declarations, *table, numbers, conclusion]


def test_it_stops_the_hosts_with_a_conflict_that_is_not_allowed() -> None:
    assert fleet_comparison(text(CLEAN))["stop"] is None
    stop = fleet_comparison(text(TWICE))["stop"]
    assert stop == {"hosts": ["hv1", "hv2"], "reason": "Conflicts: 1. See the table above. Nothing was changed"}
    allowing = {name: host(number, 1, preflight_allow=["mac"]) for number, name in enumerate(("hv1", "hv2"), 1)}
    assert fleet_comparison(text(allowing))["stop"] is None


def test_it_stops_all_hosts_if_none_could_be_checked() -> None:
    assert fleet_comparison(text({"hv1": DOWN, "hv2": DOWN}))["stop"] == {
        "hosts": ["hv1", "hv2"],
        "reason": "No host could be checked. The table above has the reasons",
    }
    assert fleet_comparison(text({"hv1": DOWN, "hv2": host(2, 2)}))["stop"] is None


def test_hosts_outside_are_compared_and_neither_checked_nor_stopped() -> None:
    outside = {"hv2": {"declared": host(2, 1)["declared"], "outside": True}}
    got = fleet_comparison(text({"hv1": host(1, 1)}), outside)
    assert got["hosts"] == list(got["outcome"]["by_host"]) == got["stop"]["hosts"] == ["hv1"]
    assert got["lines"][-1] == "1 conflict on 1 host"


def test_hosts_that_are_left_out_are_named_unless_nothing_is_compared() -> None:
    note = "Not compared, because macvtap_preflight is false: hv8, hv9"
    assert note in fleet_comparison(text(CLEAN), hosts=["hv8", "hv1", "hv2", "hv9"])["lines"]
    nothing = fleet_comparison({}, hosts=["hv8", "hv9"])
    assert note not in nothing["lines"]
    assert (nothing["hosts"], nothing["stop"]) == ([], None)


@pytest.mark.parametrize(("fleet", "outside"), [("hv1", {}), ({"hv1": "hv2"}, {}), ({}, ["hv2"]), ({}, {"hv2": 3})])
def test_what_is_no_fleet_is_refused(fleet: t.Any, outside: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="fleet_comparison: the fleet must be a dictionary of hosts"):
        fleet_comparison(fleet, outside)
