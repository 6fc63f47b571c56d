# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Uplinks of a migration that are given by another name, or by an address."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from guest_between import MAC, MOVE, NIC, RUNNING, both

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import inventory, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import NicThere

LONG_HERE, LONG_THERE = "enx020000000301-left", "enx020000000401-left"
ETH0 = Link("eth0", 2, altnames=frozenset({"uplink1", LONG_HERE}), mac="02:00:00:00:03:01", pci="0000:03:00.0", up=True)
HERE = {"eth0": ETH0, "eth1": Link("eth1", 3, mac="02:00:00:00:03:02")}
LAN0 = {
    "name": "lan0",
    "ifindex": 2,
    "state": "up",
    "carrier": True,
    "altnames": ["uplink1", LONG_THERE],
    "mac": "02:00:00:00:04:01",
    "pci": "0000:04:00.0",
}
LOOK = {"links": [LAN0]}
OF_HERE = ("eth0", "uplink1", LONG_HERE, "02:00:00:00:03:01", "02-00-00-00-03-01", "0000:03:00.0", "03:00.0")
OF_THERE = (LONG_THERE, "02:00:00:00:04:01", "0000:04:00.0")


def source(seen: t.Any = "all", *, links: t.Any = "all", on: str = "eth0", **given: t.Any) -> str | None:
    """Return the uplink that a guest with a NIC ``on`` an uplink has on the destination, by default with all links."""
    seen, links = (LOOK if seen == "all" else seen), (HERE if links == "all" else links)
    nic = replace(NIC, values={**NIC.values, "source": on})
    domain = replace(RUNNING, live=(nic,), stored=(nic,))
    found = both(domain, live=(nic,), stored=(nic,), links=links)
    desired = replace(MOVE, **{"uplinks": {}, "destination_host": seen, **given})
    (guest,) = [step.after for step in planner.plan(desired, found).steps]
    assert guest is not None
    return next((after.get("source") for _before, after in guest.live), on)


def refused(**given: t.Any) -> str:
    with pytest.raises(MacvtapError) as raised:
        source(**given)
    return str(raised.value)


@pytest.mark.parametrize("here", OF_HERE)
@pytest.mark.parametrize("on", ["eth0", "uplink1"])
def test_an_uplink_of_this_host_can_be_given_in_every_way(here: str, on: str) -> None:
    uplinks = inventory.uplinks({"macvtap_uplink": here}, {"macvtap_uplink": "lan0"})
    assert source(on=on, uplinks=uplinks) == "lan0"


@pytest.mark.parametrize("there", OF_THERE)
def test_an_uplink_of_the_destination_can_be_given_in_every_way(there: str) -> None:
    assert source(uplinks=inventory.uplinks({"macvtap_uplink": "eth0"}, {"macvtap_uplink": there})) == "lan0"
    assert source(nics=(NicThere("interfaces[0]", MAC, {"source": there}),)) == "lan0"


def test_a_name_that_libvirt_can_use_stays() -> None:
    assert source(uplinks={"eth0": "uplink1"}) == "uplink1"
    assert source(None, uplinks={"eth0": "uplink1"}) == "uplink1"
    # It looks like an address, and is a name.
    hexadecimal = "020000000401"
    assert source({"links": [{**LAN0, "name": hexadecimal}]}, uplinks={"eth0": hexadecimal}) == hexadecimal


@pytest.mark.parametrize("there", OF_THERE)
def test_an_address_there_is_not_known_without_a_look(there: str) -> None:
    message = refused(seen=None, uplinks={"eth0": there})
    assert message.startswith(
        f"uplinks.eth0: {there!r} is not a name that libvirt can use, and without destination_host"
    )
    assert message.endswith("Set the name that the link has there, in macvtap_uplink or here")
    assert refused(seen=None, nics=(NicThere("interfaces[0]", MAC, {"source": there}),)).startswith(
        f"interfaces[0].source: {there!r} is not a name that libvirt can use"
    )
    # A guest that is not on that uplink moves all the same.
    assert source(on="lan0", uplinks={"eth0": there}) == "lan0"
    assert source(None, on="eth1", uplinks={"eth0": there}) == "eth1"


def test_an_address_here_is_not_known_without_links() -> None:
    message = refused(links={}, uplinks={"02:00:00:00:03:01": "lan0"})
    assert message.startswith("uplinks.02:00:00:00:03:01: '02:00:00:00:03:01' is not a name that libvirt can use, and")
    assert source(links={}, uplinks={"eth0": "lan0"}) == "lan0"
    # What the inventory says of uplinks is not needed then.
    declared = (NicThere("interfaces[0]", MAC, {"source": "lan0"}),)
    assert source(links={}, uplinks={"02:00:00:00:03:01": "lan0"}, nics=declared) == "lan0"


def test_an_address_that_no_link_has_is_refused() -> None:
    assert refused(uplinks={"02:00:00:00:03:09": "lan0"}).startswith(
        "uplinks.02:00:00:00:03:09: no link with the MAC address 02:00:00:00:03:09 on this host (known: eth0 "
    )
    assert refused(uplinks={"eth0": "02:00:00:00:04:09"}).startswith(
        "uplinks.eth0: no link with the MAC address 02:00:00:00:04:09 on hv2 (known: lan0 02:00:00:00:04:01)"
    )


def test_one_uplink_goes_to_one_uplink() -> None:
    message = refused(uplinks={"eth0": "lan0", "uplink1": "lan1"})
    assert message.startswith("uplinks.uplink1: ")
    assert message.endswith("goes to lan0 by another entry. Remove one of them")
    assert source(uplinks={"eth0": "lan0", "02:00:00:00:03:01": "lan0"}) == "lan0"
