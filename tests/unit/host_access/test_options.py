# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Bad values of a shim's options get one error with the option's path."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DesiredShim


def wanted(**given: t.Any) -> DesiredShim:
    return options.desired("shims[2]", {"name": "host0", **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": None}, r"name: is required"),
        ({"name": ""}, r"name: '' is not a valid link name"),
        ({"name": "h%d"}, r"name: 'h%d' is not a valid link name"),
        ({"name": "a" * 16}, r"name: 'a{16}' has 16 bytes and the kernel allows 15"),
        ({"name": "all"}, r"name: 'all' is reserved"),
        ({"parent": ""}, r"parent: is empty\. Set it to the uplink"),
        ({"name": "default"}, r"name: 'default' is reserved"),
        ({"mac": "01:00:5e:00:00:01"}, r"mac: 01:00:5e:00:00:01 is a multicast address"),
        ({"mtu": 67}, r"mtu: 67 is not between 68 and 65535"),
        ({"mtu": True}, r"mtu: True is not a whole number$"),
        ({"mtu": 1279, "addresses": ["2001:db8::1"]}, r"mtu: 1279 is below 1280, "),
        ({"addresses": ["host.example"]}, r"addresses\[0\]: 'host.example' is not an IP address such as"),
        ({"addresses": [" 192.0.2.1"]}, r"addresses\[0\]: ' 192.0.2.1' is not an IP address such as"),
        (
            {"addresses": ["192.0.2.1", "192.0.2.250/24"]},
            r"addresses\[1\]: '192.0.2.250/24' has a prefix length, .*192",
        ),
        ({"addresses": ["2001:db8::1/64"]}, r"addresses\[0\]: '2001:db8::1/64' has a prefix length"),
        ({"addresses": ["192.0.2.1/"]}, r"addresses\[0\]: '192.0.2.1/' has a slash without a prefix length"),
        ({"addresses": ["192.0.2.1", "192.0.2.1/32"]}, r"addresses\[1\]: 192.0.2.1/32 is declared twice, .*es\[0\]$"),
        ({"addresses": ["2001:DB8::0:1", "2001:db8::1"]}, r"addresses\[1\]: 2001:db8::1 is declared twice"),
        ({"addresses": ["127.0.0.2"]}, r"addresses\[0\]: 127.0.0.2 is loopback, so no guest can have it"),
        ({"addresses": ["0.0.0.0"]}, r"addresses\[0\]: 0.0.0.0 is unspecified"),  # noqa: S104
        ({"addresses": ["239.1.1.1"]}, r"addresses\[0\]: 239.1.1.1 is multicast"),
        ({"addresses": ["255.255.255.255"]}, r"addresses\[0\]: 255.255.255.255 is broadcast"),
        ({"addresses": ["169.254.1.1"]}, r"addresses\[0\]: 169.254.1.1 is link-local"),
        ({"addresses": ["fe80::1"]}, r"addresses\[0\]: fe80::1 is link-local"),
        ({"addresses": ["ff02::1"]}, r"addresses\[0\]: ff02::1 is multicast"),
        ({"addresses": ["::1"]}, r"addresses\[0\]: ::1 is loopback"),
        ({"addresses": ["::"]}, r"addresses\[0\]: :: is unspecified"),
        ({"addresses": ["::ffff:192.0.2.1"]}, r"addresses\[0\]: ::ffff:192.0.2.1 is IPv4-mapped"),
        ({"addresses": ["2001:db8::1%eth0"]}, r"addresses\[0\]: '2001:db8::1%eth0' has a zone"),
        ({"guests": ["0.0.0.0/0"]}, r"guests\[0\]: 0.0.0.0/0 is a default route"),
        ({"guests": ["::/0"]}, r"guests\[0\]: ::/0 is a default route"),
        # The halves that make up a default route, as VPNs say it.
        ({"guests": ["0.0.0.0/1"]}, r"guests\[0\]: 0.0.0.0/1 contains 0.0.0.0/8, which is unspecified"),
        ({"guests": ["128.0.0.0/1"]}, r"guests\[0\]: 128.0.0.0/1 contains 169.254.0.0/16, which is link-local"),
        ({"guests": ["::/1"]}, r"guests\[0\]: ::/1 contains ::/128"),
        ({"guests": ["8000::/1"]}, r"guests\[0\]: 8000::/1 contains fe80::/10"),
        ({"guests": ["default"]}, r"guests\[0\]: 'default' is not an IP address or network, such as"),
        ({"guests": ["192.0.2.17/28"]}, r"guests\[0\]: .* 192.0.2.17 is inside of the network 192.0.2.16/28. Use"),
        ({"guests": ["192.0.2.1-192.0.2.9"]}, r"guests\[0\]: '192.0.2.1-192.0.2.9' is not an IP address or network,"),
        ({"guests": ["3232235777"]}, r"guests\[0\]: '3232235777' is not an IP address or network, such as"),
        ({"guests": ["192.0.2.7"]}, r"guests\[0\]: 192.0.2.7/32 is IPv4, but the host interface has no .*, set dhcp4"),
        (
            {"guests": ["2001:db8::7"], "addresses": ["192.0.2.1"], "dhcp4": False},
            r"guests\[0\]: 2001:db8::7/128 is IPv6, but the host interface has no .* Add one to addresses, or remove",
        ),
        (
            {"guests": ["192.0.2.7", "192.0.2.7/32"], "addresses": ["192.0.2.1"]},
            r"guests\[1\]: 192.0.2.7/32 is declared twice",
        ),
        (
            {"guests": ["192.0.2.1"], "addresses": ["192.0.2.1"]},
            r"guests\[0\]: 192.0.2.1/32 is an address of the host int",
        ),
        ({"addresses": ["192.0.2.1"], "dhcp4": True}, r"dhcp4: conflicts with the static IPv4 address in addresses"),
    ],
)
def test_bad_value(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError, match=rf"^shims\[2\]\.{message}"):
        wanted(**given)


def test_what_is_left_out() -> None:
    assert wanted() == DesiredShim("host0", "shims[2]", "present", None, None, None, (), (), False)
    assert wanted(state=None, addresses=None, guests=None, dhcp4=None) == wanted()


def test_values_take_their_canonical_form_and_keep_their_order() -> None:
    found = wanted(
        parent="eth0",
        mac="52-54-00-AB-CD-EF",
        mtu=1400,
        addresses=["2001:DB8::250/128", "192.0.2.250/32", "192.0.2.249"],
        guests=["192.0.2.77", "192.0.2.16/28", "2001:db8:0::77"],
    )
    assert found == DesiredShim(
        "host0",
        "shims[2]",
        "present",
        "eth0",
        "52:54:00:ab:cd:ef",
        1400,
        ("2001:db8::250", "192.0.2.250", "192.0.2.249"),
        ("192.0.2.77/32", "192.0.2.16/28", "2001:db8::77/128"),
    )


def test_guests_may_lie_around_the_shim() -> None:
    assert wanted(addresses=["192.0.2.20"], guests=["192.0.2.16/28"]).guests == ("192.0.2.16/28",)


def test_guests_of_ipv4_need_no_address_with_dhcp() -> None:
    assert wanted(dhcp4=True, guests=["192.0.2.77"]).dhcp4


def test_to_be_absent_no_address_is_needed() -> None:
    assert wanted(state="absent", guests=["192.0.2.77"]).state == "absent"
