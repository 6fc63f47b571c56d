# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What macvtap_host_plan takes from the roles: the modules that they would run, and with which options."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible import context
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import role_stages

MAC = "52:54:00:00:01:01"
# Something of each kind, so that every task that is for check mode runs.
WHOLE: dict[str, t.Any] = {
    "macvtap_uplink": "eth0",
    "macvtap_guard_guards": [{"mac": MAC}],
    "macvtap_links_vlans": [{"id": 5}, {"id": 6, "state": "absent"}],
    "macvtap_links_links": [{"name": "mt0", "persistence": "none", "guard": {}}],
    "macvtap_links_group": 7,
    "macvtap_networks_networks": [{"name": "lan"}, {"name": "old", "state": "absent"}],
    "macvtap_domains_interfaces": [{"domain": "web1", "mac": MAC}],
    "macvtap_host_access_shims": [{"name": "host0", "dhcp4": True}],
    "macvtap_host_access_purge": True,
}
ORDER = [
    ("kernel", "kernel_macvtap_check"),
    ("guard", "macvtap_guard"),
    ("links_persistence", "macvtap_persistence"),
    ("links_vlans", "vlan_link"),
    ("links", "macvtap_link"),
    ("links_vlans_removed", "vlan_link"),
    ("networks", "libvirt_direct_network"),
    ("domains", "libvirt_direct_iface"),
    ("host_access_persistence", "macvtap_persistence"),
    ("host_access", "macvtap_host_access"),
    ("host_access_purged", "macvtap_persistence"),
    ("networks_removed", "libvirt_direct_network"),
]


def reader(run: t.Sequence[str] = ("all",), skip: t.Sequence[str] = (), **variables: t.Any) -> role_stages.Reader:
    loader = DataLoader()
    variables = {"ansible_run_tags": list(run), "ansible_skip_tags": list(skip), **variables}
    return role_stages.Reader(Templar(loader=loader), variables)


def names(*run: str, skip: t.Sequence[str] = (), **variables: t.Any) -> list[str]:
    return [stage.name for stage in reader(run or ("all",), skip, **(variables or WHOLE)).stages()]


def test_every_stage_comes_in_the_order_of_site_with_the_options_of_its_role() -> None:
    stages = reader(**WHOLE).stages()
    assert [(stage.name, stage.module) for stage in stages] == ORDER
    assert [stage.error for stage in stages] == [None] * len(ORDER)
    options = {stage.name: stage.options for stage in stages}
    assert options["links"]["links"] == [{"name": "mt0", "guard": {}}]
    assert options["links_persistence"]["links"] == [{"name": "mt0", "persistence": "none"}]
    assert (options["links"]["parent"], options["links"]["group"], options["links"]["allmulticast"]) == (
        "eth0",
        7,
        True,
    )
    # What nobody has set is not an option of the task.
    assert not {"mode", "mtu"} & options["links"].keys()
    assert options["links_vlans_removed"]["vlans"] == [{"parent": "eth0", "id": 6, "state": "absent"}]
    assert [one["name"] for one in options["networks_removed"]["networks"]] == ["old"]


def test_a_host_that_declares_nothing_has_its_kernel_checked() -> None:
    assert names(macvtap_uplink="eth0") == ["kernel"]


@pytest.mark.parametrize(
    ("run", "skip", "found"),
    [
        (["links"], [], ["links_persistence", "links_vlans", "links", "links_vlans_removed"]),
        (["links"], ["persistence"], ["links_vlans", "links", "links_vlans_removed"]),
        (["vlans"], [], ["links_vlans_persistence", "links_vlans", "links_vlans_removed"]),
        (["persistence"], [], ["links_persistence", "host_access_persistence", "host_access_purged"]),
        (["networks"], [], ["networks", "networks_removed"]),
        (["kernel", "guard"], [], ["kernel", "guard"]),
        (["other"], [], []),
        (["all"], ["all"], []),
    ],
)
def test_tags_select_what_they_select_in_the_roles(run: list[str], skip: list[str], found: list[str]) -> None:
    assert names(*run, skip=skip) == found


