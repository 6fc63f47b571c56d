# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:ab:cd:ef",
        "52:54:00:AB:CD:EF",
        "52-54-00-ab-cd-ef",
        "5254.00ab.cdef",
        "525400ABCDEF",
        " 525400abcdef\n",
    ],
)
def test_every_common_form_means_the_same(text: str) -> None:
    assert _mac.parse(text) == "52:54:00:ab:cd:ef"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "52:54:00:ab:cd",
        "52:54:00:ab:cd:ef:01",
        "52:54-00:ab:cd:ef",
        "5254:00ab:cdef",
        "52:54:00:ab:cd:eg",
        "eth0",
        "5254.00abcdef",
    ],
)
def test_anything_else_is_refused_with_its_path(text: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        _mac.parse(text, path="links[3].mac")
    assert str(caught.value).startswith("links[3].mac: ")
    assert "is not a MAC address" in str(caught.value)


def test_a_mac_that_yaml_parsed_as_a_number_is_explained() -> None:
    with pytest.raises(MacvtapError, match="in quotes"):
        _mac.parse("41135266953")


@pytest.mark.parametrize(
    ("mac", "word"),
    [
        ("ff:ff:ff:ff:ff:ff", "broadcast"),
        ("00:00:00:00:00:00", "zero"),
        ("01:00:5e:00:00:fb", "multicast"),
        ("53:54:00:ab:cd:ef", "52:54:00:ab:cd:ef would be valid"),
    ],
)
def test_addresses_that_no_interface_can_have(mac: str, word: str) -> None:
    message = _mac.problem(mac)
    assert message is not None
    assert word in message
    with pytest.raises(MacvtapError, match=r"^mac: "):
        _mac.require(mac, path="mac")


@pytest.mark.parametrize("mac", ["52:54:00:ab:cd:ef", "02:00:00:00:00:01", "00:00:00:00:00:01", "fe:ff:ff:ff:ff:ff"])
def test_addresses_that_an_interface_can_have(mac: str) -> None:
    assert _mac.problem(mac) is None
    assert _mac.require(mac) == mac
