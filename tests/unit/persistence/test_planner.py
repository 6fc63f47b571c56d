# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which backend creates a link, and which files are added, changed and removed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.persistence import earlier

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS, DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, predicted, undo
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
    Declared,
    Host,
)

ETC = "/etc/systemd/network"
KEYFILES = "/etc/NetworkManager/system-connections"
UDEV = "/etc/udev/rules.d/90-macvtap.rules"
MAC = "52:54:00:00:00:01"
# One parent for each manager, and one for none.
LINKS = {
    link.name: link
    for link in (
        Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, pci="0000:03:00.0", altnames=frozenset({"lan-a"})),
        Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500),
        Link("eth2", 4, mac="02:00:00:00:00:04", mtu=1500),
        Link("eth3", 5, mac="02:00:00:00:00:05", mtu=1500, altnames=frozenset({"lan-d"}), pci="0000:04:00.0"),
    )
}
HOST = Host(
    LINKS,
    networkd={
        2: f"{ETC}/20-eth0.network",
        3: None,
        4: None,
        5: None,
    },
    networkmanager={3: "theirs"},
    enabled=("networkd", "networkmanager"),
    interfaces_sourced=True,
    systemd=True,
)


def link(name: str = "mt0", parent: str | None = "eth0", backend: str = "auto", **fields: t.Any) -> Declared:
    given: dict[str, t.Any] = {"mode": "bridge", "mac": MAC, "path": f"links[{name[-1:]}]", **fields}
    return Declared(DesiredLink(name, parent=parent, **given), backend)


def vlan(parent: str = "eth0", id: int = 20, backend: str = "auto", **fields: t.Any) -> Declared:  # noqa: A002
    return Declared(DesiredVlan(parent, id, path="vlans[0]", **fields), backend)


def after(host: Host, *declared: Declared, purge: bool = False) -> Host:
    """Return the host once the plan is done."""
    return replace(host, files=predicted(planner.plan(declared, host, purge=purge), host.files))


def backends(host: Host, *declared: Declared) -> dict[str, str | None]:
    return {name: one.backend for name, one in planner.resolved_of(declared, host).decisions.items()}


def warnings(host: Host, *declared: Declared) -> tuple[str, ...]:
    return planner.plan(declared, host).warnings


def refused(path: str, why: str, host: Host, *declared: Declared) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        planner.plan(declared, host)
    assert caught.value.path == path


def block(host: Host, name: str, file: str = "eth0") -> str:
    """Return what the unit is told of one link."""
    text = host.files[f"{LINKS_DIR}/{file}"].text
    (found,) = (one for one in text.split("\n\n") if one.startswith("# ") and one.split("\n")[0].endswith(f" {name}"))
    return found.partition("\n")[2].rstrip("\n") + "\n"


def before(manager: str, **more: t.Any) -> Host:
    """Return the host with the files that an earlier version had this manager make the links by."""
    return replace(HOST, files={file.path: file for file in earlier.FILES[manager]}, **more)


WITHOUT_SYSTEMD = replace(HOST, systemd=False, networkd={}, networkmanager={}, enabled=())
# Who runs the program, and where.
STARTERS = [("auto", HOST), ("ifupdown", WITHOUT_SYSTEMD)]


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
    assert "\nBindsTo=sys-subsystem-net-devices-%i.device\nAfter=sys-subsystem-net-devices-%i.device\n" in unit
    assert "\nBefore=libvirtd.service virtqemud.service libvirt-guests.service " in unit
    assert "ExecStop" not in unit
    assert unit.endswith("make-links %I\nSuccessExitStatus=SIGTERM\n")
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


def test_the_symbolic_links_by_which_earlier_versions_started_the_unit_are_removed() -> None:
    wants = "/etc/systemd/system/sys-subsystem-net-devices-eth0.device.wants/macvtap-links@eth0.service"
    host = after(HOST, link())
    upgraded = planner.plan([link()], replace(host, files={**host.files, wants: File(wants, target=TEMPLATE)}))
    assert [(step.target, step.after) for step in upgraded.steps] == [(wants, None)]


def test_a_parent_declared_in_two_ways_has_two_files() -> None:
    by_name, by_mac = link("mt0", "eth0"), link("mt1", "02:00:00:00:00:02", mac=None)
    host = after(after(HOST, by_name), by_mac)
    assert not planner.plan([by_name], host).changed
    assert not planner.plan([by_mac], host).changed


def test_a_link_moves_to_the_file_of_its_vlan() -> None:
    host = after(HOST, vlan("eth0", name="lan20"), link("mt0", "lan20"))
    host = after(host, vlan("02:00:00:00:00:02", name="lan20"))
    assert f"{LINKS_DIR}/eth0" not in host.files
    assert "name mt0" in block(host, "mt0", "02:00:00:00:00:02")


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


@pytest.mark.parametrize("first", ["bridge", "passthru"])
def test_links_that_cannot_exist_together_are_refused(first: str) -> None:
    other = {"bridge": "passthru", "passthru": "bridge"}[first]
    stale = after(HOST, link("mt0", mode=first, mac=None))
    refused("links[1].mode", "must be the only one on its parent", stale, link("mt1", mode=other, mac=None))
    assert planner.plan([link("mt1", mode=other, mac=None)], stale, purge=True).changed
    assert planner.plan([link("mt0", state="absent"), link("mt1", mode=other, mac=None)], stale).changed
    assert planner.plan([link("mt1", "eth1", mode=other, mac=None), vlan()], stale).changed


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


