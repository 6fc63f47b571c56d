# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Entries of the file that this version would not write: what was there comes back as it was, whatever it is."""

from __future__ import annotations

import json
import pathlib
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    appeared,
    guard_loader,
    host,
    known,
    loader,
    model,
    parsing,
    planner,
    store,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.changes import step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, GuestLink, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
GUARD, OTHER = Guard(A, addresses=("192.0.2.1", "fe80::5054:ff:fe00:a01")), Guard(B, rate=5)
ENTRY: dict[str, t.Any] = json.loads(json.dumps(store.entry_of(GUARD)))
UNKNOWN_ENTRIES: dict[str, t.Any] = {
    "earlier": {**ENTRY, "rules": parsing.as_formerly(GUARD)},
    "later": {**ENTRY, "options": {**ENTRY["options"], "colour": "red"}, "new": [1.5, None]},
    "edited": {**ENTRY, "rules": ENTRY["rules"][1:]},
    "an entry": {**ENTRY, "options": {**ENTRY["options"], "entry": "{}"}},
    "no JSON": {**ENTRY, "options": {**ENTRY["options"], "entry": "{"}},
    # As a former version has put one back.
    "unknown": {**ENTRY, "options": {**ENTRY["options"], "policy": "unknown"}},
    "no options": {"chain": "x"},
    "a list": [ENTRY],
    "a text": "\udc80",
    "null": None,
}
LINK, LATER = GuestLink("macvtap0", 7, A), GuestLink("macvtap1", 9, A)


def stored_as(entry: t.Any) -> Guard:
    return store.guard_of(A, entry)


@pytest.mark.parametrize("name", UNKNOWN_ENTRIES)
def test_an_entry_of_another_version_is_written_as_it_was_read(name: str) -> None:
    guard = stored_as(UNKNOWN_ENTRIES[name])
    assert (guard.policy, guard.known) == (model.UNKNOWN, None)
    assert store.entry_of(guard) == UNKNOWN_ENTRIES[name]
    # It is the same one only as long as nobody has changed anything in it.
    assert guard == stored_as(json.loads(json.dumps(UNKNOWN_ENTRIES[name])))
    assert [one for one, entry in UNKNOWN_ENTRIES.items() if stored_as(entry) == guard] == [name]
    assert "entry" not in guard.options
    assert (stored_as(ENTRY), stored_as(ENTRY).known) == (GUARD, GUARD)


def test_what_is_known_of_the_file_has_such_entries_as_well(tmp_path: pathlib.Path) -> None:
    first, guards = known.Known(str(tmp_path)), {A: stored_as(UNKNOWN_ENTRIES["earlier"]), B: OTHER}
    first.learn_stored("text", guards)
    first.save(())
    assert known.Known(str(tmp_path)).stored("text") == guards


@pytest.mark.parametrize("after", [Guard(A, rate=9), None], ids=["changed", "removed"])
@pytest.mark.parametrize("form", ["ours", "indented", "more"])
@pytest.mark.parametrize("name", UNKNOWN_ENTRIES)
def test_the_file_comes_back_to_the_byte(tmp_path: pathlib.Path, name: str, form: str, after: Guard | None) -> None:
    guards = {A: UNKNOWN_ENTRIES[name], B: store.entry_of(OTHER)}
    text = json.dumps({"guards": guards}, sort_keys=True) + "\n"
    if form != "ours":
        text = json.dumps({"guards": guards, **({"version": 2} if form == "more" else {})}, indent=2)
    file = tmp_path / loader.STORE.lstrip("/")
    file.parent.mkdir(parents=True)
    file.write_text(text)
    made = host.Guards(t.cast("t.Any", None), Installer(root=str(tmp_path)), str(tmp_path))
    before, planned = State(A, made._stored_guards()[A], GUARD), State(A, after, after)
    made._write([step_between(before, planned)])
    assert made._stored_guards() == {B: OTHER, **({A: after} if after else {})}
    made._write([back(planned, before)])
    assert file.read_text() == text


def test_what_others_write_meanwhile_stays(tmp_path: pathlib.Path) -> None:
    file = tmp_path / loader.STORE.lstrip("/")
    file.parent.mkdir(parents=True)
    entry = UNKNOWN_ENTRIES["earlier"]
    file.write_text(json.dumps({"guards": {A: entry}}, indent=2))
    made = host.Guards(t.cast("t.Any", None), Installer(root=str(tmp_path)), str(tmp_path))
    before, planned = State(A, stored_as(entry)), State(A)
    made._write([step_between(before, planned)])
    others = {B: store.entry_of(OTHER)}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"guards": others}))
    made._write([back(planned, before)])
    assert json.loads(file.read_text()) == {"guards": {A: entry, **others}}


