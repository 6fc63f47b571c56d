# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_links takes whatever the modules take."""

from __future__ import annotations

import typing as t

import pytest
import role_specs
import yaml
from ansible.plugins.filter import core, mathstuff
from ansible.plugins.test import core as tests
from jinja2.nativetypes import NativeEnvironment
from support import ROOT, shape
from support import documented as documentation_of

from ansible_collections.linuxvirt.macvtap.plugins.modules import macvtap_link, macvtap_persistence, vlan_link

ROLE = ROOT / "roles/macvtap_links"


def test_the_options_of_a_link_are_what_the_table_says() -> None:
    # `make specs` writes them.
    assert role_specs.links() == role_specs.LINKS.read_text(encoding="utf-8")


def test_a_vlan_has_every_option_of_the_module() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    documented = documentation_of(vlan_link)
    assert specs["main"]["options"] == specs["absent"]["options"]
    declared = specs["main"]["options"]["macvtap_links_vlans"]["options"]
    # Said of each link for the next boot, and to no module that makes links now.
    kept = declared.pop("persistence")
    assert shape(declared) == shape(documented["vlans"]["suboptions"])
    written = documentation_of(macvtap_persistence)
    for option in ("vlans", "links"):
        assert kept["choices"] == written[option]["suboptions"]["persistence"]["choices"]


def test_what_is_written_down_of_a_link_has_every_option_of_the_modules_that_make_it() -> None:
    written = documentation_of(macvtap_persistence)
    for module, option in ((vlan_link, "vlans"), (macvtap_link, "links")):
        made = documentation_of(module)[option]["suboptions"]
        # A guard is stored on its own.
        made.pop("guard", None)
        own = {name: spec for name, spec in written[option]["suboptions"].items() if name != "persistence"}
        assert shape(own) == shape(made)


def _rendered(**values: t.Any) -> dict[str, t.Any]:
    environment = NativeEnvironment()
    environment.filters.update(mathstuff.FilterModule().filters(), combine=core.FilterModule().filters()["combine"])
    for name, text in yaml.safe_load((ROLE / "vars" / "main.yml").read_text()).items():
        values[name] = environment.from_string(text).render(values)
    return values


def test_a_vlan_is_on_the_uplink_unless_it_has_a_parent_and_never_on_the_parent_of_the_links() -> None:
    vlans = [{"id": 20}, {"id": 30, "parent": "eth1"}]
    on = {"macvtap_links_parent": "eth0.20", "macvtap_links_vlans": vlans}
    whole = _rendered(macvtap_uplink="eth0", **on)["macvtap_links_vlans_whole"]
    assert whole == [{"parent": "eth0", "id": 20}, {"parent": "eth1", "id": 30}]
    # An empty one is refused as a missing one: see test_vlan_options.py.
    assert _rendered(**on)["macvtap_links_vlans_whole"][0] == {"parent": "", "id": 20}


@pytest.mark.parametrize(
    ("vlans", "last"),
    [
        ([], []),
        ([{"parent": "eth0", "id": 20}], []),
        ([{"parent": "eth0", "id": 20, "state": "absent"}, {"parent": "eth0", "id": 30, "state": "up"}], [20]),
        # It makes room for the other.
        ([{"parent": "eth0", "id": 20, "name": "a", "state": "absent"}, {"parent": "eth0", "id": 20, "name": "b"}], []),
    ],
)
def test_vlans_that_are_to_go_are_removed_after_the_links_on_them(
    vlans: list[dict[str, t.Any]], last: list[int]
) -> None:
    values = _rendered(macvtap_links_vlans=vlans)
    assert [vlan["id"] for vlan in values["macvtap_links_vlans_last"]] == last
    tasks = [task["name"] for task in yaml.safe_load((ROLE / "tasks" / "main.yml").read_text())]
    assert tasks.index("Remove VLAN links that are declared absent") > tasks.index("Manage macvtap links")


@pytest.mark.parametrize("outer", [{}, {"queues": {"type": "dict"}}], ids=["option", "suboption"])
def test_an_option_without_documentation_is_named(outer: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    new: dict[str, t.Any] = {"brand_new": {"type": "int"}}
    options = {name: {**one, "options": new} for name, one in outer.items()} or new
    monkeypatch.setattr(role_specs, "LINK_OPTIONS", options)
    with pytest.raises(SystemExit, match=r"^document brand_new in plugins/doc_fragments/link_options.py first$"):
        role_specs.links()


@pytest.mark.parametrize(
    ("changed", "check", "forced"),
    [(part, check, check) for part in ("links", "domains", "host_access") for check in (True, False)]
    + [(None, True, False), ("networks", True, False)],
)
def test_in_check_mode_what_a_teardown_has_only_predicted_keeps_no_vlan(
    changed: str | None, check: bool, forced: bool
) -> None:
    """The macvtap links, NICs and shims that earlier tasks remove are still on it."""
    environment = NativeEnvironment()
    environment.filters["bool"] = core.FilterModule().filters()["bool"]
    environment.tests.update(tests.TestModule().tests())
    by_module = {
        module: task for task in yaml.safe_load((ROLE / "tasks" / "absent.yml").read_text()) for module in task
    }
    force = by_module["linuxvirt.macvtap.vlan_link"]["linuxvirt.macvtap.vlan_link"]["force"]
    results = {f"macvtap_{part}_result": {"changed": part == changed} for part in ("networks", "links", changed)}
    values = {"macvtap_links_force": False, "ansible_check_mode": check, **results}
    render: t.Callable[[t.Any], t.Any] = environment.from_string(force).render
    assert render(values) is forced
    assert render({**values, "macvtap_links_force": True}) is True


def test_a_link_that_a_guest_takes_during_a_teardown_keeps_its_configuration() -> None:
    """The module for the links fails then, and what follows is not run."""
    modules = [module for task in yaml.safe_load((ROLE / "tasks" / "absent.yml").read_text()) for module in task]
    order = [name.rpartition(".")[2] for name in modules if name.startswith("linuxvirt.")]
    assert order == ["macvtap_link", "vlan_link", "macvtap_persistence", "macvtap_persistence"]
