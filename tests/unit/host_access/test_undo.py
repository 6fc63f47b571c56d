# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run that stops anywhere is put back, and what others do to shims stays: over a model of the kernel."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shims import ABSENT, BARE, ETH0, HOST0, WITH, want

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    Address,
    DesiredShim,
    Done,
    Host,
    Reach,
    Route,
    Shim,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.undo import undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

from .kernel_model import FOREIGN, HOSTS, THEIRS, Kernel, shown


def run(
    kernel: Kernel, wanted: DesiredShim, stop: int, other: t.Callable[[Kernel], None] | None = None, at: int = 0
) -> bool:
    """Let a run stop before a request of it, with somebody else acting before another, and put it back."""
    journal: Journal[Shim] = Journal()
    planned = planner.plan([wanted], kernel.host())
    stopped = False
    try:
        for number, _request in enumerate(kernel.requests(planned.steps, journal)):
            if other is not None and number == at:
                other(kernel)
            if number == stop:
                stopped = True
                break
    except ConnectionError:
        stopped = True
    back = undo(journal, kernel.host())
    for step in back.steps:
        for _request in kernel.requests([step], Journal()):
            pass
    assert not undo(journal, kernel.host()).changes
    return stopped


WANTED = [
    want(),
    ABSENT,
    want(parent="eth1"),
    want(mac="02:00:00:00:00:99", mtu=1400),
    want(addresses=("192.0.2.250",), guests=("192.0.2.80/32",)),
    want(addresses=("192.0.2.240", "2001:db8::240")),
    want(guests=("192.0.2.77/32", "2001:db8::70/124")),
]


@pytest.mark.parametrize("host", HOSTS, ids=["there", "new", "unset"])
@pytest.mark.parametrize("wanted", WANTED)
def test_a_run_that_stops_anywhere_is_put_back(wanted: DesiredShim, host: Host) -> None:
    for stop in range(40):
        kernel = Kernel(host)
        before = shown(kernel)
        stopped = run(kernel, wanted, stop)
        assert shown(kernel) == before, stop
        if not stopped:
            break
    else:
        pytest.fail("it never came to its end")


def _adds(kernel: Kernel) -> None:
    if "host0" in kernel.links:
        kernel.add("host0", THEIRS)
        kernel.add("host0", FOREIGN)


def _removes(kernel: Kernel) -> None:
    kernel.remove("host0")


def _remakes(kernel: Kernel) -> None:
    kernel.remove("host0")
    kernel.make(replace(HOST0, mtu=1300))


def _takes_over(kernel: Kernel) -> None:
    kernel.remove("host0")
    kernel.make(Link("host0", kind="dummy", mac="02:00:00:00:00:55"))


def _sets(kernel: Kernel) -> None:
    if "host0" in kernel.links:
        kernel.links["host0"] = replace(kernel.links["host0"], mtu=1333)


@given(
    wanted=st.sampled_from(WANTED),
    host=st.sampled_from(HOSTS),
    stop=st.integers(0, 20),
    at=st.integers(0, 20),
    other=st.sampled_from([_adds, _removes, _remakes, _takes_over, _sets]),
)
def test_what_others_do_meanwhile_stays(
    wanted: DesiredShim, host: Host, stop: int, at: int, other: t.Callable[[Kernel], None]
) -> None:
    kernel = Kernel(host)
    seen: dict[str, t.Any] = {}

    def act(acting: Kernel) -> None:
        index = acting.links["host0"].index if "host0" in acting.links else 0
        other(acting)
        seen.update(index=index, link=acting.links.get("host0"))

    run(kernel, wanted, stop, act, at)
    now = kernel.links.get("host0")
    assert kernel.links["eth0"] == ETH0
    if not seen:
        return
    if other is _takes_over:
        # It is none of ours, whatever the run was to do.
        assert seen["link"].index not in kernel.made
        survived = now is not None and now.index == seen["link"].index
        # Unless the run itself was to remove or make a link of that name after that, as the kernel lets it.
        assert survived or at < stop or wanted is ABSENT
    if other is _adds and now is not None and now.index == HOST0.index == seen["index"]:
        shim = planner.current("host0", kernel.host())
        assert shim is not None
        assert THEIRS in shim.addresses
        assert FOREIGN in shim.routes


def journal_of(wanted: DesiredShim, host: Host, *done: str) -> Journal[Shim]:
    (step,) = planner.plan([wanted], host).steps
    journal: Journal[Shim] = Journal()
    for action in done:
        journal.record(step, action)
    return journal


