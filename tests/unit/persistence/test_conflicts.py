# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links that cannot exist together after a reboot are refused, even if an earlier run wrote one of them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

from .planned import HOST, LINKS, MAC, after, link, refused, vlan
from .planned_shims import shim as shim_on

UPLINKS_MAC = "02:00:00:00:00:02"
OTHER = "52:54:00:00:00:09"


def shim(parent: str = "eth0", mac: str = MAC) -> Declared:
    return shim_on(parent, mac=mac)


def accepted(host: Host, *declared: Declared, purge: bool = False) -> bool:
    return planner.plan(declared, host, purge=purge).changed


@pytest.mark.parametrize("parent", ["eth0", UPLINKS_MAC, "0000:03:00.0", "lan-a"])
def test_a_renamed_link_is_not_held_up_by_its_old_name(parent: str) -> None:
    """The stale link, which sorts first, would have the guest's MAC address at boot."""
    stale, renamed = after(HOST, link("mt0", parent)), link("mt1")
    message = (
        f"^links.1..mac: {MAC} is also the MAC address of mt0, which an earlier run wrote for the next boot: one of "
        r"the two would stay down. If mt0 is not to exist, set state: absent for it in links \(or purge\), or choose"
    )
    refused("links[1].mac", message, stale, renamed)
    refused("links[0].mac", "of mt1, which an earlier run", after(HOST, renamed), link("mt0", parent))
    assert accepted(stale, link("mt0", state="absent"), renamed)
    assert accepted(stale, renamed, purge=True)
    assert accepted(stale, link("mt0", parent, mac=OTHER), renamed)
    assert accepted(stale, link("mt1", mac=OTHER))
    # The address has to be unique on one parent alone.
    assert accepted(stale, link("mt1", "eth1"))


def test_macvtap_links_and_shims_share_the_addresses_of_a_parent() -> None:
    refused("links[0].mac", "of host0, .* set state: absent for it in shims, or choose", after(HOST, shim()), link())
    refused("shims[0].mac", r"of mt0, .* set state: absent for it in links \(or purge\)", after(HOST, link()), shim())
    assert accepted(after(HOST, link()), shim("eth1"))


def test_links_of_one_run_name_each_other() -> None:
    refused("links[0].mac", r"of mt1, declared in links\[1\]: .*Choose another address", HOST, link("mt0"), link("mt1"))
    taken = link("mt1", altnames=frozenset({"mt0"}), mac=OTHER)
    refused("links[0].name", r"name of mt1, declared in links\[1\]: .*Choose another name", HOST, link("mt0"), taken)


@pytest.mark.parametrize("parent", ["eth0", UPLINKS_MAC, "lan-a"])
def test_a_vlan_under_two_names(parent: str) -> None:
    """The kernel has each VLAN once on a parent."""
    stale = after(HOST, vlan(parent, name="a"))
    why = (
        r"VLAN 20 \(802.1Q\) of eth0 is also a, .*would not be created. If a is not to exist, .* in vlans \(or purge\)"
    )
    refused("vlans[0].id", why, stale, vlan(name="b"))
    assert accepted(stale, vlan(name="b"), purge=True)
    assert accepted(stale, vlan(name="b", id=30))
    assert accepted(stale, vlan("eth1", name="b"))
    assert accepted(stale, vlan(name="b", protocol="802.1ad"))


