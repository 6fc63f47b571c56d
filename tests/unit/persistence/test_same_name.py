# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is written under a name is another link than the declared one: it stays, as the modules for links leave it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import disruptions, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

from .planned import HOST, LINKS, WITHOUT_SYSTEMD, after, link, refused, vlan
from .planned_shims import shim

PROD = Link(
    "prod", 20, "vlan", parent="eth0", parent_index=2, vlan_id=20, vlan_protocol="802.1Q", alias="linuxvirt.macvtap"
)
DECLARED = vlan(name="prod")
ABSENT = {
    "another parent": vlan("eth1", name="prod", state="absent"),
    "another parent, by its address": vlan(str(LINKS["eth1"].mac), name="prod", state="absent"),
    "another parent, which is missing": vlan("eth9", name="prod", state="absent"),
    "another VLAN ID": vlan(id=30, name="prod", state="absent"),
    "another protocol": vlan(name="prod", protocol="802.1ad", state="absent"),
    "another kind": link("prod", None, state="absent"),
    "a shim": shim(name="prod", state="absent"),
    "another namespace": link("prod", netns="red"),
}


def having(*links: Link, on: Host = HOST) -> Host:
    return replace(on, links={**LINKS, **{one.name: one for one in links}})


def names(host: Host) -> set[str]:
    return set(planner.written_of(host.files.values()))


@pytest.mark.parametrize("there", [(), (PROD,)])
@pytest.mark.parametrize("what", ABSENT)
def test_another_link_of_the_name_stays(what: str, there: tuple[Link, ...]) -> None:
    host = after(having(*there), DECLARED)
    assert not planner.plan([ABSENT[what]], host).changed
    if what.startswith("another ") and "VLAN" in what:
        assert not vlans.plan([t.cast("t.Any", ABSENT[what].entry)], host.links).changed
    # It is not declared, so a purge removes it, and the message says so.
    assert names(after(host, ABSENT[what], purge=True)) == set()
    if there:
        planned = planner.plan([ABSENT[what]], host, purge=True)
        (lost,) = disruptions.of_plan(planner.resolved_of([ABSENT[what]], host), host, planned)
        assert (lost.link, lost.path) == ("prod", "purge")


@pytest.mark.parametrize("written", [link("prod"), shim(name="prod")])
@pytest.mark.parametrize("absent", [DECLARED, link("prod", None), shim(name="prod")])
def test_kinds_are_not_mixed_up(written: Declared, absent: Declared) -> None:
    host = after(HOST, written)
    gone = replace(absent, entry=replace(t.cast("t.Any", absent.entry), state="absent"))
    same = isinstance(absent.entry, type(written.entry))
    assert names(after(host, gone)) == (set() if same else {"prod"})


@pytest.mark.parametrize(
    "absent",
    [
        vlan(name="prod", state="absent"),
        vlan(state="absent"),
        vlan("lan-a", state="absent"),
        vlan("0000:03:00.0", name="prod", state="absent"),
    ],
)
def test_the_vlan_itself_goes(absent: Declared) -> None:
    assert after(after(HOST, DECLARED), absent).files == {}
    assert after(after(having(PROD), DECLARED), absent).files == {}


@pytest.mark.parametrize(
    ("written", "absent", "goes"),
    [
        ("lan-a", "lan-a", True),
        ("0000:03:00.0", "eth0", True),
        ("eth0", "0000:03:00.0", True),
        ("eth0", "eth1", False),
        ("0000:03:00.0", "02:00:00:00:00:02", False),
    ],
)
def test_a_vlan_whose_uplink_is_missing_goes_if_it_may_be_meant(written: str, absent: str, goes: bool) -> None:
    host = replace(after(HOST, vlan(written, name="prod")), links={})
    assert (after(host, vlan(absent, name="prod", state="absent")).files == {}) is goes


def test_a_vlan_of_something_else_with_the_name_of_another_one_is_not_written() -> None:
    host = replace(after(HOST, DECLARED), links=having(replace(PROD, vlan_id=30, alias=None)).links)
    for declared in (vlan(id=30), vlan(id=30, name="prod"), vlan(id=30, state="absent")):
        planned = planner.plan([declared], host)
        assert not planned.changed
    # Its name is taken.
    refused("vlans[0].name", "is not managed by this collection", replace(host, files={}), DECLARED)
    mt = replace(after(HOST, link("prod")), links=having(replace(PROD, alias=None)).links)
    assert not planner.plan([DECLARED], mt).changed
    refused("vlans[0].name", "prod is a name of prod, .* not managed by this collection", mt, vlan(id=30, name="prod"))


def test_what_two_entries_of_the_name_decide() -> None:
    """One is about another link, and the other one about what is written."""
    host = after(HOST, link("prod"))
    elsewhere = link("prod", netns="red", path="links[1]")
    assert names(after(host, ABSENT["another parent"], elsewhere)) == set()


def test_a_link_stays_on_a_vlan_with_the_name_of_one_that_goes() -> None:
    host = after(having(PROD), DECLARED)
    both = (vlan("eth1", name="prod", state="absent"), link("mt0", "prod"))
    assert names(after(host, *both)) == {"prod", "mt0"}
    refused("links[0].parent", "prod is declared absent", host, vlan(state="absent"), link("mt0", "prod"))


def test_a_moved_vlan_is_written_where_it_is_now() -> None:
    host = after(after(HOST, DECLARED), vlan("eth1", name="prod"))
    assert [path for path in host.files if path.startswith(LINKS_DIR)] == [f"{LINKS_DIR}/eth1"]
    assert names(after(host, vlan("eth1", name="prod", backend="none"))) == set()


def test_without_systemd_another_link_is_not_taken_for_the_declared_one() -> None:
    written = after(HOST, link("prod", "eth1"))
    host = replace(WITHOUT_SYSTEMD, files=written.files)
    (decision,) = planner.resolved_of([DECLARED], host).decisions.values()
    assert (decision.backend, decision.unchanged) == (None, False)
    assert names(after(host, DECLARED)) == {"prod"}
