# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Each row of attributes.py is all that there is to say of its attribute."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    decode,
    ip_commands,
    planner,
    requests,
    rtnetlink,
    steps,
    wire,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS, VLAN_ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, fields, report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

IFLA_IFNAME, IFLA_LINKINFO, IFLA_INFO_KIND = 3, 18, 1
ETH0 = Link("eth0", 2, mac="02:00:00:00:00:02", mtu=9000, up=True)
MT0 = Link("mt0", 10, "macvtap", "eth0", 2, "bridge", "02:00:00:00:00:10", 1500)


def value_of(row: Row) -> t.Any:
    """Return a value that the option may have and a link does not have by itself."""
    if row.elements:
        return frozenset({"02:00:00:00:00:77"}) if row.parse and "mac" in row.field else frozenset({"other"})
    if row.wire and row.wire.words:
        return next(iter(row.wire.words))
    if row.type == "bool":
        return row.wire is None or row.wire.absent is not True
    if row.range:
        return max(row.range[0], 70)
    return "02:00:00:00:00:77" if row.field == "mac" else "text" if row.type == "str" else 20


@pytest.mark.parametrize("arp", [True, False, None])
def test_a_link_is_asked_to_answer_arp_or_not(arp: bool | None) -> None:
    after = replace(MT0, arp=arp)
    # It is on where nothing else is asked for.
    assert read(requests.create(planner.step_between(None, after), None)).arp is (arp is not False)
    for was in (True, False):
        sent = list(requests.change(planner.step_between(replace(MT0, arp=was), after)))
        assert [read(one).arp for one in sent] == ([] if arp in (None, was) else [arp])


@pytest.mark.parametrize(
    ("was", "now", "written"), [(True, False, [0]), (False, True, [1]), (True, None, []), (False, False, [])]
)
def test_a_link_accepts_router_advertisements_by_a_setting(was: bool, now: bool | None, written: list[int]) -> None:
    before, after = replace(MT0, accept_ra=was), replace(MT0, accept_ra=now)
    assert list(requests.sysctls(before, after)) == [("ipv6/conf/{}/accept_ra", value) for value in written]
    # It is set before the link comes up.
    assert requests.up_after_create(replace(after, addrgenmode=None)) is (now is not None)


def test_a_new_link_for_a_guest_is_quiet_unless_something_else_is_asked_for() -> None:
    def made(**options: t.Any) -> tuple[bool | None, bool | None]:
        (step,) = planner.plan([DesiredLink("mt1", parent="eth0", mode="bridge", **options)], {"eth0": ETH0}).steps
        assert step.after is not None
        return step.after.arp, step.after.accept_ra

    assert made() == (False, False)
    assert made(arp=True, accept_ra=True) == (True, True)
    # A link of the host's own.
    assert made(kind="macvlan") == (None, None)


@pytest.mark.parametrize(
    "row",
    # Netlink only reports accept_ra.
    [row for row in ROWS.values() if row.field not in ("altnames", "accept_ra")],
    ids=lambda row: row.field,
)
def test_what_is_asked_for_in_a_request_is_what_is_read_of_a_message(row: Row) -> None:
    value = value_of(row)
    base = replace(MT0, mode="source") if row.field == "source_macs" else MT0
    after = replace(base, **{row.field: value})
    step = steps.step_between(None, after)
    sent = [requests.create(step, None)] if row.made_with else list(requests.post_create(step, 10))
    assert getattr(read(sent[0]), row.field) == value


@pytest.mark.parametrize("row", VLAN_ROWS.values(), ids=lambda row: row.field)
def test_what_is_asked_for_of_a_vlan_is_what_is_read(row: Row) -> None:
    after = Link("eth0.20", kind="vlan", parent="eth0", parent_index=2, vlan_id=20, vlan_protocol="802.1Q")
    after = replace(after, **{row.field: value_of(row)})
    assert getattr(read(requests.create(steps.step_between(None, after), None)), row.field) == value_of(row)


def read(request: bytes) -> Link:
    """Return the link that a message of the kernel's would be about that has the same attributes."""
    body = request[rtnetlink.HEADER.size :]
    # One of the kernel's always says these.
    message = {IFLA_IFNAME: b"mt0\0", IFLA_LINKINFO: rtnetlink.attribute(IFLA_INFO_KIND, b"macvtap\0")}
    there = wire.attributes(body, rtnetlink.IFINFO.size, len(body))
    more = (rtnetlink.attribute(kind, payload) for kind, payload in message.items() if kind not in there)
    return next(iter(decode.links([body + b"".join(more)]).values()))


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.field)
def test_what_is_declared_is_one_change_and_is_shown(row: Row) -> None:
    value = value_of(row)
    before = replace(MT0, mode="source") if row.field == "source_macs" else MT0
    wanted = DesiredLink("mt0", "links[0]", **{row.field: value})
    (step,) = planner.plan([wanted], {"eth0": ETH0, "mt0": before}).steps
    (change,) = (change for change in step.changes if change.field == row.option)
    shown = sorted(value) if row.elements else value
    assert (change.after, change.impact) == (shown, row.impact)
    assert step.after is not None
    assert fields(step.after)[row.option] == shown
    assert (row.option in report(step.after)) is row.reported
    assert row.impact is Impact.IN_PLACE or row.wire is not None


def test_each_attribute_of_the_kernels_is_one_rows() -> None:
    places = [(row.wire.place, row.wire.number, row.wire.bit) for row in ROWS.values() if row.wire]
    assert len(places) == len(set(places))
    assert Place.VLAN not in {place for place, _number, _bit in places}


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.field)
def test_what_is_declared_is_made_at_the_next_boot(row: Row) -> None:
    value = value_of(row)
    # What has an effect in one mode only is written for that one.
    mode = {"source_macs": "source", "promiscuous": "passthru"}.get(row.field, "bridge")
    wanted = DesiredLink("mt0", **{"mode": mode, row.field: value})
    commands = [ip_commands.create(wanted, "eth0"), *ip_commands.settings(wanted)]
    # The first ones of a list are set at once with the others.
    words = " ".join(commands if row.elements else commands[:1] if row.with_add else commands[1:])
    assert (row.ip in words) is row.kept
    if row.type in ("int", "str") and row.kept:
        assert f"{row.ip} {value}" in words
