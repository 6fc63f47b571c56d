# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The role macvtap_links takes whatever the modules take."""

from __future__ import annotations

import yaml
from support import ROOT, shape

from ansible_collections.linuxvirt.macvtap.plugins.modules import macvtap_link, macvtap_persistence, vlan_link

ROLE = ROOT / "roles/macvtap_links"


def test_a_vlan_has_every_option_of_the_module() -> None:
    specs = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]
    documented = yaml.safe_load(vlan_link.DOCUMENTATION)["options"]
    assert specs["main"]["options"] == specs["absent"]["options"]
    declared = specs["main"]["options"]["macvtap_links_vlans"]["options"]
    # Said of each link for the next boot, and to no module that makes links now.
    kept = declared.pop("persistence")
    assert shape(declared) == shape(documented["vlans"]["suboptions"])
    written = yaml.safe_load(macvtap_persistence.DOCUMENTATION)["options"]
    for option in ("vlans", "links"):
        backend = written[option]["suboptions"]["backend"]
        assert "persistence" in backend["aliases"]
        assert kept["choices"] == backend["choices"]


def test_what_is_written_down_of_a_link_has_every_option_of_the_modules_that_make_it() -> None:
    written = yaml.safe_load(macvtap_persistence.DOCUMENTATION)["options"]
    for module, option in ((vlan_link, "vlans"), (macvtap_link, "links")):
        made = yaml.safe_load(module.DOCUMENTATION)["options"][option]["suboptions"]
        own = {name: spec for name, spec in written[option]["suboptions"].items() if name != "backend"}
        assert shape(own) == shape(made)
