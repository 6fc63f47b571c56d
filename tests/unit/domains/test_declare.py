# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.declare import declare
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError


def entry(path: str = "", **options: t.Any) -> tuple[str, dict[str, t.Any]]:
    return path, {"domain": "web1", "mac": "52:54:00:00:00:01", "state": "present", **options}


def test_a_declaration_is_normalised() -> None:
    assert declare([entry(mac="52-54-00-00-00-AA", mode="passthru", source="eth0")]) == (
        Desired(
            "",
            "web1",
            key="52:54:00:00:00:aa",
            mac="52:54:00:00:00:aa",
            given={"source": "eth0", "mode": "passthrough", "network": None, "portgroup": None},
        ),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mac": "53:54:00:00:00:01"}, "interfaces[2].mac: 53:54:00:00:00:01 is a multicast address"),
        ({"mac": "nonsense"}, "interfaces[2].mac: 'nonsense' is not a MAC address"),
        ({"target": "macvtap7"}, "interfaces[2].target: 'macvtap7' begins like a name that libvirt generates"),
        ({"target": "mvg525400000a01"}, "interfaces[2].target: 'mvg525400000a01' is like the names that links get"),
        ({"source": "a/b"}, "interfaces[2].source: 'a/b' cannot be the name"),
        ({"source": ""}, "interfaces[2].source: '' cannot be the name"),
        ({"source": "ü" * 64}, "interfaces[2].source: the text has 128 bytes and the kernel allows 127"),
        (
            {"virtualport": {"type": "802.1Qbh", "profileid": "ü" * 20}},
            "interfaces[2].virtualport.profileid: a port profile has up to 39 bytes",
        ),
        (
            {"virtualport": {"type": "802.1Qbh", "profileid": "a&b"}},
            "interfaces[2].virtualport.profileid: 'a&b' has one of",
        ),
        ({"rom": {"file": "/x\ny"}}, "interfaces[2].rom.file: '/x\\ny' has a control character"),
        ({"alias": "ua-\0"}, "interfaces[2].alias: 'ua-\\x00' has a control character"),
        ({"pci_address": "0:0:0.0"}, "interfaces[2].pci_address: libvirt treats '0:0:0.0' as no address"),
        ({"pci_address": "0000:01:20.0"}, "interfaces[2].pci_address: '0000:01:20.0' is not a PCI address"),
    ],
)
def test_what_cannot_be_right_is_refused_with_its_path(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        declare([entry("interfaces[2]", **options)])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({}, {"domain": "web2"}),
        ({}, {"mac": "5254.0000.0001", "domain": "web2"}),
        ({"state": "absent"}, {}),
        ({"state": "absent"}, {"state": "absent"}),
    ],
)
def test_a_mac_declared_twice_is_refused(first: dict[str, str], second: dict[str, str]) -> None:
    with pytest.raises(MacvtapError, match=r"^interfaces\[1\]\.mac: .* twice: interfaces\[0\]"):
        declare([entry("interfaces[0]", **first), entry("interfaces[1]", **second)])


def test_a_nic_may_move_from_one_domain_to_another() -> None:
    assert len(declare([entry("interfaces[0]", state="absent"), entry("interfaces[1]", domain="web2")])) == 2
