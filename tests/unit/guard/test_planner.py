# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans of guards, and their undo."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_commands,
    guard_links,
    options,
    planner,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.changes import step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    UNKNOWN,
    Binding,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
LINKS = {"macvtap0": GuestLink("macvtap0", 7, A), "macvtap1": GuestLink("macvtap1", 8, B)}
GUARD = Guard(A)
ABSENT = State(A)
GUARDED = State(A, GUARD, GUARD, ("macvtap0",))


def host_with(*states: State, links: t.Mapping[str, GuestLink] | None = None, bindings: t.Any = ()) -> Host:
    return Host({one.mac: one for one in states}, LINKS if links is None else links, bindings)


def plan(host: Host, *entries: dict[str, t.Any], **how: t.Any) -> t.Any:
    return planner.plan([options.desired(f"guards[{n}]", one) for n, one in enumerate(entries)], host, **how)


def changes(planned: t.Any) -> list[tuple[str, t.Any, t.Any]]:
    return [(one.field, one.before, one.after) for one in planned.changes]


@pytest.mark.parametrize("entry", [{"mac": A}, {"link": "macvtap0"}], ids=["mac", "link"])
def test_a_guard_is_on_the_links_of_its_nic(entry: dict[str, t.Any]) -> None:
    planned = plan(host_with(), entry)
    assert changes(planned) == [("state", "absent", "present")]
    assert planned.steps[0].after == GUARDED
    assert plan(host_with(GUARDED), entry).changed is False


def test_a_guest_that_does_not_run_has_a_guard_without_links() -> None:
    assert plan(host_with(links={}), {"mac": A}).steps[0].after == State(A, GUARD, GUARD)


def test_a_running_guest_may_have_another_address_on_its_link() -> None:
    links = {"macvtap5": GuestLink("macvtap5", 9, "52:54:00:ff:ff:ff")}
    (step,) = plan(host_with(links=links), {"mac": A}, guests={"guards[0]": "macvtap5"}).steps
    assert step.after.links == ("macvtap5",)


@pytest.mark.parametrize("stolen", ["52:54:00:ff:ff:ff", B])
def test_a_link_keeps_its_guard_whatever_address_its_guest_gives_it(stolen: str) -> None:
    links = {**LINKS, "macvtap0": GuestLink("macvtap0", 7, stolen)}
    other = State(B, Guard(B), Guard(B), ("macvtap1",))
    host = host_with(GUARDED, other, links=links)
    assert plan(host, {"mac": A}, {"mac": B}).changed is False
    # The guard of the stolen address does not take the link either.
    assert plan(replace(host, guards={A: GUARDED}), {"mac": B}).steps[0].after.links == ("macvtap1",)


def test_a_link_that_a_domain_has_for_another_nic_goes_to_that_one() -> None:
    wrong = State(B, Guard(B), Guard(B), ("macvtap0", "macvtap1"))
    planned = plan(host_with(wrong), {"mac": A}, {"mac": B}, guests={"guards[0]": "macvtap0"})
    assert [step.after.links for step in planned.steps] == [("macvtap0",), ("macvtap1",)]


def test_a_removed_guard_leaves_nothing() -> None:
    absent = {"mac": A, "state": "absent"}
    assert changes(plan(host_with(GUARDED), absent)) == [("state", "present", "absent")]
    assert plan(host_with(), absent).changed is False
    # Also by the name of a link that is gone.
    host = host_with(GUARDED, links={}, bindings=(Binding("macvtap0", A, 7),))
    assert plan(host, {"link": "macvtap0", "state": "absent"}).steps[0].after == State(A)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"link": "macvtap9"}], r"guards\[0\].link: no macvtap link macvtap9 exists; did you mean macvtap"),
        ([{"mac": A}, {"link": "macvtap0"}], rf"guards\[1\]: the NIC {A} is declared twice, here and in guards\[0\]"),
        ([{"mac": A.upper()}, {"mac": A}], "declared twice"),
    ],
)
def test_what_cannot_be_meant_is_refused(entries: list[dict[str, t.Any]], message: str) -> None:
    with pytest.raises(MacvtapError, match=message):
        plan(host_with(), *entries)


@pytest.mark.parametrize(
    ("state", "rate"),
    [(ABSENT, 5), (replace(GUARDED, stored=Guard(A, rate=9)), 9), (State(A, None, Guard(A, rate=9)), 5)],
)
def test_a_guard_that_is_stored_already_may_stay(state: State, rate: int) -> None:
    """Whatever it is when this plans: another task may have changed it right before."""
    entry = replace(options.declared("nics[0]", {"mac": A, "guard": {"rate": 5}}), keep="nics[0].keep_guard")
    planned = planner.plan([entry], host_with(state))
    after = planner.predicted(planned, host_with(state))[A]
    assert (after.stored, after.active) == (Guard(A, rate=rate), Guard(A, rate=rate))
    # And again.
    assert not planner.plan([entry], host_with(after)).changed


