# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Bad values of vlan_link's options get one error with the option's path."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_options, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan


def wanted(**given: t.Any) -> DesiredVlan:
    return vlan_options.desired("vlans[2]", {"parent": "eth0", "id": 20, **given})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"parent": None}, r"vlans\[2\]\.parent: is required"),
        ({"parent": ""}, r"vlans\[2\]\.parent: is required"),
        ({"id": None}, r"vlans\[2\]\.id: is required; set it to the VLAN ID, from 1 to 4094"),
        ({"id": True}, r"vlans\[2\]\.id: True is not a whole number$"),
        ({"id": 0}, r"vlans\[2\]\.id: 0 is not a VLAN ID; use one from 1 to 4094 \(0 marks frames"),
        ({"id": 4095}, r"vlans\[2\]\.id: 4095 is not a VLAN ID.* \(4095 is reserved\)"),
        ({"id": -1}, r"vlans\[2\]\.id: -1 is not a VLAN ID; use one from 1 to 4094$"),
        ({"name": "a" * 16}, r"vlans\[2\]\.name: 'a{16}' has 16 bytes and the kernel allows 15"),
        ({"name": "v%d"}, r"vlans\[2\]\.name: 'v%d' is not a valid link name"),
        ({"name": ""}, r"vlans\[2\]\.name: '' is not a valid link name"),
        ({"mtu": 67}, r"vlans\[2\]\.mtu: 67 is not between 68 and 65535"),
        ({"mac": "01:00:5e:00:00:01"}, r"vlans\[2\]\.mac: 01:00:5e:00:00:01 is a multicast address"),
    ],
)
def test_bad_value(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError, match=f"^{message}"):
        wanted(**given)


def test_what_is_left_out() -> None:
    assert wanted() == DesiredVlan("eth0", 20, None, "802.1Q", None, None, "up", "vlans[2]")
    assert wanted(state=None, protocol=None) == wanted()


def test_values_take_their_canonical_form() -> None:
    found = wanted(mac="52-54-00-AB-CD-EF", protocol="802.1ad", name="guests", state="absent", mtu=1400, id=4094)
    assert found == DesiredVlan("eth0", 4094, "guests", "802.1ad", "52:54:00:ab:cd:ef", 1400, "absent", "vlans[2]")


def test_the_name_is_that_of_the_link_that_was_meant() -> None:
    parent = Link("eth0", altnames=frozenset({"uplink"}))
    assert vlans.name_of(wanted(parent="uplink"), parent) == "eth0.20"
    assert vlans.name_of(wanted(parent="uplink", name="guests"), parent) == "guests"


def test_a_name_that_would_be_too_long_has_to_be_given() -> None:
    parent = Link("enx0123456789ab")
    with pytest.raises(
        MacvtapError, match=r"^vlans\[2\]\.name: 'enx0123456789ab\.20' has 18 bytes.* Set a shorter name"
    ):
        vlans.name_of(wanted(), parent)
    assert vlans.name_of(wanted(name="v20"), parent) == "v20"
