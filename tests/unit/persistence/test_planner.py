# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which backend creates a link, and which files are added, changed and removed."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    INTERFACES_FILE,
    LINKS_DIR,
    PROGRAM,
    TEMPLATE,
    UNIT,
    UNIT_LINK,
    UNMANAGED_FILE,
    UPLINKS_FILE,
    Host,
)

from .planned import (
    ETC,
    HOST,
    LINKS,
    MAC,
    STARTERS,
    WITHOUT_SYSTEMD,
    after,
    backends,
    block,
    link,
    refused,
    vlan,
    warnings,
)

# who


def test_the_unit_creates_links_under_every_manager() -> None:
    found = backends(HOST, link("a0", "eth0"), link("b1", "eth1"), link("c2", "eth2"), vlan("eth3"))
    assert set(found.values()) == {"systemd"}
    assert backends(WITHOUT_SYSTEMD, link("mt0", "eth2", "ifupdown")) == {"mt0": "ifupdown"}
    # It would be the same program at a later time, and not again when the uplink comes back.
    refused("links[0].persistence", "only on hosts without systemd.*set systemd", HOST, link(backend="ifupdown"))


def test_without_systemd_nothing_is_written_with_one_warning() -> None:
    host = replace(HOST, systemd=False)
    declared = [link("mt0", "eth3"), link("mt1", "eth3", mac=None), vlan("eth3"), link("mt2", "eth3.20")]
    assert not planner.plan(declared, host).changed
    (warning,) = warnings(host, *declared)
    assert warning.startswith(
        "no configuration is written for eth3.20, mt0, mt1, mt2, and what earlier runs wrote stays: systemd"
    )
    assert "macvtap_links_persistence" in warning
    refused("links[0].persistence", "systemd does not run on this host", host, link(backend="systemd"))
    assert backends(host, link(parent="eth2", backend="ifupdown")) == {"mt0": "ifupdown"}


@pytest.mark.parametrize("purge", [False, True])
def test_earlier_configuration_stays_while_systemd_does_not_run(purge: bool) -> None:
    declared = [vlan(), link("mt0", "eth0.20"), link("mt1", "eth0")]
    made = Link(
        "eth0.20", 9, "vlan", parent="eth0", parent_index=2, alias=OWNER_ALIAS, vlan_id=20, vlan_protocol="802.1Q"
    )
    image = replace(after(HOST, *declared), systemd=False, links={**LINKS, "eth0.20": made})
    planned = planner.plan([*declared[:2], link("mt1", "eth0", mac="52:54:00:00:00:99")], image, purge=purge)
    assert not planned.changed
    assert "what earlier runs wrote stays" in " ".join(planned.warnings)
    # What is undeclared goes all the same, and so does what is said to.
    assert planner.plan([link("mt1", "eth0")], image, purge=True).changed
    assert after(image, *(replace(one, backend="none") for one in declared)).files == {}


def test_none_removes_the_configuration_without_a_warning() -> None:
    assert planner.plan([link(backend="none", parent="eth3")], HOST) == planner.Plan()
    kept = after(HOST, link())
    assert after(kept, link(backend="none")).files == {}


def test_a_vlan_that_is_not_managed_is_an_uplink() -> None:
    foreign = Link("eth0.20", 9, "vlan", parent="eth0", parent_index=2, vlan_id=20, vlan_protocol="802.1Q")
    host = replace(HOST, links={**LINKS, "eth0.20": foreign}, networkmanager={9: "theirs"})
    assert backends(host, vlan(), link("mt0", "eth0.20")) == {"eth0.20": None, "mt0": "systemd"}
    assert block(after(host, vlan(), link("mt0", "eth0.20")), "mt0", "eth0.20").startswith("link add link % name mt0 ")
    host = replace(host, links={**LINKS, "eth0.20": replace(foreign, alias=OWNER_ALIAS)})
    assert block(after(host, vlan(), link("mt0", "eth0.20")), "mt0").startswith("link add link eth0.20 name mt0 ")


# what the unit is told


def test_the_files_of_one_link() -> None:
    host = after(HOST, link("mt0", mtu=9000, alias="a #1", altnames=frozenset("abcdef"), addrgenmode="none"))
    assert block(host, "mt0") == (
        f"link add link % name mt0 address {MAC} type macvtap mode bridge\n"
        "link set dev mt0 mtu 9000\nalias a #1\nlink set dev mt0 addrgenmode none\n"
        "link set dev mt0 arp off\nsysctl net/ipv6/conf/mt0/accept_ra 0\n"
        "link property add dev mt0 altname a altname b altname c altname d\n"
        "link property add dev mt0 altname e altname f\nlink set dev mt0 up\n"
    )
    assert set(host.files) == {
        f"{LINKS_DIR}/eth0",
        PROGRAM,
        TEMPLATE,
        UNIT,
        UNIT_LINK,
        UPLINKS_FILE,
        f"{ETC}/00-macvtap-mt0.network",
        UNMANAGED_FILE,
    }
    assert host.files[UNIT_LINK].target == UNIT
    # What libvirt waits for wants no device, for which systemd would wait 90 seconds.
    assert "Before=libvirtd.service" in host.files[UNIT].text
    assert "device" not in host.files[UNIT].text
    unit = host.files[TEMPLATE].text
    assert "\nBindsTo=%i.device\nAfter=%i.device\n" in unit
    assert "\nBefore=libvirtd.service virtqemud.service libvirt-guests.service " in unit
    assert "ExecStop" not in unit
    assert unit.endswith("make-links %f\nSuccessExitStatus=SIGTERM\n")
    assert " down" not in host.files[PROGRAM].text.replace("is down", "")
    assert "Name=mt0\n\n[Link]\nUnmanaged=yes\n" in host.files[f"{ETC}/00-macvtap-mt0.network"].text
    assert host.files[UNMANAGED_FILE].text.endswith("[keyfile]\nunmanaged-devices+=interface-name:mt0\n")
    assert after(host, purge=True).files == {}


