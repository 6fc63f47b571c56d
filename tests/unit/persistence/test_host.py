# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads managed files and the managers' state from a directory that stands for the host's root."""

from __future__ import annotations

import os
import pathlib

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._file_store import revert
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    INTERFACES_FILE,
    LINKS_DIR,
    PROGRAM,
    SYSCTL_FILE,
    TEMPLATE,
    UDEV_FILE,
    UNIT,
    UNIT_LINK,
    UPLINKS_FILE,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal


def test_udevs_names_of_links_with_alternative_names(tmp_path: pathlib.Path) -> None:
    root = Root(tmp_path)
    data = "I:17\nE:ID_NET_NAMING_SCHEME=v252\nE:ID_NET_NAME_MAC=enx1\nE:ID_NET_NAME_PATH=enp1s0\nE:ID_NET_NAME=eno1\n"
    for index in (2, 3, 5):
        root.write(f"/run/udev/data/n{index}", f"{data}E:ID_NET_LABEL_ONBOARD=lan-a\nG:systemd\n")
    root.write("/run/udev/data/n6", "I:17\n")
    names = frozenset({"enp1s0", "lan-a"})
    links = [
        Link("eth0", 2, altnames=names),
        Link("eth1", 3),
        Link("eth2", 4, altnames=names),
        Link("eth3", 5, altnames=names, netns="other"),
        Link("eth4", 6, altnames=names),
    ]
    found = host.observe({link.name: link for link in links}, str(tmp_path)).udev_names
    assert found == {2: frozenset({"enx1", "enp1s0"}), 6: frozenset()}


class Root:
    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def write(self, path: str, text: str) -> None:
        there = self.path / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text)

    def link(self, path: str, target: str) -> None:
        there = self.path / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.symlink_to(target)

    def observe(self) -> host.Host:
        return host.observe({}, str(self.path))


@pytest.fixture
def root(tmp_path: pathlib.Path) -> Root:
    return Root(tmp_path)


@pytest.mark.parametrize("theirs", ["theirs\n", HEADER + "\ntheirs\n", ""])
@pytest.mark.parametrize("text", [HEADER + "\nmine\n", ""])
def test_a_file_that_something_else_has_changed_is_neither_replaced_nor_removed(
    root: Root, theirs: str, text: str
) -> None:
    steps = [
        step_between(None, File(UPLINKS_FILE, HEADER + "\n")),
        step_between(File(UDEV_FILE, HEADER + "\nwas\n"), File(UDEV_FILE, text) if text else None),
    ]
    if theirs:
        root.write(UDEV_FILE, theirs)
    journal: Journal[File] = Journal()
    with pytest.raises(MacvtapError, match=f"^{UDEV_FILE} was changed by something else while this ran"):
        host.apply(steps, journal, str(root.path))
    # What was not begun is not there to be undone.
    assert journal.steps == (steps[0],)
    seen = root.observe().files
    assert (seen[UDEV_FILE].text if UDEV_FILE in seen else "") == theirs


def test_rollback_continues_if_one_file_cannot_be_restored(root: Root) -> None:
    root.write(UDEV_FILE, "theirs\n")
    steps = [step_between(None, File(path, HEADER + "\n")) for path in (UDEV_FILE, UPLINKS_FILE)]
    with pytest.raises(MacvtapError, match=f"^{UDEV_FILE} was changed"):
        revert(steps, str(root.path))
    assert root.observe().files[UPLINKS_FILE].ours


def test_a_host_with_nothing_has_nothing(root: Root) -> None:
    seen = root.observe()
    assert (seen.files, seen.networkd, seen.networkmanager) == ({}, {}, {})
    assert (seen.enabled, seen.interfaces_sourced, seen.systemd) == ((), False, False)


def test_the_links_of_networkd_and_their_files_are_read(root: Root) -> None:
    file = "/etc/systemd/network/20-eth0.network"
    root.write("/run/systemd/netif/links/2", f"# This is private data.\nADMIN_STATE=configured\nNETWORK_FILE={file}\n")
    root.write("/run/systemd/netif/links/3", "ADMIN_STATE=unmanaged\n")
    assert root.observe().networkd == {2: file, 3: None}


