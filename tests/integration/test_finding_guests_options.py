# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Options of the module and of the inventory that do not fit."""

from __future__ import annotations

import json
import pathlib
import typing as t

import direct_iface
import pytest
from direct_iface import Result, domain, nic
from found_guests import BRIDGE, inventory
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"domains": ["web1", "web9"]}, "domains[1]: "),
        ({"macs": ["52:54"]}, "macs[0]: '52:54' is not a MAC address"),
        ({"probe": True, "probe_uplinks": ["eth9"]}, "probe_uplinks[0]: "),
        ({"probe_rate": 0}, "probe_rate: 0 is not between 1 and 10000"),
        ({"uri": "test:///default", "probe": True}, "probe: uri test:///default may lead to another host"),
    ],
)
def test_options_that_do_not_fit(hv: Hypervisor, params: Result, message: str) -> None:
    hv.define(domain("web1", nic(BRIDGE)))
    result = run_module("macvtap_guest_addresses_info", params, prefix=hv.prefix)
    assert result["failed"]
    assert result["msg"].startswith(message)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"macs": []}, "macs: is empty, so wait_for would wait for nothing"),
        ({"domains": []}, "domains: is empty, so wait_for would wait for nothing"),
        # As where another host asks for a guest in mode private, and has not found it yet.
        (
            {"macs": ["52:54:00:00:00:99"]},
            "wait_for: after 0 seconds these NICs do not have 1 address that is claimed: 52:54:00:00:00:99 (has 0, and",
        ),
    ],
)
def test_no_guest_to_wait_for_is_no_success(params: Result, message: str) -> None:
    params = {"uri": "test:///default", "wait_for": {"timeout": 0}, **params}
    result = run_module("macvtap_guest_addresses_info", params)
    assert result["failed"]
    assert result["msg"].startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefer": ["ipv5"]}, "prefer[0]: 'ipv5' is not ipv4, ipv6 or a network such as 192.0.2.0/24"),
        ({"inventory": ["nowhere.yml"]}, "inventory[0]: there is no "),
        ({"timeout": 0}, "timeout: 0 is not between 1 and 600"),
        ({"probe_rate": 10_001}, "probe_rate: 10001 is not between 1 and 10000"),
        ({"probe_networks": ["10.0.0.0/8"]}, "probe_networks[0]: 10.0.0.0/8 has 16777216 addresses"),
    ],
)
def test_options_of_the_inventory_that_do_not_fit(tmp_path: pathlib.Path, options: Result, message: str) -> None:
    (tmp_path / "hosts.yml").write_text(json.dumps({"hypervisors": {"hosts": {"hv1": None}}}))
    shown = inventory(tmp_path, "--graph", hypervisors="hypervisors", **options)
    assert f"{tmp_path}/macvtap_guests.yml: {message}" in shown.stderr
