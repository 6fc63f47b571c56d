# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NICs of a guest are announced, and what is sent for them."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import announced, announcing

A, B = "52:54:00:00:01:01", "52:54:00:00:01:02"
NIC = Iface(A, values={"source": "eth0", "mode": "bridge", "target": "macvtap0"})
GUEST = Domain("web1", running=True, live=(NIC,))
UPLINK = Link("eth0", index=2, kind="", up=True, carrier=True)
LINK = Link("macvtap0", index=7, kind="macvtap", parent="eth0", mode="bridge", mac=A, up=True)


def nic(
    guest: Domain = GUEST,
    link: Link | None = LINK,
    uplink: Link | None = UPLINK,
    fault: str | None = None,
    *,
    complete: bool = True,
) -> announced.Nic:
    links = {one.name: one for one in (link, uplink) if one is not None}
    (found,) = announced.nics(guest, links, {A: fault}, complete=complete)
    return found


def test_a_guest_that_runs_with_its_links_is_announced() -> None:
    assert nic() == announced.Nic(A, "macvtap0", 7, "eth0")
    assert nic().is_announced
    # A backup does not move it.
    assert nic(replace(GUEST, job="backup")).is_announced


@pytest.mark.parametrize("mode", ["vepa", "bridge", "private", "passthru"])
def test_it_is_announced_in_every_mode(mode: str) -> None:
    assert nic(link=replace(LINK, mode=mode)).is_announced


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"paused": True}, "the guest is paused"),
        ({"job": "migration"}, "the guest has a job in progress (migration)"),
        ({"job": "incoming migration", "paused": True}, "the guest has a job in progress (incoming migration)"),
        ({"state": "shutting down"}, "the guest is shutting down"),
        ({"live": (replace(NIC, values={**NIC.values, "link_state": "down"}),)}, "its link is set down (link_state)"),
    ],
)
def test_a_guest_that_may_not_run_here_is_not_announced_and_that_is_no_fault(
    changed: dict[str, t.Any], reason: str
) -> None:
    # Its links are down then, or gone.
    for link in (replace(LINK, up=False), None):
        found = nic(replace(GUEST, **changed), link)
        assert not found.is_announced
        assert not found.fault or "live" in changed
        assert link is None or found.silent == reason


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"fault": "the domain's QEMU does not hold the tap"}, "the domain's QEMU does not hold the tap"),
        ({"link": None}, "its link does not exist"),
        ({"link": replace(LINK, up=False)}, "its link macvtap0 is down"),
        ({"link": replace(LINK, parent=None)}, "its uplink is in another network namespace"),
        ({"uplink": replace(UPLINK, up=False)}, "the uplink eth0 is down"),
        ({"uplink": replace(UPLINK, carrier=False)}, "the uplink eth0 has no carrier"),
        ({"uplink": None}, "the uplink eth0 is down"),
        ({"complete": False}, "it is not known who holds its tap open"),
    ],
)
def test_what_is_wrong_with_a_nic_is_named_and_it_is_not_announced(given: dict[str, t.Any], fault: str) -> None:
    found = nic(**given)
    assert found.fault.startswith(fault)
    assert not found.is_announced


def test_a_trusted_guest_is_announced_by_the_address_that_it_has_chosen() -> None:
    trusted = replace(NIC, values={**NIC.values, "trust_guest_rx_filters": "yes"})
    assert nic(replace(GUEST, live=(trusted,)), replace(LINK, mac=B)).mac == B


def test_nics_of_other_types_are_left_out() -> None:
    bridged = Domain("web1", running=True, live=(Iface(A, "bridge", {}, "br0"),))
    assert announced.nics(bridged, {}, {}, complete=True) == []


def test_the_frame_is_the_one_that_qemu_sends() -> None:
    sent = announcing.frame(bytes.fromhex(A.replace(":", "")))
    assert sent.hex() == (
        "ffffffffffff" + "525400000101" + "8035" + "0001080006040003" + "52540000010100000000" * 2 + "00" * 18
    )
