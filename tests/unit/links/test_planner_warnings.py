# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the planner of links warns of, and what it does not."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner, warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Tap

from .planned import MT0, TAP, host, mt0


@pytest.mark.parametrize(
    ("wanted", "link", "message"),
    [
        (mt0(parent="eth1"), MT0, "mt0: recreated, so its tap"),
        (mt0(tap_mode=0o666), MT0, "mt0: every user of the host can read and send"),
        (mt0(tap_mode=0o606), MT0, "mt0: every user of the host can read and send"),
    ],
)
def test_warnings(wanted: DesiredLink, link: Link, message: str) -> None:
    (warning,) = planner.plan([wanted], host(link)).warnings
    assert re.match(message, warning), warning


@pytest.mark.parametrize(
    ("wanted", "link"),
    [
        (mt0(), MT0),
        (mt0(tap_mode=0o660), MT0),
        (mt0(tap_mode=0o664), MT0),
        (mt0(state="absent"), replace(MT0, tap=Tap("/dev/tap10", (245, 1)))),
        (mt0(tap_repair=True), replace(MT0, tap=Tap("/dev/tap10", (245, 1)))),
        (mt0(state="absent", tap_mode=0o666), MT0),
    ],
)
def test_no_warnings(wanted: DesiredLink, link: Link) -> None:
    assert planner.plan([wanted], host(link)).warnings == ()


@pytest.mark.parametrize(
    ("tap", "fault"),
    [
        (Tap("/dev/tap10", (245, 1)), "is missing"),
        (replace(TAP, node=(245, 9)), "is the tap of a link in another network namespace"),
        (replace(TAP, device=None), "may be the tap of another link"),
    ],
)
def test_a_tap_that_is_not_the_links_own_is_told_by_what_there_is_in_the_end(tap: Tap, fault: str) -> None:
    (text,) = warnings.of_taps([mt0()], host(replace(MT0, tap=tap)))
    assert re.match(rf"/dev/tap10 of mt0 {fault}.*: .* tap.repair: true", text)
    assert warnings.of_taps([mt0()], host(MT0)) == ()


def test_a_link_that_is_up_on_an_uplink_that_is_down_is_said() -> None:
    links = {
        link.name: link
        for link in (
            Link("eth0", 2, up=True),
            Link("eth1", 3),
            Link("a", 4, "macvtap", "eth1", up=True),
            Link("b", 5, "macvtap", "eth1", up=True),
            Link("c", 6, "macvtap", "eth1"),
            Link("d", 7, "macvtap", "eth0", up=True),
            # Its parent is of another namespace.
            Link("e", 8, "macvtap", "eth1", up=True, netns="x"),
        )
    }
    links["x/e"] = links.pop("e")
    (text,) = warnings.of_parents(["a", "b", "c", "d", "x/e", "gone"], links)
    assert text.startswith("a, b: the uplink eth1 is down, ")
