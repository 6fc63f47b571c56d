# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What of the files of shims stays and what goes: absent, purged and moved ones, VLANs under them, a second run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS as VLAN_MARK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared

from .planned_shims import HOST, LINKS, after, link, refused, shim, vlan


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2", "eth3"])
def test_purge_leaves_shims_and_absent_removes_them(parent: str) -> None:
    alone = after(HOST, shim(parent))
    beside = after(alone, link("mt0", parent), vlan())
    assert set(alone.files) < set(beside.files)
    assert after(beside, purge=True).files == alone.files
    # Even a link of the same name that is declared absent is not the shim.
    assert after(beside, link("host0", state="absent"), purge=True).files == alone.files
    links = after(HOST, link("mt0", parent), vlan())
    assert after(beside, shim(state="absent")).files == links.files
    assert after(alone, shim(state="absent", parent=None)).files == {}
    assert after(alone, shim(parent, backend="none")).files == {}


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_a_vlan_stays_while_a_shim_is_on_it(parent: str) -> None:
    lan = vlan(parent, name="lan20")
    made = Link("lan20", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=VLAN_MARK)
    host = replace(after(HOST, lan, shim("lan20"), link("mt0", parent)), links={**LINKS, "lan20": made})
    alone = after(HOST, lan, shim("lan20")).files
    # Of all that is not declared the VLAN stays, and what goes is what nothing is on.
    purged = planner.plan([], host, purge=True)
    assert predicted(purged, host.files) == alone
    (warning,) = purged.warnings
    assert warning.startswith("the configuration of lan20 stays: lan20 is the parent of host0, which")
    assert planner.plan([], after(HOST, lan), purge=True).warnings == ()
    # Nor does it go alone, but with the shim.
    going = vlan(parent, name="lan20", state="absent")
    refused("vlans[0]", "lan20 is the parent of host0, which could not be created", host, going)
    refused("vlans[0]", "lan20 is the parent of host0", host, going, shim(state="present", parent=parent, name="b"))
    assert after(host, going, shim(state="absent")).files == after(HOST, link("mt0", parent)).files
    assert after(after(host, shim(parent)), going).files == after(HOST, link("mt0", parent), shim(parent)).files
    # Who keeps it no longer is told of the shim.
    (warning,) = planner.plan([replace(lan, backend="none")], host).warnings
    assert warning.startswith("the configuration of lan20 stays: lan20 is the parent of host0")


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_a_vlan_of_vlans_stays_while_a_link_is_on_it(parent: str) -> None:
    outer, inner = vlan(parent, name="lan20"), Declared(DesiredVlan("lan20", 30, path="vlans[1]", name="lan30"), "auto")
    host = after(HOST, outer, inner, shim("lan30"))
    assert not planner.plan([], host, purge=True).changed
    refused("vlans[0]", "lan20 is the parent of lan30", host, vlan(parent, name="lan20", state="absent"))
    # A link that is declared has its parent kept as well.
    host = after(HOST, outer, link("mt0", "lan20"), link("mt1", parent, mac="52:54:00:00:00:08"))
    made = Link("lan20", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=VLAN_MARK)
    host = replace(host, links={**LINKS, "lan20": made})
    assert after(host, link("mt0", "lan20"), purge=True).files == after(HOST, outer, link("mt0", "lan20")).files


def test_an_absent_shim_does_not_remove_the_link_of_that_name() -> None:
    links = after(HOST, link("host0"))
    assert not planner.plan([shim(state="absent")], links).changed


@pytest.mark.parametrize("dhcp4", [False, True])
def test_a_shim_that_moves_leaves_nothing_behind(dhcp4: bool) -> None:
    moved = after(after(HOST, shim(dhcp4=dhcp4)), shim("eth1", dhcp4=dhcp4))
    assert moved.files == after(HOST, shim("eth1", dhcp4=dhcp4)).files
    assert after(moved, shim()).files == after(HOST, shim()).files


@given(
    st.sampled_from(["eth0", "eth1", "eth2"]),
    st.sampled_from(["eth0", "eth1", "eth2"]),
    st.sampled_from(["present", "absent"]),
    st.booleans(),
)
def test_a_second_run_changes_nothing(first: str, second: str, state: str, purge: bool) -> None:
    others = [link("mt0", first), vlan(second)]
    host = after(after(HOST, shim(first)), *others, purge=purge)
    once = after(host, shim(second, state=state))
    assert not planner.plan([*others, shim(second, state=state)], once, purge=purge).changed
    assert once.files == after(HOST, *others, shim(second, state=state)).files


def test_purge_of_shims_takes_what_is_written_of_undeclared_ones_and_only_that() -> None:
    kept, gone = shim(name="host0"), shim("eth1", "host1", mac="52:54:00:00:00:99", path="shims[1]")
    host = after(HOST, kept, gone, link())
    assert planner.purged_shims([kept, gone], host) == []
    purged = planner.purged_shims([kept], host)
    assert [(one.entry.name, one.entry.state) for one in purged] == [("host1", "absent")]
    assert after(host, kept, *purged).files == after(HOST, kept, link()).files
    # An empty list declares none.
    assert after(host, *planner.purged_shims([], host)).files == after(HOST, link()).files
    # What is declared under another kind is not in the list of shims.
    assert len(planner.purged_shims([link("host0")], host)) == 2