def back(after: State, before: State) -> t.Any:
    """Return the step that undoes the one from ``before`` to ``after``."""
    return step_between(after, before)


def undone(before: State, after: State, now: Host, begun: t.Sequence[str] = (planner.RULES, planner.STORE)) -> t.Any:
    indexes = {LINK.name: LINK.index}
    step = step_between(replace(before, indexes=indexes), replace(after, indexes=indexes))
    journal: Journal[State] = Journal()
    for action in begun:
        journal.record(step, action)
    return planner.undo(journal, now)


def host_with(state: State, *links: GuestLink) -> Host:
    return Host({A: state}, {one.name: one for one in links})


@pytest.mark.parametrize("name", ["earlier", "edited", "null"])
@pytest.mark.parametrize("active", [GUARD, None])
def test_undo_puts_an_entry_back_that_is_not_known(name: str, active: Guard | None) -> None:
    before = State(A, stored_as(UNKNOWN_ENTRIES[name]), active, ("macvtap0",) if active else ())
    after = State(A, GUARD, GUARD, ("macvtap0",))
    planned = undone(before, after, host_with(after, LINK))
    assert (planned.steps[0].after, planned.warnings) == (before, ())
    # Others have changed it after that.
    other = replace(after, stored=stored_as(UNKNOWN_ENTRIES["later"]))
    assert "others have changed it" in undone(before, after, host_with(other, LINK)).warnings[0]


def test_a_guest_that_has_started_meanwhile_keeps_its_rules_where_the_earlier_ones_are_not_known() -> None:
    before = State(A, stored_as(UNKNOWN_ENTRIES["earlier"]))
    after = State(A, GUARD, GUARD)
    now = State(A, GUARD, GUARD, ("macvtap1",))
    planned = undone(before, after, host_with(now, LATER))
    assert planned.steps[0].after == replace(now, stored=before.stored)
    for found in (planned, undone(before, after, host_with(replace(now, stored=before.stored), LATER))):
        assert found.warnings[0].startswith(f"the guard of {A} stays as this run has loaded it, until its guest")
    # As do those of one whose rules were others', which are not known either.
    modified = replace(before, modified=True, links=("macvtap0",))
    planned = undone(modified, replace(after, links=("macvtap0",)), host_with(replace(now, links=("macvtap0",)), LINK))
    assert planned.steps[0].after == State(A, before.stored, GUARD, ("macvtap0",))
    assert "others have changed it" in planned.warnings[0]


def test_what_is_not_known_is_loaded_as_the_file_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest of a guard that was removed has started meanwhile, and nothing else puts that back on its link."""
    before = State(A, stored_as(UNKNOWN_ENTRIES["later"]))
    planned = undone(before, State(A), host_with(State(A), LATER), [planner.STORE])
    after = planned.steps[0].after
    assert (after, planned.warnings) == (replace(before, links=("macvtap1",)), ())
    loaded: list[t.Any] = []

    def on(made: guard_loader.Loader, links: t.Sequence[tuple[str, str]], *, indexes: t.Mapping[str, int]) -> None:
        loaded.append((made._guards, links, indexes))

    monkeypatch.setattr(guard_loader.guard_table, "GuardTable", lambda: None)
    monkeypatch.setattr(guard_loader.Loader, "on", on)
    stored, links = {A: UNKNOWN_ENTRIES["later"]}, {"macvtap1": LATER}
    appeared.put_on([after], links, links, stored)
    assert loaded == [(stored, [("macvtap1", A)], {"macvtap1": 9})]
    # Another has got the name, or the rules are there.
    appeared.put_on([after], links, {"macvtap1": replace(LATER, index=10, mac=B)}, {})
    appeared.put_on([replace(after, active=GUARD)], links, links, stored)
    assert len(loaded) == 1
    # Whatever rules that were: they are what was loaded.
    for now in (State(A, before.stored, None, ("macvtap1",), modified=True), replace(after, active=GUARD)):
        again = undone(before, State(A), host_with(now, LATER), [planner.STORE])
        assert (again.changed, again.warnings) == (False, ())

    def damaged(*_args: t.Any, **_how: t.Any) -> t.NoReturn:
        raise KeyError("chain")

    monkeypatch.setattr(guard_loader.Loader, "on", damaged)
    with pytest.raises(MacvtapError, match=rf"^the stored guard of {A} could not be loaded: 'chain'"):
        appeared.put_on([after], links, links, stored)
