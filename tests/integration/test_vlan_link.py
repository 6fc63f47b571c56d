# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""vlan_link against a real kernel, as far as one with no VLAN links goes; the rest is in the molecule scenario vm."""

from __future__ import annotations

import subprocess
import typing as t

import pytest
from support import PYTHONS

if t.TYPE_CHECKING:
    from namespaces import Namespace


@pytest.fixture
def plain_netns(netns: Namespace) -> Namespace:
    """A namespace of a kernel that has no VLAN links."""
    made = ["ip", "-n", netns.name, "link", "add", "link", "eth0", "name", "probe", "type", "vlan", "id", "4094"]
    if subprocess.run(made, check=False, capture_output=True).returncode == 0:
        netns.ip("link", "del", "probe")
        pytest.skip("this kernel has VLAN links")
    return netns


@pytest.mark.parametrize("python", PYTHONS)
def test_a_kernel_without_vlans_is_named_as_such(plain_netns: Namespace, python: str) -> None:
    wanted = {"vlans": [{"parent": "eth0", "id": 20}, {"parent": "eth1", "id": 20, "mtu": 1400}]}
    text = plain_netns.refuses(
        wanted,
        r"^vlans\[0\]: the kernel refused to create eth0\.20 on eth0: Unknown device type \(E\w+\)\. .*"
        r"CONFIG_VLAN_8021Q .*`modprobe 8021q` shows why.*\. The host is as it was before$",
        module="vlan_link",
        python=python,
    )
    assert text.count("The host") == 1


def test_what_is_not_there_need_not_be_removed(netns: Namespace) -> None:
    absent = {"state": "absent", "vlans": [{"parent": "eth0", "id": 20}, {"parent": "nosuch0", "id": 20}]}
    result = netns.run(absent, module="vlan_link")
    assert (result["changed"], result["vlans"]) == (False, [])


def test_check_mode_tells_and_does_nothing(netns: Namespace) -> None:
    before = netns.links()
    result = netns.run({"parent": "eth0", "id": 20, "mtu": 1400}, module="vlan_link", check=True, diff=True)
    assert result["changed"]
    assert result["diff"][0]["after"] == "parent: eth0\nid: 20\nprotocol: 802.1Q\nmtu: 1400\nstate: up\n"
    assert [(vlan["name"], vlan["ours"]) for vlan in result["vlans"]] == [("eth0.20", True)]
    assert netns.links() == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"id": 20}, r"^parent: is required"),
        ({"parent": "eth0", "id": 4095}, r"^id: 4095 is not a VLAN ID"),
        ({"parent": "eth0", "id": 20, "mtu": 9000}, r"^mtu: 9000 exceeds the MTU of the parent eth0 \(1500\)"),
        ({"parent": "lo", "id": 20}, r"^parent: lo is the loopback link"),
        ({"vlans": [{"parent": "eth0"}]}, r"^vlans\[0\]\.id: is required"),
        ({"parent": "eth0"}, r"one of the following is required: id, vlans"),
        ({"parent": "eth0", "id": 20, "name": "eth1"}, r"^name: eth1 already exists and is a veth link, not a VLAN"),
    ],
)
def test_bad_input_is_refused_with_the_option(netns: Namespace, params: dict[str, t.Any], message: str) -> None:
    netns.refuses(params, message, module="vlan_link")
