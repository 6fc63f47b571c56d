# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What holds of every plan, over random hosts and random declarations and a model of the kernel."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Plan

from .kernel_model import DEFAULTS, LOWERS, MACS, MT0, USUAL, CutShortError, FakeKernel

NAMES = tuple(f"mt{n}" for n in range(6))
ALTNAMES = frozenset(f"alt{n}" for n in range(4))
# Why the planner may refuse what is declared: links that exclude each other.
CONFLICTS = (
    "must be the only one on its parent",
    "is already a name of the link",
    "exceeds the MTU of the parent",
    "is the MAC address of",
    "is declared twice",
    "share one limit",
    "has no effect on a link in mode passthru that is down",
)
# What a link keeps where nothing else is declared.
KEPT = (*(field for field in DEFAULTS if field != "mode"), "mtu", "altnames", "up")

some_macs = st.sampled_from((*MACS * 3, *(lower.mac for lower in USUAL)))
other_modes = ("vepa", "bridge", "private", "source")
source_lists = st.frozensets(st.sampled_from(MACS), max_size=3)
options: dict[str, tuple[t.Any, ...]] = {
    "txqueuelen": (0, 500),
    "promiscuous": (False, True),
    "nodst": (True, False),
    "bcqueuelen": (500, 1000),
    "group": (0, 7),
    "alias": ("", "web"),
    "tx_queues": (1, 4),
    "rx_queues": (1, 4),
    "addrgenmode": ("eui64", "none"),
    "allmulticast": (True, False),
}
pairs = [(option, value) for option, values in options.items() for value in values]
some_options = st.lists(st.sampled_from(pairs), max_size=4, unique_by=lambda pair: pair[0]).map(dict)
DEFAULTS_BUT_MODE = {field: value for field, value in DEFAULTS.items() if field != "mode"}


@st.composite
def hosts(draw: st.DrawFn, *, twins: bool = True) -> Links:
    """Links as the kernel may have them: passthru alone, no address twice among those up, one limit for a parent.

    ``twins`` may be there all the same: links with the address of another one, made while down.
    """
    links = {lower.name: lower for lower in LOWERS}
    alone = {lower.name: draw(st.booleans()) for lower in USUAL}
    limits = {lower.name: draw(st.sampled_from((1, 5))) for lower in USUAL}
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=5, unique=True))
    altnames = dict(zip(draw(st.lists(st.sampled_from(names), max_size=3, unique=True)), sorted(ALTNAMES)))
    for number, name in enumerate(names):
        lower = links[draw(st.sampled_from(USUAL)).name]
        siblings = [link for link in links.values() if link.parent == lower.name]
        mode = "passthru" if alone[lower.name] else draw(st.sampled_from(other_modes))
        mac = lower.mac if mode == "passthru" else draw(some_macs)
        duplicate = mode != "passthru" and mac in (lower.mac, *(link.mac for link in siblings if link.up or not twins))
        if (siblings and mode == "passthru") or (duplicate and not twins):
            continue
        links[name] = Link(
            name,
            10 + number,
            "macvtap",
            lower.name,
            lower.index,
            mode,
            mac,
            draw(st.sampled_from((1400, lower.mtu))),
            up=not duplicate and draw(st.booleans()),
            bclim=limits[lower.name],
            source_macs=draw(source_lists) if mode == "source" else frozenset(),
            altnames=frozenset({altnames[name]} if name in altnames else ()),
            **{**DEFAULTS_BUT_MODE, **draw(some_options)},
        )
        if mode == "passthru" and links[name].up and links[name].promiscuous:
            links[lower.name] = replace(lower, promiscuity=1)
    for lower in USUAL:
        count = counted(links, lower.name)
        links[lower.name] = replace(links[lower.name], allmulti=count)
        links.update((o.name, replace(o, parent_allmulti=count)) for o in passing(links, lower.name))
    return links


def passing(links: Links, lower: str) -> list[Link]:
    return [link for link in links.values() if link.parent == lower and link.mode == "passthru"]


def counted(links: Links, lower: str) -> int:
    """How many want all multicast of the parent."""
    return len([link for link in links.values() if link.parent == lower and link.up and link.allmulticast])


@st.composite
def declarations(draw: st.DrawFn, links: Links, *, limits: bool = True) -> list[DesiredLink]:
    """What a user may declare, mostly within the kernel's rules."""
    wanted = []
    for number, name in enumerate(draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))):
        parents = ("eth0", "eth0", "uplink1", "br0") if name not in links else (None,) * 4 + ("eth0", "eth1")
        mode = draw(st.sampled_from((None,) * 4 + (*other_modes, "passthru")))
        now = mode or (links[name].mode if name in links else "bridge")
        wanted.append(
            DesiredLink(
                name,
                f"links[{number}]",
                draw(st.sampled_from(("up", "up", "present", "down", "absent"))),
                draw(st.sampled_from(parents)),
                mode,
                None if now == "passthru" else draw(st.none() | st.none() | some_macs),
                draw(st.sampled_from((None, None, None, 1400, 1500, 9000))),
                bclim=draw(st.sampled_from((None, None, 1, 5))) if limits else None,
                source_macs=draw(st.none() | source_lists) if now == "source" else None,
                altnames=draw(st.none() | st.frozensets(st.sampled_from(sorted(ALTNAMES)), max_size=2)),
                **draw(some_options),
            )
        )
    return wanted


def plan_or_assume(wanted: t.Sequence[DesiredLink], links: Links) -> Plan[Link]:
    try:
        planned = planner.plan(wanted, links)
    except MacvtapError as exc:
        # Any other would be of what the declarations are meant to try, and be no longer tried.
        if not any(reason in exc.message for reason in CONFLICTS):
            raise
        planned = Plan[Link]()
    # Hypothesis itself fails the test if too few are left.
    assume(planned.changed)
    return planned


