# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files of macvlan shims, and which are added, kept and removed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.persistence import earlier

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    Address,
    Connection,
    DesiredShim,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Host as AccessHost
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS as VLAN_MARK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, Declared, Host

ETC = "/etc/systemd/network"
KEYFILE = "/etc/NetworkManager/system-connections/macvtap-host0.nmconnection"
INTERFACES = "/etc/network/interfaces.d/macvtap"
UDEV = "/etc/udev/rules.d/90-macvtap.rules"
SYSCTL = "/etc/sysctl.d/90-macvtap.conf"
MAC = "52:54:00:00:00:07"
NM = "networkmanager"
# One parent for each manager, and one for none.
LINKS = {
    link.name: link
    for link in (
        Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500),
        Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500),
        Link("eth2", 4, mac="02:00:00:00:00:04", mtu=1500),
        Link("eth3", 5, mac="02:00:00:00:00:05", mtu=1500, pci="0000:04:00.0"),
    )
}
HOST = Host(
    LINKS,
    networkd={2: f"{ETC}/20-eth0.network", 5: None},
    networkmanager={3: "theirs"},
    enabled=("networkd", "networkmanager"),
    interfaces_sourced=True,
    systemd=True,
)


def shim(parent: str | None = "eth0", name: str = "host0", backend: str = "auto", **fields: t.Any) -> Declared:
    given: dict[str, t.Any] = {
        "path": "shims[0]",
        "mac": MAC,
        "addresses": ("192.0.2.250", "2001:db8::250"),
        "guests": ("192.0.2.16/28", "192.0.2.77/32", "2001:db8::77/128"),
        **fields,
    }
    return Declared(DesiredShim(name, parent=parent, **given), backend)


def link(name: str = "mt0", parent: str = "eth0", **fields: t.Any) -> Declared:
    return Declared(DesiredLink(name, path="links[0]", parent=parent, mode="bridge", **fields), "auto")


def vlan(parent: str = "eth0", **fields: t.Any) -> Declared:
    return Declared(DesiredVlan(parent, 20, path="vlans[0]", **fields), "auto")


def after(host: Host, *declared: Declared, purge: bool = False) -> Host:
    """Return the host once the plan is done."""
    return replace(host, files=predicted(planner.plan(declared, host, purge=purge), host.files))


def text(host: Host, path: str) -> str:
    return host.files[path].text


def refused(path: str, why: str, host: Host, *declared: Declared) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        planner.plan(declared, host)
    assert caught.value.path == path


def block(host: Host, file: str = "eth0") -> str:
    """Return what the unit is told of the shim."""
    (found,) = (one for one in text(host, f"{LINKS_DIR}/{file}").split("\n\n") if one.startswith("# macvlan "))
    return found.partition("\n")[2].rstrip("\n") + "\n"


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
route replace 192.0.2.16/28 dev host0 proto static src 192.0.2.250
route replace 192.0.2.77/32 dev host0 proto static src 192.0.2.250
route replace 2001:db8::77/128 dev host0 proto static
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
    said = text(after(HOST, shim(addresses=(), dhcp4=True)), f"{ETC}/05-macvtap-host0.network")
    assert "\nDHCP=ipv4\n" in said
    assert said.count("=no\n") == 12
    assert "RouteTable=" in said
    said = text(after(HOST, shim("eth1", addresses=(), dhcp4=True)), KEYFILE)
    assert "[ipv4]\nmethod=auto\nignore-auto-routes=true\nignore-auto-dns=true\n" in said


def test_the_lease_comes_from_the_uplinks_manager_or_the_only_enabled_one() -> None:
    leased = shim("eth2", dhcp4=True)
    refused("shims[0].dhcp4", "networkd and networkmanager would start at boot, and neither manages eth2", HOST, leased)
    refused("shims[0].dhcp4", "neither networkd nor", replace(HOST, enabled=()), leased)
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
    said = text(after(HOST, shim(addresses=more)), f"{LINKS_DIR}/eth0")
    assert [line.split()[-1] for line in said.splitlines() if " src " in line] == ["192.0.2.9", "192.0.2.9"]


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


