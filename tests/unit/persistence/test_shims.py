# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files of macvlan shims, and which are added, kept and removed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from unit.persistence import earlier

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR

from .planned_shims import (
    ETC,
    HOST,
    INTERFACES,
    KEYFILE,
    LINKS,
    MAC,
    NM,
    SYSCTL,
    UDEV,
    after,
    block,
    refused,
    shim,
    text,
    vlan,
)

BARE = f"""\
link add link % name host0 address {MAC} type macvlan mode bridge
link set dev host0 mtu 1400
alias linuxvirt.macvtap host access
sysctl net/ipv4/conf/host0/arp_filter 1
sysctl net/ipv4/conf/host0/arp_announce 2
sysctl net/ipv6/conf/host0/accept_ra 0
sysctl net/ipv6/conf/host0/autoconf 0
link set dev host0 up
"""
STACK = """\
address replace 192.0.2.250/32 dev host0
address replace 2001:db8::250/128 dev host0
route add 192.0.2.16/28 dev host0 proto static src 192.0.2.250
route add 192.0.2.77/32 dev host0 proto static src 192.0.2.250
route add 2001:db8::77/128 dev host0 proto static
"""


# what


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_the_unit_creates_the_shim_with_addresses_and_routes(parent: str) -> None:
    host = after(HOST, shim(parent, mtu=1400))
    assert block(host, parent) == BARE + STACK
    assert "\n[Link]\nUnmanaged=yes\n" in text(host, f"{ETC}/00-macvtap-host0.network")


@pytest.mark.parametrize("backend", ["auto", "networkd"])
def test_the_manager_that_gets_the_lease_neither_creates_the_shim_nor_touches_the_uplink(backend: str) -> None:
    host = after(HOST, shim(mtu=1400, backend=backend, dhcp4=True))
    assert block(host) == BARE
    assert [path for path in host.files if path.startswith(ETC)] == [f"{ETC}/05-macvtap-host0.network"]


@pytest.mark.parametrize("backend", ["networkd", NM])
def test_without_dhcp_no_manager_sets_addresses_whatever_the_backend(backend: str) -> None:
    assert after(HOST, shim(backend=backend)).files == after(HOST, shim()).files


def test_networkd_gets_the_lease_and_sets_the_other_addresses_and_routes() -> None:
    leased = shim(dhcp4=True, addresses=("2001:db8::250",), guests=("192.0.2.77/32", "2001:db8::77/128"))
    assert (
        text(after(HOST, leased), f"{ETC}/05-macvtap-host0.network")
        == f"""\
{HEADER}

# macvlan host0
[Match]
Name=host0

[Link]
RequiredForOnline=no

[Network]
DHCP=ipv4
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
Address=2001:db8::250/128

[DHCPv4]
UseDNS=no
UseNTP=no
UseSIP=no
UseDomains=no
UseHostname=no
UseMTU=no
UseTimezone=no
UseRoutes=no
UseGateway=no
SendHostname=no
RouteTable=1836479600

[Route]
Destination=192.0.2.77/32
Protocol=static
Scope=link

[Route]
Destination=2001:db8::77/128
Protocol=static
"""
    )


def test_only_the_address_of_a_lease_is_used() -> None:
    message = text(after(HOST, shim(addresses=(), dhcp4=True)), f"{ETC}/05-macvtap-host0.network")
    assert "\nDHCP=ipv4\n" in message
    assert message.count("=no\n") == 12
    assert "RouteTable=" in message
    message = text(after(HOST, shim("eth1", addresses=(), dhcp4=True)), KEYFILE)
    assert "[ipv4]\nmethod=auto\nignore-auto-routes=true\nignore-auto-dns=true\n" in message


def test_the_lease_comes_from_the_uplinks_manager_or_the_only_enabled_one() -> None:
    leased = shim("eth2", dhcp4=True)
    refused("shims[0].dhcp4", "networkd and networkmanager would start at boot, and neither manages eth2", HOST, leased)
    refused("shims[0].dhcp4", "neither networkd nor", replace(HOST, enabled=()), leased)
    old = replace(HOST, systemd_version=248)
    for backend in ("auto", "networkd"):
        refused("shims[0].dhcp4", "systemd-networkd 248 aborts", old, shim(dhcp4=True, backend=backend))
    # Nothing that networkd does not do, and no later one.
    assert after(old, shim("eth1", dhcp4=True)).files
    assert after(old, shim(dhcp4=False)).files
    assert after(replace(HOST, systemd_version=249), shim(dhcp4=True)).files
    without = replace(HOST, systemd=False)
    refused("shims[0].dhcp4", "ifupdown gets a shim no", without, shim("eth2", backend="ifupdown", dhcp4=True))
    assert KEYFILE in after(replace(HOST, enabled=("networkmanager",)), leased).files
    assert KEYFILE in after(HOST, shim("eth2", dhcp4=True, backend="networkmanager")).files
    assert KEYFILE in after(HOST, shim("eth1", dhcp4=True)).files


