# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figure of preflight: comparing a fleet, on the controller alone."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t

from figures import Figure, Size
from harness import ROOT, BenchmarkError, Cost, Session, median

_SCRIPT = pathlib.Path(__file__).parent / "bare_compare.py"
_NICS = 20
# How many times as many hosts the large fleet has.
_LARGE = 25


@contextlib.contextmanager
def session(_python: str) -> t.Iterator[Session]:
    """Give a session in the interpreter that Ansible runs in: nothing of this runs on a hypervisor."""
    with tempfile.TemporaryDirectory(prefix="macvtap-bench-") as scratch:
        yield Session(sys.executable, pathlib.Path(scratch))


def compare(in_session: Session, size: Size) -> list[Figure]:
    sizes = sorted({max(1, size.hosts // 4), max(1, size.hosts // 2), size.hosts})
    result = {hosts: _run(in_session, [str(_SCRIPT), str(hosts), str(_NICS), str(3 * size.rounds)]) for hosts in sizes}
    # It only computes, in one thread. Its time on the clock would be that of others on the machine, too.
    parts = {f"{hosts} hosts": median(one["cpu"]) for hosts, one in result.items()}
    what = f"compare {size.hosts} hosts × {_NICS} NICs, half of them found as declared, processor time"
    value = 1000 * median(result[size.hosts]["cpu"])
    large = _LARGE * size.hosts
    once = _run(in_session, [str(_SCRIPT), str(large), str(_NICS), "1"])
    note = f"{1000 * once['json'][0]:.0f} ms of it only read the JSON text that the playbook hands over"
    of_large = f"compare {large} hosts × {_NICS} NICs, processor time"
    return [
        Figure("compare", what, value, "ms", 3 * size.rounds, 1000, parts=parts),
        Figure("compare large", of_large, 1000 * once["cpu"][0], "ms", 1, 1500, note=note),
    ]


def run_once(in_session: Session, size: Size, _case: str, around: str) -> Cost:
    """Compare once more, with Python code ``around`` it."""
    run = f"sys.argv[1:] = ['{size.hosts}', '{_NICS}', '1']; runpy.run_path({str(_SCRIPT)!r}, run_name='__main__')"
    done = python(in_session, ["-c", "import runpy, sys\n" + around.format(run)])
    return Cost(0, 0, done.stdout, done.stderr)


def _run(in_session: Session, argv: t.Sequence[str]) -> dict[str, t.Any]:
    result: dict[str, t.Any] = json.loads(python(in_session, argv).stdout)
    if result["conflicts"]:
        raise BenchmarkError(f"the fleet that is compared has {result['conflicts']} conflicts, and is to have none")
    return result


def python(in_session: Session, argv: t.Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    """Run the session's Python with what the collection and its tests consist of.

    :raises BenchmarkError: it failed.
    """
    environment = in_session.environment()
    environment["PYTHONPATH"] += os.pathsep + str(ROOT / "tests")
    done = subprocess.run([in_session.python, *argv], env=environment, capture_output=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"{argv[0]} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
    return done
