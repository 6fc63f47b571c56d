# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files by which a network manager made the links in earlier versions: an upgrade, and what stays until then."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.persistence import earlier

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    INTERFACES_FILE,
    TEMPLATE,
    UNIT,
    UNMANAGED_FILE,
    Declared,
)

from .planned import HOST, KEYFILES, LINKS, MAC, after, before, link, refused, vlan, warnings


def test_the_symbolic_links_by_which_earlier_versions_started_the_unit_are_removed() -> None:
    wants = "/etc/systemd/system/sys-subsystem-net-devices-eth0.device.wants/macvtap-links@eth0.service"
    host = after(HOST, link())
    upgraded = planner.plan([link()], replace(host, files={**host.files, wants: File(wants, target=TEMPLATE)}))
    assert [(step.target, step.after) for step in upgraded.steps] == [(wants, None)]


def old(parent: str) -> list[Declared]:
    return [vlan(parent), link("mt0", f"{parent}.20", tap_group="kvm", alias="a"), link("mt1", parent, mac=None)]


@pytest.mark.parametrize(("manager", "parent"), earlier.UPLINKS.items())
def test_an_upgrade_writes_new_files_before_it_removes_old_ones(manager: str, parent: str) -> None:
    was = before(manager)
    planned = planner.plan([*old(parent), link("mt2", parent, state="absent")], was)
    # The shim is another task's.
    host0 = {path for path, file in was.files.items() if "host0" in file.text + path}
    assert {*predicted(planned, was.files)} == {*after(HOST, *old(parent)).files} | host0
    new = [step.before is None for step in planned.steps]
    assert new == sorted(new, reverse=True)
    assert not planner.plan(old(parent), after(was, *old(parent), link("mt2", parent, state="absent"))).changed


@pytest.mark.parametrize(("manager", "parent"), earlier.UPLINKS.items())
def test_files_of_earlier_versions_stay_until_their_links_are_declared_or_purged(manager: str, parent: str) -> None:
    was = before(manager)
    assert not planner.plan([], was).changed
    beside = after(was, link("other", "eth3")).files
    # Of the unit's own file the text is the new one.
    assert {path for path, file in was.files.items() if beside[path] != file} <= {UNIT}
    left = after(was, purge=True).files.values()
    assert all("host0" in one.text + one.path for one in left)
    assert left
    gone = [vlan(parent, state="absent"), *(link(name, state="absent") for name in ("mt0", "mt1", "mt2"))]
    assert {*after(was, *gone).files} == {*after(was, purge=True).files}
    # One of them alone takes nothing of the others along.
    (mt1,) = (replace(one, backend="none") for one in old(parent)[2:])
    names = {path for path in was.files if "mt1" not in path}
    assert {*after(was, mt1).files} == names
    assert not [one for one in after(was, mt1).files.values() if "mt1" in one.text]


def test_a_link_created_by_networkmanager_keeps_its_profile_until_the_next_boot() -> None:
    made = Link("mt1", 9, "macvtap", "eth1", 3, mode="bridge", mac=MAC)
    path = f"{KEYFILES}/macvtap-mt1.nmconnection"
    was = before("networkmanager")
    uuid = was.files[path].text.partition("uuid=")[2].partition("\n")[0]
    was = replace(was, links={**LINKS, "mt1": made}, networkmanager={3: "theirs", 9: uuid})
    between = after(was, link("mt1", "eth1"))
    assert "[connection]\nautoconnect=false\n" in between.files[path].text
    assert UNMANAGED_FILE not in between.files
    assert "the first run after that removes" in warnings(was, link("mt1", "eth1"))[0]
    assert not planner.plan([link("mt1", "eth1")], between).changed
    booted = after(replace(between, networkmanager={3: "theirs", 9: ""}), link("mt1", "eth1"))
    assert path not in booted.files
    assert "interface-name:mt1" in booted.files[UNMANAGED_FILE].text


def test_ifupdown2_keeps_the_stanzas_of_existing_links() -> None:
    made = Link("mt1", 9, "macvtap", "eth2", 4, mode="bridge", mac=MAC)
    was = before("ifupdown", ifupdown2=True, links={**LINKS, "mt1": made})
    assert after(was, link("mt1", "eth2")).files[INTERFACES_FILE] == was.files[INTERFACES_FILE]
    assert "ifreload -a would set it down" in warnings(was, link("mt1", "eth2"))[0]
    refused("links[1].persistence", "only on hosts without systemd", was, link("mt1", "eth2", "ifupdown"))
