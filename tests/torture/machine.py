# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of libvirt_direct_iface: any sequence of runs, with anything happening between and within them."""

from __future__ import annotations

import typing as t

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from torture import strategies
from torture.actions import Action
from torture.sequence import Sequence
from torture.stage import Event, ViolationError
from torture.world import World


class DirectIface(RuleBasedStateMachine):
    """``only`` (None: all) and not ``ignored`` kinds of violations count; so many ``sequences`` were tried so far."""

    only: t.ClassVar[frozenset[str] | None] = None
    ignored: t.ClassVar[frozenset[str]] = frozenset()
    sequences: t.ClassVar[int] = 0
    found: t.ClassVar[ViolationError | None] = None
    runs: t.ClassVar[int] = 0

    @initialize(world=strategies.worlds(), systemd=st.booleans())
    def begin(self, world: World, systemd: bool) -> None:
        type(self).sequences += 1
        self.sequence = Sequence(world, self._counts, systemd=systemd)
        self.sequence.stage.first = self._first

    def _first(self, violation: ViolationError) -> None:
        """Print the first violation at once: to shrink it takes longer than to find it."""
        if type(self).found is None:
            type(self).found = violation
            print(f"after {self.sequences} sequences and {self.runs} runs, not shrunk yet:\n{violation}", flush=True)

    def _counts(self, kind: str) -> bool:
        return kind not in self.ignored and (self.only is None or kind in self.only)

    @rule(
        params=strategies.options(),
        events=st.lists(strategies.events(), max_size=4),
        keepers=st.lists(strategies.keeper_events(), max_size=2),
    )
    def run_with_others(self, params: dict[str, t.Any], events: list[Event], keepers: list[Event]) -> None:
        type(self).runs += 1
        self.sequence.run(params, events=[*events, *keepers])

    @rule(params=strategies.options(), check=st.booleans())
    def run_alone(self, params: dict[str, t.Any], check: bool) -> None:
        type(self).runs += 1
        self.sequence.run(params, check=check)

    @rule(action=strategies.others(), keepers=st.lists(strategies.keeper_events(), max_size=2))
    def others(self, action: Action, keepers: list[Event]) -> None:
        self.sequence.act(action, events=keepers)

    def teardown(self) -> None:
        if hasattr(self, "sequence"):
            self.sequence.close()
