# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs the state machines for a given time, each with its own seed, which it prints first."""

from __future__ import annotations

import argparse
import random
import sys
import time
import typing as t

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from torture.examples import depend_on_the_seed_alone
from torture.files import PersistenceFiles
from torture.host_access import HostAccess
from torture.links import MacvtapLinks
from torture.machine import DirectIface
from torture.networks import DirectNetworks
from torture.violations import ViolationError

# Every machine counts its ``sequences`` and ``runs``, and raises ViolationError.
MACHINES: tuple[t.Any, ...] = (DirectIface, DirectNetworks, MacvtapLinks, HostAccess, PersistenceFiles)
# The number of sequences of one seed: small, so that a violation is reproduced quickly.
_A_ROUND = 500


def _torture(machine: type[RuleBasedStateMachine], number: int, *, shrink: bool) -> None:
    config = settings(
        max_examples=_A_ROUND,
        stateful_step_count=8,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, *((Phase.shrink,) if shrink else ())),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(number)(machine), settings=config)


def _so_far() -> str:
    return "; ".join(f"{one.__name__}: {one.sequences} sequences with {one.runs} runs" for one in MACHINES)


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    parser.add_argument("--machine", default="", help="only the machine of this name")
    parser.add_argument("--ignore", default="", help="kinds of violations that do not count, with commas between")
    parser.add_argument("--only", default="", help="the kinds that count")
    parser.add_argument("--survey", action="store_true", help="shrink nothing, and go on after a violation")
    options = parser.parse_args(arguments)
    DirectIface.ignored = frozenset(filter(None, options.ignore.split(",")))
    DirectIface.only = frozenset(options.only.split(",")) if options.only else None
    number = random.randrange(2**32) if options.seed is None else options.seed
    depend_on_the_seed_alone()
    begun = time.monotonic()
    found = 0
    while time.monotonic() - begun < 60 * options.minutes:
        print(f"seed {number}. So far {_so_far()}", flush=True)
        for machine in MACHINES:
            if options.machine not in {"", machine.__name__}:
                continue
            try:
                _torture(machine, number, shrink=not options.survey)
            except ViolationError as exc:
                found += 1
                print(f"{machine.__name__} with seed {number}. So far {_so_far()}\n{exc}", flush=True)
                if not options.survey:
                    raise
                DirectIface.found = None
        number += 1
    print(f"{_so_far()}, in {round(time.monotonic() - begun)} s: {found or 'no'} violation{'s' * (found > 1)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
