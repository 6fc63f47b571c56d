# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac

errors = pytest.importorskip("ansible.errors")

from ansible_collections.linuxvirt.macvtap.plugins.filter.mac_address import FilterModule, mac_address  # noqa: E402


def test_it_is_the_filter() -> None:
    filters = FilterModule().filters()
    assert list(filters) == ["mac_address"]
    assert filters["mac_address"]("web1", "eth0") == mac_address("web1", "eth0")


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_the_same_names_give_the_same_address_that_an_interface_can_have(names: list[str]) -> None:
    mac = mac_address(names)
    assert mac == mac_address(names[0], *names[1:])
    assert mac.startswith("52:54:00:")
    assert _mac.problem(mac) is None


def test_an_address_stays_what_it_was_in_earlier_versions() -> None:
    assert mac_address("web1", "lan") == "52:54:00:ae:7d:aa"


def test_other_names_give_other_addresses() -> None:
    made = {mac_address("hv1", f"web{number}", nic) for number in range(50) for nic in ("lan", "dmz")}
    assert len(made) == 100


def test_a_list_may_come_from_any_filter() -> None:
    first = mac_address("web1")
    assert mac_address("web1", taken=(mac for mac in (first,))) == mac_address("web1", taken=[first]) != first


def test_names_are_joined() -> None:
    assert mac_address("a/b") == mac_address("a", "b") != mac_address("ab")


def test_taken_addresses_are_skipped() -> None:
    first = mac_address("web1")
    second = mac_address("web1", taken=[first.upper()])
    third = mac_address("web1", taken=[first, second.replace(":", "-")])
    assert len({first, second, third}) == 3
    assert mac_address("web1", taken=[second]) == first


@pytest.mark.parametrize(
    ("prefix", "written"), [("02", "02"), ("52-54-00", "52:54:00"), ("0A:00:00:00:01", "0a:00:00:00:01")]
)
def test_a_custom_prefix(prefix: str, written: str) -> None:
    mac = mac_address("web1", prefix=prefix)
    assert mac.startswith(written + ":")
    assert len(mac) == 17


def test_a_prefix_without_free_addresses_is_an_error() -> None:
    taken = [f"02:00:00:00:00:{number:02x}" for number in range(256)]
    with pytest.raises(errors.AnsibleFilterError, match="all addresses with the prefix 02:00:00:00:00 are taken"):
        mac_address("web1", prefix="02:00:00:00:00", taken=taken)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prefix": "01:00"}, r"prefix: '01:00' is a prefix of multicast addresses. Use 02:00 instead"),
        ({"prefix": "00:16:3e"}, r"prefix: '00:16:3e' is the prefix of a manufacturer. .* such as 02:16:3e"),
        ({"prefix": "52:54:00:00:00:01"}, r"prefix: '52:54:00:00:00:01' is not the first 1 to 5 bytes"),
        ({"prefix": ""}, r"prefix: '' is not the first"),
        ({"taken": "52:54:00:00:00:01"}, r"taken: must be a list of addresses"),
        ({"taken": None}, r"taken: must be a list of addresses, not None"),
        ({"taken": 5}, r"taken: must be a list of addresses, not 5"),
        ({"taken": {"52:54:00:00:00:01": 1}}, r"taken: must be a list of addresses"),
        ({"taken": [None]}, r"taken\[0\]: 'None' is not a MAC address"),
        ({"taken": [12345]}, r"taken\[0\]: '12345' is not a MAC address.*YAML parsed it as a number"),
        ({"prefix": None}, r"prefix: 'None' is not the first"),
        ({"taken": ["52:54:00:00:00:01", "x"]}, r"taken\[1\]: 'x' is not a MAC address"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(errors.AnsibleFilterError, match=rf"^mac_address: {message}"):
        mac_address("web1", **arguments)


@pytest.mark.parametrize("seed", ["", [], None, {"a": 1}, True, 1.5, ["web1", None], ["web1", False]])
def test_an_input_that_is_not_a_name_is_refused(seed: t.Any) -> None:
    with pytest.raises(errors.AnsibleFilterError, match="the input must be names"):
        mac_address(seed)
