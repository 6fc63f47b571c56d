# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is refused before a file is written: names, parents, duplicates, and backends that would not work."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    LINKS_DIR,
    TEMPLATE,
    UNMANAGED_FILE,
    Host,
)

from .planned import HOST, LINKS, STARTERS, WITHOUT_SYSTEMD, after, backends, link, refused, vlan


@pytest.mark.parametrize("first", ["bridge", "passthru"])
def test_links_that_cannot_exist_together_are_refused(first: str) -> None:
    other = {"bridge": "passthru", "passthru": "bridge"}[first]
    stale = after(HOST, link("mt0", mode=first, mac=None))
    refused("links[1].mode", "must be the only one on its parent", stale, link("mt1", mode=other, mac=None))
    assert planner.plan([link("mt1", mode=other, mac=None)], stale, purge=True).changed
    assert planner.plan([link("mt0", state="absent"), link("mt1", mode=other, mac=None)], stale).changed
    assert planner.plan([link("mt1", "eth1", mode=other, mac=None), vlan()], stale).changed


@pytest.mark.parametrize("path", [f"{LINKS_DIR}/eth0", TEMPLATE, UNMANAGED_FILE])
def test_an_unmanaged_file_is_an_error_only_if_it_is_in_the_way(path: str) -> None:
    host = replace(HOST, files={path: File(path, "# mine\n")})
    refused("", f"{path} is not managed by this collection", host, link())
    assert not planner.plan([link("mt1", parent="eth1", state="absent")], host, purge=True).changed


@pytest.mark.parametrize("manager", ["networkd", "networkmanager"])
@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth3"])
def test_managers_are_refused_for_links(manager: str, parent: str) -> None:
    why = {"networkd": "leaves the uplink without addresses", "networkmanager": "removes a link with its profile"}
    for declared in (link("mt0", parent, manager), vlan(parent, backend=manager)):
        refused(f"{declared.entry.path}.persistence", f"{why[manager]}.*set systemd", HOST, declared)


def test_ifupdown_is_refused_if_it_would_not_read_the_file() -> None:
    unsourced = replace(WITHOUT_SYSTEMD, interfaces_sourced=False)
    refused("links[0].persistence", "source /etc/network/interfaces.d", unsourced, link("mt0", "eth2", "ifupdown"))
    assert backends(replace(unsourced, systemd=True), link()) == {"mt0": "systemd"}


def test_errors_name_the_option() -> None:
    refused("links[0].alias", "control character", HOST, link(alias="two\nlines"))
    refused("links[*].name", "Choose another name", HOST, link("mt*"))
    refused("links[0].altnames[0]", "Choose another name", HOST, link(altnames=frozenset({"a*"})))
    refused("links[0].parent", "is required, since the link", HOST, link(parent=None))
    refused("links[0].parent", "there is no link eth7", HOST, link(parent="eth7"))


def test_names_of_unmanaged_links_are_refused() -> None:
    # A file of ours for it would take its addresses away at the next boot.
    refused("links[0].name", "a name of eth3, a physical", HOST, link("eth3", path="links[0]"))
    refused("links[0].name", "a name of eth3, a physical", HOST, link("lan-d", path="links[0]"))
    refused("vlans[0].name", "a name of eth3, a physical", HOST, vlan(name="eth3"))
    bridge = Link("br0", 9, "bridge")
    refused("links[0].name", "a name of br0, a bridge link", replace(HOST, links={**LINKS, "br0": bridge}), link("br0"))


def test_an_alternative_name_may_become_the_name_of_another_macvtap_link() -> None:
    there = Link("mt1", 9, "macvtap", parent="eth0", parent_index=2, mode="bridge", altnames=frozenset({"mt0"}))
    assert planner.plan([link("mt0")], replace(HOST, links={**LINKS, "mt1": there})).changed


