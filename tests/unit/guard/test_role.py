# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_guard takes what the module takes but for a link, and runs before all that creates links."""

from __future__ import annotations

import yaml
from support import ROOT, documented, shape

from ansible_collections.linuxvirt.macvtap.plugins.modules import macvtap_guard

ROLE = ROOT / "roles/macvtap_guard"


def test_a_guard_has_every_option_of_the_module_but_link() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert specs["main"]["options"] == specs["absent"]["options"]
    declared = specs["main"]["options"]["macvtap_guard_guards"]["options"]
    del declared["mac"]["required"]
    expected = dict(documented(macvtap_guard)["guards"]["suboptions"])
    del expected["link"]
    assert shape(declared) == shape(expected)


def test_guards_come_before_links_and_go_after_them() -> None:
    for name in ("site",):
        (play,) = [play for play in yaml.safe_load((ROOT / f"playbooks/{name}.yml").read_text()) if "roles" in play]
        roles = [role["role"].rpartition(".")[2] for role in play["roles"]]
        assert roles.index("macvtap_kernel") < roles.index("macvtap_guard") < roles.index("macvtap_links")
    (play,) = yaml.safe_load((ROOT / "playbooks/teardown.yml").read_text())
    assert play["tasks"][-1]["ansible.builtin.import_role"]["name"] == "linuxvirt.macvtap.macvtap_guard"
