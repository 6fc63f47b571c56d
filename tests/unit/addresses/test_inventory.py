# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From what hypervisors report to hosts of an inventory."""

from __future__ import annotations

import shlex
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import inventory
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.inventory import GROUPINGS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

Values = t.Dict[str, t.Any]


def address(text: str, state: str = "confirmed", scope: str = "global") -> Values:
    return {"address": text, "family": "ipv6" if ":" in text else "ipv4", "scope": scope, "state": state}


def guest(*addresses: Values, name: str = "web1", uuid: str = "u1", state: str = "running", **nic: t.Any) -> Values:
    interface = {"uplink": "eth0", "mode": "bridge", "vlan": None, "network": None, **nic}
    return {"name": name, "uuid": uuid, "state": state, "interfaces": [{**interface, "addresses": list(addresses)}]}


@pytest.mark.parametrize(
    ("prefer", "chosen"),
    [
        (["ipv4", "ipv6"], "192.0.2.8"),
        (["ipv6", "ipv4"], "2001:db8::7"),
        (["198.51.100.0/24", "ipv6"], "198.51.100.7"),
        (["203.0.113.0/24"], None),
        (["2001:db8::/32"], "2001:db8::7"),
        ([], None),
    ],
)
def test_which_address_is_connected_to(prefer: list[str], chosen: str | None) -> None:
    found = guest(
        address("fe80::7", scope="link"),
        address("192.0.2.7", "claimed"),
        address("192.0.2.8"),
        address("198.51.100.7", "claimed"),
        address("2001:db8::7", "claimed"),
        address("203.0.113.7", "stale"),
    )
    assert inventory.choose(found, inventory.preferences(prefer, "prefer")) == chosen


def test_a_stale_address_is_used_only_if_that_is_meant() -> None:
    found = guest(address("192.0.2.7", "stale"), address("2001:db8::7"))
    prefer = inventory.preferences(["ipv4", "ipv6"], "prefer")
    assert inventory.choose(found, prefer) == "2001:db8::7"
    assert inventory.choose(found, prefer, stale=True) == "192.0.2.7"


@pytest.mark.parametrize("text", ["ipv5", "192.0.2.7/24", ""])
def test_what_is_no_preference(text: str) -> None:
    with pytest.raises(MacvtapError, match="is not ipv4, ipv6 or a network") as error:
        inventory.preferences(["ipv4", text], "prefer")
    assert error.value.path == "prefer[1]"


def listed(**reports: list[Values]) -> tuple[dict[str, str], list[str]]:
    """Return the hypervisor of each guest, and the warnings."""
    found, warnings = inventory.guests(reports, inventory.preferences(["ipv4"], ""), GROUPINGS)
    return {one.name: one.hypervisor for one in found}, warnings


@pytest.mark.parametrize("states", [("shut_off", "running"), ("shut_off", "paused"), ("saved", "running")])
def test_a_guest_is_where_it_runs(states: tuple[str, str]) -> None:
    first, second = (guest(state=state) for state in states)
    assert listed(hv1=[first], hv2=[second]) == ({"web1": "hv2"}, [])
    assert listed(hv1=[second], hv2=[first]) == ({"web1": "hv1"}, [])


def test_a_guest_that_runs_twice() -> None:
    found, warnings = listed(hv1=[guest()], hv2=[guest()])
    assert found == {"web1": "hv1"}
    assert warnings == ["web1 runs on hv1, hv2 at the same time; hv1 is used"]


def test_different_guests_of_one_name() -> None:
    found, warnings = listed(hv1=[guest()], hv2=[guest(uuid="u2"), guest(name="web2", uuid="u3")])
    assert found == {"web1_hv1": "hv1", "web1_hv2": "hv2", "web2": "hv2"}
    assert warnings == ["2 guests are called web1, on hv1, hv2. Their hypervisor's name is added, as in web1_hv1"]


def test_groups() -> None:
    values = {**guest(vlan=10, network="lan"), "hypervisor": "hv1"}
    values["interfaces"].append({"uplink": "eth1", "mode": "bridge", "vlan": 0, "network": "", "addresses": []})
    assert inventory.groups(values, GROUPINGS) == (
        *("hypervisor_hv1", "uplink_eth0", "uplink_eth1", "vlan_10", "vlan_0", "network_lan", "mode_bridge"),
        "state_running",
    )
    assert inventory.groups(values, ["state"]) == ("state_running",)


def test_others_ask_for_guests_that_were_not_asked_or_are_not_known() -> None:
    known, old = guest(address("192.0.2.7"), mac="a"), guest(address("192.0.2.8", "stale"), mac="b")
    local = guest(address("fe80::7", scope="link"), mac="c")
    twice = [guest(mac="d"), guest(mac="d")]
    stopped = guest(mac="e", state="shut_off")
    private = guest(address("192.0.2.9", "claimed"), mac="f", not_asked="in mode private")
    reports = {"hv1": [known, old, twice[0]], "hv2": [local, twice[1], stopped, private]}
    assert inventory.macs_for_others(reports) == ("b", "c", "f")


def test_what_others_have_found_replaces_what_is_stale() -> None:
    own = guest(address("192.0.2.7", "stale"), address("192.0.2.9", "stale"), mac="b")
    sees = [{"mac": "b", "addresses": [address("192.0.2.7"), address("192.0.2.8", "stale")]}]
    found = inventory.with_others({"hv1": [own]}, {"hv2": sees, "hv3": sees})["hv1"][0]["interfaces"][0]["addresses"]
    assert [(one["address"], one["state"], one.get("asked_by")) for one in found] == [
        ("192.0.2.7", "confirmed", "hv2"),
        ("192.0.2.9", "stale", None),
    ]


def proxy_command(**connection: t.Any) -> str:
    """Return the command that ssh runs, as it reads the options."""
    option, text = shlex.split(inventory.jump({"inventory_hostname": "hv1", **connection}))
    assert option == "-o"
    return text.partition("ProxyCommand=")[2]


def test_the_way_through_a_hypervisor() -> None:
    assert proxy_command() == "ssh -W [%h]:%p -- hv1"
    assert proxy_command(
        ansible_host="192.0.2.1",
        ansible_port=2222,
        ansible_user="admin",
        ansible_ssh_private_key_file="/home/me/my key",
        ansible_ssh_common_args="-F /etc/lab/config -o ControlPath=none",
    ) == ("ssh -F /etc/lab/config -o ControlPath=none -i '/home/me/my key' -p 2222 -l admin -W [%h]:%p -- 192.0.2.1")


def test_nothing_in_the_variables_of_a_hypervisor_becomes_a_command() -> None:
    command = proxy_command(ansible_host="$(reboot); -oProxyCommand=x", ansible_user="a'b")
    assert shlex.split(command)[1:] == ["-l", "a'b", "-W", "[%h]:%p", "--", "$(reboot); -oProxyCommand=x"]


def test_a_way_of_the_hypervisors_own_is_not_read_as_one_to_the_guest() -> None:
    command = proxy_command(ansible_ssh_common_args="-o ProxyCommand='nc %h %p'")
    assert shlex.split(command)[1:3] == ["-o", "ProxyCommand=nc %%h %%p"]


def test_variables_that_cannot_be_read() -> None:
    with pytest.raises(MacvtapError, match="ansible_ssh_common_args of hv1 cannot be read: No closing quotation"):
        proxy_command(ansible_ssh_common_args="-o 'ProxyCommand=nc")