# from earlier versions


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


def test_shared_files_have_a_block_for_each_link() -> None:
    host = after(HOST, link("mt1"), link("mt0", mac=None), vlan())
    blocks = [line for line in host.files[f"{LINKS_DIR}/eth0"].text.splitlines() if line.startswith("# ")][1:]
    assert blocks == ["# vlan eth0.20", "# macvtap mt0", "# macvtap mt1"]
    host = after(host, link("mt1", state="absent"))
    assert "mt1" not in "".join(file.path + file.text for file in host.files.values())
    host = after(host, link("mt0", state="absent"))
    assert host.files == after(HOST, vlan()).files
    assert after(host, vlan(state="absent")).files == {}


@pytest.mark.parametrize(("backend", "on"), STARTERS)
def test_a_link_that_moves_leaves_nothing_behind(backend: str, on: Host) -> None:
    first, second = link(backend=backend), link("mt0", "eth2", backend)
    assert after(after(on, first), second).files == after(on, second).files


def test_purge_removes_only_undeclared_links() -> None:
    host = after(HOST, link("mt0"), link("mt1", mac=None), vlan())
    assert after(host, link("mt0")).files == host.files
    assert after(host, link("mt0"), purge=True).files == after(HOST, link("mt0")).files
    assert after(host, purge=True).files == {}


# never others' files


@pytest.mark.parametrize("path", [f"{LINKS_DIR}/eth0", TEMPLATE, UNMANAGED_FILE])
def test_an_unmanaged_file_is_an_error_only_if_it_is_in_the_way(path: str) -> None:
    host = replace(HOST, files={path: File(path, "# mine\n")})
    refused("", f"{path} is not managed by this collection", host, link())
    assert not planner.plan([link("mt1", parent="eth1", state="absent")], host, purge=True).changed


def test_undo_restores_the_files() -> None:
    was = after(HOST, link("mt0"), link("mt1", mac=None))
    planned = planner.plan([link("mt0", mode="private"), link("mt1", state="absent")], was)
    half = {**was.files, **{s.target: s.after for s in planned.steps[:1] if s.after}}
    assert predicted(undo(planned.steps, half), half) == was.files


@pytest.mark.parametrize("theirs", ["", "theirs\n", HEADER + "\ntheirs\n"])
def test_undo_leaves_a_file_that_something_else_has_changed(theirs: str) -> None:
    was = after(HOST, link("mt0"))
    planned = planner.plan([link("mt0", mode="private"), link("mt1", "eth3")], was)
    done = predicted(planned, was.files)
    for step in planned.steps:
        path = step.target
        files = {**done, path: File(path, theirs)} if theirs else {p: file for p, file in done.items() if p != path}
        back = undo(planned.steps, files)
        assert path not in {change.target for change in back.changes}
        # Where there was none before, none is as it was.
        left = () if not theirs and step.before is None else (f"{path} was changed by something else while this ran",)
        assert [said.partition(", and is left")[0] for said in back.warnings] == list(left)


# what cannot be


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
        "lo": Link("lo", 1, loopback=True),
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


def test_harmless_problems_are_warnings() -> None:
    assert "network namespace guests" in warnings(HOST, link(netns="guests"))[0]
    assert "network namespace guests" in warnings(HOST, link(netns="guests", backend="systemd"))[0]
    assert warnings(HOST, link(netns="guests", backend="none")) == ()
    assert "bclim" in warnings(HOST, link(bclim=5))[0]
    there = Link("mt0", 9, "macvtap", parent="eth0", parent_index=2, mode="bridge", mac=MAC)
    grabbed = {**HOST.networkd, 9: f"{ETC}/90-all.network"}
    host = replace(HOST, links={**LINKS, "mt0": there}, networkd=grabbed)
    assert "90-all.network" in warnings(host, link())[0]


NAMES = st.sampled_from(["mt0", "mt1", "web-1", "a.b"])
DECLARED = st.lists(
    st.builds(
        link,
        NAMES,
        st.sampled_from(["eth0", "eth1", "eth2", "02:00:00:00:00:05", "eth0.20", "eth2.20"]),
        st.sampled_from(["auto", "none"]),
        mac=st.none(),
        mode=st.just("bridge"),
        state=st.sampled_from(["up", "down", "present", "absent"]),
        alias=st.sampled_from([None, "50% of $x"]),
        group=st.sampled_from([None, 7]),
        tap_mode=st.sampled_from([None, 0o660]),
    ),
    unique_by=lambda declared: declared.entry.name,
    max_size=4,
)


@given(DECLARED, DECLARED, st.booleans())
def test_a_second_run_changes_nothing(first: list[Declared], second: list[Declared], purge: bool) -> None:
    vlans = [vlan("eth0"), vlan("eth2")]
    host = after(HOST, *vlans, *first)
    once = after(host, *vlans, *second, purge=purge)
    assert not planner.plan([*vlans, *second], once, purge=purge).changed
    # Whatever was there before, what is declared looks the same.
    if purge:
        assert once.files == after(HOST, *vlans, *second).files
    assert after(once, purge=True).files == {}
