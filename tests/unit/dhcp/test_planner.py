# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which network managers are reloaded after a change, without disturbing links other than shims."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from unit.persistence import earlier

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import planner as dhcp_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    Address,
    DesiredShim,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Host as AccessHost
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS as VLAN_ALIAS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared, Host

ETC = "/etc/systemd/network"
MAC = "52:54:00:00:00:07"
THERE = Link("host0", 9, "macvlan", "eth0", 2, mode="bridge", mac=MAC, alias=OWNER_ALIAS)
LINKS = {"eth0": Link("eth0", 2, mtu=1500), "eth1": Link("eth1", 3, mtu=1500)}
HOST = Host(
    LINKS,
    networkd={2: f"{ETC}/20-eth0.network", 3: None},
    networkmanager={3: "theirs"},
    enabled=("networkd", "networkmanager"),
    systemd=True,
)
BOTH = replace(HOST, links={**LINKS, "host0": THERE})
LOAD = ("nmcli", "connection", "load", "/etc/NetworkManager/system-connections/macvtap-host0.nmconnection")
UP = ("nmcli", "--wait", "60", "connection", "up", "id", "macvtap-host0")


def shim(parent: str = "eth0", **fields: t.Any) -> Declared:
    return Declared(DesiredShim("host0", parent=parent, mac=MAC, path="shims[0]", **{"dhcp4": True, **fields}), "auto")


def link(backend: str = "auto") -> Declared:
    return Declared(DesiredLink("mt0", parent="eth0", mode="bridge", mac="52:54:00:00:00:01"), backend)


def plan(host: Host, *declared: Declared, unread: t.Sequence[str] = (), needed: t.Collection[str] = ()) -> model.Leases:
    planned = planner.plan(declared, host)
    return dhcp_planner.plan(planner.resolved_of(declared, host), host, planned, unread, needed)


def after(host: Host, *declared: Declared) -> Host:
    return replace(host, files=predicted(planner.plan(declared, host), host.files))


def test_networkd_is_reloaded_if_only_managed_files_have_changed() -> None:
    assert plan(HOST, link()).commands == (model.RELOAD,)
    assert plan(after(HOST, link()), link()).commands == ()
    assert plan(replace(HOST, networkd={}), link()).commands == ()


@pytest.mark.parametrize("path", [f"{ETC}/20-eth0.network", ETC, f"{ETC}/20-eth0.network.d/more.conf"])
def test_networkd_is_not_reloaded_if_another_file_may_have_changed(path: str) -> None:
    assert plan(HOST, link(), unread=[path]).commands == ()
    (lease,) = plan(BOTH, shim(), unread=[path]).leases
    assert (lease.unread, lease.commands, lease.asked) == ((path,), (), False)
    assert path in dhcp_planner.plan_of(plan(BOTH, shim(), unread=[path])).warnings[0]
    # A managed link's file disturbs only that link.
    assert plan(HOST, link(), unread=[f"{ETC}/00-macvtap-mt9.network"]).commands == (model.RELOAD,)


def test_networkd_is_not_reloaded_if_the_run_changes_the_uplinks_files() -> None:
    # By the drop-in of an earlier version.
    old = replace(HOST, files={file.path: file for file in earlier.FILES["networkd"]})
    gone = Declared(DesiredLink("mt1", state="absent"), "auto")
    assert "20-eth0.network.d" in "".join(step.target for step in planner.plan([gone], old).steps)
    assert plan(old, gone).commands == ()


@pytest.mark.parametrize("declared", [shim(dhcp4=False, addresses=("192.0.2.9",)), link()])
def test_networkd_is_not_reloaded_while_a_removed_file_gives_a_shim_its_addresses(declared: Declared) -> None:
    """By the file of an earlier version, or of an earlier run, whether or not this run removes it."""
    own = f"{ETC}/05-macvtap-host0.network"
    host = replace(BOTH, networkd={**BOTH.networkd, 9: own})
    files = after(host, shim()).files if isinstance(declared.entry, DesiredShim) else {}
    assert plan(replace(host, files=files), declared).commands == ()
    assert plan(replace(host, networkd={**BOTH.networkd, 9: None}, files=files), declared).commands == (model.RELOAD,)


def test_an_existing_shim_gets_its_address_now_and_one_that_has_it_is_left_alone() -> None:
    (lease,) = plan(BOTH, shim()).leases
    assert (lease.manager, lease.commands, lease.asked) == ("networkd", (model.RELOAD,), True)
    there = replace(THERE, parent="eth1", parent_index=3)
    host = replace(BOTH, links={**LINKS, "host0": there})
    (lease,) = plan(host, shim("eth1")).leases
    assert (lease.manager, lease.commands, lease.asked) == ("networkmanager", (LOAD, UP), True)
    leased = replace(host, access=AccessHost(host.links, (Address("192.0.2.130", 32, index=9, leased=True),)))
    (lease,) = plan(leased, shim("eth1")).leases
    assert (lease.address, lease.commands, lease.asked) == ("192.0.2.130", (), False)


def test_a_shim_that_does_not_exist_yet_is_not_waited_for() -> None:
    (lease,) = plan(HOST, shim()).leases
    assert (lease.commands, lease.asked) == ((), False)


def test_networkmanager_forgets_the_profile_of_a_removed_shim() -> None:
    host = after(HOST, shim("eth1"))
    gone = Declared(DesiredShim("host0", state="absent", path="shims[0]"), "auto")
    assert LOAD in plan(host, gone).commands
    # While the shim exists, NetworkManager might remove it together with its profile.
    there = replace(host, links={**LINKS, "host0": replace(THERE, parent="eth1", parent_index=3)})
    static = plan(there, shim("eth1", dhcp4=False, addresses=("192.0.2.9",)))
    assert LOAD not in static.commands
    assert "the DHCP client of" in static.warnings[0]