def test_parents_come_before_the_links_on_them() -> None:
    declared = [
        vlan("eth0", 10, name="svlan", protocol="802.1ad"),
        vlan("svlan", 5, name="cvlan"),
        link("a0", "cvlan"),
        link("b1", "eth0", mac=None),
    ]
    for host in (after(HOST, *declared), after(after(after(HOST, declared[0]), *declared[:2]), *declared)):
        text = host.files[f"{LINKS_DIR}/eth0"].text
        found = [line for line in text.splitlines() if line.startswith("# ")][1:]
        assert found == ["# vlan svlan", "# macvtap b1", "# vlan cvlan", "# macvtap a0"]


@pytest.mark.parametrize(
    ("asked", "key", "rule"),
    [
        ("eth3", "eth3", '"{}/$name"'),
        ("lan-d", "altname:lan-d", '"{}/altname:$env{{ID_NET_NAME_SLOT}}"'),
        ("02-00-00-00-00-05", "02:00:00:00:00:05", 'TEST=="device", TEST=="{}/$attr{{address}}"'),
        ("04:00.0", "0000:04:00.0", 'SUBSYSTEMS=="pci", TEST=="{}/$id"'),
    ],
)
def test_udev_starts_the_unit_by_the_name_of_the_file(asked: str, key: str, rule: str) -> None:
    host = after(HOST, link(parent=asked))
    assert block(host, "mt0", key).startswith("link add link % name mt0 ")
    assert rule.format(LINKS_DIR) in host.files[UPLINKS_FILE].text
    # It is the same for all links.
    assert host.files[UPLINKS_FILE] == after(HOST, vlan("eth1")).files[UPLINKS_FILE]


def test_no_rule_has_an_escape_in_the_name_of_a_unit() -> None:
    """There, systemd 247 takes br\\x2dlan for brx2dlan. It escapes the path of a device itself."""
    rules = after(HOST, link()).files[UPLINKS_FILE].text
    assert re.findall('SYSTEMD_WANTS[^"]*"(.*?)"', rules) == ["macvtap-links@.service"]
    assert "PROGRAM" not in rules


def test_a_parent_declared_in_two_ways_has_two_files() -> None:
    by_name, by_mac = link("mt0", "eth0"), link("mt1", "02:00:00:00:00:02", mac=None)
    host = after(after(HOST, by_name), by_mac)
    assert not planner.plan([by_name], host).changed
    assert not planner.plan([by_mac], host).changed


def test_the_unit_sets_up_an_unmanaged_uplink() -> None:
    host = after(replace(HOST, unmanaged=frozenset({"eth3"})), link("mt0", "eth3"), link("mt1", "eth0", mac=None))
    assert "\n\nuplink up\n\n" in host.files[f"{LINKS_DIR}/eth3"].text
    assert "uplink up" not in host.files[f"{LINKS_DIR}/eth0"].text
    # It is not forgotten by a run that has nothing to do with it, and is when a manager has it.
    assert "uplink up" in after(host, link("mt1", "eth0", mac=None)).files[f"{LINKS_DIR}/eth3"].text
    assert (
        "uplink up"
        not in after(replace(host, unmanaged=frozenset()), link("mt0", "eth3")).files[f"{LINKS_DIR}/eth3"].text
    )


def test_only_a_large_mtu_is_kept() -> None:
    for mtu, lines in ((9000, 1), (1500, 0), (1400, 0)):
        there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="bridge", mac=MAC, mtu=mtu)
        host = replace(HOST, links={**LINKS, "mt0": there})
        assert block(after(host, link()), "mt0").count(f"link set dev mt0 mtu {mtu}\n") == lines


def test_the_unit_sets_the_permissions_of_the_tap() -> None:
    taps: list[dict[str, t.Any]] = [
        {"tap_owner": "ops", "tap_mode": 0o660},
        {"tap_group": "kvm"},
        {"tap_owner": "ops", "tap_group": "domain users", "tap_mode": 0o600},
    ]
    found = [line for tap in taps for line in block(after(HOST, link(**tap)), "mt0").splitlines() if "tap " in line[:4]]
    assert found == ["tap ops 0660", "tap :kvm -", "tap ops:domain users 0600"]


