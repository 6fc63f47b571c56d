# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_domains takes whatever the module takes."""

from __future__ import annotations

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