def test_a_result_of_an_earlier_playbook_of_the_same_run_does_not_count() -> None:
    there = {"vlans": [{"name": "v5", "ifindex": None}], "changed": True}
    assert names(**WHOLE, macvtap_links_vlans_result=there, macvtap_links_result=there) == [
        name for name, _module in ORDER
    ]


@pytest.mark.parametrize("role", ["macvtap_domains", "macvtap_guard"])
def test_a_variable_that_cannot_be_read_is_an_error_of_what_uses_it_alone(role: str) -> None:
    entries = {"macvtap_domains": "macvtap_domains_interfaces", "macvtap_guard": "macvtap_guard_guards"}[role]
    made = reader(**{**WHOLE, entries: trust_as_template("{{ not_there }}")})
    errors = {stage.name: stage.error for stage in made.stages() if stage.error}
    assert list(errors) == [role.removeprefix("macvtap_")]
    assert "not_there" in str(list(errors.values()))
    assert [tag for tag, error in made.invalid().items() if "not_there" in error] == [role.removeprefix("macvtap_")]


@pytest.mark.parametrize(
    ("variables", "invalid"),
    [
        ({}, {}),
        ({"macvtap_links_links": "mt0"}, {"links": "macvtap_links_links"}),
        ({"macvtap_preflight_allow": {"a": 1}}, {"always": "macvtap_preflight_allow"}),
        ({"macvtap_kernel_state": "gone"}, {"kernel": "macvtap_kernel_state: 'gone' is not one of supported, loaded"}),
        ({"macvtap_links_tap": 5}, {"links": "macvtap_links_tap: must be a dictionary, not 5"}),
        ({"macvtap_domains_interfaces": None}, {"domains": "macvtap_domains_interfaces: has no value"}),
        # The role macvtap_domains may include another one.
        (
            {"macvtap_migration_timeout": "soon", "macvtap_domains_migrate_to": "hv2"},
            {"domains": "macvtap_migration_timeout: 'soon' is not a whole"},
        ),
        # No role would read it: it is for evacuate alone.
        ({"macvtap_migration_timeout": "soon", "macvtap_migration_guests": "{{ moving }}"}, {}),
    ],
)
def test_variables_are_checked_as_the_roles_check_them(variables: dict[str, t.Any], invalid: dict[str, str]) -> None:
    found = reader(**{**WHOLE, **variables}).invalid()
    assert found.keys() == invalid.keys()
    assert all(invalid[tag] in error for tag, error in found.items())


def test_a_variable_of_several_roles_is_told_of_once_and_one_that_only_reads_it_not_at_all() -> None:
    made = reader(**{**WHOLE, "macvtap_uplink": ["eth0"], "macvtap_domains_uri": ["a"]})
    found = made.invalid()
    assert "; ".join(error for error in found.values() if error) == (
        "macvtap_uplink: must be a text, not ['eth0']; macvtap_domains_uri: must be a text, not ['a']"
    )
    # Their roles refuse it all the same.
    assert found.keys() == {"guard", "links", "networks", "domains", "host_access"}
    assert list(made.refused()) == ["macvtap_uplink", "macvtap_domains_uri"]
    # With these tags nothing else tells of it.
    assert (
        "macvtap_networks_uri" in reader(["networks"], **{**WHOLE, "macvtap_domains_uri": ["a"]}).invalid()["networks"]
    )


def test_the_fleet_is_told_of_refused_variables_whatever_the_tags_and_of_unreadable_ones_by_itself() -> None:
    variables = {**WHOLE, "macvtap_domains_timeout": "soon", "macvtap_guard_rate": trust_as_template("{{ nowhere }}")}
    made = reader(["links"], **variables)
    assert made.refused() == {"macvtap_domains_timeout": "macvtap_domains_timeout: 'soon' is not a whole number"}
    assert made.invalid() == {}