# what stays and goes


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2", "eth3"])
def test_purge_leaves_shims_and_absent_removes_them(parent: str) -> None:
    alone = after(HOST, shim(parent))
    beside = after(alone, link("mt0", parent), vlan())
    assert set(alone.files) < set(beside.files)
    assert after(beside, purge=True).files == alone.files
    # Even a link of the same name that is declared absent is not the shim.
    assert after(beside, link("host0", state="absent"), purge=True).files == alone.files
    links = after(HOST, link("mt0", parent), vlan())
    assert after(beside, shim(state="absent")).files == links.files
    assert after(alone, shim(state="absent", parent=None)).files == {}
    assert after(alone, shim(parent, backend="none")).files == {}


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_a_vlan_stays_while_a_shim_is_on_it(parent: str) -> None:
    lan = vlan(parent, name="lan20")
    made = Link("lan20", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=VLAN_MARK)
    host = replace(after(HOST, lan, shim("lan20"), link("mt0", parent)), links={**LINKS, "lan20": made})
    alone = after(HOST, lan, shim("lan20")).files
    # Of all that is not declared the VLAN stays, and what goes is what nothing is on.
    purged = planner.plan([], host, purge=True)
    assert predicted(purged, host.files) == alone
    (warning,) = purged.warnings
    assert warning.startswith("the configuration of lan20 stays: lan20 is the parent of host0, which")
    assert planner.plan([], after(HOST, lan), purge=True).warnings == ()
    # Nor does it go alone, but with the shim.
    going = vlan(parent, name="lan20", state="absent")
    refused("vlans[0]", "lan20 is the parent of host0, which could not be created", host, going)
    refused("vlans[0]", "lan20 is the parent of host0", host, going, shim(state="present", parent=parent, name="b"))
    assert after(host, going, shim(state="absent")).files == after(HOST, link("mt0", parent)).files
    assert after(after(host, shim(parent)), going).files == after(HOST, link("mt0", parent), shim(parent)).files
    # Who keeps it no longer is told of the shim.
    (warning,) = planner.plan([replace(lan, backend="none")], host).warnings
    assert warning.startswith("the configuration of lan20 stays: lan20 is the parent of host0")


@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_a_vlan_of_vlans_stays_while_a_link_is_on_it(parent: str) -> None:
    outer, inner = vlan(parent, name="lan20"), Declared(DesiredVlan("lan20", 30, path="vlans[1]", name="lan30"), "auto")
    host = after(HOST, outer, inner, shim("lan30"))
    assert not planner.plan([], host, purge=True).changed
    refused("vlans[0]", "lan20 is the parent of lan30", host, vlan(parent, name="lan20", state="absent"))
    # A link that is declared has its parent kept as well.
    host = after(HOST, outer, link("mt0", "lan20"), link("mt1", parent, mac="52:54:00:00:00:08"))
    made = Link("lan20", 9, "vlan", parent, LINKS[parent].index, vlan_id=20, vlan_protocol="802.1Q", alias=VLAN_MARK)
    host = replace(host, links={**LINKS, "lan20": made})
    assert after(host, link("mt0", "lan20"), purge=True).files == after(HOST, outer, link("mt0", "lan20")).files


def test_an_absent_shim_does_not_remove_the_link_of_that_name() -> None:
    links = after(HOST, link("host0"))
    assert not planner.plan([shim(state="absent")], links).changed


@pytest.mark.parametrize("dhcp4", [False, True])
def test_a_shim_that_moves_leaves_nothing_behind(dhcp4: bool) -> None:
    moved = after(after(HOST, shim(dhcp4=dhcp4)), shim("eth1", dhcp4=dhcp4))
    assert moved.files == after(HOST, shim("eth1", dhcp4=dhcp4)).files
    assert after(moved, shim()).files == after(HOST, shim()).files


@given(
    st.sampled_from(["eth0", "eth1", "eth2"]),
    st.sampled_from(["eth0", "eth1", "eth2"]),
    st.sampled_from(["present", "absent"]),
    st.booleans(),
)
def test_a_second_run_changes_nothing(first: str, second: str, state: str, purge: bool) -> None:
    others = [link("mt0", first), vlan(second)]
    host = after(after(HOST, shim(first)), *others, purge=purge)
    once = after(host, shim(second, state=state))
    assert not planner.plan([*others, shim(second, state=state)], once, purge=purge).changed
    assert once.files == after(HOST, *others, shim(second, state=state)).files


# what cannot be


def test_names_of_unmanaged_links_are_refused() -> None:
    refused("shims[0].name", "a name of eth3, a physical", HOST, shim(name="eth3"))
    for kind, alias in (("macvlan", None), ("macvlan", "mine"), ("macvtap", OWNER_ALIAS)):
        theirs = Link("host0", 9, kind, "eth0", 2, mode="bridge", alias=alias)
        host = replace(HOST, links={**LINKS, "host0": theirs})
        refused("shims[0].name", f"a name of host0, a {kind} link that is not managed", host, shim())


