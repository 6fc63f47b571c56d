# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whole files, as each manager has been seen to take them."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    commands,
    escaping,
    ifupdown,
    networkd,
    networkmanager,
    udev,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import HEADER, Kept, Parent, Piece

MAC = "52:54:00:00:00:01"
ETH0 = Parent("eth0", said="eth0", network_file="/etc/systemd/network/20-eth0.network")


def kept(name: str = "mt0", **fields: t.Any) -> Kept:
    base: dict[str, t.Any] = {"kind": "macvtap", "parent": ETH0, "path": "links[0]", "mode": "bridge", "mac": MAC}
    return Kept(name, **{**base, **fields})


def vlan(name: str = "eth0.20", **fields: t.Any) -> Kept:
    base: dict[str, t.Any] = {"kind": "vlan", "parent": ETH0, "vlan_id": 20, "protocol": "802.1Q", "alias": "mark"}
    return Kept(name, **{**base, **fields})


def texts(pieces: t.Iterable[Piece]) -> dict[str, str]:
    return {piece.path: piece.text for piece in pieces}


# networkd


def test_networkd_has_a_netdev_a_network_of_the_link_and_a_line_for_the_parent() -> None:
    assert texts(networkd.render(kept(mtu=1400, allmulticast=True)).pieces) == {
        "/etc/systemd/network/50-macvtap-mt0.netdev": f"""\
{HEADER}
[NetDev]
Name=mt0
Kind=macvtap
MACAddress={MAC}
MTUBytes=1400

[MACVTAP]
Mode=bridge
""",
        "/etc/systemd/network/05-macvtap-mt0.network": f"""\
{HEADER}
[Match]
Name=mt0

[Link]
RequiredForOnline=no
AllMulticast=yes

[Network]
DHCP=no
LinkLocalAddressing=no
IPv6AcceptRA=no
""",
        "/etc/systemd/network/20-eth0.network.d/50-macvtap.conf": "[Network]\nMACVTAP=mt0\n",
    }


def test_networkd_has_vlans_and_lists_of_addresses() -> None:
    assert texts(networkd.render(vlan(protocol="802.1ad")).pieces)[
        "/etc/systemd/network/50-macvtap-eth0.20.netdev"
    ] == (f"{HEADER}\n[NetDev]\nName=eth0.20\nKind=vlan\n\n[VLAN]\nId=20\nProtocol=802.1ad\n")
    source = networkd.render(kept(mode="source", source_macs=("02:00:00:00:00:01", "02:00:00:00:00:02"), mac=None))
    assert texts(source.pieces)["/etc/systemd/network/50-macvtap-mt0.netdev"] == (
        f"{HEADER}\n[NetDev]\nName=mt0\nKind=macvtap\n\n[MACVTAP]\nMode=source\n"
        "SourceMACAddress=02:00:00:00:00:01 02:00:00:00:00:02\n"
    )


@pytest.mark.parametrize(
    ("up", "line"), [(True, ""), (False, "ActivationPolicy=down"), (None, "ActivationPolicy=manual")]
)
def test_networkd_brings_up_what_is_to_be_up(up: bool | None, line: str) -> None:
    network = texts(networkd.render(kept(up=up)).pieces)["/etc/systemd/network/05-macvtap-mt0.network"]
    assert [one for one in network.splitlines() if one.startswith("Activation")] == ([line] if line else [])


def test_networkd_makes_addresses_only_where_that_is_declared() -> None:
    network = texts(networkd.render(kept(addrgenmode="eui64")).pieces)["/etc/systemd/network/05-macvtap-mt0.network"]
    assert network.endswith(
        "DHCP=no\nLinkLocalAddressing=ipv6\nIPv6LinkLocalAddressGenerationMode=eui64\nIPv6AcceptRA=no\n"
    )


@pytest.mark.parametrize(
    ("parent", "match"),
    [
        (Parent("eth0", said="eth0"), "Name=eth0"),
        (Parent("eth0", by="altname", said="lan-a"), "Name=lan-a"),
        (Parent("eth0", by="mac", said=MAC), f"PermanentMACAddress={MAC}"),
        (Parent("eth0", by="pci", said="0000:03:00.0"), "Path=pci-0000:03:00.0"),
    ],
)
def test_networkd_finds_a_parent_that_nobody_configures_by_what_was_said(parent: Parent, match: str) -> None:
    (piece,) = (one for one in networkd.render(kept(parent=parent)).pieces if one.shared)
    assert piece.path == "/etc/systemd/network/70-macvtap-parent-eth0.network"
    assert piece.head.startswith(f"[Match]\n{match}\n")
    assert piece.text == "[Network]\nMACVTAP=mt0\n"


@pytest.mark.parametrize(
    ("file", "place"),
    [
        ("/usr/lib/systemd/network/80-wired.network", "/etc/systemd/network/80-wired.network.d/50-macvtap.conf"),
        (
            "/run/systemd/network/10-netplan-eth0.network",
            "/etc/systemd/network/10-netplan-eth0.network.d/50-macvtap.conf",
        ),
        (
            "/etc/systemd/network/70-macvtap-parent-eth0.network",
            "/etc/systemd/network/70-macvtap-parent-eth0.network",
        ),
    ],
)
def test_networkd_takes_a_drop_in_wherever_the_file_is(file: str, place: str) -> None:
    pieces = networkd.render(kept(parent=Parent("eth0", said="eth0", network_file=file))).pieces
    assert [one.path for one in pieces if one.shared] == [place]


