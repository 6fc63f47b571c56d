# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A dormant table of guards: to wake it puts all that it has in force, which no run does without a word."""

from __future__ import annotations

import typing as t

import guard_library_fake
import pytest
from guard_library_fake import library

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_table, options, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.changes import step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, GuestLink, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft import table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal

__all__ = ["library"]
A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
LINKS = {"macvtap0": GuestLink("macvtap0", 7, A)}
GUARD = Guard(A)
GUARDED = State(A, GUARD, GUARD, ("macvtap0",))
ADD: dict[str, t.Any] = {"add": {"chain": {}}}
DELETE: dict[str, t.Any] = {"delete": {"chain": {}}}


def warnings(entry: dict[str, t.Any], *states: State, asleep: t.Iterable[str]) -> tuple[str, ...]:
    host = Host({one.mac: one for one in states}, LINKS, asleep=frozenset(asleep))
    return planner.plan([options.desired("", entry)], host).warnings


def test_a_plan_says_whose_guards_it_puts_in_force_too() -> None:
    (warning,) = warnings({"mac": A}, asleep=[A, B])
    assert warning.endswith(f"To wake it puts those of other NICs in force as well: {B}")
    for asleep in ([], [A]):
        assert warnings({"mac": A}, asleep=asleep) == ()


def test_what_does_not_wake_the_table_says_nothing() -> None:
    assert warnings({"mac": A}, GUARDED, asleep=[A, B]) == ()
    assert warnings({"mac": A, "state": "absent"}, GUARDED, asleep=[A, B]) == ()


@pytest.mark.parametrize(("woken", "asleep", "said"), [(True, [], True), (True, [B], False), (False, [], False)])
def test_what_is_undone_says_that_the_table_stays_awake(woken: bool, asleep: list[str], said: bool) -> None:
    journal: Journal[State] = Journal()
    journal.record(step_between(State(A), GUARDED), planner.RULES)
    host = Host({A: GUARDED}, LINKS, asleep=frozenset(asleep), woken=woken)
    assert any("stays awake" in one for one in planner.undo(journal, host).warnings) == said


class Library:
    """A library that takes what is in no transaction with a chain at a hook, or nothing that adds."""

    def __init__(self, *, refuses: bool) -> None:
        self._refuses = refuses
        self.sent: list[list[str]] = []

    def json_cmd(self, commands: dict[str, t.Any]) -> tuple[int, str, str]:
        found = [next(iter(one)) + " " + next(iter(next(iter(one.values())))) for one in commands["nftables"]]
        self.sent.append(found)
        return (-1, "", "Error: no") if self._refuses and "add chain" in found else (0, "", "")

    def cmd(self, text: str) -> tuple[int, str, str]:
        self.sent.append([text])
        return 0, "", ""


@pytest.mark.parametrize(
    ("dormant", "refuses", "commands", "sent", "woken"),
    [
        (True, False, [ADD], [["add table"], ["add table", "add chain"]], True),
        # A guest that has started meanwhile may rely on it.
        (True, True, [ADD], [["add table"], ["add table", "add chain"]], True),
        (True, False, [DELETE], [["delete chain"]], False),
        (True, False, [DELETE, ADD], [["add table"], ["add table", "delete chain", "add chain"]], True),
        (False, True, [ADD], [["add table", "add chain"]], False),
    ],
)
def test_a_table_is_woken_for_what_is_loaded_and_by_nothing_else(
    dormant: bool, refuses: bool, commands: list[dict[str, t.Any]], sent: list[list[str]], woken: bool
) -> None:
    library = Library(refuses=refuses)
    made = table.Table()
    made._library, made._dormant = library, dormant
    if refuses:
        with pytest.raises(MacvtapError):
            made.replace(commands)
    else:
        made.replace(commands)
    assert library.sent == sent
    assert made.woken is woken


REFUSED = "Error: Could not process rule: Invalid argument"
DORMANT = "table netdev linuxvirt_macvtap {\n\tflags dormant\n\n\tset s {\n\t\tflags timeout\n\t}\n}\n"
AWAKE = 'table netdev linuxvirt_macvtap {\n\tset s {\n\t\tflags dormant\n\t}\n\tchain "dormant" {\n\t}\n}\n'


@pytest.mark.parametrize(
    ("errors", "sent", "listed"),
    [
        ([""], ["commands"], DORMANT),
        # A dormant table, to which nothing can be added at a hook before it is awake.
        ([REFUSED, "", ""], ["commands", "list", "wake", "commands"], DORMANT),
        ([REFUSED, "", "Error: busy"], ["commands", "list", "wake", "commands"], DORMANT),
        ([REFUSED, "Error: not permitted"], ["commands", "list", "wake"], DORMANT),
        # Something else is wrong with what was asked for.
        ([REFUSED], ["commands", "list"], AWAKE),
        ([REFUSED], ["commands", "list"], "table netdev linuxvirt_macvtap {\n}\n"),
        ([REFUSED], ["commands", "list"], ""),
        (["Error: busy"], ["commands"], DORMANT),
    ],
)
def test_a_table_is_woken_before_it_gets_chains_at_hooks(
    library: guard_library_fake.Library,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[str],
    sent: list[str],
    listed: str,
) -> None:
    asked: list[str] = []
    remaining = [*errors]

    def answer(commands: t.Mapping[str, t.Any]) -> tuple[int, str, str]:
        asked.append("commands" if len(commands["nftables"]) > 1 else "wake")
        error = remaining.pop(0)
        return (-1 if error else 0), "", error

    def in_words(text: str) -> tuple[int, str, str]:
        asked.append("sleep" if "dormant" in text else "list")
        return 0, listed, ""

    monkeypatch.setattr(library, "json_cmd", answer)
    monkeypatch.setattr(library, "cmd", in_words)
    table = guard_table.GuardTable()
    table.run([])
    assert asked == []
    if errors[-1]:
        with pytest.raises(RuntimeError, match=r"busy|argument|permitted"):
            table.run([{"add": {}}])
    else:
        table.run([{"add": {}}])
    assert asked == sent
