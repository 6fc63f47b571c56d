# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""An uplink that is given by a MAC address is written by what it has at boot: there the current address is compared.

A .link file, netplan or a manager may set another address than the permanent one, and so may a guest in mode passthru.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

from .planned import HOST, LINKS, after, link, vlan
from .planned_shims import shim

PERMANENT, SET = "02:00:00:00:00:99", "02:00:00:00:00:02"
PCI = "0000:03:00.0"
DECLARED: dict[str, t.Callable[[str], Declared]] = {
    "link": lambda parent: link(parent=parent),
    "vlan": vlan,
    "shim": shim,
}


def host(*others: Link, **fields: t.Any) -> Host:
    """Return a host whose uplink has another MAC address than its permanent one."""
    uplink = replace(LINKS["eth0"], **{"mac": SET, "permanent_mac": PERMANENT, **fields})
    return replace(HOST, links={**LINKS, "eth0": uplink, **{one.name: one for one in others}})


def keys(on: Host, *declared: Declared) -> set[str]:
    paths = after(on, *declared).files
    return {path.removeprefix(f"{LINKS_DIR}/") for path in paths if path.startswith(f"{LINKS_DIR}/")}


@pytest.mark.parametrize("what", DECLARED)
@pytest.mark.parametrize("asked", [PERMANENT, "02-00-00-00-00-99"])
def test_a_permanent_address_that_the_uplink_does_not_have_is_not_written(what: str, asked: str) -> None:
    declared = DECLARED[what](asked)
    assert keys(host(), declared) == {PCI}
    assert keys(host(pci=None), declared) == {"eth0"}
    # Some cards have all of their ports at one address.
    assert keys(host(replace(LINKS["eth1"], pci=PCI)), declared) == {"eth0"}
    assert keys(host(mac=PERMANENT), declared) == {PERMANENT}
    assert not planner.plan([declared], after(host(), declared)).changed


@pytest.mark.parametrize("what", DECLARED)
def test_an_address_that_something_sets_is_not_written(what: str) -> None:
    """A manager sets it when udev has looked at the uplink already, and has not started the unit."""
    declared = DECLARED[what](SET)
    assert keys(host(), declared) == {PCI}
    assert keys(host(pci=None), declared) == {"eth0"}
    assert keys(host(replace(LINKS["eth1"], pci=PCI)), declared) == {"eth0"}
    for alone in (PERMANENT, None):
        on = host(mac=SET if alone is None else alone, permanent_mac=alone)
        assert keys(on, DECLARED[what](alone or SET)) == {alone or SET}
    assert not planner.plan([declared], after(host(), declared)).changed
    # What earlier versions wrote so moves.
    earlier = after(host(permanent_mac=SET), declared)
    assert keys(replace(host(), files=earlier.files), declared) == {PCI}


@pytest.mark.parametrize("what", DECLARED)
def test_an_alternative_name_that_udev_has_not_made_is_not_written(what: str) -> None:
    declared, made = DECLARED[what]("lan-a"), DECLARED[what]("eno1")
    # What is in its database is that of a link by its index.
    on = replace(host(altnames=frozenset({"lan-a", "eno1"})), udev_names={2: frozenset({"eno1"}), 4: frozenset()})
    assert keys(on, made) == {"altname:eno1"}
    assert keys(on, declared) == {PCI}
    without_pci = replace(on, links=host(altnames=frozenset({"lan-a"}), pci=None).links)
    assert keys(without_pci, declared) == {"eth0"}
    # Of a bridge it has made none.
    bridge = Link("br0", 12, "bridge", mac="02:00:00:00:00:12", altnames=frozenset({"br-a"}))
    assert keys(replace(host(bridge), udev_names={12: frozenset()}), DECLARED[what]("br-a")) == {"br0"}
    # It stays where udev is not asked, and where it has no answer.
    assert keys(replace(on, udev_names={}), declared) == {"altname:lan-a"}
    if what != "shim":
        by_ifupdown = replace(declared, backend="ifupdown")
        assert keys(replace(on, systemd=False, networkd={}, networkmanager={}, enabled=()), by_ifupdown) == {
            "altname:lan-a"
        }
    earlier = after(replace(on, udev_names={}), declared)
    assert keys(replace(on, files=earlier.files), declared) == {PCI}
    assert after(replace(on, files=earlier.files), DECLARED["vlan"]("lan-a")).files.keys() >= {f"{LINKS_DIR}/{PCI}"}


PASSTHRU = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="passthru", mac=SET)


def test_an_address_of_a_guest_changes_nothing() -> None:
    """It goes at the next boot. The guest starts and stops between runs."""
    declared = link(parent=PERMANENT, mode="passthru", mac=None)
    without, with_guest = host(replace(PASSTHRU, mac=PERMANENT), mac=PERMANENT), host(PASSTHRU)
    assert keys(without, declared) == keys(with_guest, declared) == {PERMANENT}
    for first, second in ((without, with_guest), (with_guest, without)):
        files = after(first, declared).files
        assert not planner.plan([declared], replace(second, files=files)).changed
    # On another uplink it explains nothing.
    elsewhere = replace(PASSTHRU, name="mt1", parent="eth1", parent_index=3)
    assert keys(host(elsewhere), link(parent=PERMANENT)) == {PCI}


def test_a_guest_does_not_hide_that_the_host_sets_another_address() -> None:
    declared = link(parent=PERMANENT, mode="passthru", mac=None)
    written = after(host(), declared)
    guests = replace(host(replace(PASSTHRU, mac="52:54:00:00:00:09"), mac="52:54:00:00:00:09"), files=written.files)
    assert not planner.plan([declared], guests).changed


@pytest.mark.parametrize("what", DECLARED)
def test_what_was_written_by_the_permanent_address_moves(what: str) -> None:
    declared = DECLARED[what](PERMANENT)
    earlier = after(host(mac=PERMANENT), declared)
    assert f"{LINKS_DIR}/{PERMANENT}" in earlier.files
    assert keys(replace(host(), files=earlier.files), declared) == {PCI}


def test_an_absent_vlan_is_found_by_the_permanent_address() -> None:
    earlier = after(host(mac=PERMANENT), vlan(PERMANENT, name="lan20"))
    assert after(replace(host(), files=earlier.files), vlan("eth0", state="absent")).files == {}


SET_BY_NM = "02:00:00:00:00:03"


@pytest.mark.parametrize(("asked", "found"), [(PERMANENT, f"mac-address={PERMANENT}"), (SET_BY_NM, "parent=eth1")])
def test_networkmanager_compares_the_permanent_address(asked: str, found: str) -> None:
    uplink = replace(LINKS["eth1"], mac=asked, permanent_mac=PERMANENT)
    files: t.Mapping[str, File] = after(
        replace(HOST, links={**LINKS, "eth1": uplink}), shim(asked, dhcp4=True, addresses=(), guests=())
    ).files
    (profile,) = (file.text for path, file in files.items() if path.endswith(".nmconnection"))
    assert f"\n{found}\n" in profile
    assert ("\nparent=" in profile) is (asked == SET_BY_NM)
