# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Companions that get their address by DHCP: what is written for that, and who is told of it now."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK, Address, Connection, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Host as AccessHost
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import leases, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Declared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.lease import RELOAD, Lease, Leases
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import HEADER, Host, NetworkdLink

ETC = "/etc/systemd/network"
KEYFILE = "/etc/NetworkManager/system-connections/macvtap-host0.nmconnection"
INTERFACES = "/etc/network/interfaces.d/macvtap"
HOOK = "/etc/dhcp/dhclient-enter-hooks.d/macvtap"
MAC = "52:54:00:00:00:07"
OWN = f"{ETC}/05-macvtap-host0.network"
DROP_IN = f"{ETC}/20-eth0.network.d/50-macvtap.conf"
# One parent for each manager.
LINKS = {
    "eth0": Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500),
    "eth1": Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1400),
    "eth2": Link("eth2", 4, mac="02:00:00:00:00:04", mtu=1500),
}
HOST = Host(
    LINKS,
    networkd={2: NetworkdLink(True, f"{ETC}/20-eth0.network", ("eth0",))},
    networkmanager=frozenset({3}),
    ifupdown=frozenset({"eth2"}),
    ifstate=frozenset({"eth2"}),
    dhclient=True,
    enabled=("networkd", "networkmanager", "ifupdown"),
    interfaces_sourced=True,
    systemd=True,
)


def companion(parent: str | None = "eth0", name: str = "host0", backend: str = "auto", **fields: t.Any) -> Declared:
    given: dict[str, t.Any] = {"mac": MAC, "guests": ("192.0.2.16/28",), "dhcp4": True, **fields}
    return Declared(Wanted(name, path="companions[0]", parent=parent, **given), backend)


def written(host: Host, *declared: Declared) -> Host:
    """Return the host with the files that it will have."""
    return replace(host, files=planner.foreseen(planner.plan(declared, host), host))


def text(parent: str, path: str, **fields: t.Any) -> str:
    return written(HOST, companion(parent, **fields)).files[path].text


def live(
    *, parent: str = "eth0", address: str | None = None, leased: bool = True, host: Host = HOST, **fields: t.Any
) -> Host:
    """Return the host with the companion that macvtap_host_access has made on ``parent``."""
    link = Link("host0", 9, kind="macvlan", parent=parent, mac=MAC, mtu=1500, **{"alias": MARK, **fields})
    addresses = {2: ["192.0.2.9/24"], **({9: [address]} if address else {})}
    has = [Address(address.partition("/")[0], 32, index=9, leased=leased)] if address else []
    access = AccessHost({**LINKS, "host0": link}, tuple(has))
    return replace(host, links=access.links, addresses=addresses, access=access)


def told(host: Host, *declared: Declared, unread: t.Sequence[str] = ()) -> Leases:
    steps = planner.plan(declared, host).steps
    return leases.plan(planner.decided_of(declared, host), host, steps, unread)


def of(found: Leases) -> Lease:
    (lease,) = found.leases
    return lease


# what is written


