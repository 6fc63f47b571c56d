# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The file of guards: what a run says that could not write it, and what writing one of many costs."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import host, install, store
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.changes import step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
GUARD, OTHER = Guard(A, addresses=("192.0.2.1",)), Guard(B, rate=5)
STEPS = [step_between(State(A), State(A, GUARD, GUARD))]


def guards(root: pathlib.Path, *stored: Guard) -> host.Guards:
    file = root / "etc/linuxvirt-macvtap/guards.json"
    file.parent.mkdir(parents=True)
    if stored:
        file.write_text(json.dumps({"guards": {one.mac: store.entry_of(one) for one in stored}}, sort_keys=True))
    installer = install.Installer(lambda _words: (0, ""), str(root))
    return host.Guards(t.cast("t.Any", None), installer, str(root))


def state_after(made: host.Guards, steps: t.Sequence[Step[State]], error: type[BaseException]) -> str:
    with pytest.raises(error) as caught:
        made._write(steps)
    return str(t.cast("MacvtapError", caught.value).state)


@pytest.mark.parametrize("error", [MacvtapError, Interrupted])
@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_what_stays_and_is_not_stored_is_said_with_its_end(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], keeps: bool, written: bool
) -> None:
    made, write = guards(tmp_path, OTHER), _files.write
    made.keeps = keeps

    def fail(path: str, text: str | None, **how: t.Any) -> None:
        is_store = path.endswith("/guards.json")
        if not is_store or written:
            write(path, text, **how)
        if is_store:
            raise error("no")

    monkeypatch.setattr(_files, "write", fail)
    state = state_after(made, STEPS, error)
    assert state.startswith(f"The change of the guard of {A} is not stored. It holds until") == (keeps and not written)
    assert keeps or state == ""


def test_one_of_many_guards_is_written_without_reading_the_file_twice(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    made, loads = guards(tmp_path, OTHER), json.loads

    def count(text: str) -> t.Any:
        read.append(text)
        return loads(text)

    monkeypatch.setattr(store.json, "loads", count)
    made._write(STEPS)
    assert len(read) == 1


def test_the_text_of_an_entry_is_made_for_those_alone_that_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = json.loads(json.dumps(store.entry_of(GUARD)))
    made: list[t.Any] = []

    def count(one: t.Any, **_how: t.Any) -> str:
        made.append(one)
        return "{}"

    monkeypatch.setattr(store.json, "dumps", count)
    assert store.guard_of(A, entry) == GUARD
    assert made == []
    store.guard_of(A, {**entry, "new": 1})
    assert len(made) == 1