def test_one_that_is_not_known_as_a_whole_cannot_stay() -> None:
    entry = replace(options.declared("nics[0]", {"mac": A, "guard": {}}), keep="nics[0].keep_guard")
    edited = replace(GUARDED, stored=Guard(A, policy=UNKNOWN))
    with pytest.raises(
        MacvtapError, match=r"^nics\[0\]\.keep_guard: the guard that this host stores for .* was edited"
    ):
        planner.plan([entry], host_with(edited))
    assert planner.plan([replace(entry, keep="")], host_with(edited)).changed


def undo(begun: t.Sequence[str], now: State, before: State = ABSENT) -> t.Any:
    """Undo the run that has changed ``before`` to GUARDED, and has begun so much of it, where there is ``now``."""
    step = step_between(before, GUARDED)
    journal: Journal[State] = Journal()
    for action in begun:
        journal.record(step, action)
    return planner.undo(journal, host_with(now))


def test_a_link_without_its_program_is_not_guarded() -> None:
    step = step_between(replace(GUARDED, unchecked=("macvtap0",)), GUARDED)
    assert [(one.field, one.before, one.after) for one in step.changes] == [("links", [], ["macvtap0"])]


def test_undo_takes_back_what_the_run_has_done() -> None:
    both = (planner.RULES, planner.STORE)
    assert undo(both, GUARDED).steps[0].after == State(A)
    assert undo((planner.RULES,), replace(GUARDED, stored=None)).steps[0].after == State(A)
    # The kernel refused the rules, or the file could not be written.
    assert undo((planner.RULES,), State(A)).changed is False
    former = State(A, Guard(A, rate=5), Guard(A, rate=5), ("macvtap0",))
    assert undo(both, GUARDED, former).steps[0].after == former
    assert undo(both, GUARDED, former).warnings == ()
    # Rules that were there before stay, also where the program for checksums was missing, which does not.
    unchecked = replace(former, unchecked=("macvtap0",))
    assert undo(both, GUARDED, unchecked).steps[0].after == unchecked
    assert undo((planner.RULES,), GUARDED, replace(GUARDED, unchecked=("macvtap0",))).changed
    assert undo((planner.STORE,), replace(GUARDED, unchecked=("macvtap0",)), replace(unchecked, active=GUARD)).changed


def test_undo_leaves_what_others_have_changed_and_says_so() -> None:
    other = replace(GUARDED, active=Guard(A, rate=9))
    undone = undo((planner.RULES, planner.STORE), other)
    assert undone.steps[0].after == replace(other, stored=None)
    assert "others have changed it" in undone.warnings[0]
    # Rules that were not this collection's cannot be restored.
    modified = replace(GUARDED, active=None, modified=True)
    assert undo((planner.RULES,), GUARDED, modified).warnings


