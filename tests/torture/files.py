# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of macvtap_persistence: runs on real files, with concurrent changes between any two writes."""

from __future__ import annotations

import os
import tempfile
import typing as t
from dataclasses import replace
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from unit.persistence import earlier
from unit.persistence.planned import HOST, link, vlan

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._file_store import revert
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, step_between, undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Declared, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import UNCHANGED, Journal, Step, converge
from torture.violations import ViolationError

_IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
# Actions of others on a file, and events that stop a run.
_ACTS = ("edit", "replace", "remove", "refuse")
_UPLINKS = ("eth0", "eth1", "eth2", "eth3")


class Event(t.NamedTuple):
    """An event before the file, or the observation, of this number. ``which`` selects the file."""

    number: int
    what: str
    which: int


@st.composite
def _declared(draw: st.DrawFn) -> list[Declared]:
    found = []
    for name in draw(st.lists(st.sampled_from(("mt0", "mt1", "mt2")), max_size=3, unique=True)):
        parent = draw(st.sampled_from(_UPLINKS))
        backend = draw(st.sampled_from(("auto", "auto", "none", "systemd")))
        state = draw(st.sampled_from(("up", "up", "absent")))
        mode = draw(st.sampled_from(("bridge", "private", "passthru")))
        found.append(link(name, parent, backend, mode=mode, mac=f"52:54:00:00:00:0{name[-1]}", state=state))
    if draw(st.booleans()):
        found.append(vlan(draw(st.sampled_from(_UPLINKS)), draw(st.sampled_from((20, 30)))))
    return found


class PersistenceFiles(RuleBasedStateMachine):
    """Runs of macvtap_persistence's planner and adapter, and actions of others."""

    sequences: t.ClassVar[int] = 0
    runs: t.ClassVar[int] = 0

    @initialize(manager=st.sampled_from((None, None, *earlier.FILES)), systemd=st.sampled_from((True, True, False)))
    def begin(self, manager: str | None, systemd: bool) -> None:
        type(self).sequences += 1
        self.temporary = tempfile.TemporaryDirectory(prefix="torture-", dir=_IN_MEMORY)
        self.root = self.temporary.name
        self.systemd = systemd
        self.trace: list[str] = []
        self.events: list[Event] = []
        self.count = 0
        # Changes by others since the run first looked, by path: texts, or None for no file.
        self.theirs: dict[str, str | None] = {}
        # Files of an earlier version, by which this manager created the links.
        files = earlier.FILES[manager] if manager else ()
        host.apply([step_between(None, file) for file in files], root=self.root)
        self.trace.append(f"begins with files of {manager}, systemd={systemd}")

    def teardown(self) -> None:
        if hasattr(self, "temporary"):
            self.temporary.cleanup()

    @rule(what=st.sampled_from(_ACTS[:3]), which=st.integers(0, 20))
    def others(self, what: str, which: int) -> None:
        self._act(what, which)

    @rule(declared=_declared(), purge=st.booleans(), data=st.data())
    def run(self, declared: list[Declared], purge: bool, data: st.DataObject) -> None:
        type(self).runs += 1
        event = st.builds(Event, st.integers(1, 14), st.sampled_from(_ACTS), st.integers(0, 20))
        self.events = data.draw(st.lists(event, max_size=3))
        disturbed = bool(self.events)
        if not self.systemd:
            declared = [replace(one, backend="ifupdown") if one.backend == "systemd" else one for one in declared]
        self.trace.append(f"run {declared} purge={purge}")
        self.count, self.theirs, before = 0, {}, self._texts()
        message = self._converge(declared, purge=purge)
        self.trace.append(f"ends: {message or 'ok'}")
        self.events = []
        self._check(before, message)
        if not message and not disturbed and planner.plan(declared, self._observe(), purge=purge).changed:
            raise ViolationError("not-idempotent", "the same run again would change something", self.trace)

    def _converge(self, declared: t.Sequence[Declared], *, purge: bool) -> str:
        """Run, and return the error's text, or "" on success."""
        try:
            converge(
                observe=self._seen,
                plan=lambda there, _answers: planner.plan(declared, there, purge=purge),
                apply=self._apply,
                undo=lambda journal, there: undo(journal.steps, there.files),
                revert=self._revert,
                check_mode=False,
            )
        except MacvtapError as exc:
            return str(exc)
        return ""

    def _check(self, before: t.Mapping[str, str], message: str) -> None:
        now = self._texts()
        for path, text in self.theirs.items():
            if now.get(path) != text:
                raise ViolationError("not-meant", f"{path}: others left {text!r}, it is {now.get(path)!r}", self.trace)
        for path in {*before, *now} - self.theirs.keys():
            was = before.get(path, "")
            if was and not was.startswith("->") and not File(path, was).ours and was != now.get(path):
                raise ViolationError("not-meant", f"{path} is not ours, and was {was!r}", self.trace)
            if UNCHANGED in message and before.get(path) != now.get(path):
                raise ViolationError("false-as-before", f"{path} was {before.get(path)!r}: {message}", self.trace)
            if message and before.get(path) != now.get(path) and "Not everything" not in message:
                raise ViolationError("not-put-back", f"{path} was {before.get(path)!r}: {message}", self.trace)

    # The host as the run sees it.

    def _observe(self) -> Host:
        return replace(HOST, systemd=self.systemd, files=host.observe({}, self.root).files)

    def _seen(self) -> Host:
        if self.count:
            self._point()
        self.count += 1
        return self._observe()

    def _apply(self, steps: t.Sequence[Step[File]], journal: Journal[File]) -> None:
        for step in steps:
            self._point(refusing=True)
            self.count += 1
            host.apply([step], journal, self.root)

    def _revert(self, steps: t.Sequence[Step[File]]) -> None:
        failed = []
        for step in steps:
            self._point()
            self.count += 1
            try:
                revert([step], self.root)
            except MacvtapError as exc:
                failed.append(str(exc))
        if failed:
            raise MacvtapError(". ".join(failed))

    def _point(self, *, refusing: bool = False) -> None:
        for event in [event for event in self.events if event.number == self.count]:
            if event.what != "refuse":
                self._act(event.what, event.which)
            elif refusing:
                self.trace.append("-> refuse")
                raise MacvtapError("no space left on the device")

    # Actions of others.

    def _act(self, what: str, which: int) -> None:
        paths = sorted(self._texts())
        if not paths:
            return
        path = paths[which % len(paths)]
        self.trace.append(f"-> {what} {path}")
        there = Path(self.root, path.lstrip("/"))
        text = None if what == "remove" else f"theirs, {len(self.trace)}\n"
        if what == "edit" and not there.is_symlink():
            text = there.read_text() + f"# {text}"
        there.unlink()
        if text is not None:
            there.write_text(text)
        self.theirs[path] = text

    def _texts(self) -> dict[str, str]:
        found = {}
        for directory, _names, files in os.walk(self.root):
            for name in files:
                path = Path(directory, name)
                shown = "/" + str(path.relative_to(self.root))
                found[shown] = f"-> {path.readlink()}" if path.is_symlink() else path.read_text()
        return found