def test_what_was_not_begun_is_not_put_back() -> None:
    """It is as the run would have left it, but others have done that."""
    gone = replace(WITH, addresses=WITH.addresses[:-2], routes=WITH.routes[:4])
    assert not undo(journal_of(want(addresses=("192.0.2.250",), guests=()), WITH), gone).changed
    taken = Done.takes(Address("2001:db8::250", 128))
    (step,) = undo(journal_of(want(addresses=("192.0.2.250",), guests=()), WITH, taken), gone).steps
    assert [change.field for change in step.changes] == ["addresses"]


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (None, "host0 was removed by something else while this task ran"),
        (replace(HOST0, index=77), "host0 is no longer the link that this run changed, and is left alone"),
        (replace(HOST0, alias=""), "host0 is no longer the link that this run changed, and is left alone"),
        (
            replace(HOST0, kind="dummy"),
            "host0 is no longer the link that this run changed, and is left alone",
        ),
    ],
)
def test_a_shim_that_is_another_now_is_left_alone(there: Link | None, message: str) -> None:
    links = {name: link for name, link in WITH.links.items() if name != "host0"}
    host = replace(WITH, links=links if there is None else {**links, "host0": there})
    back = undo(journal_of(want(mtu=1400), WITH, Done.IN_PLACE), host)
    assert (back.steps, back.warnings) == ((), (message,))


def test_a_link_that_something_else_has_made_in_its_place_is_left_alone() -> None:
    other = replace(HOST0, index=77, alias=OWNER_ALIAS)
    host = replace(WITH, links={**WITH.links, "host0": other})
    for wanted, before in ((want(), BARE), (ABSENT, WITH), (want(parent="eth1"), WITH)):
        journal = journal_of(wanted, before, Done.LINK)
        back = undo(journal, host)
        assert back.steps == ()
        assert "is left alone" in back.warnings[0]
        # The run's own goes, or is made what there was.
        warnings = undo(journal, replace(host, made=frozenset({77}))).warnings
        assert len(warnings) == (before is WITH)
        assert all("host0: recreated during the rollback, with another index" in one for one in warnings)


def test_what_went_with_a_removed_shim_is_told_after_the_rollback() -> None:
    own = tuple(one for one in WITH.routes if one.index == HOST0.index)
    table = Route("192.0.2.77/32", HOST0.index, source="192.0.2.250", scope=253, table=100)
    there = Reach(tuple(one for one in WITH.addresses if one.index == HOST0.index), (*own, table))
    lost = {HOST0.index: (there, ("vx0",))}
    links = {**WITH.links, "host0": replace(HOST0, index=77)}
    addresses = tuple(replace(one, index=77) for one in there.addresses[:1])
    back = replace(
        BARE,
        links=links,
        addresses=BARE.addresses + addresses,
        routes=BARE.routes + tuple(replace(one, index=77) for one in own),
        settings=WITH.settings,
        made=frozenset({77}),
        lost=lost,
    )
    planned = undo(journal_of(ABSENT, WITH, Done.LINK), back)
    gone = "2001:db8::250/128, the route to 192.0.2.77/32 src 192.0.2.250 in table 100"
    assert planned.warnings[1:] == (
        f"host0: its addresses and routes are lost: {gone}",
        "host0: the links on it were removed with it: vx0",
    )
    # All of it is there again, and none of it if the shim itself never went.
    vxlan = Link("vx0", 78, "vxlan", under=77)
    whole = replace(
        back,
        links={**links, "vx0": vxlan},
        addresses=BARE.addresses + tuple(replace(one, index=77) for one in there.addresses),
        elsewhere=(replace(table, index=77),),
    )
    (warning,) = undo(journal_of(ABSENT, WITH, Done.LINK), whole).warnings
    assert warning.startswith("host0: recreated during the rollback, with another index; its settings below /proc/sys")
    assert undo(journal_of(ABSENT, WITH, Done.LINK), replace(WITH, lost=lost)).warnings == ()


def test_one_that_others_have_made_a_port_since_stays() -> None:
    journal = journal_of(want(), BARE, Done.LINK)
    there = replace(HOST0, index=77, master="br0")
    back = undo(journal, replace(BARE, links={**BARE.links, "host0": there}, made=frozenset({77})))
    assert back.changes == ()
    assert back.warnings == ("host0: made by this run, and made a port of br0 since then, so that it stays",)


def test_one_that_is_not_whole_yet_goes() -> None:
    half = replace(HOST0, index=77, alias=None, up=False, group=INCOMPLETE_GROUP)
    host = replace(BARE, links={**BARE.links, "host0": half})
    (step,) = undo(journal_of(want(), BARE, Done.LINK), host).steps
    assert step.removes