usual = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@usual
@given(st.data())
def test_a_plan_leads_to_what_was_declared_and_touches_nothing_else(data: st.DataObject) -> None:
    links = data.draw(hosts())
    wanted = data.draw(declarations(links))
    planned = plan_or_assume(wanted, links)
    kernel = FakeKernel(links)
    kernel.apply(planned.steps)  # A RefusedError would be a conflict that the planner has not seen

    for want in wanted:
        assert_as_declared(want, kernel.links)
        if want.state != "absent" and want.name in links:
            assert_kept(want, links[want.name], kernel.links[want.name])
    assert not planner.plan(wanted, kernel.links).changed
    declared = {want.name for want in wanted}
    limited_parents = {
        kernel.links[want.name].parent for want in wanted if want.bclim is not None and want.state != "absent"
    }
    assert {step.target for step in planned.steps} <= declared
    for link in links.values():
        if link.kind == "macvtap" and link.name not in declared:
            # The limit is the parent's: it changes for all of its links, but only if it is declared for one of them.
            limited = kernel.links[link.name].bclim if link.parent in limited_parents else link.bclim
            assert kernel.links[link.name] == replace(link, bclim=limited)
        elif link.kind != "macvtap":
            promiscuous = [other for other in passing(kernel.links, link.name) if other.up and other.promiscuous]
            assert kernel.links[link.name] == replace(
                link,
                promiscuity=len(promiscuous),
                allmulti=None if link.allmulti is None else counted(kernel.links, link.name),
            )


def assert_as_declared(want: DesiredLink, links: Links) -> None:
    if want.state == "absent":
        assert want.name not in links
        return
    link = links[want.name]
    if want.state != "present":
        assert link.state == want.state
    if want.parent is not None:
        assert link.parent == {"uplink1": "eth1"}.get(want.parent, want.parent)
    for field in ("mode", "mac", "mtu", "bclim", "source_macs", "altnames", *options):
        value = getattr(want, field)
        assert value is None or getattr(link, field) == value, field


def assert_kept(want: DesiredLink, before: Link, after: Link) -> None:
    # One in mode passthru that is set down, or made so, is without all multicast.
    loses = after.mode == "passthru" and not after.up and (before.mode != "passthru" or before.up)
    for field in KEPT:
        if field == "allmulticast" and loses:
            continue
        if getattr(want, field, None) is None and not (field == "up" and want.state != "present"):
            assert getattr(after, field) == getattr(before, field), field
    if want.mac is None and "passthru" not in (before.mode, after.mode):
        assert after.mac == before.mac
    recreated = (
        after.parent != before.parent
        or (after.mode != before.mode and "passthru" in (before.mode, after.mode))
        or (after.tx_queues, after.rx_queues) != (before.tx_queues, before.rx_queues)
        or (before.mode == "passthru" and not before.up and after.promiscuous != before.promiscuous)
    )
    assert (after.index != before.index) is recreated


@usual
@given(st.data())
def test_from_wherever_a_run_was_cut_short_there_is_a_way_back(data: st.DataObject) -> None:
    # Not put back: the limit of a parent that a new link has changed for the others, and a twin's address, which the
    # kernel gives to no link that exists.
    links = data.draw(hosts(twins=False))
    planned = plan_or_assume(data.draw(declarations(links, limits=False)), links)
    kernel = FakeKernel(links)
    journal: Journal[Link] = Journal()
    with contextlib.suppress(CutShortError):
        kernel.apply(planned.steps, data.draw(st.integers(0, 12)), journal)
    back = planner.undo(journal, kernel.links, {}, Journal())
    brought: Journal[Link] = Journal()
    kernel.apply(back.steps, journal=brought)
    assert {name: replace(link, index=0) for name, link in kernel.links.items()} == {
        name: replace(link, index=0) for name, link in links.items()
    }
    assert not planner.undo(journal, kernel.links, {}, brought).changed


@usual
@given(st.data())
def test_the_next_run_converges_from_wherever_one_was_killed(data: st.DataObject) -> None:
    links = data.draw(hosts())
    wanted = data.draw(declarations(links))
    planned = plan_or_assume(wanted, links)
    kernel = FakeKernel(links)
    with contextlib.suppress(CutShortError):
        kernel.apply(planned.steps, requests=data.draw(st.integers(0, 12)))
    gone = {step.target for step in planned.steps if step.removes or step.recreates}
    assert links.keys() - kernel.links.keys() <= gone
    try:
        again = planner.plan(wanted, kernel.links)
    except MacvtapError as exc:
        # A link that was to be recreated is gone, and the declaration does not say on what to make it, or in which
        # mode.
        text = exc.message
        assert "does not exist" in text or "requires mode source" in text
        return
    kernel.apply(again.steps)
    for want in wanted:
        assert_as_declared(want, kernel.links)
    assert not planner.plan(wanted, kernel.links).changed


@pytest.mark.parametrize(("option", "value"), pairs)
def test_no_value_of_an_option_is_refused_by_itself(option: str, value: t.Any) -> None:
    """So that the properties are of plans that have it."""
    there = {link.name: link for link in (*LOWERS, MT0)}
    for link in (DesiredLink("mt0", "links[0]"), DesiredLink("mt5", "links[0]", parent="eth0", mode="bridge")):
        for step in planner.plan([replace(link, **{option: value})], there).steps:
            assert getattr(step.after, option) == value
    assert planner.plan([replace(link, **{option: value})], there).changed