VLAN = Link("eth0.20", 9, "vlan", "eth0", 2, alias=VLAN_ALIAS, vlan_id=20, vlan_protocol="802.1Q")
OURS, LEFT_ALONE = f"{ETC}/05-macvtap-eth0.20.network", f"{ETC}/00-macvtap-eth0.20.network"
ON = Declared(DesiredVlan("eth0", 20, path="vlans[0]"), "auto")
OFF = replace(ON, entry=replace(ON.entry, state="absent"))


def with_vlan(file: str | None, *, extended: bool = False) -> Host:
    names = frozenset({"eth0.20"} if extended else ())
    return replace(HOST, links={**LINKS, "eth0.20": VLAN}, networkd={**HOST.networkd, 9: file}, extended=names)


def test_networkd_is_not_reloaded_while_it_configures_a_link_that_the_host_needs() -> None:
    """If that is allowed, the link keeps its addresses until the next boot."""
    others = with_vlan(f"{ETC}/50-vlan20.network")
    ours = after(with_vlan(OURS, extended=True), ON)
    extended = replace(others, extended=ours.extended)
    alone = replace(ours, extended=frozenset())
    for host, declared in ((others, ON), (extended, ON), (alone, ON), (ours, OFF), (ours, replace(ON, backend="none"))):
        assert planner.plan([declared], host).changed
        assert plan(host, declared).commands == (model.RELOAD,)
        assert plan(host, declared, needed={"eth0.20"}).commands == ()
        # Of another link.
        assert plan(host, declared, needed={"eth0"}).commands == (model.RELOAD,)


def test_networkd_is_not_reloaded_if_an_earlier_run_wrote_what_it_has_not_read() -> None:
    others = after(with_vlan(f"{ETC}/50-vlan20.network"), ON)
    ours = after(with_vlan(OURS, extended=True), ON)
    gone = replace(ours, files={path: file for path, file in ours.files.items() if path != OURS})
    for host, unread in (
        (others, ()),
        (others, [LEFT_ALONE]),
        (ours, [OURS]),
        (replace(gone, extended=frozenset()), ()),
    ):
        assert plan(host, link(), unread=unread, needed={"eth0.20"}).commands == ()
        assert plan(host, link(), unread=unread).commands == (model.RELOAD,)
    # networkd has read it, or does not configure it.
    for host in (ours, with_vlan(None), after(with_vlan(None), ON)):
        assert plan(host, link(), needed={"eth0.20"}).commands == (model.RELOAD,)


def test_networkd_does_not_begin_to_configure_a_link_that_the_host_needs() -> None:
    """It would remove what others have set. Without networkd's own file it begins nothing."""
    host = with_vlan(None, extended=True)
    leases = plan(host, ON, needed={"eth0.20"})
    assert leases.commands == ()
    assert "was not reloaded, because it would remove the addresses that eth0.20 has" in leases.warnings[0]
    assert leases.warnings[0].endswith(f"it configures eth0.20 by {OURS} and its drop-ins alone")
    assert plan(after(host, ON), link(), unread=[OURS], needed={"eth0.20"}).commands == ()
    for there, needed in ((host, "eth0"), (with_vlan(None), "eth0.20")):
        assert plan(there, ON, needed={needed}) == model.Leases(commands=(model.RELOAD,))


def test_a_shim_waits_for_its_address_while_a_reload_would_cut_off_the_host() -> None:
    host = replace(
        with_vlan(f"{ETC}/50-vlan20.network"), links={**LINKS, "eth0.20": VLAN, "host0": replace(THERE, index=10)}
    )
    (lease,) = plan(host, shim(), ON, needed={"eth0.20"}).leases
    assert (lease.unread, lease.asked) == ((LEFT_ALONE,), False)
    assert (
        f"These may have changed: {LEFT_ALONE}. Run networkctl reload"
        in dhcp_planner.plan_of(plan(host, shim(), ON, needed={"eth0.20"})).warnings[0]
    )


def test_a_changed_file_of_a_shim_that_the_host_is_reached_over_is_told_of() -> None:
    there = after(replace(BOTH, networkd={**HOST.networkd, THERE.index: f"{ETC}/05-macvtap-host0.network"}), shim())
    changed = shim(addresses=("192.0.2.8/32",))
    assert planner.plan([changed], there).changed
    found = plan(there, changed, needed={"host0"})
    assert found.commands == ()
    assert "networkd was not reloaded, because the host is reached over host0. From the next boot" in found.warnings[0]
    assert plan(there, changed).warnings == plan(there, shim(), needed={"host0"}).warnings == ()


def test_what_networkd_does_with_a_link_that_another_file_matches() -> None:
    host = with_vlan(f"{ETC}/50-vlan20.network")
    text = f"networkd configures eth0.20, because {ETC}/50-vlan20.network matches it. "
    assert plan(host, ON).warnings == (f"{text}This run reloads networkd, which then leaves eth0.20 alone",)
    later = f"{text}From the next boot or networkctl reload on, it "
    assert plan(host, ON, needed={"eth0.20"}).warnings == (f"{later}leaves eth0.20 alone",)
    assert plan(after(host, ON), ON).warnings == (f"{later}leaves eth0.20 alone",)
    extended = with_vlan(f"{ETC}/50-vlan20.network", extended=True)
    how = f"configures eth0.20 by {OURS} and its drop-ins alone"
    assert plan(extended, ON, needed={"eth0.20"}).warnings == (f"{later}{how}",)
    for file in (None, "", OURS, LEFT_ALONE):
        assert plan(with_vlan(file), ON).warnings == ()
