# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where guests go if what a host has reported is damaged."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_moves import fleet_moves

Look = t.Dict[str, t.Any]


def look(*running: str) -> Look:
    domains = [{"name": name, "running": True, "memory": 1024} for name in running]
    return {"domains": domains, "links": [], "libvirt": {"available": True, "memory_free": 8192, "reason": None}}


@pytest.mark.parametrize(
    "damage",
    [
        {"domains": [{"name": "web1", "memory": 1024}]},
        {"domains": [{"name": "web1", "running": True, "memory": "much"}]},
        {"domains": ["web1"]},
        {"links": [{"name": "eth0", "mac": 7}]},
        {"networks": [1]},
    ],
)
def test_a_host_whose_data_is_damaged_is_named(damage: Look) -> None:
    looks = {"hv1": look("web1"), "hv2": {**look(), **damage}}
    with pytest.raises(AnsibleFilterError, match=r"host hv2: .*is not what macvtap_host_info returns"):
        fleet_moves(looks, ["hv1"])
    with pytest.raises(AnsibleFilterError, match=r"host hv2: .*is not what macvtap_host_info returns"):
        fleet_moves(looks, homes={"web1": "hv2"})


def test_a_damaged_host_that_takes_no_guests_does_not_matter() -> None:
    looks = {"hv1": look("web1"), "hv2": look(), "hv3": {**look(), "links": [{"name": "eth0", "mac": 7}]}}
    (move,) = fleet_moves(looks, ["hv1"], targets=["hv2"])["moves"]
    assert move["destination"] == "hv2"
    with pytest.raises(AnsibleFilterError, match=r"host hv3: .*is not what macvtap_host_info returns"):
        fleet_moves(looks, ["hv1"], targets=["hv2"], given={"web1": "hv3"})
