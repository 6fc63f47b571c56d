# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""All multicast in mode passthru, which macvlan_open() and macvlan_stop() leave out of the parent's count."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

from .planned import PASS, changes, host, new

HEARING = replace(PASS, allmulticast=True, parent_allmulti=1)


def pt0(**fields: t.Any) -> DesiredLink:
    return DesiredLink("pt0", "links[3]", **fields)


@pytest.mark.parametrize("count", [0, None])
def test_allmulticast_is_taken_off_a_passthru_link_only_if_the_parent_counts_it(count: int | None) -> None:
    taken = ("allmulticast", True, False)
    assert changes(pt0(allmulticast=False), HEARING) == [(*taken, Impact.IN_PLACE)]
    uncounted = replace(HEARING, parent_allmulti=count)
    assert changes(pt0(allmulticast=False), uncounted) == [(*taken, Impact.RECREATE)]
    assert changes(pt0(allmulticast=False, state="present"), replace(uncounted, up=False)) == [
        (*taken, Impact.IN_PLACE)
    ]


@pytest.mark.parametrize("count", [1, 0, None])
@pytest.mark.parametrize("allmulticast", [None, False])
def test_a_passthru_link_that_is_set_down_is_without_allmulticast(count: int | None, allmulticast: bool | None) -> None:
    assert changes(pt0(state="down", allmulticast=allmulticast), replace(HEARING, parent_allmulti=count)) == [
        ("state", "up", "down", Impact.IN_PLACE),
        ("allmulticast", True, False, Impact.IN_PLACE),
    ]


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        (new(mode="passthru", allmulticast=True, state="present"), ()),
        (new(mode="passthru", allmulticast=True, state="down"), ()),
        (pt0(allmulticast=True, state="down"), (HEARING,)),
        (pt0(allmulticast=True, state="present"), (replace(HEARING, up=False),)),
    ],
)
def test_allmulticast_of_a_passthru_link_that_is_to_be_down_is_refused(
    wanted: DesiredLink, more: tuple[Link, ...]
) -> None:
    with pytest.raises(MacvtapError, match=r"mode passthru that is down.* Set state: up") as caught:
        planner.plan([wanted], host(*more))
    assert caught.value.path == "links[3].allmulticast"


def test_a_passthru_link_whose_flag_has_no_effect_is_told() -> None:
    def told(link: Link) -> tuple[str, ...]:
        return planner.plan([pt0(allmulticast=True)], host(link)).warnings

    assert "no more multicast groups than before" in told(replace(HEARING, parent_allmulti=0))[0]
    for count in (1, None):
        assert told(replace(HEARING, parent_allmulti=count)) == ()
    assert told(replace(HEARING, parent_allmulti=0, up=False)) == ()