def test_a_link_and_a_shim_cannot_share_a_name() -> None:
    refused("shims[0].name", "mt0 is configured as a link", after(HOST, link()), shim(name="mt0"))
    refused("links[0].name", "host0 is configured as a shim", after(HOST, shim()), link("host0"))
    refused("vlans[0].name", "host0 is configured as a shim", after(HOST, shim()), vlan(name="host0"))
    refused("shims[0].name", "declared twice, here and in links", HOST, link("host0"), shim())


REACHED = AccessHost(
    LINKS,
    addresses=(Address("192.0.2.1", 24, index=2), Address("2001:db8::1", 64, index=2)),
    routes=(Route("0.0.0.0/0", 2, "192.0.2.254"), Route("192.0.2.0/24", 2, protocol=2), Route("10.0.0.0/8", 3)),
    connections=(Connection("192.0.2.1", "192.0.2.99"),),
)


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        (
            {"addresses": ("192.0.2.1",), "guests": ()},
            "addresses[0]",
            "192.0.2.1 is already an address of the host, on eth0",
        ),
        ({"guests": ("192.0.2.96/29",)}, "guests[0]", "contains 192.0.2.99, which Ansible connects from"),
        ({"guests": ("192.0.2.240/28",)}, "guests[0]", "contains a router"),
        ({"guests": ("2001:db8::/125",)}, "guests[0]", "contains an address of the host itself"),
        ({"guests": ("10.0.0.0/8",)}, "guests[0]", "there already is a route to 10.0.0.0/8 over eth1"),
    ],
)
@pytest.mark.parametrize("parent", ["eth0", "eth1", "eth2"])
def test_shims_that_would_disconnect_the_host_are_refused(
    parent: str, fields: dict[str, t.Any], path: str, why: str
) -> None:
    refused(f"shims[0].{path}", why, replace(HOST, access=REACHED), shim(parent, **fields))
    assert planner.plan([shim(parent)], replace(HOST, access=REACHED)).changed


def test_a_shim_that_carries_ansibles_connection_stays() -> None:
    there = Link("host0", 9, "macvlan", "eth0", 2, mode="bridge", mac=MAC, alias=OWNER_ALIAS)
    access = replace(
        REACHED,
        links={**LINKS, "host0": there},
        addresses=(*REACHED.addresses, Address("192.0.2.250", 32, index=9)),
        routes=(*REACHED.routes, Route("192.0.2.77/32", 9, source="192.0.2.250")),
        connections=(Connection("192.0.2.250", "192.0.2.77"),),
    )
    host = replace(after(HOST, shim()), links=access.links, access=access)
    refused("shims[0]", "removing it would cut it off", host, shim(state="absent"))
    refused("shims[0].guests", "192.0.2.77.*would cut it off", host, shim(guests=()))
    refused("shims[0].addresses", "removing 192.0.2.250", host, shim(addresses=("192.0.2.251",)))
    assert not planner.plan([shim()], host).changed


@pytest.mark.parametrize(
    ("parent", "why"), [("mt9", "is a macvtap link"), ("lo", "loopback"), ("eth7", "there is no link eth7")]
)
def test_a_parent_that_can_carry_no_shim_is_refused(parent: str, why: str) -> None:
    links = {**LINKS, "lo": Link("lo", 1, loopback=True), "mt9": Link("mt9", 9, "macvtap", "eth0", 2)}
    refused("shims[0].parent", why, replace(HOST, links=links), shim(parent))


def test_a_parent_must_be_known() -> None:
    refused("shims[0].parent", "is required, since the link", HOST, shim(parent=None))
    gone = vlan(name="lan20", state="absent")
    made = Link("lan20", 9, "vlan", "eth0", 2, vlan_id=20, vlan_protocol="802.1Q", alias="linuxvirt.macvtap")
    host = replace(HOST, links={**LINKS, "lan20": made})
    refused("shims[0].parent", "absent in vlans", host, gone, shim("lan20"))


def test_purge_of_shims_takes_what_is_written_of_undeclared_ones_and_only_that() -> None:
    kept, gone = shim(name="host0"), shim("eth1", "host1", mac="52:54:00:00:00:99", path="shims[1]")
    host = after(HOST, kept, gone, link())
    assert planner.purged_shims([kept, gone], host) == []
    purged = planner.purged_shims([kept], host)
    assert [(one.entry.name, one.entry.state) for one in purged] == [("host1", "absent")]
    assert after(host, kept, *purged).files == after(HOST, kept, link()).files
    # An empty list declares none.
    assert after(host, *planner.purged_shims([], host)).files == after(HOST, link()).files
    # What is declared under another kind is not in the list of shims.
    assert len(planner.purged_shims([link("host0")], host)) == 2
