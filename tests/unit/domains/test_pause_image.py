# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is changed in the image of a saved guest, with plain values."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    element,
    pause_image,
    resolution,
    tasks,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.planner import plan_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Portgroup

from .planned import LINKS, LIVE, MAC, OTHER, STORED, host, running, want

LIMIT = {"bandwidth.inbound.average": "1000"}
SLOW = (Portgroup("slow", values=LIMIT),)
NETWORKS = {
    name: Network(name=name, mode="bridge", interfaces=(uplink,), portgroups=SLOW, active=True)
    for name, uplink in (("lan", "eth0"), ("lan1", "eth1"))
}


def on(network: str, **more: str) -> Iface:
    rest = {name: text for name, text in STORED.values.items() if name not in ("source", "mode")}
    rest.pop("trust_guest_rx_filters", None)
    return element.read(element.render(Iface(MAC, values={**rest, "network": network, **more})))


def paused(desired: Desired, on_host: Host) -> list[tasks.Task]:
    return tasks.tasks_of(plan_of(resolution.resolve([desired], on_host, level="pause"), on_host).steps)


def elements(desired: Desired, stored: Iface, live: Iface, saved: Iface, *others: Iface) -> dict[str, t.Any]:
    """Return what the image gets, by MAC address, as its elements are read again."""
    on_host = replace(host(running([stored], [live]), links=LINKS), networks=NETWORKS)
    lives = {iface.mac: iface for iface in (live, *others)}
    image = [
        saved,
        *(replace(one, stale_mode=None, values={**one.values, "mode": one.stale_mode or ""}) for one in others),
    ]
    edits = pause_image.edits(image, lives, paused(desired, on_host), {})
    return {one.saved.mac: element.read(element.render(one.new)).values for one in edits}


def shown(saved: Iface) -> Iface:
    """Return the running interface of one on a network, with what that gave it."""
    return replace(saved, type="direct", values={**saved.values, **LIMIT, "source": "eth0", "mode": "bridge"})


def test_what_a_network_gave_is_not_in_the_image_of_another_one() -> None:
    saved = on("lan", portgroup="slow")
    stored = replace(saved, type="direct", origin=None)
    found = elements(want(network="lan1", portgroup="slow"), stored, shown(saved), saved)[MAC]
    assert found["network"] == "lan1"
    assert not {"source", "mode", *LIMIT} & found.keys()


def test_what_a_network_gave_stays_if_it_is_declared_without_the_network() -> None:
    saved = on("lan", portgroup="slow")
    stored = replace(saved, type="direct", origin=None)
    found = elements(
        want(source="eth1", network=None, portgroup=None, **t.cast("dict[str, t.Any]", LIMIT)),
        stored,
        shown(saved),
        saved,
    )[MAC]
    assert {name: found.get(name) for name in ("source", "network", *LIMIT)} == {
        "source": "eth1",
        "network": None,
        **LIMIT,
    }


def test_a_link_keeps_the_mode_that_libvirt_does_not_know() -> None:
    other = replace(LIVE, mac=OTHER, values={**LIVE.values, "mode": "private"}, stale_mode="bridge")
    here = element.read(element.render(replace(STORED, xml="")))
    found = elements(want(source="eth1"), STORED, LIVE, here, other)
    assert found[MAC]["source"] == "eth1"
    # The other one is not changed, and gets a new link nevertheless.
    assert found[OTHER]["mode"] == "private"


def test_links_receive_all_multicast_again() -> None:
    everything = {**LIVE.values, "allmulticast": "yes"}
    (task,) = paused(want(source="eth1"), replace(host(running([STORED], [LIVE]), links=LINKS), networks=NETWORKS))
    live = {
        MAC: replace(LIVE, values=everything),
        OTHER: replace(LIVE, values=everything),
        "trusted": replace(LIVE, values={**everything, "trust_guest_rx_filters": "yes"}),
        "passthrough": replace(LIVE, values={**everything, "mode": "passthrough"}),
    }
    # The declared one no longer does.
    assert pause_image.receiving_all(live, [task]) == ({MAC, OTHER}, {OTHER})


def test_a_nic_that_is_not_in_the_image_is_an_error() -> None:
    with pytest.raises(MacvtapError, match=f"{MAC} is not in the image"):
        elements(want(source="eth1"), STORED, LIVE, replace(STORED, mac=OTHER))
