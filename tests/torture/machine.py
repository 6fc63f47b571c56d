# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of libvirt_direct_iface: sequences of runs, with concurrent events between and within them."""

from __future__ import annotations

import typing as t

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from torture import sequence, strategies
from torture.actions import Action, Event
from torture.sequence import Sequence
from torture.violations import ViolationError
from torture.world import World


class DirectIface(RuleBasedStateMachine):
    """``only`` (None: all) and not ``ignored`` kinds of violations count; so many ``sequences`` were tried so far."""

    only: t.ClassVar[frozenset[str] | None] = None
    ignored: t.ClassVar[frozenset[str]] = frozenset()
    sequences: t.ClassVar[int] = 0
    found: t.ClassVar[ViolationError | None] = None
    runs: t.ClassVar[int] = 0

    @initialize(world=strategies.worlds(), systemd=st.booleans(), reports=st.booleans())
    def begin(self, world: World, systemd: bool, reports: bool) -> None:
        type(self).sequences += 1
        self.sequence = Sequence(world, self._counts, systemd=systemd, reports=reports)
        self.sequence.stage.first = self._first

    def _first(self, violation: ViolationError) -> None:
        """Print the first violation immediately, because shrinking takes longer than finding it."""
        if type(self).found is None:
            type(self).found = violation
            print(f"after {self.sequences} sequences and {self.runs} runs, not shrunk yet:\n{violation}", flush=True)

    def _counts(self, kind: str) -> bool:
        return kind not in self.ignored and (self.only is None or kind in self.only)

    @rule(data=st.data(), keepers=st.lists(strategies.keeper_events(), max_size=2))
    def run_with_others(self, data: st.DataObject, keepers: list[Event]) -> None:
        params, events = self._draw_run(data)
        type(self).runs += 1
        self.sequence.run(params, events=[*events, *keepers])

    @rule(data=st.data(), how=st.sampled_from(("answer", "answer", "reset", "stop", "save")))
    def run_that_is_answered_late(self, data: st.DataObject, how: str) -> None:
        """Guests do not answer until the run has ended."""
        params, events = self._draw_run(data)
        concerned = dict.fromkeys(entry["domain"] for entry in params["interfaces"])
        for name in concerned:
            self.sequence.act(Action("hang", name))
        type(self).runs += 1
        self.sequence.run(params, events=events)
        for name in concerned:
            self.sequence.act(Action(how, name))

    @rule(data=st.data())
    def run_while_guests_go(self, data: st.DataObject) -> None:
        """Guests that all answer, some of which stop or the like while they are replugged."""
        for name in strategies.DOMAINS:
            self.sequence.act(Action("answer", name))
        world = self.sequence.world
        params = data.draw(strategies.fleet(world) if strategies.direct(world) else strategies.options(world))
        some = strategies.goings(params, sequence.calls(world, params, reports=self.sequence.stage.reports))
        type(self).runs += 1
        self.sequence.run(params, events=data.draw(st.lists(some, min_size=1, max_size=2), label="events"))

    @rule(data=st.data(), check=st.booleans())
    def run_alone(self, data: st.DataObject, check: bool) -> None:
        params = data.draw(strategies.options(self.sequence.world), label="params")
        type(self).runs += 1
        self.sequence.run(params, check=check)

    def _draw_run(self, data: st.DataObject) -> tuple[dict[str, t.Any], list[Event]]:
        world = self.sequence.world
        params = data.draw(strategies.options(world), label="params")
        some = strategies.events(world, params, sequence.calls(world, params, reports=self.sequence.stage.reports))
        return params, data.draw(st.lists(some, min_size=1, max_size=4), label="events")

    @rule(action=strategies.others(), keepers=st.lists(strategies.keeper_events(), max_size=2))
    def others(self, action: Action, keepers: list[Event]) -> None:
        self.sequence.act(action, events=keepers)

    def teardown(self) -> None:
        if hasattr(self, "sequence"):
            self.sequence.close()
