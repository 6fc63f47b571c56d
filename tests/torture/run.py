# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs the state machines and the parsers for a given time, each with its own seed, which it prints first."""

from __future__ import annotations

import argparse
import functools
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
from torture.parsers import Parser, all_parsers, fuzz
from torture.violations import ViolationError

# Every machine counts its ``sequences`` and ``runs``, and raises ViolationError.
MACHINES: tuple[t.Any, ...] = (DirectIface, DirectNetworks, MacvtapLinks, HostAccess, PersistenceFiles)
# The number of sequences of one seed, and of a parser's samples: small, so that a violation is reproduced quickly.
_A_ROUND, _SAMPLES = 500, 1500


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


def _so_far(parsers: t.Sequence[Parser]) -> str:
    machines = [f"{one.__name__}: {one.sequences} sequences with {one.runs} runs" for one in MACHINES]
    return "; ".join([*machines, f"{len(parsers)} parsers: {sum(one.examples for one in parsers)} samples"])


def _jobs(parsers: t.Sequence[Parser], number: int, *, shrink: bool) -> t.Iterator[tuple[str, t.Callable[[], None]]]:
    """Yield what a round of the seed ``number`` does, each with the name by which it can be done alone."""
    for parser in parsers:
        yield parser.name, functools.partial(fuzz, parser, examples=_SAMPLES, number=number, shrink=shrink)
    for machine in MACHINES:
        yield machine.__name__, functools.partial(_torture, machine, number, shrink=shrink)


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first round")
    parser.add_argument("--machine", default="", help="only the machine or parser of this name; parsers: all of these")
    parser.add_argument("--ignore", default="", help="kinds of violations that do not count, with commas between")
    parser.add_argument("--only", default="", help="the kinds that count")
    parser.add_argument("--survey", action="store_true", help="shrink nothing, and go on after a violation")
    options = parser.parse_args(arguments)
    DirectIface.ignored = frozenset(filter(None, options.ignore.split(",")))
    DirectIface.only = frozenset(options.only.split(",")) if options.only else None
    number = random.randrange(2**32) if options.seed is None else options.seed
    depend_on_the_seed_alone()
    parsers = all_parsers()
    chosen = {"parsers": {one.name for one in parsers}}.get(options.machine, {options.machine})
    begun = time.monotonic()
    found = 0
    while time.monotonic() - begun < 60 * options.minutes:
        print(f"seed {number}. So far {_so_far(parsers)}", flush=True)
        for name, job in _jobs(parsers, number, shrink=not options.survey):
            if options.machine and name not in chosen:
                continue
            try:
                job()
            except ViolationError as exc:
                found += 1
                print(f"{name} with seed {number}. So far {_so_far(parsers)}\n{exc}", flush=True)
                if not options.survey:
                    raise
                DirectIface.found = None
        number += 1
    print(f"{_so_far(parsers)}, in {round(time.monotonic() - begun)} s: {found or 'no'} violation{'s' * (found > 1)}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