# NetworkManager


def test_networkmanager_has_a_profile() -> None:
    (piece,) = networkmanager.render(kept(mtu=1400)).pieces
    assert (piece.path, piece.mode) == ("/etc/NetworkManager/system-connections/macvtap-mt0.nmconnection", 0o600)
    uuid = piece.text.split("uuid=")[1].split("\n")[0]
    assert (
        piece.text
        == f"""\
{HEADER}
[connection]
id=macvtap-mt0
uuid={uuid}
type=macvlan
interface-name=mt0

[ethernet]
cloned-mac-address=52:54:00:00:00:01
mtu=1400

[macvlan]
parent=eth0
mode=2
tap=true

[ipv4]
method=disabled

[ipv6]
method=disabled
"""
    )
    again = networkmanager.render(kept(mode="private")).pieces[0].text
    assert f"uuid={uuid}\n" in again
    assert f"uuid={uuid}\n" not in networkmanager.render(kept("mt1")).pieces[0].text


def test_networkmanager_finds_a_parent_by_its_address() -> None:
    by_mac = networkmanager.render(kept(parent=Parent("eth0", by="mac", said="52:54:00:aa:bb:cc"))).pieces[0].text
    assert "[ethernet]\nmac-address=52:54:00:AA:BB:CC\ncloned-mac-address=52:54:00:00:00:01\n" in by_mac
    assert "parent=" not in by_mac


def test_networkmanager_has_vlans() -> None:
    (piece,) = networkmanager.render(vlan(protocol="802.1ad", parent=ETH0)).pieces
    assert "type=vlan\n" in piece.text
    assert "[vlan]\nparent=eth0\nid=20\nflags=1\nprotocol=802.1ad\n" in piece.text


@pytest.mark.parametrize(
    ("fields", "path", "why"),
    [
        ({"mode": "source"}, "links[0].mode", "NetworkManager cannot keep mode source"),
        ({"tx_queues": 4}, "links[0].queues", "4 transmit and 1 receive queues"),
        (
            {"parent": Parent("eth0", by="pci", said="0000:03:00.0")},
            "links[0].parent",
            "0000:03:00.0.*use its name or MAC",
        ),
        ({"parent": Parent("eth0", by="altname", said="lan-a")}, "links[0].parent", "lan-a"),
        ({"parent": Parent("bond0", "bond", "mac", MAC)}, "links[0].parent", "use its name, bond0"),
    ],
)
def test_networkmanager_refuses_what_it_cannot_keep(fields: dict[str, t.Any], path: str, why: str) -> None:
    with pytest.raises(MacvtapError, match=why) as caught:
        networkmanager.render(kept(**fields))
    assert caught.value.path == path


def test_networkmanager_warns_of_what_it_does_otherwise() -> None:
    warnings = networkmanager.render(kept(up=False, addrgenmode="eui64")).warnings
    assert [warning.split(";")[0] for warning in warnings] == [
        "mt0: NetworkManager has no links that are down",
        "mt0: NetworkManager sets addrgenmode none on its links",
    ]


# ifupdown


def test_ifupdown_has_a_stanza_that_leaves_alone_what_exists() -> None:
    rendered = ifupdown.render(
        kept(mtu=1400, alias="web 1", group=7, altnames=("a", "b"), addrgenmode="none", allmulticast=True)
    )
    assert rendered.left == frozenset()
    assert texts(rendered.pieces) == {
        "/etc/network/interfaces.d/macvtap": f"""\
auto mt0
iface mt0 inet manual
    pre-up ip link set dev eth0 up
    pre-up test -e /sys/class/net/mt0 || {{ ip link add link eth0 name mt0 address {MAC} group 7 type macvtap \
mode bridge && {{ ip link set dev mt0 mtu 1400; ip link set dev mt0 alias 'web 1'; \
ip link set dev mt0 addrgenmode none; ip link set dev mt0 allmulticast on; \
ip link property add dev mt0 altname a altname b; true; }}; }}
    post-up ip link set dev mt0 up
"""
    }


@pytest.mark.parametrize(("up", "said"), [(None, True), (True, True), (False, False)])
def test_a_link_in_mode_passthru_is_up_before_it_is_to_hear_all_multicast(up: bool | None, said: bool) -> None:
    told = [*commands.settings(kept(mode="passthru", allmulticast=True, up=up), {"allmulticast"})]
    link = ["link", "set", "dev", "mt0"]
    assert told == ([[*link, "up"], [*link, "allmulticast", "on"]] if said else [])


