# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From what hypervisors report to hosts of an inventory."""

from __future__ import annotations

import shlex
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import connections, inventory
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.connections import GROUPINGS, Rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

Values = t.Dict[str, t.Any]


def address(text: str, state: str = "confirmed", scope: str = "global") -> Values:
    return {"address": text, "family": "ipv6" if ":" in text else "ipv4", "scope": scope, "state": state}


def first(found: Values, prefer: list[str], **rules: t.Any) -> str | None:
    """Return the address of a guest that is connected to."""
    usable = connections.usable(found, Rules(connections.preferences(prefer, "prefer"), **rules))
    return usable[0]["address"] if usable else None


def guest(*addresses: Values, name: str = "web1", uuid: str = "u1", state: str = "running", **nic: t.Any) -> Values:
    interface = {"mac": "52:54:00:00:00:0a", "uplink": "eth0", "mode": "bridge", "vlan": None, "network": None, **nic}
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
    assert first(found, prefer) == chosen


def test_a_stale_address_is_used_only_if_that_is_meant() -> None:
    found = guest(address("192.0.2.7", "stale"), address("2001:db8::7"))
    assert first(found, ["ipv4", "ipv6"]) == "2001:db8::7"
    assert first(found, ["ipv4", "ipv6"], stale=True) == "192.0.2.7"


def test_no_temporary_address_is_connected_to_if_it_is_known() -> None:
    found = guest(*(address(f"2001:db8::{one}") for one in ("1:2:3:4", "5054:ff:fe00:a")), mac="52:54:00:00:00:0a")
    assert first(found, ["ipv6"]) == "2001:db8::5054:ff:fe00:a"
    assert first(found, ["2001:db8::1:2:3:4/128", "ipv6"]) == "2001:db8::1:2:3:4"


def way(guest: Values, **rules: t.Any) -> tuple[str | None, bool]:
    """Return the address of a guest, and whether it is reached through its hypervisor."""
    prefer = connections.preferences(["ipv4"], "")
    ((found,), _warnings) = inventory.guests({"hv1": [guest]}, Rules(prefer, **rules))
    return found.address, found.jumps


def test_the_way_to_a_guest_that_the_hypervisors_shim_reaches() -> None:
    near, far = guest({**address("192.0.2.7"), "shim": "host0"}), guest(address("192.0.2.8"))
    assert [way(one) for one in (near, far)] == [("192.0.2.7", False), ("192.0.2.8", False)]
    assert [way(one, jump="always")[1] for one in (near, far, guest())] == [True, True, True]
    assert [way(one, jump="shim")[1] for one in (near, far, guest())] == [True, False, False]
    direct = connections.networks(["192.0.2.0/24"], "")
    assert way(near, jump="shim", direct=direct) == ("192.0.2.7", False)


def test_an_address_of_two_guests_is_not_connected_to() -> None:
    shared, own = address("192.0.2.7"), address("2001:db8::7")
    first, second = guest(shared, own, uuid="u1"), guest({**shared, "state": "claimed"}, name="web2", uuid="u2")
    prefer = connections.preferences(["ipv4", "ipv6"], "")

    def found(**rules: t.Any) -> tuple[list[str | None], list[str]]:
        listed, warnings = inventory.guests({"hv1": [first], "hv2": [second]}, Rules(prefer, **rules))
        return [one.address for one in listed], warnings

    addresses, (warning,) = found()
    assert addresses == ["2001:db8::7", None]
    assert warning.startswith("web1, web2 have the address 192.0.2.7, so that connecting to it could lead to the wrong")
    # Each from its own hypervisor.
    assert found(jump="always") == (["192.0.2.7", "192.0.2.7"], [])


@pytest.mark.parametrize("text", ["ipv5", "192.0.2.7/24", ""])
def test_what_is_no_preference(text: str) -> None:
    with pytest.raises(MacvtapError, match="is not ipv4, ipv6 or a network") as error:
        connections.preferences(["ipv4", text], "prefer")
    assert error.value.path == "prefer[1]"


def listed(**reports: list[Values]) -> tuple[dict[str, str], list[str]]:
    """Return the hypervisor of each guest, and the warnings."""
    found, warnings = inventory.guests(reports, Rules(connections.preferences(["ipv4"], "")))
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


