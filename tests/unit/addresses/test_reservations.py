# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""DHCP reservations, and the errors for those that no server would accept."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.filter.dnsmasq_hosts import dnsmasq_hosts
from ansible_collections.linuxvirt.macvtap.plugins.filter.isc_hosts import isc_hosts
from ansible_collections.linuxvirt.macvtap.plugins.filter.kea_reservations import kea_reservations

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
NICS = [
    {"mac": "5254.0000.000A", "address": "192.0.2.7/24", "hostname": "web1", "name": "other", "source": "eth0"},
    {"mac": B, "addresses": ["192.0.2.8", "2001:DB8::8"]},
]


def test_dnsmasq() -> None:
    assert dnsmasq_hosts(NICS) == f"dhcp-host={A},192.0.2.7,web1\ndhcp-host={B},192.0.2.8,[2001:db8::8]\n"
    assert dnsmasq_hosts([]) == ""


def test_kea() -> None:
    assert kea_reservations(NICS) == [
        {"hw-address": A, "ip-address": "192.0.2.7", "hostname": "web1"},
        {"hw-address": B, "ip-address": "192.0.2.8"},
    ]
    assert kea_reservations(NICS, "ipv6") == [{"hw-address": B, "ip-addresses": ["2001:db8::8"]}]


def test_isc() -> None:
    assert isc_hosts(NICS[:1]) == (
        "host 52-54-00-00-00-0a {\n"
        f"  hardware ethernet {A};\n"
        "  fixed-address 192.0.2.7;\n"
        '  option host-name "web1";\n'
        "}\n"
    )
    assert "fixed-address6 2001:db8::8;" in isc_hosts(NICS, "ipv6")


@pytest.mark.parametrize(
    ("nic", "message"),
    [
        ({"address": "192.0.2.9"}, r"\[1\]: mac is required"),
        ({"mac": "52:54"}, r"\[1\]\.mac: '52:54' is not a MAC address"),
        ({"mac": B}, r"\[1\]: address or addresses is required"),
        ({"mac": B, "address": "lan"}, r"\[1\]\.address: 'lan' is not an IP address"),
        ({"mac": B, "address": "224.0.0.1"}, "no address that a DHCP server gives"),
        ({"mac": B, "address": "fe80::1"}, "no address that a DHCP server gives"),
        ({"mac": B, "addresses": ["192.0.2.8", "192.0.2.9"]}, "gives a NIC one IPv4 address, and here are"),
        ({"mac": A, "address": "192.0.2.9"}, f"{A} is declared twice"),
        ({"mac": B, "address": "192.0.2.7"}, "192.0.2.7 is declared twice"),
        ({"mac": B, "address": "192.0.2.9", "name": "web1\ndhcp-script=/x"}, "is not a host name"),
        ({"mac": B, "address": "255.255.255.255"}, r"\[1\]\.address: .*no address that a DHCP server gives"),
        ({"mac": B, "address": "::ffff:192.0.2.9"}, "no address that a DHCP server gives"),
        ({"mac": B, "addresses": ["192.0.2.9", "lan"]}, r"\[1\]\.addresses\[1\]: 'lan' is not an IP address"),
        ({"mac": B, "address": "2001:db8::9%\ndhcp-script=/x"}, r"\[1\]\.address: .* has a zone"),
        (
            {"mac": B, "address": "192.0.2.9", "addresses": ["2001:db8::9"]},
            r"\[1\]\.addresses: address is set too; use one of them",
        ),
        ({"mac": B, "address": "192.0.2.9", "hostname": "a." * 126 + "bc"}, r"\[1\]\.hostname: .* has 254 characters"),
        # dnsmasq would give this address instead.
        ({"mac": B, "address": "192.0.2.9", "name": "192.0.2.77"}, r"\[1\]\.name: '192.0.2.77' is an IP address"),
        ("web1", "must be a dictionary"),
    ],
)
def test_what_cannot_be_reserved(nic: t.Any, message: str) -> None:
    with pytest.raises(AnsibleFilterError, match=message):
        dnsmasq_hosts([NICS[0], nic])


@pytest.mark.parametrize("name", ["ignore", "infinite", "12", "0", "1h", "1H", "2w", "2W", "3s", "5d", "7m"])
@pytest.mark.parametrize("option", ["hostname", "name"])
def test_host_names_that_mean_something_else_to_dnsmasq(name: str, option: str) -> None:
    nics = [NICS[0], {"mac": B, "address": "192.0.2.9", option: name}]
    with pytest.raises(AnsibleFilterError, match=rf"\[1\]\.{option}: for dnsmasq '{name}' is not a host name"):
        dnsmasq_hosts(nics)
    assert kea_reservations(nics)[1]["hostname"] == name
    assert f'host-name "{name}"' in isc_hosts(nics)


@pytest.mark.parametrize(
    "name", ["Ignore", "Infinite", "h", "m5", "5mm", "12x", "1w2", "1.2", "12.example", "a." * 126 + "b"]
)
def test_host_names_that_dnsmasq_takes_for_what_they_are(name: str) -> None:
    nics = [{"mac": B, "address": "192.0.2.9", "hostname": name}]
    assert dnsmasq_hosts(nics) == f"dhcp-host={B},192.0.2.9,{name}\n"


@pytest.mark.parametrize("nics", [None, "web1", {"mac": A}])
def test_what_is_no_list(nics: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="must be a list of NICs"):
        kea_reservations(nics)


def test_families() -> None:
    with pytest.raises(AnsibleFilterError, match="family: must be one of ipv4, ipv6"):
        isc_hosts(NICS, "inet")
