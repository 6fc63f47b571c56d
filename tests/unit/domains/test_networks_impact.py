# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Interfaces on direct networks: what a running guest feels of a change."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, rollback
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import UPDATED, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

from .networked import due, impacts, live, on, stored, want

ON_ETH0: dict[str, str] = {"source": "eth0", "mode": "bridge"}


@pytest.mark.parametrize(
    ("before", "options", "changes", "remaining"),
    [
        # What the guest has stays as it is.
        (ON_ETH0, {"network": "lan"}, {"network": "config", "source": "config", "mode": "config"}, []),
        ({"network": "lan"}, ON_ETH0, {"network": "config", "source": "config", "mode": "config"}, []),
        ({"network": "lan"}, {"network": "also"}, {"network": "config"}, []),
        ({"network": "lan"}, {"network": "pool"}, {"network": "config"}, []),
        ({"network": "lan"}, {"portgroup": "web"}, {"portgroup": "config"}, []),
        # Only the mode differs, which the link itself can get.
        (ON_ETH0, {"network": "vep"}, {"network": "config", "source": "config", "mode": "live"}, []),
        ({"network": "vep"}, {"network": "lan"}, {"network": "config", "mode": "live"}, []),
        # Another uplink.
        ({"network": "lan"}, {"network": "lan1"}, {"network": "restart"}, ["network", "source"]),
        (ON_ETH0, {"network": "pass"}, None, ["network", "source", "mode"]),
        # More than the name.
        (
            {"network": "lan"},
            {"portgroup": "trusted"},
            {"portgroup": "restart", "trust_guest_rx_filters": "restart"},
            ["trust_guest_rx_filters", "portgroup"],
        ),
        ({"network": "lan"}, {"trust_guest_rx_filters": True}, None, ["trust_guest_rx_filters"]),
        ({"network": "lan"}, {"bandwidth": {"inbound": {"average": 9}}}, None, ["bandwidth.inbound.average"]),
        ({"network": "lan"}, {"link_state": "down"}, {"link_state": "live"}, []),
        ({"network": "lan"}, {"allmulticast": True}, {"allmulticast": "live"}, []),
    ],
)
def test_what_a_running_guest_feels(
    before: dict[str, str], options: dict[str, t.Any], changes: dict[str, str] | None, remaining: list[str]
) -> None:
    host = on([stored(**before)], [live(**before)], version=11_000_000)
    planned = planner.plan([want(**options)], host)
    assert changes is None or impacts(planned) == changes
    assert due(want(**options), host) == remaining
    # A replug is made for what is due, and for nothing else.
    replugged = planner.plan([want(**options)], host, level="replug")
    assert ("replug" in impacts(replugged).values()) == bool(remaining)
    assert due(want(**options), host, "replug") == []


@pytest.mark.parametrize(
    ("before", "options", "impact"),
    [
        (ON_ETH0, {"network": "lan"}, "live"),
        ({"network": "lan"}, ON_ETH0, "live"),
        # Libvirt might choose the other uplink, if only in a rollback.
        (ON_ETH0, {"network": "pool"}, "config"),
        ({"network": "pool"}, ON_ETH0, "config"),
        ({"network": "lan"}, {"network": "also"}, "config"),
        # It does not know of the mode that the link gets.
        (ON_ETH0, {"network": "vep"}, "config"),
        (ON_ETH0, {"network": "lan1"}, "restart"),
    ],
)
def test_a_newer_libvirt_connects_a_running_nic_with_a_network(
    before: dict[str, str], options: dict[str, str], impact: str
) -> None:
    host = on([stored(**before)], [live(**before)], version=11_003_000)
    plan = planner.plan([want(**options)], host)
    assert impacts(plan)["network"] == impact
    (step,) = plan.steps
    assert step.before is not None
    assert step.after is not None
    (now,) = [one for one in (step.after.live,) if one is not None]
    assert (now.get("network") == options.get("network")) == (impact == "live")
    # The way back is the same.
    journal: Journal[Nic] = Journal()
    journal.record(step, UPDATED)
    domain = replace(host.domains["web1"], live=(now,))
    undone = rollback.undo(journal, replace(host, domains={"web1": domain}))
    assert {change.impact.value for change in undone.changes} == {"live"} & set(impacts(plan).values())


def test_a_network_that_was_changed_is_another_place() -> None:
    host = on([stored(network="lan1")], [live(network="lan1", uplink="eth0")])
    assert due(want(network="lan1"), host) == ["source"]
    assert impacts(planner.plan([want(network="lan1")], host, level="replug")) == {"source": "replug"}
    # Nobody has declared where it is to be.
    assert not planner.plan([want(link_state="up")], host, level="replug").changed


def test_what_is_not_known_is_no_difference() -> None:
    host = replace(on([stored(network="lan")], [live(network="lan")]), networks=None)
    assert due(want(network="lan"), host) == []
    assert due(want(network="also"), host) == ["network"]
