# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Measure the modules, pauses and moves of running guests, preflight, and finding guests: `make bench`.

Needs root, for namespaces of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pathlib
import signal
import sys
import typing as t
from dataclasses import dataclass

import converged
import domains
import finding
import fleets
import guarded_guest
import guards
import harness
import hypervisors
import links
import migration
import netns
import pauses
import recorded
import report
import tasks
import traffic
from figures import Figure, Size


@dataclass(frozen=True)
class Suite:
    """The figures of a module: where they are measured, the groups of them, and the cases of ``run_once``."""

    session: t.Callable[[str], contextlib.AbstractContextManager[t.Any]]
    groups: t.Mapping[str, t.Callable[[t.Any, Size], list[Figure]]]
    run_once: t.Callable[[t.Any, Size, str, str], harness.Cost]
    cases: tuple[str, ...]


SUITES = {
    "macvtap_link": Suite(
        netns.session,
        {
            "1": links.create,
            "netns": links.elsewhere,
            "2": links.again,
            "3": links.mode,
            "4": links.delete,
            "5": tasks.tasks,
            "growth": tasks.growth,
            "6": links.memory,
        },
        links.run_once,
        ("create", "again", "mode", "delete"),
    ),
    "libvirt_direct_iface": Suite(
        hypervisors.session,
        {
            "1": domains.again,
            "tasks": domains.tasks,
            "2": domains.mode,
            "3": traffic.running,
        },
        domains.run_once,
        ("again", "mode"),
    ),
    "pauses": Suite(hypervisors.session, {"pause": pauses.pausing}, domains.run_once, ()),
    "migration": Suite(migration.session, {"moves": migration.moves}, domains.run_once, ()),
    "macvtap_guard": Suite(
        netns.session,
        {
            "load": guards.load,
            "second": guards.again,
            "frames": guards.frames,
        },
        guards.run_once,
        ("again",),
    ),
    "guarded_guest": Suite(hypervisors.session, {"guest": guarded_guest.guarded}, domains.run_once, ()),
    "preflight": Suite(fleets.session, {"compare": fleets.compare}, fleets.run_once, ("compare",)),
    "fleet": Suite(converged.session, {"again": converged.again}, converged.run_once, ()),
    "recorded": Suite(fleets.session, {"again": recorded.again}, fleets.run_once, ()),
    "finding": Suite(
        hypervisors.session,
        {"addresses": finding.module, "inventory": finding.inventory},
        domains.run_once,
        (),
    ),
}
_DOCS = harness.ROOT / "docs" / "benchmark"
# Around the run of a module: where its time goes, on stderr.
_PROFILE = (
    "import cProfile, pstats\n"
    "profile = cProfile.Profile()\n"
    "try:\n"
    "    profile.enable()\n"
    "    {}\n"
    "finally:\n"
    "    profile.disable()\n"
    "    stats = pstats.Stats(profile, stream=sys.stderr).strip_dirs()\n"
    "    stats.sort_stats('tottime').print_stats(25)\n"
    "    stats.sort_stats('cumulative').print_stats(40)\n"
)


def profile(suite: Suite, session: t.Any, case: str, size: Size) -> str:
    """Return where the time of the module's run goes, as cProfile says it."""
    return suite.run_once(session, size, case, _PROFILE).errors.decode()


def measure(suite: Suite, session: t.Any, size: Size, groups: t.Iterable[str]) -> list[Figure]:
    """Measure the figures of ``groups``, telling each on stderr as it is found."""
    found = []
    for group in groups:
        for figure in suite.groups[group](session, size):
            print(report.parts(figure), file=sys.stderr, flush=True)
            found.append(figure)
    return found


def main() -> None:
    args = _arguments()
    if os.geteuid() != 0:
        sys.exit("bench: this needs root, for network namespaces of its own")
    # As Ctrl-C: what was made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    size = Size(rounds=args.rounds, links=args.links, domains=args.domains, fleets=tuple(args.fleets))
    try:
        for module in args.module or SUITES:
            _run(module, size, args)
    except harness.BenchmarkError as exc:
        sys.exit(f"bench: {exc}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; nothing is left behind")


def _run(module: str, size: Size, args: argparse.Namespace) -> None:
    suite = SUITES[module]
    groups = [group for group in suite.groups if group in (args.only or suite.groups)]
    if args.profile not in (None, *suite.cases) or not groups:
        return
    with suite.session(args.python) as session:
        if args.profile:
            print(profile(suite, session, args.profile, size))
            return
        about = report.circumstances(session)
        found = measure(suite, session, size, groups)
    print(report.table(found))
    # Some of the figures would replace all of them.
    directory = args.out or (None if args.only else _DOCS)
    if directory:
        report.save(module, found, {**about, "load after": round(os.getloadavg()[0], 2)}, directory)
        print(f"saved in {os.path.relpath(directory)}")


def _arguments() -> argparse.Namespace:
    every = sorted({group for suite in SUITES.values() for group in suite.groups})
    cases = sorted({case for suite in SUITES.values() for case in suite.cases})
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", action="append", choices=list(SUITES), help="may be given several times (all)")
    parser.add_argument("--only", type=_some_of(every), help=f"the figures to measure, of {','.join(every)}; not saved")
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (5); slow ones are fewer")
    parser.add_argument("--links", type=int, default=1000)
    parser.add_argument("--domains", type=int, default=200)
    parser.add_argument("--fleets", type=int, nargs="+", default=(2, 50), help="numbers of hosts that playbooks run on")
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON and the plot go (docs/benchmark)")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter that the module runs in")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="again",
        choices=cases,
        help="measure nothing, but say where the module's time goes (again: a second run)",
    )
    return parser.parse_args()


def _some_of(every: t.Collection[str]) -> t.Callable[[str], list[str]]:
    def some(text: str) -> list[str]:
        if not set(text.split(",")) <= set(every):
            raise argparse.ArgumentTypeError(f"say some of {','.join(every)}")
        return text.split(",")

    return some


if __name__ == "__main__":
    main()
