# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Running guests that libvirt_direct_iface pauses to change their NICs: saved, changed in the image, and restored."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, guest_has, impacts, nic, ok
from guest_traffic import streaming, watched
from paused_guest import BRIDGED, check_nothing_left, start, uplinks, uptime

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


@pytest.fixture
def lan(hv: Hypervisor) -> t.Iterator[Hypervisor]:
    with uplinks(hv):
        start(hv, BRIDGED, nic(B))
        yield hv


def test_a_guest_keeps_its_nics_its_uptime_and_its_connections(lan: Hypervisor, module: Module) -> None:
    before = uptime(lan)
    conversion: Result = {"domain": "web1", "mac": A, "source": "up1", "mode": "bridge", "convert": True}
    steps: list[list[Result]] = [
        [conversion, {"domain": "web1", "mac": B, "source": "up1"}],
        [{"domain": "web1", "mac": A, "source": "up2"}],
    ]
    with streaming(lan.prefix, "10.77.0.2", 7):
        for entries in steps:
            predicted = ok(module(check=True, interfaces=entries, live="pause"))
            with watched(lan.prefix, "10.77.0.2") as noticed:
                done = ok(module(interfaces=entries, live="pause"))
            assert predicted["changes"] == done["changes"]
            assert {change["impact"] for change in done["changes"]} == {"pause"}
            assert (done["restart_required"], done["pending"]) == ([], [])
            # Several NICs are one pause. Other guests and the tests share the machine, which the forecast cannot know.
            (paused,), (forecast,) = done["pauses"], predicted["pauses"]
            assert paused["measured_seconds"] < 2 * forecast["forecast_seconds"] + 1
            assert noticed[0].silence < paused["measured_seconds"] + 1.5
            assert not ok(module(interfaces=entries, live="pause"))["changed"]
    links = lan.run("ip", "-br", "link")
    assert re.search(r"macvtap\d+@up2", links)
    assert re.search(r"macvtap\d+@up1", links)
    assert guest_has(lan, "web1", {A, B})
    assert uptime(lan) >= before
    check_nothing_left(lan)


def test_of_both_ways_the_one_that_costs_less_is_taken(lan: Hypervisor, module: Module) -> None:
    before = uptime(lan)
    both: Result = {"domain": "web1", "mac": B, "live": ["pause", "replug"]}
    steps: list[tuple[Result, str, str]] = [
        ({"source": "up1"}, "pause", "the forecast is less than the 10 s that a replug counts as"),
        ({"source": "up2", "pause_max": 0.01}, "replug", "and pause_max is 0.01 s"),
    ]
    for options, way, reason in steps:
        predicted = ok(module(check=True, **both, **options))
        done = ok(module(**both, **options))
        assert (impacts(done), impacts(predicted)) == ({"source": way}, {"source": way})
        for result in (predicted, done):
            assert [(one["domain"], one["way"]) for one in result["pauses"]] == [("web1", way)]
            assert reason in result["pauses"][0]["reason"]
        assert (done["restart_required"], done["pending"]) == ([], [])
        assert (done["pauses"][0]["measured_seconds"] is None) is (way == "replug")
        again = ok(module(**both, **options))
        assert (again["changed"], again["pauses"]) == (False, [])
    assert guest_has(lan, "web1", {A, B})
    assert uptime(lan) >= before
    check_nothing_left(lan)