@pytest.mark.parametrize(("backend", "on"), STARTERS)
def test_parents_that_the_kernel_refuses_are_refused(backend: str, on: Host) -> None:
    links = {
        **LINKS,
        "lo": LO,
        "mt9": Link("mt9", 9, "macvtap", parent="eth0", parent_index=2),
        "port": Link("port", 10, master="br0"),
        "br0": Link("br0", 11, "bridge"),
    }
    host = replace(on, links=links)
    for parent, why in (("lo", "loopback"), ("mt9", "is a macvtap link"), ("port", "port of the bridge br0")):
        refused("links[0].parent", why, host, link(parent=parent, backend=backend))
        # What arrives tagged on a port of a bridge goes to the VLAN first.
        if parent != "port":
            refused("vlans[0].parent", "macvtap link" if parent == "mt9" else why, host, vlan(parent, backend=backend))


def test_duplicates_are_refused() -> None:
    refused("links[0].name", "declared twice", HOST, link("mt0"), link("mt0", state="absent"))
    refused("links[0].name", "declared twice", HOST, link("mt0"), link("mt0", "eth1", backend="none"))
    refused("links[0].name", "twice, here and in vlans", HOST, vlan(name="mt0"), link("mt0"))
    refused("vlans[0].id", "VLAN 20", HOST, vlan(name="a"), vlan(name="b"))
    refused("vlans[0].name", "declared twice", HOST, vlan(name="a"), vlan(id=30, name="a", state="absent"))
    # In another network namespace it is another link.
    assert backends(HOST, link("mt0"), link("mt0", netns="x", backend="none")) == {"mt0": "systemd"}
    assert backends(HOST, link("mt0", netns="x", backend="none"), link("mt0")) == {"mt0": "systemd"}


def test_a_link_on_an_absent_vlan_is_refused() -> None:
    there = Link("lan20", 9, "vlan", "eth0", 2, vlan_id=20, vlan_protocol="802.1Q", alias=OWNER_ALIAS)
    going = vlan(name="lan20", state="absent")
    host = replace(HOST, links={**LINKS, "lan20": there})
    refused("links[0].parent", "absent in vlans", host, going, link("mt0", "lan20"))
    # vlan_link leaves it where it is.
    host = replace(HOST, links={**LINKS, "lan20": replace(there, alias=None)})
    assert backends(host, going, link("mt0", "lan20"))["mt0"] == "systemd"


@pytest.mark.parametrize(("backend", "on"), STARTERS)
def test_a_link_may_be_on_a_vlan_of_an_earlier_task(backend: str, on: Host) -> None:
    parent = "eth0"
    ours = Link("lan20", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=OWNER_ALIAS)
    declared = vlan(parent, name="lan20", backend=backend), link("mt0", "lan20", backend)
    first = replace(
        after(on, declared[0]),
        links={**LINKS, "lan20": ours},
        networkd={**on.networkd, 9: None},
    )
    assert after(first, declared[1]).files == after(on, *declared).files


# As ip of iproute2 5.9 (Debian 11) and 6.1 print it.
OLD_KEYWORDS = """\
Usage: ... macvtap mode MODE [flag MODE_FLAG] MODE_OPTS

MODE: private | vepa | bridge | passthru | source
MODE_FLAG: null | nopromisc
"""
KEYWORDS = """\
Usage: ... macvtap mode MODE [flag MODE_FLAG] MODE_OPTS [bcqueuelen BC_QUEUE_LEN]

MODE: private | vepa | bridge | passthru | source
MODE_FLAG: null | nopromisc | nodst
"""


@pytest.mark.parametrize(
    ("option", "value", "since"), [("bcqueuelen", 2000, "5.11"), ("bcqueuelen", 0, "5.11"), ("nodst", True, "5.14")]
)
def test_an_option_that_ip_does_not_know_is_refused(option: str, value: t.Any, since: str) -> None:
    """At boot ip would refuse the whole command, and there would be no link."""
    old, new, unknown = (replace(HOST, keywords=text) for text in (OLD_KEYWORDS, KEYWORDS, ""))
    declared = link(**{option: value})
    refused(f"links[0].{option}", f"does not know {option}.* {since} or newer, remove {option}", old, declared)
    for host in (new, unknown):
        assert planner.plan([declared], host).changed
    assert backends(old, link(backend="none", **{option: value})) == {"mt0": None}
    assert backends(old, link(promiscuous=False, mode="passthru", mac=None, nodst=False)) == {"mt0": "systemd"}
