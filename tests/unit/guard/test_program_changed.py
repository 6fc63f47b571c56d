# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that loads guards, where a task changes what it has read: it reads again, and does not wait for long."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_loader, guard_parts, loader

A = "52:54:00:00:0a:01"


class Loader:
    """A loader that notes the guards that it is made for, and whether it may replace rules of others."""

    warnings: t.ClassVar[list[str]] = []
    made: t.ClassVar[list[tuple[str, bool]]] = []
    # What it does when it is to load.
    does: t.ClassVar[t.Callable[[], None]]

    def __init__(self, guards: t.Mapping[str, t.Any], stored: t.Any) -> None:
        self._may_replace = stored is not None
        self.made.append((guards[A]["chain"], self._may_replace))
        self.left = [] if self._may_replace else [A]

    def load(self) -> None:
        if self._may_replace:
            type(self).does()


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    made = tmp_path / "guards.json"
    monkeypatch.setattr(loader.stored, "__defaults__", (str(made),))
    monkeypatch.setattr(loader, "Loader", Loader)
    monkeypatch.setattr(loader, "PATIENCE", 0.2)
    Loader.made.clear()
    store(made, "first")
    return made


def store(file: pathlib.Path, chain: str) -> None:
    file.write_text(json.dumps({"guards": {A: {"chain": chain, "sets": [], "rules": []}}}))


def test_what_was_read_is_read_again_once_a_task_has_changed_it(
    file: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def change() -> None:
        if len(Loader.made) == 1:
            store(file, "second")
            raise guard_parts.ChangedError("another guard is stored by now")

    monkeypatch.setattr(Loader, "does", change, raising=False)
    assert loader.main(["load"]) == 0
    assert Loader.made == [("first", True), ("second", True)]
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("file")
def test_a_guest_does_not_wait_for_a_task_that_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wait() -> None:
        raise guard_parts.ChangedError("a task is changing guards")

    monkeypatch.setattr(Loader, "does", wait, raising=False)
    assert loader.main(["load"]) == 0
    assert [may_replace for _chain, may_replace in Loader.made[-2:]] == [True, False]
    assert f"the guard of {A} has other rules than are stored, and keeps them" in capsys.readouterr().err


@pytest.mark.parametrize("guards", [1, 5])
def test_all_is_read_again_if_one_guard_has_changed(guards: int) -> None:
    """Halves of what was read would be as old."""
    calls: list[int] = []

    def put(macs: t.Collection[str], _look: None) -> None:
        calls.append(len(macs))
        raise guard_parts.ChangedError("another guard is stored by now")

    entries = {f"52:54:00:00:0a:0{number}": {"chain": "", "sets": [], "rules": []} for number in range(guards)}
    with pytest.raises(guard_parts.ChangedError):
        guard_parts.load(entries, entries, lambda: None, put)
    assert calls == [guards]


def test_what_is_left_is_named_by_the_nic(monkeypatch: pytest.MonkeyPatch) -> None:
    class Table:
        left: t.ClassVar[set[str]] = {"guard_b"}

    monkeypatch.setattr(guard_loader.guard_table, "GuardTable", Table)
    made = guard_loader.Loader({A: {"chain": "guard_a"}, "52:54:00:00:0a:02": {"chain": "guard_b"}})
    assert made.left == ["52:54:00:00:0a:02"]


@pytest.mark.parametrize("chain", [["guard_a"], {"name": "guard_a"}, 7, None])
def test_a_damaged_entry_of_another_guest_does_not_matter(monkeypatch: pytest.MonkeyPatch, chain: t.Any) -> None:
    class Table:
        left: t.ClassVar[set[str]] = {"guard_b"}

    monkeypatch.setattr(guard_loader.guard_table, "GuardTable", Table)
    made = guard_loader.Loader({A: {"chain": chain}, "52:54:00:00:0a:02": {"chain": "guard_b"}, "x": {}})
    assert made.left == ["52:54:00:00:0a:02"]


@pytest.mark.parametrize("fails", [False, True])
def test_what_waits_for_a_task_keeps_no_other_guard_off(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    """All others are loaded first, whether that fails for one of them or not."""
    done: list[str] = []

    def load(every: t.Iterable[str], _asked: t.Iterable[str], _look: t.Any, put: t.Any) -> None:
        put([*every], None)
        if fails:
            raise guard_parts.PartError({A: RuntimeError("no")})

    def put(made: t.Any, macs: t.Collection[str], _look: None) -> None:
        made._later.add("guard_a")
        done.extend(macs)

    monkeypatch.setattr(guard_loader.guard_table, "GuardTable", lambda: None)
    monkeypatch.setattr(guard_loader.guard_parts, "load", load)
    monkeypatch.setattr(guard_loader.Loader, "_load", put)
    entries = {A: {"chain": "guard_a"}, "52:54:00:00:0a:02": {"chain": "guard_b"}}
    with pytest.raises(guard_parts.ChangedError):
        guard_loader.Loader(entries).load()
    assert done == [*entries]