def test_the_links_of_networkmanager_are_read(root: Root) -> None:
    root.write("/run/NetworkManager/devices/2", "[device]\nmanaged=true\nconnection-uuid=x\n")
    root.write("/run/NetworkManager/devices/3", "[device]\nmanaged=false\n")
    assert root.observe().networkmanager == {2: "x"}


def test_an_uplink_is_unmanaged_only_if_all_managers_are_known_not_to_have_it(root: Root) -> None:
    links = {name: Link(name, index) for index, name in enumerate(("eth0", "eth1", "eth2", "eth3", "eth4"), 2)}
    links["br0"] = Link("br0", 9, "bridge")

    def unmanaged() -> set[str]:
        return set(host.observe(links, str(root.path)).unmanaged)

    assert unmanaged() == {"eth0", "eth1", "eth2", "eth3", "eth4"}
    wants = "/etc/systemd/system/multi-user.target.wants"
    for unit in ("NetworkManager.service", "systemd-networkd.service"):
        root.link(f"{wants}/{unit}", f"/lib/systemd/system/{unit}")
        # It does not run now: nobody knows.
        assert unmanaged() == set()
    root.write("/run/NetworkManager/devices/2", "[device]\nmanaged=true\n")
    root.write("/run/systemd/netif/links/3", "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/x.network\n")
    # By our own file of an earlier version, which goes.
    ours = "/etc/systemd/network/70-macvtap-parent-eth4.network"
    root.write("/run/systemd/netif/links/6", f"ADMIN_STATE=configured\nNETWORK_FILE={ours}\n")
    root.write("/etc/network/interfaces", "source interfaces.d/*\niface eth2 inet manual\n")
    root.write(INTERFACES_FILE, HEADER + "\nauto eth3\n")
    # The file outlives its program.
    assert unmanaged() == {"eth2", "eth3", "eth4"}
    root.write("/sbin/ifup", "")
    assert unmanaged() == {"eth3", "eth4"}


def test_interfaces_5_counts_if_something_reads_it_at_boot(root: Root) -> None:
    links = {name: Link(name, index) for index, name in enumerate(("eth0", "eth1"), 2)}
    root.write("/etc/network/interfaces", "auto eth0\niface eth0 inet manual\nallow-hotplug eth1\n")
    root.write("/usr/sbin/ifup", "")
    (root.path / "run/systemd/system").mkdir(parents=True)

    def unmanaged() -> set[str]:
        return set(host.observe(links, str(root.path)).unmanaged)

    # udev runs it for what is hot-plugged, whether or not its unit is enabled.
    assert unmanaged() == {"eth0"}
    unit = "/lib/systemd/system/networking.service"
    root.link("/etc/systemd/system/multi-user.target.wants/networking.service", unit)
    assert unmanaged() == set()
    root.link("/etc/systemd/system/networking.service", "/dev/null")
    assert unmanaged() == {"eth0"}


@pytest.mark.parametrize("above", ["/usr/lib/systemd/system", "/run/systemd/generator.late"])
def test_a_manager_may_be_enabled_by_the_distribution_or_by_a_generator(root: Root, above: str) -> None:
    root.link(f"{above}/multi-user.target.wants/systemd-networkd.service", "../systemd-networkd.service")
    assert root.observe().enabled == ("networkd",)


def test_a_users_drop_in_for_a_managed_file_is_found(root: Root) -> None:
    root.write("/etc/systemd/network/05-macvtap-eth0.15.network.d/address.conf", "")
    root.write("/etc/systemd/network/05-macvtap-eth0.20.network.d/50-macvtap.conf", "")
    assert root.observe().extended == {"eth0.15"}


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("source /etc/network/interfaces.d/*", True),
        ("source interfaces.d/*", True),
        ("source /etc/network/interfaces.d/*.cfg", False),
        ("source-directory /etc/network/interfaces.d", True),
        ("source-directory interfaces.d/", True),
        ("source-directory /etc/network/int*.d", True),
        ("source /etc/*/interfaces.d//mac[a-v]tap", True),
        ("source /etc/network/../network/*/*", True),
        # No wildcard stands for a slash.
        ("source /etc/network/*", False),
        ("source /etc/*", False),
        ("source *", False),
        ("source-directory /etc/network", False),
        ("source-directory /etc/network/*/*", False),
        ("source /etc/network/interfaces.d", False),
        ("source /etc/network/interfaces.d/*/*", False),
        ("source /etc/network[/]interfaces.d/*", False),
        ("# source /etc/network/interfaces.d/*", False),
    ],
)
def test_whether_ifupdown_reads_our_file_is_known_before_it_exists(root: Root, line: str, read: bool) -> None:
    root.write("/etc/network/interfaces", line + "\n")
    assert root.observe().interfaces_sourced is read


