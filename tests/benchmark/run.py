# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Measure macvtap_link: `make bench`. Needs root, for a network namespace of its own."""

from __future__ import annotations

import argparse
import os
import pathlib
import signal
import sys
import typing as t

import figures
import harness
import report
import tasks

GROUPS: dict[str, t.Callable[[harness.Session, figures.Size], list[figures.Figure]]] = {
    "1": figures.create,
    "2": figures.again,
    "3": figures.mode,
    "4": figures.delete,
    "5": tasks.tasks,
    "growth": tasks.growth,
    "6": figures.memory,
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


def profile(session: harness.Session, case: str, links: int) -> str:
    """Return where the time of the module's run goes, as cProfile says it."""
    with harness.bench(session, 2 * links) as made:
        if case != "create":
            made.batch(figures.creation(links))
        params = {
            "create": figures.declared(links),
            "again": figures.declared(links),
            "mode": figures.declared(links, "vepa"),
            "delete": figures.absent(links),
        }[case]
        return made.module(params, around=_PROFILE).errors.decode()


def measure(session: harness.Session, size: figures.Size, groups: t.Iterable[str]) -> list[figures.Figure]:
    """Measure the figures of ``groups``, telling each on stderr as it is found."""
    found = []
    for group in groups:
        for figure in GROUPS[group](session, size):
            print(report.parts(figure), file=sys.stderr, flush=True)
            found.append(figure)
    return found


def main() -> None:
    args = _arguments()
    if os.geteuid() != 0:
        sys.exit("bench: this needs root, for a network namespace of its own")
    # As Ctrl-C: what was made is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    try:
        with harness.session(args.python) as session:
            if args.profile:
                print(profile(session, args.profile, args.links))
                return
            about = report.circumstances(session)
            found = measure(session, figures.Size(rounds=args.rounds, links=args.links), args.only or GROUPS)
    except harness.BenchmarkError as exc:
        sys.exit(f"bench: {exc}")
    except KeyboardInterrupt:
        sys.exit("bench: interrupted; nothing is left behind")
    print(report.table(found))
    # Some of the figures would replace all of them.
    directory = args.out or (None if args.only else _DOCS)
    if directory:
        report.save(found, {**about, "load after": round(os.getloadavg()[0], 2)}, directory)
        print(f"saved in {os.path.relpath(directory)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", type=_groups, help=f"the figures to measure, of {','.join(GROUPS)}; they are not saved"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of which the median is taken (5); slow ones are fewer")
    parser.add_argument("--links", type=int, default=1000)
    parser.add_argument("--out", type=pathlib.Path, help="where the JSON and the plot go (docs/benchmark)")
    parser.add_argument("--python", default="/usr/bin/python3", help="the interpreter that the module runs in")
    parser.add_argument(
        "--profile",
        nargs="?",
        const="again",
        choices=["create", "again", "mode", "delete"],
        help="measure nothing, but say where the module's time goes (again: a second run)",
    )
    return parser.parse_args()


def _groups(text: str) -> list[str]:
    groups = text.split(",")
    if not set(groups) <= set(GROUPS):
        raise argparse.ArgumentTypeError(f"say some of {','.join(GROUPS)}")
    return groups


if __name__ == "__main__":
    main()