def test_of_a_lease_networkd_takes_the_address_alone() -> None:
    assert (
        text("eth0", OWN)
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
Destination=192.0.2.16/28
Protocol=static
Scope=link
"""
    )


def test_of_a_lease_networkmanager_takes_the_address_alone() -> None:
    said = text("eth1", KEYFILE)
    assert said.split("[ipv4]\n")[1].split("\n\n")[0].splitlines() == [
        "method=auto",
        "ignore-auto-routes=true",
        "ignore-auto-dns=true",
        "dhcp-send-hostname=false",
        "route-table=1836479600",
        "route1=192.0.2.16/28,0.0.0.0,0",
        "route1_options=table=254",
        "never-default=true",
    ]


@pytest.mark.parametrize(("declared", "mtu"), [(None, 1400), (1300, 1300)])
def test_networkmanager_does_not_take_the_lease_s_mtu(declared: int | None, mtu: int) -> None:
    # The parent's, as the kernel would give it; with none in the profile it would be the lease's.
    assert f"\nmtu={mtu}\n" in text("eth1", KEYFILE, mtu=declared)
    assert "mtu=" not in text("eth1", KEYFILE, dhcp4=False, guests=(), addresses=("2001:db8::250",))


def test_ifupdown_has_a_client_whose_hook_takes_the_address_alone() -> None:
    client = "-cf /dev/null -pf /run/dhclient.host0.pid -lf /var/lib/dhcp/dhclient.host0.leases host0"
    stanza = text("eth2", INTERFACES).splitlines()
    assert stanza[-2:] == [
        f"    post-up dhclient -4 -nw {client}",
        f"    pre-down dhclient -4 -r {client} || true",
    ]
    hook = text("eth2", HOOK)
    assert hook.endswith(
        "\n# macvlan host0\n"
        'if [ "$interface" = host0 ]; then\n'
        "    macvtap_companion\n"
        "    ip route replace 192.0.2.16/28 dev host0 proto static\n"
        "    exit 0\n"
        "fi\n"
    )


def test_what_is_written_goes_with_the_companion() -> None:
    for parent in LINKS:
        assert written(written(HOST, companion(parent)), companion(parent, state="absent")).files == {}
    two = written(HOST, companion("eth2"), companion("eth2", "host1", mac="52:54:00:00:00:08"))
    left = written(two, companion("eth2", "host1", state="absent"))
    assert left.files == written(HOST, companion("eth2")).files


def test_static_addresses_have_none_of_it() -> None:
    for parent in LINKS:
        files = written(HOST, companion(parent, dhcp4=False, addresses=("192.0.2.250",))).files
        assert HOOK not in files
        assert not [file for file in files.values() if "1836479600" in file.text or "dhclient" in file.text]


# what is refused


@pytest.mark.parametrize(
    ("host", "declared", "why"),
    [
        (replace(HOST, dhclient=False), companion("eth2"), "dhclient, which is not installed here.*isc-dhcp-client"),
        (HOST, companion("eth0", backend="none"), "nobody keeps host0"),
        (replace(HOST, networkd={}, enabled=()), companion("eth0"), "nobody keeps host0"),
    ],
)
def test_an_address_that_nobody_would_get_is_refused(host: Host, declared: Declared, why: str) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        planner.plan([declared], host)
    assert caught.value.path == "companions[0].dhcp4"


def test_a_companion_whose_manager_is_silent_for_a_moment_keeps_what_is_written() -> None:
    host = written(HOST, companion())
    silent = replace(host, networkd={}, enabled=())
    assert not planner.plan([companion()], silent).changed
    assert told(silent, companion()).leases == ()


# who is told


def test_networkmanager_and_ifupdown_are_told_of_the_companion_alone() -> None:
    assert of(told(live(parent="eth1"), companion("eth1"))).commands == (
        ("nmcli", "connection", "load", KEYFILE),
        ("nmcli", "--wait", "60", "connection", "up", "id", "macvtap-host0"),
    )
    assert of(told(live(parent="eth2"), companion("eth2"))).commands == (("ifup", "host0"),)


def test_ifupdown_begins_anew_where_it_has_brought_the_companion_up_already() -> None:
    host = live(parent="eth2", host=replace(HOST, ifstate=frozenset({"eth2", "host0"})))
    assert of(told(host, companion("eth2"))).commands == (("ifdown", "host0"), ("ifup", "host0"))


def test_networkd_is_told_once_the_companions_own_file_is_there_and_before_the_others_are() -> None:
    found = told(live(), companion())
    assert of(found).commands == (RELOAD,)
    assert found.first == {OWN}
    assert DROP_IN in {step.target for step in planner.plan([companion()], live()).steps}


@pytest.mark.parametrize("file", [DROP_IN, f"{ETC}/20-eth0.network", f"{ETC}/20-eth0.network.d"])
def test_networkd_is_not_told_where_that_could_disturb_another_link(file: str) -> None:
    found = told(live(), companion(), unread=(file,))
    assert (of(found).commands, of(found).unread, of(found).disturbed) == ((), (file,), ("eth0",))
    assert not found.plan.changed
    (warning,) = found.plan.warnings
    assert f"since it started: {file} (of eth0, and" in warning


def test_networkd_is_not_told_either_where_nobody_knows_what_it_would_disturb() -> None:
    found = told(live(), companion(), unread=(ETC,))
    assert (of(found).commands, of(found).unread, of(found).disturbed) == ((), (ETC,), ())


def test_the_companions_own_file_keeps_networkd_from_nothing() -> None:
    # As a run leaves it that was ended before networkd was told.
    host = written(live(), companion())
    assert of(told(host, companion(), unread=(OWN,))).commands == (RELOAD,)


def test_networkd_is_not_told_again_of_what_it_has_read() -> None:
    host = written(live(), companion())
    host = replace(host, networkd={**host.networkd, 9: NetworkdLink(True, OWN, ("host0",))})
    found = of(told(host, companion()))
    assert (found.commands, found.asked) == ((), True)


@pytest.mark.parametrize("parent", LINKS)
def test_a_companion_that_has_an_address_is_left_alone(parent: str) -> None:
    found = told(live(parent=parent, address="192.0.2.130/24"), companion(parent))
    assert (of(found).commands, of(found).asked, found.addresses) == ((), False, {"host0": "192.0.2.130"})
    assert not found.plan.changed


@pytest.mark.parametrize("parent", LINKS)
def test_an_ipv6_address_is_none_that_dhcp4_asks_for(parent: str) -> None:
    assert told(live(parent=parent, address="2001:db8::250/128", leased=False), companion(parent)).plan.changed


@pytest.mark.parametrize("parent", LINKS)
def test_nor_is_an_address_that_somebody_has_said(parent: str) -> None:
    found = told(live(parent=parent, address="192.0.2.60/32", leased=False), companion(parent))
    assert found.plan.changed
    assert found.addresses == {"host0": None}


@pytest.mark.parametrize("parent", LINKS)
def test_nobody_is_told_of_a_link_that_is_not_there(parent: str) -> None:
    found = told(HOST, companion(parent))
    assert (of(found).commands, of(found).asked, found.first) == ((), False, frozenset())


def test_nobody_is_told_of_a_link_that_something_else_has_made() -> None:
    host = live(parent="eth1", alias="", host=written(HOST, companion("eth1")))
    assert of(told(replace(host, files=written(HOST, companion("eth1")).files), companion("eth1"))).commands == ()


# what goes


def test_the_client_of_a_companion_that_is_gone_is_ended_while_its_stanza_is_there() -> None:
    host = replace(written(HOST, companion("eth2")), ifstate=frozenset({"eth2", "host0"}))
    gone = companion("eth2", state="absent")
    assert told(host, gone).before == (("ifdown", "host0"),)
    # Of one that is still there, too: it goes in the same run.
    there = live(parent="eth2", host=host)
    assert told(replace(there, files=host.files, ifstate=host.ifstate), gone).before == (("ifdown", "host0"),)


def test_networkmanager_forgets_a_companion_that_is_gone() -> None:
    host = written(HOST, companion("eth1"))
    gone = companion("eth1", state="absent")
    assert told(host, gone).after == (("nmcli", "connection", "load", KEYFILE),)
    assert told(replace(live(parent="eth1"), files=host.files), gone).after == (
        ("nmcli", "connection", "load", KEYFILE),
    )


# what becomes static


STATIC: dict[str, t.Any] = {"dhcp4": False, "addresses": ("192.0.2.60",)}


def becomes_static(parent: str, *, over: bool = False, unread: t.Sequence[str] = (), **fields: t.Any) -> Leases:
    host = live(parent=parent, address="192.0.2.130/32", host=replace(HOST, **fields))
    host = replace(host, files=written(HOST, companion(parent)).files)
    connection = Connection("192.0.2.9", "203.0.113.5", index=9 if over else 2)
    assert host.access is not None
    host = replace(host, access=replace(host.access, connections=(connection,)))
    return told(host, companion(parent, **STATIC), unread=unread)


def test_the_client_of_a_companion_that_becomes_static_is_ended_alone() -> None:
    found = becomes_static("eth2", ifstate=frozenset({"eth2", "host0"}))
    client = "-cf /dev/null -pf /run/dhclient.host0.pid -lf /var/lib/dhcp/dhclient.host0.leases host0"
    assert found.before == (("dhclient", "-4", "-r", *client.split()),)
    assert (found.after, found.warnings) == ((), ())
    # Of one that ifupdown has not brought up there is none.
    assert becomes_static("eth2").before == ()


def test_networkmanager_takes_up_that_a_companion_becomes_static() -> None:
    found = becomes_static("eth1", networkmanager=frozenset({3, 9}))
    assert found.after == (
        ("nmcli", "connection", "load", KEYFILE),
        ("nmcli", "--wait", "60", "connection", "up", "id", "macvtap-host0"),
    )
    # Ansible's own connection is not put at risk for it.
    found = becomes_static("eth1", networkmanager=frozenset({3, 9}), over=True)
    assert (found.before, found.after) == ((), ())
    (warning,) = found.plan.warnings
    assert warning.startswith("host0 keeps its DHCP client until the next boot, or until you run nmcli --wait 60")
    assert becomes_static("eth1").after == ()


def test_networkd_is_told_that_a_companion_becomes_static_where_that_disturbs_no_other_link() -> None:
    read = {**HOST.networkd, 9: NetworkdLink(True, OWN, ("host0",))}
    assert becomes_static("eth0", networkd=read).first == {OWN}
    assert becomes_static("eth0", networkd=read, unread=(OWN,)).first == {OWN}
    for more in ({"unread": (DROP_IN,)}, {"over": True}):
        found = becomes_static("eth0", networkd=read, **more)
        assert found.first == frozenset()
        (warning,) = found.plan.warnings
        assert warning.startswith(
            "host0 keeps its DHCP client until the next boot, or until you run networkctl reload:"
        )
    # It has not read the file yet, and so runs no client.
    found = becomes_static("eth0", unread=(DROP_IN,))
    assert (found.first, found.warnings) == (frozenset(), ())
