# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is returned of the NICs on a network."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit, report, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK, PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    Definition,
    Network,
    Portgroup,
    User,
)

MAC, TRUST = "52:54:00:00:00:0a", "trust_guest_rx_filters"
GUEST = User("lan", "web1", MAC, True, True, uplink="eth0", mode="bridge", values={TRUST: "yes"})
# Its port is gone, since the network was stopped.
FORGOTTEN = replace(GUEST, values={}, own=frozenset({TRUST}))


def test_what_a_restart_makes_libvirt_forget_is_remembered() -> None:
    lan = Definition("bridge", ("eth0",))
    assert report.differing(GUEST, lan) == [TRUST]
    assert report.differing(FORGOTTEN, lan) == []
    assert report.remembered([FORGOTTEN], [GUEST]) == [GUEST]
    # Nothing is known of one that was not there, or that has started again since.
    for first in ([], [replace(GUEST, uplink="eth1")], [replace(GUEST, live=False)], [FORGOTTEN]):
        assert report.remembered([FORGOTTEN], first) == [FORGOTTEN]
    stopped = replace(FORGOTTEN, live=False, uplink="")
    assert report.remembered([stopped, GUEST], [GUEST]) == [stopped, GUEST]


QBG = {
    "virtualport.type": "802.1Qbg",
    **{f"virtualport.{name}": "1" for name in ("managerid", "typeid", "typeidversion")},
}
INSTANCE = "virtualport.instanceid"


@pytest.mark.parametrize(
    ("network", "group", "got", "fields"),
    [
        # What the network itself has reaches the guest, unless the portgroup has something else.
        ({TRUST: "yes"}, {}, {TRUST: "yes"}, []),
        ({TRUST: "yes"}, {TRUST: "no"}, {TRUST: "no"}, []),
        ({TRUST: "yes"}, {}, {}, [TRUST]),
        ({"vlan": "42"}, {}, {"vlan": "42"}, []),
        ({"vlan": "42"}, {"vlan": "43"}, {"vlan": "43"}, []),
        ({"vlan": "42"}, {}, {"vlan": "43"}, ["vlan"]),
        # libvirt generates an instance where the network has none.
        (QBG, {}, {**QBG, INSTANCE: "a"}, []),
        ({}, QBG, {**QBG, INSTANCE: "a"}, []),
        ({**QBG, INSTANCE: "b"}, {}, {**QBG, INSTANCE: "a"}, [INSTANCE]),
        ({}, {}, {**QBG, INSTANCE: "a"}, list(QBG)),
    ],
)
def test_what_a_guest_has_got_from_its_network(
    network: dict[str, str], group: dict[str, str], got: dict[str, str], fields: list[str]
) -> None:
    lan = Definition("bridge", ("eth0",), values=network, portgroups=(Portgroup("web", True, group),))
    assert report.differing(replace(GUEST, values=got), lan) == fields


def test_what_others_have_set_for_a_network_is_returned_and_stays() -> None:
    document = (
        "<network trustGuestRxFilters='yes'><name>lan</name><forward mode='passthrough'><interface dev='eth0'/>"
        "</forward>"
        "<vlan trunk='yes'><tag id='42'/><tag id='47'/></vlan></network>"
    )
    read = xml.read(document)
    shown = report.network(Network(**vars(read), name="lan"))
    assert (shown[TRUST], shown["vlan"]) == (True, "42,47")
    changed = edit.edited(document, replace(read, interfaces=("eth1",), values={**read.values, **QBG}))
    assert "<network trustGuestRxFilters='yes'>" in changed
    assert "<vlan trunk='yes'><tag id='42'/><tag id='47'/></vlan>" in changed
    # No option sets them.
    assert not {TRUST, "vlan"} & NETWORK.specification().keys()
    assert {TRUST, "vlan"} <= PORTGROUP.specification().keys()