def test_networkd_manages_a_vlan_with_a_users_drop_in() -> None:
    host = replace(HOST, extended=frozenset({"eth0.20"}))
    text = after(host, vlan()).files[f"{ETC}/05-macvtap-eth0.20.network"].text
    assert "Unmanaged" not in text
    assert "Name=eth0.20\n" in text
    assert f"{ETC}/00-macvtap-eth0.20.network" not in after(host, vlan()).files


@pytest.mark.parametrize(("backend", "on"), STARTERS)
@pytest.mark.parametrize("there", [False, True])
def test_an_absent_vlan_is_found_by_its_id(backend: str, on: Host, there: bool) -> None:
    parent = "eth0"
    host = after(on, vlan(parent, name="prod", backend=backend), vlan(parent, 30, backend))
    if there:
        made = Link(
            "prod", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=OWNER_ALIAS
        )
        host = replace(host, links={**LINKS, "prod": made})
    left = after(host, vlan(parent, state="absent")).files
    assert left == after(on, vlan(parent, 30, backend)).files
    assert backends(host, vlan(parent, state="absent")) == {"prod": None}
    # Another protocol is another VLAN, and a name that is said is meant.
    assert after(host, vlan(parent, state="absent", protocol="802.1ad")).files == host.files
    assert after(host, vlan(parent, state="absent", name="test")).files == host.files


# by ifupdown


def test_ifupdown_runs_the_same_program() -> None:
    declared = [vlan("eth2"), link("mt0", "eth2.20"), link("mt1", "eth2", mac=None)]
    by_systemd = after(HOST, *declared)
    host = after(WITHOUT_SYSTEMD, *(replace(one, backend="ifupdown") for one in declared))
    assert host.files[INTERFACES_FILE].text == (
        f"{HEADER}\n\nauto macvtap-links\niface macvtap-links inet manual\n"
        f"    pre-up for link in /sys/class/net/*; do sh {PROGRAM} ${{link##*/}}; done\n"
    )
    assert host.files[f"{LINKS_DIR}/eth2"] == by_systemd.files[f"{LINKS_DIR}/eth2"]
    assert set(host.files) == {INTERFACES_FILE, PROGRAM, f"{LINKS_DIR}/eth2", UNMANAGED_FILE}
    # A task with other links leaves it, and nothing is left behind where systemd has come.
    assert INTERFACES_FILE in after(host, link("mt1", state="absent")).files
    assert after(replace(host, systemd=True), *declared).files == by_systemd.files
    assert after(host, purge=True).files == {}


# what


def test_a_link_keeps_its_address_and_mode() -> None:
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="private", mac="02:00:00:00:00:99")
    host = replace(HOST, links={**LINKS, "mt0": there})
    text = block(after(host, link(parent=None, mac=None, mode=None)), "mt0")
    assert text.startswith("link add link % name mt0 address 02:00:00:00:00:99 type macvtap mode private\n")


@pytest.mark.parametrize(("has", "kept"), [("vepa", "vepa"), ("private", "private"), (None, "bridge")])
def test_mode_auto_is_the_links_current_mode(has: str | None, kept: str) -> None:
    there = {"mt0": Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode=has)} if has else {}
    host = replace(HOST, links={**LINKS, **there})
    assert f" mode {kept}\n" in block(after(host, link(mode="auto")), "mt0")
    assert f" mode {kept}\n" in block(after(host, link(mode=None)), "mt0")


def test_a_passthru_link_has_no_address_of_its_own() -> None:
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="passthru", mac="02:00:00:00:00:02")
    host = replace(HOST, links={**LINKS, "mt0": there})
    assert "address" not in block(after(host, link(mac=None, mode=None)), "mt0")


@pytest.mark.parametrize("mode", ["bridge", "private", "vepa", "source"])
@pytest.mark.parametrize("mac", ["02:00:00:00:00:02", "52:54:00:00:00:09"])
def test_a_link_that_leaves_mode_passthru_leaves_its_parent_the_address(mode: str, mac: str) -> None:
    """In that mode both have one address: the uplink's, or what a guest has set."""
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="passthru", mac=mac)
    uplink = replace(LINKS["eth0"], mac=mac, permanent_mac="02:00:00:00:00:02")
    host = replace(HOST, links={**LINKS, "eth0": uplink, "mt0": there})
    created = block(after(host, link(mode=mode, mac=None)), "mt0").splitlines()[0]
    assert created == f"link add link % name mt0 type macvtap mode {mode}"
    assert f" address {MAC} " in block(after(host, link(mode=mode)), "mt0")


def test_harmless_problems_are_warnings() -> None:
    assert "network namespace guests" in warnings(HOST, link(netns="guests"))[0]
    assert "network namespace guests" in warnings(HOST, link(netns="guests", backend="systemd"))[0]
    assert warnings(HOST, link(netns="guests", backend="none")) == ()
    assert "bclim" in warnings(HOST, link(bclim=5))[0]
