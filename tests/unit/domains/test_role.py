# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_domains takes whatever the module takes."""

from __future__ import annotations

import pytest
import yaml
from support import ROOT, shape

from ansible_collections.linuxvirt.macvtap.plugins.modules import libvirt_direct_iface

ROLE = ROOT / "roles/macvtap_domains"


def test_an_interface_has_every_option_of_the_module() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    documented = yaml.safe_load(libvirt_direct_iface.DOCUMENTATION)["options"]
    assert specs["main"]["options"] == specs["absent"]["options"]
    declared = specs["main"]["options"]["macvtap_domains_interfaces"]["options"]
    assert shape(declared) == shape(documented["interfaces"]["suboptions"])


@pytest.mark.parametrize("option", ["allmulticast", "trust_guest_rx_filters"])
def test_either_way_to_receive_multicast_can_be_set_for_all_interfaces(option: str) -> None:
    variable = f"macvtap_domains_{option}"
    task, *_others = yaml.safe_load((ROLE / "tasks/main.yml").read_text())
    default = "" if option == "allmulticast" else " | default(omit)"
    assert task["linuxvirt.macvtap.libvirt_direct_iface"][option] == f"{{{{ {variable}{default} }}}}"
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    assert specs["main"]["options"][variable]["type"] == "bool"
    assert f"| `{variable}` |" in (ROLE / "README.md").read_text()
