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
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
RECORDS = "/run/linuxvirt-macvtap/links"
GUARD = "/etc/linuxvirt-macvtap/guard"


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


@pytest.mark.parametrize("stored", [True, False])
def test_a_record_tells_whose_link_it_is_for_a_guard_that_has_gone_as_well(guest: GuardedLinks, stored: bool) -> None:
    """As after a flush, if the guard is not stored, or the file is gone."""
    guest.run(mac=MAC, persistent=stored)
    guest.ip("set", "guest0", "address", FOREIGN)
    guest.flush()
    guest.hv.run("rm", "-f", "/etc/linuxvirt-macvtap/guards.json")
    # Its address is that of another one.
    assert guest.run(guards=[{"mac": FOREIGN}, {"mac": MAC}], persistent=stored)["changed"] is True
    assert {**guest.links(), NEIGHBOUR: []} == {MAC: ["guest0"], FOREIGN: [], NEIGHBOUR: []}
    assert guest.run(guards=[{"mac": MAC}, {"mac": FOREIGN}], persistent=stored)["changed"] is False


@pytest.mark.parametrize("gone", ["loaded", "flushed", "chain of the link", "all"])
def test_no_record_is_left_of_a_guard_that_was_removed(guest: GuardedLinks, gone: str) -> None:
    if gone == "chain of the link":
        chain = "netdev linuxvirt_macvtap link_guest0"
        guest.hv.nft(f"flush chain {chain}; delete chain {chain}")
    elif gone != "loaded":
        guest.flush()
    if gone == "all":
        guest.hv.run("rm", "/etc/linuxvirt-macvtap/guards.json")
    guest.run(guards=[{"mac": MAC, "state": "absent"}, {"mac": NEIGHBOUR}])
    # The host gives the link to another guest, which has no guard.
    guest.ip("set", "guest0", "address", FOREIGN)
    assert guest.run(guards=[{"mac": MAC}, {"mac": NEIGHBOUR}])["changed"] is True
    assert guest.run(guards=[{"mac": MAC}, {"mac": NEIGHBOUR}])["changed"] is False
    guest.flush()
    guest.program("load")
    assert guest.links() == {MAC: [], NEIGHBOUR: ["guest1"]}
    assert guest.passes("guest0", "mac", "own ip4", own=FOREIGN) == ["mac", "own ip4"]


def test_no_record_is_left_of_a_guard_that_went_with_its_link(guest: GuardedLinks) -> None:
    guest.flush()
    given = {"links": [{"name": "guest0", "mac": MAC, "parent": "up1", "guard": {"state": "absent"}}]}
    direct_iface.ok(run_module("macvtap_link", given, prefix=guest.hv.prefix))
    guest.run(guards=[{"mac": NEIGHBOUR}])
    assert len(guest.hv.run("ls", RECORDS).split()) == 1


@pytest.mark.parametrize("present", [True, False])
def test_a_guard_goes_by_the_name_of_its_link_whether_that_is_there_or_not(guest: GuardedLinks, present: bool) -> None:
    if not present:
        guest.ip("del", "guest0")
    guest.run(link="guest0", state="absent")
    assert guest.links() == {NEIGHBOUR: ["guest1"]}


@pytest.mark.parametrize("change", [{}, {"rate": 9}, {"state": "absent"}])
def test_a_task_that_changes_a_guard_restores_what_loads_it_as_well(
    guest: GuardedLinks, change: dict[str, t.Any]
) -> None:
    hook, rules = "/etc/libvirt/hooks/qemu.d/macvtap-guard", "/etc/udev/rules.d/91-macvtap-guard.rules"
    guest.hv.run("sh", "-c", f"chmod 644 {hook}; rm {rules} {GUARD}")
    guest.flush()
    given = {"guards": [{"mac": MAC, **change}, {"mac": NEIGHBOUR}]}
    assert guest.run(**given)["changed"] is True
    guest.hv.run("sh", "-c", f"test -x {hook} && test -e {rules} && test -e {GUARD}")
    assert guest.run(**given)["changed"] is False
    # Also where the guards are those of links, and the links change, or nothing else does.
    guest.flush()
    for mode in ("private", "bridge", "bridge"):
        guest.hv.run("rm", rules)
        link: dict[str, t.Any] = {"name": "guest1", "mac": NEIGHBOUR, "parent": "eth0", "mode": mode, "guard": {}}
        done = direct_iface.ok(run_module("macvtap_link", link, prefix=guest.hv.prefix))
        assert done["changed"] is True
        guest.hv.run("test", "-e", rules)


_STOPPED_AT = """
import os, signal
from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
write = _files.write
def stopped(path, *values, **how):
    write(path, *values, **how)
    if path == "/etc/linuxvirt-macvtap/guards.json":
        _files.write = write
        signal.raise_signal(signal.SIGTERM)
_files.write = stopped
"""


@pytest.mark.parametrize("how", ["keep", "rollback"])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_a_signal_right_after_a_guard_was_stored_leaves_what_loads_it(
    guest: GuardedLinks, last: bool, how: str
) -> None:
    both = [{"mac": MAC, "state": "absent"}, {"mac": NEIGHBOUR, "state": "absent"}]
    if not last:
        guest.run(guards=both)
    given = {"guards": both if last else [{"mac": MAC}], "on_error": how}
    stopped = run_module("macvtap_guard", given, prefix=guest.hv.prefix, patch=_STOPPED_AT)
    assert stopped["msg"].startswith("stopped by SIGTERM. The ")
    there = last is (how == "rollback")
    for path in ("/etc/linuxvirt-macvtap/guards.json", GUARD, "/etc/libvirt/hooks/qemu.d/macvtap-guard"):
        assert guest.hv.run("sh", "-c", f"[ -e {path} ] && echo there || true") == ("there\n" if there else "")
    assert bool(guest.links().get(MAC)) is there
