# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whose link it is: guests change addresses, others change names, and nftables is flushed meanwhile."""

from __future__ import annotations

import typing as t

import direct_iface
import guarded_links
import pytest
from guarded_links import GuardedLinks
from guest_frames import FOREIGN, MAC, NEIGHBOUR

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
RECORDS = "/run/linuxvirt-macvtap/links"


@pytest.fixture
def guest(hv: Hypervisor) -> t.Iterator[GuardedLinks]:
    yield from guarded_links.made(hv)


@pytest.mark.parametrize("stolen", [FOREIGN, NEIGHBOUR])
@pytest.mark.parametrize("how", ["unit", "udev", "task"])
def test_a_guest_that_has_changed_its_address_gets_its_guard_back(guest: GuardedLinks, how: str, stolen: str) -> None:
    before = guest.links()
    assert before == {MAC: ["guest0"], NEIGHBOUR: ["guest1"]}
    guest.ip("set", "guest0", "address", stolen)
    guest.flush()
    if how == "unit":
        guest.program("load")
    elif how == "udev":
        guest.program("link", "guest0")
        guest.program("link", "guest1")
    else:
        guest.run(guards=[{"mac": NEIGHBOUR}, {"mac": MAC}])
    assert guest.links() == before
    # The frames whose source is either address, and those of an honest guest.
    assert guest.passes("guest0", "mac", "mac-of-neighbour", "own ip4") == ["own ip4"]


def test_what_starts_again_changes_no_guard_of_a_guest_that_has_another_address(guest: GuardedLinks) -> None:
    before = guest.links()
    guest.ip("set", "guest0", "address", NEIGHBOUR)
    for words in (["load"], ["link", "guest0"]):
        guest.program(*words)
        assert guest.links() == before


def test_two_links_that_swap_their_addresses_keep_their_guards(guest: GuardedLinks) -> None:
    before = guest.links()
    for link, mac in (("guest0", FOREIGN), ("guest1", MAC), ("guest0", NEIGHBOUR)):
        guest.ip("set", link, "address", mac)
    assert guest.run(guards=[{"mac": MAC}, {"mac": NEIGHBOUR}])["changed"] is False
    guest.flush()
    guest.program("load")
    assert guest.links() == before
    assert guest.passes("guest0", "mac-of-neighbour", "own ip4") == ["own ip4"]


def test_a_link_with_the_name_and_the_index_of_another_is_another(guest: GuardedLinks) -> None:
    index = guest.index("guest0")
    guest.ip("del", "guest0")
    guest.add("guest0", FOREIGN, "index", index)
    assert guest.links()[MAC] == []
    # The kernel applies what it has for that name and index.
    guest.program("load")
    assert guest.links()[MAC] == []
    assert guest.passes("guest0", "mac") == ["mac"]
    guest.run(mac=FOREIGN)
    assert guest.links() == {MAC: [], FOREIGN: ["guest0"], NEIGHBOUR: ["guest1"]}


def test_a_link_that_is_renamed_keeps_its_guard(guest: GuardedLinks) -> None:
    # As udev does, right after.
    guest.ip("set", "guest0", "address", FOREIGN)
    guest.ip("set", "guest0", "name", "renamed0")
    guest.program("link", "renamed0")
    assert guest.links()[MAC] == ["renamed0"]
    assert guest.passes("renamed0", "mac", "own ip4") == ["own ip4"]
    assert "guest0" not in guest.hv.nft("list table netdev linuxvirt_macvtap")
    # The former name is nobody's.
    guest.add("guest0", "52:54:00:00:0d:04")
    guest.program("load")
    assert guest.links()[MAC] == ["renamed0"]
    guest.ip("set", "renamed0", "name", "renamed1")
    guest.run(mac=MAC)
    assert guest.links()[MAC] == ["renamed1"]
    assert guest.passes("renamed1", "mac", "own ip4") == ["own ip4"]


def test_a_record_that_is_damaged_is_not_used(guest: GuardedLinks) -> None:
    guest.ip("set", "guest0", "address", FOREIGN)
    guest.hv.run("sh", "-c", f"cd {RECORDS} && for one in *; do rm $one; echo nonsense >$one; done")
    guest.flush()
    messages = guest.program("load")
    assert "is damaged" in messages
    assert guest.links() == {MAC: [], NEIGHBOUR: ["guest1"]}
    assert "is damaged" in str(guest.run(mac=NEIGHBOUR)["warnings"])
    # With the next guard that is put on the link it is replaced.
    guest.run(link="guest0")
    assert "warnings" not in guest.run(mac=NEIGHBOUR)


def test_a_record_that_is_missing_is_written_again(guest: GuardedLinks) -> None:
    guest.hv.run("rm", "-r", RECORDS)
    assert guest.run(guards=[{"mac": MAC}, {"mac": NEIGHBOUR}])["changed"] is False
    assert len(guest.hv.run("ls", RECORDS).split()) == 2
    # None of a link that is gone, and none of a guard.
    guest.ip("del", "guest1")
    guest.run(mac=MAC, state="absent")
    assert guest.hv.run("ls", RECORDS).split() == []