def test_networkmanager_gets_the_lease_and_sets_the_other_addresses_and_routes() -> None:
    leased = shim("eth1", dhcp4=True, addresses=("2001:db8::250",), guests=("192.0.2.77/32", "2001:db8::77/128"))
    host = after(HOST, leased)
    assert host.files[KEYFILE].mode == 0o600
    uuid = text(host, KEYFILE).split("uuid=")[1].split("\n")[0]
    assert (
        text(host, KEYFILE)
        == f"""\
{HEADER}

# macvlan host0
[connection]
id=macvtap-host0
uuid={uuid}
type=macvlan
interface-name=host0

[ethernet]
cloned-mac-address={MAC}
mtu=1500

[macvlan]
parent=eth1
mode=2

[ipv4]
method=auto
ignore-auto-routes=true
ignore-auto-dns=true
dhcp-send-hostname=false
route-table=1836479600
route1=192.0.2.77/32,0.0.0.0,0
route1_options=table=254
never-default=true

[ipv6]
method=manual
addr-gen-mode=0
address1=2001:db8::250/128
route1=2001:db8::77/128,::,1024
never-default=true
"""
    )
    only4 = text(after(HOST, shim("eth1", dhcp4=True, addresses=(), guests=("192.0.2.77/32",))), KEYFILE)
    assert only4.endswith("[ipv6]\nmethod=link-local\naddr-gen-mode=0\n")
    on_vlan = after(HOST, vlan("eth1"), shim("eth1.20", dhcp4=True, addresses=(), backend=NM))
    assert "mtu" not in text(on_vlan, KEYFILE)


def test_by_ifupdown_the_program_creates_the_shim_with_addresses_and_routes() -> None:
    host = after(replace(HOST, systemd=False), shim("eth2", backend="ifupdown", mtu=1400))
    assert block(host, "eth2") == BARE + STACK
    assert "make-links ${link##*/}" in text(host, INTERFACES)


def test_a_profile_with_another_mode_is_corrected() -> None:
    leased = shim("eth1", dhcp4=True)
    host = after(HOST, leased)
    files = {**host.files, KEYFILE: replace(host.files[KEYFILE], mode=0o644)}
    (change,) = planner.plan([leased], replace(host, files=files)).changes
    assert (change.field, change.before, change.after) == ("mode", "0644", "0600")


@pytest.mark.parametrize(("manager", "parent"), earlier.UPLINKS.items())
@pytest.mark.parametrize("state", ["present", "absent"])
def test_an_upgrade_of_a_shim_writes_new_files_first(manager: str, parent: str, state: str) -> None:
    was = replace(HOST, files={file.path: file for file in earlier.FILES[manager]})
    alone = after(replace(HOST, files=was.files), purge=True)
    planned = planner.plan([shim(parent, state=state)], alone)
    assert predicted(planned, alone.files).keys() == after(HOST, shim(parent, state=state)).files.keys()
    new = [step.before is None for step in planned.steps]
    assert new == sorted(new, reverse=True)
    # The links are another task's.
    assert {path for path in was.files if "mt0" in path} <= after(was, shim(parent, state=state)).files.keys()


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_sysctl_settings_of_a_shim(parent: str) -> None:
    assert text(after(HOST, shim(parent, name="host.a")), SYSCTL) == (
        f"{HEADER}\n\n# macvlan host.a\n-net/ipv4/conf/host.a/arp_filter = 1\n-net/ipv4/conf/host.a/arp_announce = 2\n"
        "-net/ipv6/conf/host.a/accept_ra = 0\n-net/ipv6/conf/host.a/autoconf = 0\n"
    )


def test_a_shim_that_networkmanager_may_create_gets_the_alias() -> None:
    assert f'KERNEL=="host0", ATTR{{ifalias}}="{OWNER_ALIAS}"\n' in text(after(HOST, shim("eth1", dhcp4=True)), UDEV)


def test_networkmanager_manages_a_shim_that_exists_when_it_starts() -> None:
    """Or it would take it for somebody else's, and the shim would have no address after a boot."""
    managed = 'KERNEL=="host0", ENV{NM_UNMANAGED}="0"'
    assert managed in text(after(HOST, shim("eth1", addresses=(), dhcp4=True)), UDEV)
    assert managed in text(after(HOST, shim("eth1", dhcp4=True)), UDEV)
    # Whose addresses the unit sets, or networkd.
    for one in (shim("eth1"), shim(addresses=(), dhcp4=True)):
        assert "NM_UNMANAGED" not in "".join(file.text for file in after(HOST, one).files.values())


def test_each_ipv4_route_has_the_first_ipv4_address_as_its_source() -> None:
    more = ("2001:db8::1", "192.0.2.9", "192.0.2.8")
    message = text(after(HOST, shim(addresses=more)), f"{LINKS_DIR}/eth0")
    assert [line.split()[-1] for line in message.splitlines() if " src " in line] == ["192.0.2.9", "192.0.2.9"]


def test_a_shim_keeps_its_mac_address() -> None:
    there = Link("host0", 9, "macvlan", "eth0", 2, mode="bridge", mac="02:00:00:00:00:99", alias=OWNER_ALIAS)
    host = after(replace(HOST, links={**LINKS, "host0": there}), shim(parent=None, mac=None))
    assert " address 02:00:00:00:00:99 " in block(host)


def test_a_shim_may_be_on_a_vlan_of_this_task_or_an_earlier_one() -> None:
    together = after(HOST, vlan(), shim("eth0.20"))
    assert block(together).startswith("link add link eth0.20 name host0 ")
    made = Link("eth0.20", 9, "vlan", "eth0", 2, vlan_id=20, vlan_protocol="802.1Q", alias="linuxvirt.macvtap")
    first = after(replace(HOST, links={**LINKS, "eth0.20": made}), vlan())
    assert after(first, shim("eth0.20")).files == together.files
