# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Makes examples depend only on their seed and their strategies."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.internal.conjecture import providers
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test


def depend_on_the_seed_alone() -> None:
    """Draw no constants of this project's files.

    Hypothesis draws some now and then, of the files that are loaded at that moment: another order of tests, and any
    change of a file, would give other examples. It has no setting for that.
    """
    none = getattr(providers, "_local_constants", None)
    if none is not None:
        vars(providers)["_get_local_constants"] = lambda: none


def run_short(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Run the short version of make torture, identical in each run."""
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            deadline=None,
            database=None,
            phases=(Phase.explicit, Phase.generate),
            suppress_health_check=list(HealthCheck),
        ),
    )