def test_no_guest_gets_the_name_that_another_is_given() -> None:
    twice = [guest(), guest(uuid="u2"), guest(name="web1_hv1", uuid="u3")]
    found, warnings = listed(hv1=[twice[0]], hv2=[twice[1]], hv3=[twice[2]])
    assert found == {"web1_hv1": "hv1", "web1_hv2": "hv2", "web1_hv1_hv3": "hv3"}
    assert warnings[1:] == [
        "web1_hv1 on hv3 is called as another guest is in the inventory. Its hypervisor's name is added"
    ]
    last = guest(name="web1_hv1_hv3", uuid="u4")
    found, warnings = listed(hv1=[twice[0]], hv2=[twice[1]], hv3=[twice[2]], hv4=[last])
    assert found == {"web1_hv1": "hv1", "web1_hv2": "hv2"}
    assert warnings[-1] == "web1_hv1 on hv3, web1_hv1_hv3 on hv4 would be one host, web1_hv1_hv3; left out"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("web1", None),
        ("static1", None),
        ("{{ x }}", "cannot be a host's name"),
        ("hv1", "is called as a hypervisor"),
        ("localhost", "is called as the controller itself"),
        ("LocalHost", "is called as the controller itself"),
        ("127.0.0.1", "is called as the controller itself"),
        ("all", "is called as a group"),
        ("uplink_eth0", "is called as a group"),
        ("gitlab", "is called as a host of another source, and merge does not have that"),
    ],
)
def test_a_guest_takes_no_name_of_others(name: str, problem: str | None) -> None:
    hosts = frozenset(("hv1", "gitlab", "static1"))
    groups = frozenset(("all", "uplink_eth0"))
    local = frozenset(("localhost", "127.0.0.1", "::1"))
    names = inventory.Names(frozenset(("hv1",)), groups, hosts, frozenset(("static1", "hv1")), local)
    assert inventory.problem_of(name, names) == problem


def test_groups() -> None:
    values = {**guest(vlan=10, network="lan"), "hypervisor": "hv1"}
    values["interfaces"].append({"uplink": "eth1", "mode": "bridge", "vlan": 0, "network": "", "addresses": []})
    assert inventory.groups(values, GROUPINGS) == (
        *("hypervisor_hv1", "uplink_eth0", "uplink_eth1", "vlan_10", "vlan_0", "network_lan", "mode_bridge"),
        "state_running",
    )
    assert inventory.groups(values, ["state"]) == ("state_running",)


def test_segments_are_those_of_the_hypervisors_variable() -> None:
    nics = [{"uplink": "eth0.10", "network": None}, {"uplink": "eth1", "network": "lan"}, {"uplink": "eth2"}]
    (found,) = inventory.with_segments([{"interfaces": nics}], "office", {"eth0.10": "dmz", "lan": "lab"})
    assert [nic["segment"] for nic in found["interfaces"]] == ["dmz", "lab", "office"]
    assert inventory.groups(found, ["segment"]) == ("segment_dmz", "segment_lab", "segment_office")


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


def test_what_others_have_found_at_another_nic_of_the_guest_is_left_out() -> None:
    own = guest(address("192.0.2.7", "claimed"), mac="a")
    own["interfaces"][0]["addresses"][0]["sources"] = ["learned"]
    own["interfaces"].append({"mac": "b", "addresses": []})
    answers = [{**address(one), "sources": ["probe"]} for one in ("192.0.2.7", "192.0.2.8")]
    found = inventory.with_others({"hv1": [own]}, {"hv2": [{"mac": "b", "addresses": answers}]})
    assert [[one["address"] for one in nic["addresses"]] for nic in found["hv1"][0]["interfaces"]] == [
        ["192.0.2.7"],
        ["192.0.2.8"],
    ]


def proxy_command(**connection: t.Any) -> str:
    """Return the command that ssh runs, as it reads the options."""
    option, text = shlex.split(connections.jump({"inventory_hostname": "hv1", **connection}))
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


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ({"ansible_ssh_host": "192.0.2.9"}, "-W [%h]:%p -- 192.0.2.9"),
        ({"ansible_ssh_user": "admin"}, "-l admin -W [%h]:%p -- hv1"),
        ({"ansible_ssh_port": 2222}, "-p 2222 -W [%h]:%p -- hv1"),
        ({"ansible_private_key_file": "/key"}, "-i /key -W [%h]:%p -- hv1"),
        # Of several Ansible uses the last one.
        ({"ansible_host": "192.0.2.1", "ansible_ssh_host": "192.0.2.9"}, "-W [%h]:%p -- 192.0.2.9"),
        ({"ansible_user": "me", "ansible_ssh_user": "admin"}, "-l admin -W [%h]:%p -- hv1"),
        # The outer ssh makes one percent sign of two.
        ({"ansible_host": "fe80::1%eth0"}, "-W [%h]:%p -- fe80::1%%eth0"),
        ({"ansible_user": "50%h"}, "-l 50%%h -W [%h]:%p -- hv1"),
    ],
)
def test_all_variables_that_ansible_connects_by(variable: Values, words: str) -> None:
    assert proxy_command(**variable) == f"ssh {words}"
    assert variable.keys() <= {*connections.CONNECTION}


def test_nothing_in_the_variables_of_a_hypervisor_becomes_a_command() -> None:
    command = proxy_command(ansible_host="$(reboot); -oProxyCommand=x", ansible_user="a'b")
    assert shlex.split(command)[1:] == ["-l", "a'b", "-W", "[%h]:%p", "--", "$(reboot); -oProxyCommand=x"]


def test_a_way_of_the_hypervisors_own_is_not_read_as_one_to_the_guest() -> None:
    command = proxy_command(ansible_ssh_common_args="-o ProxyCommand='nc %h %p'")
    assert shlex.split(command)[1:3] == ["-o", "ProxyCommand=nc %%h %%p"]


def test_variables_that_cannot_be_read() -> None:
    with pytest.raises(MacvtapError, match="ansible_ssh_common_args of hv1 cannot be read: No closing quotation"):
        proxy_command(ansible_ssh_common_args="-o 'ProxyCommand=nc")