def test_ifupdown_gives_a_vlan_that_it_has_made_by_its_name_what_is_missing() -> None:
    assert texts(ifupdown.render(vlan(mtu=1400)).pieces) == {
        "/etc/network/interfaces.d/macvtap": """\
auto eth0.20
iface eth0.20 inet manual
    pre-up ip link set dev eth0 up
    pre-up test -e /sys/class/net/eth0.20 || ip link add link eth0 name eth0.20 type vlan protocol 802.1Q id 20
    pre-up ip link set dev eth0.20 mtu 1400 || true
    pre-up ip link set dev eth0.20 alias mark || true
    post-up ip link set dev eth0.20 up
"""
    }


def test_ifupdown_says_all_that_ip_can() -> None:
    text = (
        ifupdown.render(
            kept(
                mode="source",
                source_macs=("02:00:00:00:00:01",),
                nodst=True,
                bcqueuelen=500,
                tx_queues=4,
                rx_queues=2,
                txqueuelen=77,
                up=False,
            )
        )
        .pieces[0]
        .text
    )
    assert (
        f"ip link add link eth0 name mt0 numtxqueues 4 numrxqueues 2 address {MAC} txqueuelen 77 type macvtap "
        "mode source nodst bcqueuelen 500 macaddr set 02:00:00:00:00:01 && "
    ) in text
    assert text.endswith("    post-up ip link set dev mt0 down\n")
    assert "eth0 up" not in text
    passthru = ifupdown.render(kept(mode="passthru", mac=None, promiscuous=False)).pieces[0].text
    assert "ip link add link eth0 name mt0 type macvtap mode passthru nopromisc &&" in passthru


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"name": "mt0.5"}, "links[0].name"),
        ({"mode": "source", "source_macs": tuple(f"02:00:00:00:{n:04x}" for n in range(3000))}, "links[0].source_macs"),
    ],
)
def test_ifupdown_refuses_what_it_would_read_otherwise(fields: dict[str, t.Any], path: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        ifupdown.render(kept(**fields))
    assert caught.value.path == path


# udev


def test_udev_sets_the_permissions_of_the_tap_and_what_the_manager_has_no_words_for() -> None:
    link = kept(
        alias="50% of $x",
        group=7,
        txqueuelen=77,
        altnames=("a", "b"),
        bcqueuelen=500,
        tap_owner="libvirt-qemu",
        tap_group="kvm",
        tap_mode=0o660,
    )
    (piece,) = udev.render(link, networkd.render(link).left, "/sbin/ip")
    assert piece.text == (
        'ACTION=="add", SUBSYSTEM=="net", KERNEL=="mt0", ATTR{ifalias}="50%% of $$x", ATTR{netdev_group}="7", '
        'ATTR{tx_queue_len}="77", RUN+="/sbin/ip link property add dev mt0 altname a altname b", '
        'RUN+="/sbin/ip link set dev mt0 type macvtap mode bridge bcqueuelen 500"\n'
        'SUBSYSTEM=="macvtap", KERNELS=="mt0", SUBSYSTEMS=="net", OWNER="libvirt-qemu", GROUP="kvm", MODE="0660"\n'
    )


def test_udev_sets_a_queue_of_no_length_as_well() -> None:
    (piece,) = udev.render(kept(txqueuelen=0, alias=""), networkd.render(kept()).left, "/sbin/ip")
    assert piece.text.endswith('KERNEL=="mt0", ATTR{tx_queue_len}="0"\n')


def test_udev_has_no_rule_where_there_is_nothing_to_set() -> None:
    assert udev.render(kept(), networkd.render(kept()).left, "/sbin/ip") == ()


def test_udev_takes_the_promiscuity_only_from_a_link_that_is_up() -> None:
    link = kept(mode="passthru", promiscuous=False, up=False)
    (piece,) = udev.render(link, networkd.render(link).left, "/sbin/ip")
    run = [word.split('"')[0] for word in piece.text.split('RUN+="/sbin/ip link set dev mt0 ')[1:]]
    assert run == ["up", "type macvtap mode passthru nopromisc", "down"]


# order, names and texts


@pytest.mark.parametrize(
    ("name", "unit"),
    [("mt0", "mt0"), ("eth0.20", "eth0.20"), ("web-1", r"web\x2d1"), ("a@b+c", r"a\x40b\x2bc"), ("a_b", "a_b")],
)
def test_a_unit_is_named_as_systemd_escape_says(name: str, unit: str) -> None:
    assert escaping.escape(name) == unit


@pytest.mark.parametrize(
    "name", ["mt*", 'mt"', "mt'0", "mt|1", ".mt0", "-mt0", "12", "all", "mt[0]", "mt\\0", "mtü", "a;b", "a=b"]
)
def test_names_that_some_file_would_read_otherwise_are_refused(name: str) -> None:
    with pytest.raises(MacvtapError, match="Choose another name") as caught:
        escaping.check_name(name, "links[2].name")
    assert caught.value.path == "links[2].name"


@pytest.mark.parametrize("text", ["two\nlines", 'a "quote"', "it's", "back\\slash", "tick`", "\x1b[0m", "\udcff"])
def test_texts_that_would_end_a_value_are_refused(text: str) -> None:
    with pytest.raises(MacvtapError, match="cannot be written into configuration files"):
        escaping.check_text(text, "links[2].alias")
    escaping.check_text("Größe: 50% of $x; #1", "links[2].alias")
