# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a failed, interrupted or defective run puts back, and what it says of it."""

from __future__ import annotations

import signal
import threading
import typing as t

import pytest
from unit.shelf import Host, Shelf, step

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import (
    KEPT,
    UNCHANGED,
    Journal,
    Plan,
    Step,
    converge,
    recording,
)


def test_a_step_that_fails_half_way_rolls_everything_back() -> None:
    host = Host({"a": "old", "b": "old"}, refuses="b")
    with pytest.raises(MacvtapError, match=r"^things\[b\]: the host refused\. The host is as it was before$"):
        host.run({"a": "new", "b": "new", "c": "new"})
    assert host.values == {"a": "old", "b": "old"}


def test_a_change_without_effect_is_noticed_and_the_rest_rolled_back() -> None:
    host = Host({"a": "old", "b": "old"}, ignores="b")
    with pytest.raises(MacvtapError, match=r"the host still differs: b value: old → new\. The host is as it was"):
        host.run({"a": "new", "b": "new"})
    assert host.values == {"a": "old", "b": "old"}


def test_an_interrupt_rolls_everything_back() -> None:
    host = Host({"a": "old"})
    apply = host.apply

    def interrupted(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        apply(steps, journal)
        if steps[0].after == "new":
            raise KeyboardInterrupt

    host.apply = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        host.run({"a": "new"})
    assert host.values == {"a": "old"}


def test_a_defect_rolls_everything_back_and_says_so() -> None:
    host = Host({"a": "old"})
    apply = host.apply

    def defective(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        apply(steps, journal)
        if steps[0].after == "new":
            raise KeyError("accept_ra")

    host.apply = defective  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match=r"^KeyError: 'accept_ra'\. The host is as it was before$"):
        host.run({"a": "new"})
    assert host.values == {"a": "old"}


def test_a_defect_in_the_rollback_does_not_hide_the_first_error() -> None:
    host = Host({"a": "old"})

    def refuses(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        journal.record(steps[0])
        if steps[0].after == "new":
            host.values["a"] = "half"
            raise MacvtapError("the host refused", path="things[a]")
        raise KeyError("accept_ra")

    host.apply = refuses  # type: ignore[method-assign]
    message = r"^things\[a\]: the host refused\. The rollback failed as well: KeyError: 'accept_ra'$"
    with pytest.raises(MacvtapError, match=message):
        host.run({"a": "new"})


def test_a_complete_rollback_is_not_reported_as_failed() -> None:
    host = Host({"a": "old"}, ignores="")
    apply = host.apply

    def loses_its_connection(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        apply(steps, journal)
        raise MacvtapError("the connection is lost")

    host.apply = loses_its_connection  # type: ignore[method-assign]
    with pytest.raises(MacvtapError, match=r"^the connection is lost\. The host is as it was before$"):
        host.run({"a": "new"})
    assert host.values == {"a": "old"}


def test_only_what_was_begun_is_rolled_back() -> None:
    host = Host({"a": "old", "b": "old", "c": "old"}, refuses="b")
    apply = host.apply

    def meanwhile(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        # This run has not changed c when it fails: the difference is someone else's change.
        host.values["c"] = "theirs"
        apply(steps, journal)

    host.apply = meanwhile  # type: ignore[method-assign]
    with pytest.raises(MacvtapError, match=r"the host refused\. The host is as it was before$"):
        host.run({"a": "new", "b": "new", "c": "new"})
    assert host.values == {"a": "old", "b": "old", "c": "theirs"}


def test_what_no_step_can_restore_is_reported() -> None:
    host = Host({"a": "old"}, ignores="a")

    def undo(journal: Journal[str], seen: Shelf) -> Plan[str]:
        back = tuple(step(s.target, seen[s.target], s.before) for s in journal.steps)
        return Plan(back, ("the addresses of a are gone",))

    message = r"a value: old → new\. The run was rolled back as far as possible\. the addresses of a are gone$"
    with pytest.raises(MacvtapError, match=message):
        converge(
            host.observe,
            lambda seen, _answers: Plan((step("a", seen["a"], "new"),)),
            host.apply,
            undo,
            check_mode=False,
        )


@pytest.mark.parametrize("number", _signals.SIGNALS)
def test_a_signal_rolls_everything_back_and_a_second_does_not_interrupt_that(number: signal.Signals) -> None:
    host = Host({"a": "old"})
    apply = host.apply

    def signalled(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        # During the rollback, too.
        apply(steps, journal)
        signal.raise_signal(number)

    host.apply = signalled  # type: ignore[method-assign]
    # Who is started in the background ignores some.
    inherited = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(_signals.Interrupted) as stopped, _signals.raising():
            host.run({"a": "new"})
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, inherited)
    assert str(stopped.value) == f"stopped by {number.name}. The host is as it was before"
    assert host.values == {"a": "old"}


def test_completed_plans_are_recorded_and_rolled_back_ones_are_not() -> None:
    host = Host({"a": "old"}, refuses="b")
    with recording() as carried_out:
        host.run({"a": "new"}, check_mode=True)
        host.run({"a": "old"})
        with pytest.raises(MacvtapError):
            host.run({"a": "new", "b": "new"})
        assert carried_out == []
        planned = host.run({"a": "new"})
        with pytest.raises(MacvtapError):
            host.run({"b": "new"})
        assert carried_out == [planned]


def _signalled(number: signal.Signals = signal.SIGTERM) -> None:
    signal.raise_signal(number)


def test_a_signal_after_the_last_change_lets_the_run_return_its_result() -> None:
    host = Host({"a": "old"})
    with _signals.raising():
        assert host.run({"a": "new"}).changed
        _signalled()
        with pytest.raises(_signals.Interrupted, match=r"^stopped by SIGTERM$"):
            # Another attempt of the same run does not begin.
            host.run({"a": "newer"})
    assert host.values == {"a": "new"}


def test_a_signal_after_the_rollback_hides_no_error() -> None:
    host = Host({"a": "old"}, refuses="a")

    def fail() -> None:
        try:
            host.run({"a": "new"})
        finally:
            _signalled()

    with _signals.raising(), pytest.raises(MacvtapError, match=r"the host refused\. The host is as it was before$"):
        fail()


@pytest.mark.parametrize("roll_back", [True, False])
def test_a_signal_that_was_deferred_hides_no_error(*, roll_back: bool) -> None:
    host = Host({"a": "old"})

    def fail(steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        for one in steps:
            journal.record(one)
        with _signals.deferred():
            _signalled()
            raise MacvtapError("the host refused")

    host.apply = fail  # type: ignore[method-assign]
    state = UNCHANGED if roll_back else KEPT
    with _signals.raising(), pytest.raises(_signals.Interrupted) as stopped:
        host.run({"a": "new"}, roll_back=roll_back)
    assert str(stopped.value) == f"stopped by SIGTERM. the host refused. {state}"


def test_only_the_main_thread_defers_signals() -> None:
    def defer() -> None:
        with _signals.deferred():
            begun.set()
            assert ended.wait(10)

    begun, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=defer)
    with _signals.raising():
        thread.start()
        assert begun.wait(10)
        with pytest.raises(_signals.Interrupted):
            _signalled()
        ended.set()
        thread.join()


def test_a_signal_before_any_change_ends_the_run() -> None:
    host = Host({"a": "old"})
    with _signals.raising():
        host.run({"a": "new"}, check_mode=True)
        with pytest.raises(_signals.Interrupted):
            _signalled()


def test_an_incomplete_rollback_is_reported() -> None:
    host = Host({"a": "old"}, refuses="a")
    host.ignores = "a"
    with pytest.raises(MacvtapError, match="The rollback is incomplete: a value: half → old"):
        host.run({"a": "new"})


def test_what_changes_right_after_the_rollback_has_looked_is_rolled_back_too() -> None:
    host = Host({"a": "old", "b": "old", "c": "old"}, refuses="c")
    reverted: list[list[str]] = []

    def undo(_journal: Journal[str], _host: Shelf) -> Plan[str]:
        # That of b is seen after the first attempt, and that of a cannot be undone.
        late = [step("b", "new", "old")] if len(reverted) == 1 else []
        return Plan((step("a", "new", "old"), *late))

    def revert(steps: t.Sequence[Step[str]]) -> None:
        reverted.append([one.target for one in steps])

    with pytest.raises(MacvtapError, match=r"The rollback is incomplete: a value: new → old$"):
        converge(
            host.observe,
            lambda _host, _answers: Plan((step("a", "old", "new"), step("c", "old", "new"))),
            host.apply,
            undo,
            check_mode=False,
            revert=revert,
        )
    # Nothing is tried twice.
    assert reverted == [["a"], ["b"]]


@pytest.mark.parametrize(("earlier", "state"), [({"b": "new"}, ""), ({"b": "old"}, UNCHANGED), ({}, UNCHANGED)])
@pytest.mark.parametrize("first", [True, False])
def test_a_later_part_that_fails_does_not_undo_an_earlier_one(earlier: Shelf, state: str, first: bool) -> None:
    """So the host is not as it was before, although that part is, whether it had begun anything or not."""
    host = Host({"a": "old", "b": "old"}, refuses="a")

    def refused(_steps: t.Sequence[Step[str]], _journal: Journal[str]) -> None:
        raise MacvtapError("the host refused")

    with recording() as completed:
        host.run(earlier)
        if first:
            host.apply = refused  # type: ignore[method-assign,assignment]
        with pytest.raises(MacvtapError, match="the host refused") as failed:
            host.run({"a": "new"})
    assert (failed.value.state, host.values["a"]) == (state, "old")
    assert len(completed) == (not state)