@pytest.mark.parametrize(
    ("first", "second", "option"),
    [
        (
            link("mt0", altnames=frozenset({"web", "x"})),
            link("mt1", mac=OTHER, altnames=frozenset({"web"})),
            "altnames",
        ),
        (link("mt0", altnames=frozenset({"mt1"})), link("mt1", mac=OTHER), "name"),
        (link("mt0"), link("mt1", mac=OTHER, altnames=frozenset({"mt0"})), "altnames"),
        # More than one command gives a link that many.
        (link("mt0", altnames=frozenset({*"abcdefgh", "mt1"})), link("mt1", "eth1"), "name"),
        (vlan("eth1", name="web"), link("mt1", altnames=frozenset({"web"})), "altnames"),
        (link("mt0", altnames=frozenset({"web"})), vlan("eth1", name="web"), "name"),
    ],
)
def test_a_name_of_two_links(first: Declared, second: Declared, option: str) -> None:
    stale = after(HOST, first)
    why = f"is also a name of .*, which an earlier run wrote.*set state: absent for it in {first.entry.path[:5]}"
    refused(f"{second.entry.path}.{option}", why, stale, second)
    assert accepted(stale, second, purge=True)


@pytest.mark.parametrize("parent", ["eth0", UPLINKS_MAC])
def test_the_address_of_the_parent(parent: str) -> None:
    """The kernel creates such a link, and never sets it up."""
    why = f"{UPLINKS_MAC} is the MAC address of eth0, the parent itself"
    refused("links[0].mac", why, HOST, link(mac=UPLINKS_MAC, parent=parent))
    refused("shims[0].mac", why, HOST, shim(parent, UPLINKS_MAC))
    assert accepted(HOST, vlan(parent, mac=UPLINKS_MAC), link("mt0", "eth1", mac=UPLINKS_MAC))


def test_the_address_of_a_vlan_below() -> None:
    on_it = link("mt0", "lan20", mac=UPLINKS_MAC)
    # A VLAN has its parent's, unless it has its own.
    refused("links[0].mac", "MAC address of lan20, the parent itself", HOST, vlan(name="lan20"), on_it)
    assert accepted(HOST, vlan(name="lan20", mac=OTHER), on_it)
    own = vlan(name="lan20", mac=MAC)
    refused("links[0].mac", "MAC address of lan20, the parent itself", HOST, own, link("mt0", "lan20"))
    stale = after(HOST, vlan(name="lan20"), link("mt0", "lan20"))
    refused("vlans[0].mac", "of mt0, a link on lan20, which an earlier run wrote .*: mt0 would stay down", stale, own)
    assert accepted(stale, own, link("mt0", "lan20", mac=OTHER))


def test_an_address_that_a_guest_has_lent_to_the_parent() -> None:
    """A guest on a link in mode passthru gives the uplink its own address. After a reboot the uplink has its own."""
    passthru = Link("mt0", 9, "macvtap", "eth0", 2, mode="passthru", mac=MAC)
    uplink = replace(LINKS["eth0"], mac=MAC, permanent_mac=UPLINKS_MAC)
    host = replace(HOST, links={**LINKS, "eth0": uplink, "mt0": passthru})
    assert accepted(host, link("mt0", mac=MAC))
    refused("links[0].mac", "the parent itself", host, link("mt0", mac=UPLINKS_MAC))


def test_what_earlier_runs_wrote_is_not_held_against_each_other() -> None:
    stale = after(HOST, link("mt0"), link("mt1", mac=OTHER))
    path = f"{LINKS_DIR}/eth0"
    edited = replace(stale, files={**stale.files, path: File(path, stale.files[path].text.replace(OTHER, MAC.upper()))})
    assert accepted(edited, link("mt2", mac="52:54:00:00:00:08"))
    refused("links[2].mac", "of mt0, which", edited, link("mt2"))
    assert accepted(edited, link("mt1", mac=OTHER))


@pytest.mark.parametrize("modes", [("bridge", "passthru"), ("passthru", "bridge")])
@pytest.mark.parametrize("parent", [UPLINKS_MAC, "0000:03:00.0", "lan-a"])
def test_passthru_is_alone_on_an_uplink_by_whichever_name(modes: tuple[str, str], parent: str) -> None:
    first, second = (t.cast("t.Any", {"mode": mode, "mac": None}) for mode in modes)
    refused(
        "links[1].mode",
        "only one on its parent; eth0",
        after(HOST, link("mt0", **first)),
        link("mt1", parent, **second),
    )