def test_a_masked_manager_does_not_count(root: Root) -> None:
    (root.path / "run/systemd/system").mkdir(parents=True)
    wants = "/etc/systemd/system/multi-user.target.wants"
    for unit in ("NetworkManager.service", "systemd-networkd.service"):
        root.link(f"{wants}/{unit}", f"/lib/systemd/system/{unit}")
    assert root.observe().enabled == ("networkd", "networkmanager")
    root.link("/etc/systemd/system/NetworkManager.service", "/dev/null")
    root.write("/run/NetworkManager/devices/2", "[device]\nmanaged=true\n")
    seen = root.observe()
    assert (seen.enabled, seen.networkmanager, seen.systemd) == (("networkd",), {}, True)


def test_files_are_read_as_written_and_removed_without_a_trace(root: Root) -> None:
    (root.path / "etc").mkdir()
    files = [
        File("/etc/systemd/network/50-macvtap-mt0.netdev", HEADER + "\nx\n"),
        File("/etc/systemd/network/20-eth0.network.d/50-macvtap.conf", HEADER + "\n"),
        File("/etc/NetworkManager/system-connections/macvtap-mt0.nmconnection", HEADER + "\n", 0o600),
        File(SYSCTL_FILE, HEADER + "\n"),
        File(TEMPLATE, HEADER + "\n"),
        File(PROGRAM, HEADER + "\n"),
        File(f"{LINKS_DIR}/eth0", HEADER + "\n"),
        File(f"{LINKS_DIR}/52:54:00:00:00:01", HEADER + "\n"),
        File(
            r"/etc/systemd/system/sys-subsystem-net-devices-br\x2d0.device.wants/macvtap-links@br\x2d0.service",
            target=TEMPLATE,
        ),
        File(UNIT, HEADER + "\n"),
        File(UNIT_LINK, target=UNIT),
    ]
    steps = [step_between(None, file) for file in files]
    host.apply(steps, root=str(root.path))
    assert root.observe().files == {file.path: file for file in files}
    assert all(file.ours for file in root.observe().files.values())
    host.apply([step_between(file, None) for file in files], root=str(root.path))
    assert root.observe().files == {}
    assert not (root.path / "etc/systemd/network/20-eth0.network.d").exists()
    assert not (root.path / "etc/linuxvirt-macvtap").exists()
    assert os.listdir(root.path / "etc/systemd/system") == ["multi-user.target.wants"]


def test_a_directory_with_a_users_drop_in_stays(root: Root) -> None:
    root.write("/etc/systemd/network/20-eth0.network.d/mine.conf", "")
    file = File("/etc/systemd/network/20-eth0.network.d/50-macvtap.conf", HEADER + "\n")
    host.apply([step_between(None, file), step_between(file, None)], root=str(root.path))
    assert os.listdir(root.path / "etc/systemd/network/20-eth0.network.d") == ["mine.conf"]


def test_bytes_that_are_not_utf_8_are_kept(tmp_path: pathlib.Path) -> None:
    text = HEADER + "\n# macvtap mt1\n# caf\udce9\n"
    steps = [step_between(None, File(UDEV_FILE, text))]
    host.apply(steps, root=str(tmp_path))
    assert host.observe({}, str(tmp_path)).files[UDEV_FILE].text == text


def test_networkd_can_read_the_files_regardless_of_the_umask(root: Root) -> None:
    paths = ["/etc/systemd/network/20-eth0.network.d/50-macvtap.conf", "/etc/systemd/network/50-macvtap-mt0.netdev"]
    before = os.umask(0o077)
    try:
        host.apply([step_between(None, File(path, HEADER + "\n")) for path in paths], root=str(root.path))
    finally:
        os.umask(before)
    made = [root.path / "etc", *(root.path / "etc").rglob("*")]
    assert {there.stat().st_mode & 0o777 for there in made} == {0o755, 0o644}
