# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs the state machines for as long as told, each with a seed of its own that it prints first."""

from __future__ import annotations

import argparse
import random
import sys
import time
import typing as t

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from torture.machine import DirectIface
from torture.stage import ViolationError

# Sequences of one seed: few enough that a found one is soon found again by it.
_A_ROUND = 500


def _torture(number: int, sequences: int, *, shrink: bool) -> None:
    config = settings(
        max_examples=sequences,
        stateful_step_count=8,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, *((Phase.shrink,) if shrink else ())),
        suppress_health_check=list(HealthCheck),
    )
    seeded = seed(number)(DirectIface)
    run_state_machine_as_test(seeded, settings=config)


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    parser.add_argument("--ignore", default="", help="kinds of violations that do not count, with commas between")
    parser.add_argument("--survey", action="store_true", help="shrink nothing, and go on after a violation")
    parser.add_argument("--only", default="", help="the kinds that count")
    options = parser.parse_args(arguments)
    DirectIface.only = frozenset(options.only.split(",")) if options.only else None
    DirectIface.ignored = frozenset(filter(None, options.ignore.split(",")))
    number = random.randrange(2**32) if options.seed is None else options.seed
    until = time.monotonic() + 60 * options.minutes
    begun = time.monotonic()
    while time.monotonic() < until:
        print(f"seed {number}: {DirectIface.sequences} sequences, {DirectIface.runs} runs so far", flush=True)
        try:
            _torture(number, _A_ROUND, shrink=not options.survey)
        except ViolationError:
            print(
                f"found with seed {number}; {DirectIface.sequences} sequences in all, those of shrinking it included",
                flush=True,
            )
            if not options.survey:
                raise
            DirectIface.found = None
        number += 1
    spent = round(time.monotonic() - begun)
    print(f"{DirectIface.sequences} sequences with {DirectIface.runs} runs in {spent} s, and no violation")
    return 0


if __name__ == "__main__":
    sys.exit(main())
