# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The filters over a fleet, as a playbook uses them."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from fleet import declared, found, mac

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import checks, nics, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_options

errors = pytest.importorskip("ansible.errors")

from ansible_collections.linuxvirt.macvtap.plugins.filter import (  # noqa: E402
    conflict_table,
    fleet_conflicts,
    fleet_gaps,
    fleet_plan,
)

# Prints what is imported by whoever uses one filter, because Ansible imports all of a collection then.
IMPORTS = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module("ansible_collections.linuxvirt.macvtap.plugins.filter." + name)
print(*sys.modules)
"""
FLEET = {
    "hv1": {"declared": declared({"domain": "web1", "mac": mac(1)}), "found": found(Domain("web1"), number=1)},
    "hv2": {"declared": declared({"domain": "web2", "mac": mac(1)}), "found": found(number=2, version=None)},
    "hv3": {"declared": {}, "found": {"unreachable": True, "msg": "no route"}},
}
TABLE = """\
   kind  host  domain  NIC or link        seen
1  mac   hv1   web1    52:54:00:00:00:01  declared
         hv2   web2    52:54:00:00:00:01  declared
   52:54:00:00:00:01 is used twice on one network
   -> Give all but one another address (the filter mac_address makes them), or name separate networks in macvtap_segment
Not checked: hv2: its domains, because no daemon
Not checked: hv3: cannot be reached: no route"""


def test_they_are_filters() -> None:
    for module in (fleet_conflicts, fleet_gaps, conflict_table):
        (name,) = module.FilterModule().filters()
        assert module.__name__.endswith(f".{name}")


def test_the_table_has_a_row_for_each_place_and_names_what_was_not_compared() -> None:
    conflicts = fleet_conflicts.fleet_conflicts(FLEET)
    assert conflict_table.conflict_table(conflicts, fleet_gaps.fleet_gaps(FLEET)) == TABLE
    assert conflict_table.conflict_table([]) == ""


def test_what_hosts_say_makes_no_lines_of_its_own_and_moves_no_cursor() -> None:
    hostile = "x\nNo conflicts on 3 hosts\x9b2J\u202e"
    place = {"host": hostile, "domain": hostile, "nic": None, "link": hostile, "network": None, "seen": hostile}
    conflict = {"kind": "mac", "message": hostile, "remedy": hostile, "allowed": False, "where": [place]}
    gaps = [{"host": hostile, "what": what, "reason": hostile} for what in ("host", "libvirt", "domain", "limit")]
    lines = conflict_table.conflict_table([conflict], gaps).splitlines()
    assert len(lines) == 4 + len(gaps)
    plan = {"stages": [], "differences": hostile}
    shown = [*lines, *fleet_plan.fleet_plan({hostile: plan})]
    assert not any(one in line for line in shown for one in "\n\x9b\u202e")


def test_the_data_of_a_host_may_be_json_text() -> None:
    text = {name: json.dumps(data) for name, data in FLEET.items()}
    assert fleet_conflicts.fleet_conflicts(text) == fleet_conflicts.fleet_conflicts(FLEET) != []
    assert fleet_gaps.fleet_gaps(text) == fleet_gaps.fleet_gaps(FLEET) != []
    with pytest.raises(errors.AnsibleFilterError, match="declared and found; hv1 has 'hv2'"):
        fleet_conflicts.fleet_conflicts({"hv1": "hv2"})


def test_the_same_conflict_on_many_hosts_is_one_with_few_lines() -> None:
    def host(number: int) -> dict[str, t.Any]:
        nics = [
            {"domain": f"web{number}", "mac": mac(2 * number + n), "source": "eth9"} for n in range(1 + (number < 2))
        ]
        there = found(Domain(f"web{number}"), number=number, version="9.0.0" if number < 280 else None)
        return {"declared": declared(*nics), "found": there}

    fleet = {f"hv{number}": host(number) for number in range(300)}
    got = fleet_conflicts.fleet_conflicts(fleet)
    assert [(one["kind"], len(one["where"])) for one in got] == [("parent", 302)]
    lines = conflict_table.conflict_table(got, fleet_gaps.fleet_gaps(fleet)).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["1", "parent", "hv0", "2", "of", "them"],
        ["hv1", "2", "of", "them"],
        ["hv2", "web2", mac(4), "declared"],
    ]
    assert [line.strip() for line in lines[13:15]] == ["and 288 hosts more", got[0]["message"]]
    names = ", ".join(f"hv{number}" for number in range(280, 292))
    assert lines[16:] == [f"Not checked: {names} and 8 hosts more: their domains, because no daemon"]


def test_a_host_without_libvirt_is_listed_if_libvirt_is_needed() -> None:
    bare = found(version=None)
    assert fleet_gaps.fleet_gaps({"hv1": {"declared": declared(), "found": bare}, "hv2": {"found": bare}}) == []


@pytest.mark.parametrize("what", [[], "hv1", {"hv1": None}, None])
def test_an_invalid_fleet_is_refused(what: t.Any) -> None:
    with pytest.raises(errors.AnsibleFilterError, match=r"^fleet_conflicts: the fleet must be a dictionary of hosts"):
        fleet_conflicts.fleet_conflicts(what)
    with pytest.raises(errors.AnsibleFilterError, match=r"^fleet_gaps: the fleet must be a dictionary of hosts"):
        fleet_gaps.fleet_gaps(what)


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"declared": "x"}, "declared and found; hv1 has 'x'"),
        ({"found": ["x"]}, "declared and found; hv1 has ['x']"),
    ],
)
def test_an_invalid_host_of_a_fleet_is_refused_by_name(host: t.Any, message: str) -> None:
    with pytest.raises(errors.AnsibleFilterError, match=re.escape(message)):
        fleet_conflicts.fleet_conflicts({"hv1": host, "hv2": FLEET["hv2"]})


@pytest.mark.parametrize(
    "there",
    [{"links": None}, {"links": [{}]}, {"links": [], "domains": [{}]}, {"links": [], "libvirt": "x"}],
)
def test_a_malformed_result_is_that_hosts_own_row(there: t.Any) -> None:
    bad = {"declared": declared(links=[{"mac": mac(1)}])}
    fleet = {"hv1": {"declared": declared(), "found": there}, "hv2": bad}
    first, second = fleet_conflicts.fleet_conflicts(fleet)
    assert first["message"].startswith("its data is not what macvtap_host_info returns (")
    assert [place["host"] for place in (*first["where"], *second["where"])] == ["hv1", "hv2"]
    assert [gap["host"] for gap in fleet_gaps.fleet_gaps(fleet)] == ["hv2"]


@pytest.mark.parametrize("stage", ["vlans.made", "nics.with_nics", "checks.conflicts", "vlan_options.desired"])
def test_a_defect_about_one_host_does_not_stop_the_comparison(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    of, _dot, name = stage.partition(".")
    module = {"vlans": vlans, "nics": nics, "checks": checks, "vlan_options": vlan_options}[of]
    real = getattr(module, name)

    def fails(*given: t.Any, **how: t.Any) -> t.Any:
        if "hv1" in str(given) or "odd0" in str(given):
            raise ZeroDivisionError("by accident")
        return real(*given, **how)

    monkeypatch.setattr(module, name, fails)
    odd = declared(links_vlans=[{"parent": "odd0", "id": 3}])
    bad = declared(links=[{"name": "x0", "parent": "eth9"}])
    fleet = {"hv1": {"declared": odd, "found": found()}, "hv2": {"declared": bad, "found": found(number=2)}}
    got = fleet_conflicts.fleet_conflicts(fleet)
    problems = [one for one in got if one["where"][0]["host"] == "hv1" and one["kind"] == "declaration"]
    assert problems[0]["message"] == "this host could not be compared: ZeroDivisionError: by accident"
    assert [one["message"] for one in got if one["where"][0]["host"] == "hv2"] == [
        "there is no link eth9 on this host; did you mean eth0?"
    ]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), 1e400, [1], {"a": 1}])
@pytest.mark.parametrize("variable", ["macvtap_links_mtu", "macvtap_host_access_mtu", "macvtap_links_group"])
def test_an_invalid_number_is_one_hosts_row(variable: str, value: t.Any) -> None:
    fleet = {"hv1": {"declared": {variable: value}, "found": found()}, "hv2": {"found": found(number=2)}}
    (one,) = fleet_conflicts.fleet_conflicts(fleet)
    assert one["message"].startswith(f"{variable}: ")
    assert [place["host"] for place in one["where"]] == ["hv1"]


def test_names_that_yaml_parsed_as_numbers_are_names() -> None:
    bad = {"declared": declared(links=[{"mac": mac(1)}])}
    got = fleet_conflicts.fleet_conflicts({1: bad, "b": bad, 2.5: {}})
    assert [place["host"] for conflict in got for place in conflict["where"]] == ["1", "b"]
    assert [gap["host"] for gap in fleet_gaps.fleet_gaps({1: {}, "b": {}})] == ["1", "b"]


@pytest.mark.parametrize("what", [1, [1], [{}], None])
def test_invalid_conflicts_are_refused(what: t.Any) -> None:
    with pytest.raises(errors.AnsibleFilterError, match="the input must be the result of fleet_conflicts"):
        conflict_table.conflict_table(what)


def test_one_filter_does_not_cost_what_only_another_one_needs() -> None:
    names = [path.stem for path in pathlib.Path(fleet_plan.__file__).parent.glob("[!_]*.py")]
    argv, environment = [sys.executable, "-c", IMPORTS, *names], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    imported = [name.partition(".module_utils.")[2] for name in done.stdout.split()]
    assert "_fleet.compare" in imported
    assert [name for name in imported if name.startswith("_migration.") and "reported" not in name] == []