@pytest.mark.parametrize(
    ("begun", "stored", "left"),
    [
        ((planner.RULES,), GUARD, GUARD),
        ((planner.RULES, planner.STORE), Guard(A, rate=5), Guard(A, rate=5)),
        ((planner.RULES, planner.STORE), None, GUARD),
    ],
)
def test_undo_leaves_no_guest_without_a_guard_that_had_rules_of_others(
    begun: t.Sequence[str], stored: Guard | None, left: Guard
) -> None:
    modified = State(A, stored, None, ("macvtap0",), modified=True)
    undone = undo(begun, GUARDED, modified)
    after = undone.steps[0].after if undone.changed else GUARDED
    assert after is not None
    assert (after.active, after.stored, after.links) == (left, stored, ("macvtap0",))
    assert "others have changed it" in undone.warnings[0]


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ("<interface type='direct'><mac address='52:54:00:00:0A:01'/><target dev='lo'/></interface>", [("lo", A)]),
        ("<interface type='direct'><mac address='52:54:00:00:0a:01'/></interface>", []),
        ("<interface type='direct'><target dev='lo'/></interface>", []),
        ("<hostdev><mac address='52:54:00:00:0a:01'/><target dev='lo'/></hostdev>", []),
    ],
)
def test_the_program_knows_a_domains_links(document: str, found: list[t.Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard_links, "is_macvtap", lambda _link: True)
    assert guard_links.nics(f"<domain><devices>{document}</devices></domain>") == found


def test_a_links_chain_has_a_name_that_nftables_can_read() -> None:
    assert guard_commands.chain_of("macvtap0") == "link_macvtap0"
    names = ["mt-0", "mt_0", "mt.0", "mt@0", "mté", "mt_40_0"]
    assert len({guard_commands.chain_of(name) for name in names}) == len(names)
    assert all(guard_commands.chain_of(name).isascii() for name in names)


def test_the_option_of_a_nic_has_its_own_path_and_goes_with_its_nic() -> None:
    for guard, path in (({"addresses": ["192.0.2.300"]}, r"addresses\[0\]"), ({"rate": -1}, "rate")):
        with pytest.raises(MacvtapError, match=rf"^interfaces\[0\]\.guard\.{path}: "):
            options.declared("interfaces[0]", {"mac": A, "guard": guard})
    with pytest.raises(MacvtapError, match=r"^links\[0\]\.mac: mac is required with guard"):
        options.declared("links[0]", {"guard": {}, "state": "up"}, "web0")
    assert options.declared("", {"mac": A, "guard": {}}).present
    assert not options.declared("", {"mac": A, "guard": {"state": "absent"}}).present
    assert not options.declared("", {"mac": A, "guard": {}, "state": "absent"}).present
    assert options.declared("", {"guard": {}, "state": "absent"}, "web0").link == "web0"


@pytest.mark.parametrize(
    ("host", "present", "kept"),
    [
        (host_with(GUARDED), [], True),
        # libvirt has it stored for a running guest, or the guest has given its link another address.
        (host_with(replace(GUARDED, links=()), links={}), [A], True),
        (host_with(GUARDED, links={"macvtap0": GuestLink("macvtap0", 7, B)}), [], True),
        (host_with(replace(GUARDED, links=()), links={}), [], False),
    ],
)
def test_the_guard_of_a_nic_stays_until_the_nic_is_gone(host: Host, present: list[str], kept: bool) -> None:
    entry = options.declared("", {"mac": A, "guard": {}, "state": "absent"})
    planned = planner.removal([entry], host, present, going=[A])
    assert (planned.changed, bool(planned.warnings)) == (not kept, kept)
    # Asked for by itself it goes at once.
    assert planner.removal([entry], host, present, going=[]).changed


@pytest.mark.parametrize("links", [{}, LINKS])
def test_the_guard_of_a_nic_stays_for_other_domains_with_its_address(links: dict[str, GuestLink]) -> None:
    entry = options.declared("", {"mac": A, "guard": {}, "state": "absent"})
    host = host_with(replace(GUARDED, links=()), links=links)
    owners = {A: ["web2", "web3"]}
    planned = planner.removal([entry], host, [], going=[A], owners=owners)
    why = "NICs with its address are in domains of this host: web2, web3"
    if links:
        why = "its NIC is still there. Run this task again when it is gone"
    assert (planned.changed, planned.warnings) == (False, (f"the guard of {A} stays, because {why}",))
    # Asked for by itself it goes at once, and so does that of a NIC that nobody else has.
    assert planner.removal([entry], host, [], going=[], owners=owners).changed
    assert planner.removal(
        [entry], host_with(replace(GUARDED, links=()), links={}), [], going=[A], owners={A: []}
    ).changed
    # Where there is none, there is nothing to say.
    assert planner.removal([entry], host_with(links=links), [], going=[A], owners=owners).warnings == ()


def test_a_guard_whose_nic_is_still_there_is_not_undone() -> None:
    (step,) = plan(host_with(links={}), {"mac": A}).steps
    journal: Journal[State] = Journal()
    for action in (planner.RULES, planner.STORE):
        journal.record(step, action)
    assert step.after is not None
    undone = planner.undo_around(journal, host_with(step.after), completed=False)
    assert (undone.changed, undone.warnings) == (True, ())
    still = planner.undo_around(journal, host_with(GUARDED), completed=False)
    assert (still.changed, len(still.warnings)) == (False, 1)
    # What was completed stays, and so the host is not as it was before.
    completed = planner.undo_around(journal, host_with(step.after), completed=True)
    assert not completed.changed
    assert completed.warnings == (
        f"the change of the NIC was completed, so that it and the guard of {A} stay as they are",
    )
    # It could not be put on the link of the NIC, of which nothing gets out, and the guest has not released that.
    name = guard_commands.name_from(bytes(6))
    for links, changed in (({name: GuestLink(name, 9, A)}, False), ({}, True)):
        closed = host_with(step.after, links=links, bindings=(Binding(name, A, None, intact=False, closed=True),))
        assert planner.undo_around(journal, closed, completed=False).changed == changed


def test_links_that_come_meanwhile_are_no_difference() -> None:
    planned = plan(host_with(replace(GUARDED, links=())), {"mac": A})
    assert changes(planned) == [("links", [], ["macvtap0"])]
    assert not planner.without_new_links(planned).changed
