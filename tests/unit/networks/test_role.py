# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_networks takes whatever the module takes, and removes networks after guests have left them."""

from __future__ import annotations

import typing as t

import yaml
from ansible.plugins.filter import mathstuff
from jinja2.nativetypes import NativeEnvironment
from support import ROOT, documented, shape

from ansible_collections.linuxvirt.macvtap.plugins.modules import libvirt_direct_network

ROLE = ROOT / "roles/macvtap_networks"


def test_a_network_has_every_option_of_the_module() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert specs["main"]["options"] == specs["absent"]["options"] == specs["removed"]["options"]
    declared = specs["main"]["options"]["macvtap_networks_networks"]["options"]
    assert shape(declared) == shape(documented(libvirt_direct_network)["networks"]["suboptions"])


def test_networks_to_remove_are_removed_last() -> None:
    networks = [{"name": "old", "state": "absent"}, {"name": "lan"}, {"name": "spare", "state": "inactive"}]
    environment = NativeEnvironment()
    environment.filters.update(mathstuff.FilterModule().filters())
    values: dict[str, t.Any] = {"macvtap_networks_networks": networks}
    for name, text in yaml.safe_load((ROLE / "vars/main.yml").read_text()).items():
        values[name] = environment.from_string(text).render(values)
    assert values["macvtap_networks_absent"] == networks[:1]
    assert values["macvtap_networks_present"] == networks[1:]
    for name in ("site",):
        (play,) = [play for play in yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text()) if "roles" in play]
        roles = [role["role"].rpartition(".")[2] for role in play["roles"]]
        assert roles.index("macvtap_links") < roles.index("macvtap_networks") < roles.index("macvtap_domains")
        # Tasks run after the roles.
        assert [task["ansible.builtin.import_role"]["tasks_from"] for task in play["tasks"]] == ["removed"]