@pytest.mark.parametrize("name", ["macvtap_domains_interfaces", "macvtap_domains_timeout", "macvtap_domains_uri"])
def test_what_a_template_raises_beside_ansibles_errors_is_an_error_of_the_variable(name: str) -> None:
    class Broken(role_stages.Reader):
        """Such as with a lookup that returns what is no JSON, before ansible-core 2.19."""

        def plain(self, names: t.Iterable[str]) -> dict[str, t.Any]:
            if name in [*names]:
                raise ValueError("Expecting value: line 1 column 1 (char 0)")
            return super().plain(names)

    made = Broken(Templar(loader=DataLoader()), {**WHOLE, name: "x"})
    assert made.invalid()["domains"] == f"{name}: cannot be read: ValueError: Expecting value: line 1 column 1 (char 0)"
    assert made.refused() == {}
    assert made.uri() == "qemu:///system" if name.endswith("uri") else "x"


def test_a_condition_of_a_stage_that_raises_anything_is_an_error_of_the_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: t.Any, _condition: t.Any) -> bool:
        raise TypeError("argument of type 'int' is not iterable")

    monkeypatch.setattr(role_stages.Reader, "_is_true", broken)
    errors = {stage.name: stage.error for stage in reader(**WHOLE).stages()}
    assert errors["domains"] == "TypeError: argument of type 'int' is not iterable"


@pytest.mark.parametrize(
    ("playbooks", "fails"),
    [
        ([], True),
        (["linuxvirt.macvtap.verify"], True),
        ([str(ROOT / "playbooks/site.yml")], True),
        (["/srv/site.yml"], False),
        (["linuxvirt.macvtap.verify", "/srv/web.yml"], False),
    ],
)
def test_tags_of_other_plays_are_those_of_a_playbook_that_imports_these(
    monkeypatch: pytest.MonkeyPatch, playbooks: list[str], fails: bool
) -> None:
    monkeypatch.setattr(context, "CLIARGS", {"args": playbooks})
    made = reader(["web"])
    assert made.unselected()
    assert made.is_for_others() is not fails
    # Most likely misspelt.
    assert not reader(["lnks"]).is_for_others()
    assert not reader(["links"]).unselected()


def test_the_parts_are_the_roles_of_site() -> None:
    site = yaml.safe_load((ROOT / "playbooks/site.yml").read_text(encoding="utf-8"))[1]
    roles = [(one["tags"], one["role"].rpartition(".")[2], "main") for one in site["roles"] if one["tags"] != "always"]
    last = [
        (one["tags"], "macvtap_networks", one["ansible.builtin.import_role"]["tasks_from"]) for one in site["tasks"]
    ]
    assert [(part.tag, part.role, part.tasks) for part in role_stages.PARTS] == roles + last


def test_every_module_of_a_role_is_a_task_that_can_be_planned() -> None:
    for part in role_stages.PARTS:
        text = (ROOT / "roles" / part.role / "tasks" / f"{part.tasks}.yml").read_text(encoding="utf-8")
        for task in yaml.safe_load(text):
            ours = [key for key in task if key.startswith("linuxvirt.")]
            assert task.keys() - {*ours} <= {"name", "tags", "when", "register"} or not ours, task["name"]
            assert ours or "linuxvirt.macvtap.macvtap" not in str(task.get("block", "")), task["name"]


@pytest.mark.parametrize(
    ("to_do", "run"),
    [
        ([], []),
        (["host_access"], ["host_access"]),
        (["guard"], ["guard", "links", "networks", "domains", "host_access"]),
        (["networks"], ["networks", "domains", "host_access"]),
        (["kernel"], ["kernel", "guard", "links", "networks", "domains", "host_access"]),
        (["domains"], ["networks", "domains", "host_access"]),
    ],
)
def test_what_depends_on_what_is_changed_runs_too(to_do: list[str], run: list[str]) -> None:
    assert role_stages.needed(to_do) == run


def test_what_is_declared_does_not_depend_on_the_tags_of_a_run() -> None:
    assert names("migration") == []
    for run, skip in ((("migration",), ()), (("all",), ("guard", "domains"))):
        stages = reader(run, skip, **WHOLE).stages(of_run=False)
        assert [(stage.name, stage.module) for stage in stages] == ORDER
