# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Starts a run over because another editor has changed meanwhile what it had read. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import KEPT, UNCHANGED, Journal, Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

_ATTEMPTS = 3


class Attempt(t.Protocol):
    """One attempt at a run: ``journal`` is what it has begun so far."""

    journal: Journal[t.Any]

    def run(self) -> dict[str, t.Any]:
        """Make the attempt, and return the module's result.

        :raises MacvtapError: as ``converge()``.
        """


def run(begin: t.Callable[[], Attempt], *, keep: bool, diff: bool) -> dict[str, t.Any]:
    """Make attempts until one is not stale, and return the module's result. ``keep`` keeps what a failed one has done.

    :raises MacvtapError: as the last attempt.
    """
    kept: list[Step[t.Any]] = []
    attempts = 0
    while True:
        attempts += 1
        attempt = begin()
        try:
            return _with_kept(attempt.run(), kept, diff=diff)
        except (MacvtapError, Interrupted) as exc:
            # This run's changes are rolled back, or kept on request. The next attempt reads the other editor's.
            again = isinstance(exc, StaleError) and attempts < _ATTEMPTS
            if keep:
                kept += attempt.journal.steps
                if kept:
                    # Kept by this attempt or an earlier one.
                    exc.state = KEPT
            elif exc.state != UNCHANGED:
                raise
            if not again:
                raise


def _with_kept(result: dict[str, t.Any], kept: t.Sequence[Step[t.Any]], *, diff: bool) -> dict[str, t.Any]:
    """Return the result with the changes that earlier attempts of the same run have kept."""
    earlier = Plan(tuple(kept)).result(diff=diff)
    lists = {name: earlier[name] + result[name] for name in earlier if name != "changed"}
    return {**result, **lists, "changed": earlier["changed"] or result["changed"]}
