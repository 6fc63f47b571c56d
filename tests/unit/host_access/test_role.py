# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_host_access takes whatever the modules take."""

from __future__ import annotations

import re

import yaml
from support import ROOT, shape

from ansible_collections.linuxvirt.macvtap.plugins.modules import macvtap_host_access, macvtap_persistence

ROLE = ROOT / "roles/macvtap_host_access"


def test_a_shim_has_every_option_of_the_modules() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert specs["main"]["options"] == specs["absent"]["options"]
    declared = specs["main"]["options"]["macvtap_host_access_shims"]["options"]
    made = yaml.safe_load(macvtap_host_access.DOCUMENTATION)["options"]["shims"]["suboptions"]
    written = yaml.safe_load(macvtap_persistence.DOCUMENTATION)["options"]["shims"]["suboptions"]
    # Said of each shim for the next boot, and not to the module that makes them now.
    kept, in_module = declared.pop("persistence"), written.pop("persistence")
    assert shape(declared) == shape(made) == shape(written)
    assert kept["choices"] == in_module["choices"]


def test_what_a_shim_leaves_out_can_be_said_for_all() -> None:
    left_out = yaml.safe_load((ROLE / "vars/main.yml").read_text())["macvtap_host_access_left_out"]
    whole = re.findall(r"'(\w+)': macvtap_host_access_\1\b", left_out)
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    # A name and a MAC address are one shim's.
    assert {*whole, "name", "mac"} == set(specs["macvtap_host_access_shims"]["options"])
    assert {f"macvtap_host_access_{name}" for name in whole} == set(specs) - {
        "macvtap_host_access_shims",
        # Of the task, not of a shim.
        "macvtap_host_access_allow_host_disconnect",
        "macvtap_host_access_purge",
        # Of all roles.
        "macvtap_uplink",
    }
