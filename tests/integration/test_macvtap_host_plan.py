# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_host_plan finds for each stage what its module finds in check mode, and changes nothing."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, C
from planned import LINKS, NICS, SHIM, Options, Planned, Result, stages

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


@pytest.fixture(scope="module")
def planned(_hv: Hypervisor) -> t.Iterator[Planned]:
    """A hypervisor that is as declared. No test here changes it."""
    made = Planned(_hv)
    try:
        made.as_declared()
        state = "\n".join(made.state())
        assert [
            one for one in ("mt0@", "198.51.100.1", "guard_", "/etc/", "<domain", "<network") if one not in state
        ] == []
        yield made
    finally:
        made.clear()
        _hv.clear()


def compared(planned: Planned, declared: t.Sequence[Result], **how: t.Any) -> dict[str, Result]:
    """Plan, compare with the modules and with the host before, and return the stages by name."""
    before = planned.state()
    result = planned.plan(declared, **how)
    found, expected = planned.of_modules(result, declared)
    for name, stage in found.items():
        assert (name, stage) == (name, expected[name])
    assert planned.state() == before
    return {one["name"]: one for one in result["stages"]}


def test_a_host_that_is_as_declared_has_nothing_to_do(planned: Planned) -> None:
    compared(planned, stages())
    assert planned.plan(stages())["to_do"] == []


def test_everything_that_differs_is_to_do(planned: Planned) -> None:
    links: list[Options] = [{**LINKS[0], "mode": "private"}, {**LINKS[1], "mtu": 1400}, {"name": "mt2"}]
    changed: dict[str, Options] = {
        "guards": {"guards": [{"mac": A, "policy": "count"}, {"mac": C}]},
        "links_at_boot": {"links": links},
        "links": {"links": links},
        "domains": {"mode": "vepa", "interfaces": [{**NICS[0], "model": "e1000e"}, NICS[1], {**NICS[1], "mac": C}]},
        "shims_at_boot": {"shims": [{**SHIM, "parent": "up1"}]},
        "shims": {"addresses": ["198.51.100.2"]},
    }
    found = compared(planned, stages(**changed))
    assert [name for name, stage in found.items() if stage["changes"]] == [name.replace("_", " ") for name in changed]
    assert found["domains"]["restart_required"] == [{"domain": "web1", "mac": A, "fields": ["model"]}]
    # Now the network as well: it is not known what its NICs would be on.
    result = planned.plan(stages(networks={"interfaces": ["eth0", "up1"]}, **changed))
    assert result["to_do"] == [*found][1:]
    skipped = {one["name"]: one["skipped"] for one in result["stages"] if one["skipped"]}
    assert skipped == {"domains": "its network may be one that the stage networks still changes"}


def test_what_a_module_refuses_is_the_error_of_its_stage_alone(planned: Planned) -> None:
    found = compared(
        planned,
        stages(
            kernel={"config_path": "/nowhere"},
            guards={"guards": [{"mac": A, "addresses": ["192.0.2.300"]}]},
            links_at_boot={"parent": "nowhere0"},
            links={"mode": "passthru"},
            networks={"interfaces": ["nowhere0"]},
            domains={"interfaces": [{"domain": "web3", "mac": C}]},
            shims={"addresses": ["224.0.0.1"]},
        ),
    )
    assert [name for name, stage in found.items() if not stage["error"]] == ["shims at boot"]
    assert found["links"]["error"].startswith("stages[3].options.links[0].mac: 52:54:00:00:01:01 differs from ")


def test_options_that_no_module_accepts(planned: Planned) -> None:
    found = compared(
        planned,
        stages(
            kernel={"state": "gone"},
            guards={"domain": "web1"},
            links_at_boot={"links": [{"mode": "bridge"}]},
            links={"links": [{**LINKS[0], "mtu": "yes"}]},
            networks={"portgroups": [{"name": "slow", "bandwith": {}}]},
            domains={"interfaces": "web1"},
            shims_at_boot={"shims": [{"addresses": ["198.51.100.1"]}]},
            shims={"mtu": 1e999},
        ),
    )
    assert all(stage["error"] for stage in found.values())
    assert found["links"]["error"] == "stages[3].options.links[0].mtu: 'yes' is not a whole number"
    assert found["domains"]["error"].startswith("stages[5].options: ")


def test_everything_is_to_go(planned: Planned) -> None:
    order = ["shims at boot", "shims", "domains", "networks", "links at boot", "links", "guards"]
    gone = {name: one for one in stages() for name in order if one["name"] == name}
    for name, many in (
        ("links at boot", "links"),
        ("links", "links"),
        ("guards", "guards"),
        ("shims at boot", "shims"),
    ):
        gone[name]["options"][many] = [{**one, "state": "absent"} for one in gone[name]["options"][many]]
    for name in ("networks", "domains", "shims"):
        gone[name]["options"]["state"] = "absent"
    found = compared(planned, [gone[name] for name in order])
    assert [name for name, stage in found.items() if stage["changes"]] == order


def test_without_libvirt(planned: Planned) -> None:
    uri = {"uri": "qemu+unix:///system?socket=/nowhere"}
    found = compared(
        planned, stages(networks=uri, domains=uri, guards={**uri, "guards": [{"domain": "web1", "mac": A}]})
    )
    assert [name for name, stage in found.items() if stage["error"]] == ["guards", "networks", "domains"]
    result = planned.plan(stages(networks=uri, domains=uri), host=True, **uri)
    assert result["host"]["libvirt"]["available"] is False


def test_a_missing_library_is_the_error_of_the_stages_that_need_it(planned: Planned) -> None:
    missing = ["libvirt", "nftables", "pyroute2"]
    result = planned.plan(stages(), patch=f"import sys; sys.modules.update(dict.fromkeys({missing}))")
    errors = {one["name"]: one["error"] for one in result["stages"] if one["error"]}
    assert {name: re.findall(r"library \((\w+)\)", error) for name, error in errors.items()} == {
        "guards": ["nftables"],
        "networks": ["libvirt"],
        "domains": ["libvirt"],
    }
    # What is as declared needs no pyroute2, but later changes will.
    kernel = result["stages"][0]
    assert [name.partition("-")[2] for name in kernel["missing_packages"]] == missing
    assert result["to_do"] == ["kernel", *errors]


def test_the_state_of_the_host_is_that_of_its_module(planned: Planned) -> None:
    alone = planned.run("macvtap_host_info", {})
    host = planned.plan([], host=True)["host"]
    # That is of the moment.
    assert all(one["libvirt"].pop("memory_free") > 0 for one in (alone, host))
    assert {"host": host} == {"host": {key: alone[key] for key in host}}
    assert alone.keys() - host.keys() == {"changed", "rc", "invocation"}


def test_a_vlan_link_that_is_still_to_be_created(planned: Planned) -> None:
    vlans = {"vlans": [{"name": "eth0.20", "id": 20, "parent": "eth0"}]}
    result = planned.plan([{"name": "vlans", "module": "vlan_link", "options": vlans}, *stages()])
    assert result["to_do"] == ["vlans", "links", "networks", "domains", "shims"]
    skipped = {one["name"]: one["skipped"] for one in result["stages"] if one["skipped"]}
    assert set(skipped.values()) == {"its uplink may be eth0.20, which the stage vlans still creates"}
