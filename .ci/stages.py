# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Run the checks of the named stages, by default all: lint unit integration sanity molecule.

A single check can also be named, as in the output: `.ci/test 'ruff check'`.

By default one check per processor runs in parallel, at most two, beside those that mostly wait. MACVTAP_TEST_LANES sets
another number. A check's output is shown as a whole when it ends. A failed check does not stop the others. The final
report has the slowest tests of all checks, the time of each stage, and how many checks passed.

Ctrl-C, SIGTERM and SIGHUP end all running checks, which then clean up.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from checks import CLAIMS, REPORTS, ROOT, STAGES, Check, Job, Plan, in_order, lanes, planned

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{ROOT}/.venv/bin:{os.environ['PATH']}",
    "ANSIBLE_NOCOLOR": "1",
    "PY_COLORS": "0",
    "NO_COLOR": "1",
}
# Hundreds of processes import the same files. Each would compile them.
ENVIRONMENT.pop("PYTHONDONTWRITEBYTECODE", None)
# Seconds for an interrupted check to clean up.
PATIENCE = 180
POLL_SECONDS = 0.1
SLOWEST = 10


@dataclass
class Running:
    check: Check
    rest: Job
    process: subprocess.Popen[bytes]
    # None if the output goes directly to the terminal.
    output: t.IO[bytes] | None
    started: float


class Runner:
    def __init__(self, plan: Plan, lanes: int) -> None:
        self.waiting = in_order(plan.jobs)
        self.lanes = lanes
        # A single check's output need not be buffered.
        self.live = len(plan.jobs) == 1
        # A copy of standard output, to which checks that take long write a line now and then.
        self.progress = -1
        self.running: list[Running] = []
        self.passed = 0
        self.failed: list[str] = []
        self.seconds: dict[str, float] = {}
        # The checks that an interrupted run has not started.
        self.unrun = 0
        self.signal: int | None = None

    def run(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._interrupt)
        self.progress = os.dup(sys.stdout.fileno())
        while (self.waiting or self.running) and self.signal is None:
            self._fill()
            time.sleep(POLL_SECONDS)
            for one in [one for one in self.running if one.process.poll() is not None]:
                self._ended(one)
        if self.signal is not None:
            self._end_all()
        os.close(self.progress)

    def _fill(self) -> None:
        """Start what mostly waits, and as many others as there are free lanes for."""
        free = self.lanes - sum(not one.check.waits for one in self.running)
        for job in list(self.waiting):
            if job[0].waits or free > 0:
                free -= not job[0].waits
                self.waiting.remove(job)
                self._start(job[0], job[1:])

    def _interrupt(self, number: int, _frame: object) -> None:
        self.signal = self.signal or number

    def _start(self, check: Check, rest: Job) -> None:
        say(f"== {check.name}: started")
        output = None if self.live else tempfile.TemporaryFile()  # noqa: SIM115
        # In a separate session: this process gets the terminal's Ctrl-C, and passes it on once.
        process = subprocess.Popen(
            check.argv,
            cwd=ROOT / check.directory,
            env={**ENVIRONMENT, "MACVTAP_TEST_PROGRESS": str(self.progress), **check.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            pass_fds=[self.progress],
            start_new_session=True,
        )
        self.running.append(Running(check, rest, process, output, time.monotonic()))

    def _ended(self, one: Running) -> None:
        self.running.remove(one)
        good = one.process.returncode == 0
        show(one)
        seconds = time.monotonic() - one.started
        self.seconds[one.check.stage] = self.seconds.get(one.check.stage, 0.0) + seconds
        say(f"== {one.check.name}: {'ok' if good else 'FAILED'}, {seconds:.0f} s")
        if good:
            self.passed += 1
        else:
            self.failed.append(one.check.name)
        if one.rest:
            first, *rest = one.rest
            self._start(first, rest)

    def _end_all(self) -> None:
        """End running checks like Ctrl-C does, so that pytest tears down its fixtures and the lab cleans up."""
        say(f"== interrupted: ending {', '.join(one.check.name for one in self.running)}")
        for one in self.running:
            signal_group(one.process, signal.SIGINT)
        deadline = time.monotonic() + PATIENCE
        for one in self.running:
            try:
                one.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                say(f"== {one.check.name}: does not end within {PATIENCE} s, and is killed")
            signal_group(one.process, signal.SIGKILL)
            one.process.wait()
            show(one)
            if one.check.cleanup:
                environment = {**ENVIRONMENT, **one.check.environment}
                directory = ROOT / one.check.directory
                subprocess.run(one.check.cleanup, cwd=directory, env=environment, check=False, start_new_session=True)
            self.failed.append(f"{one.check.name} (interrupted)")
            self.unrun += len(one.rest)
        self.unrun += sum(map(len, self.waiting))


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def show(one: Running) -> None:
    if one.output is None:
        return
    with one.output as output:
        output.seek(0)
        if output.read(1):
            output.seek(0)
            say(f"== {one.check.name}")
            shutil.copyfileobj(output, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def tests(reports: pathlib.Path) -> list[tuple[float, str, bool]]:
    """Return each test of all reports: its seconds with its set-up, its name, and whether it failed; slowest first."""
    found = []
    for path in reports.glob("*.xml"):
        # A killed run leaves an incomplete report.
        with contextlib.suppress(ET.ParseError):
            for case in ET.parse(path).iter("testcase"):  # noqa: S314
                name = f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}"
                failed = any(case.find(tag) is not None for tag in ("failure", "error"))
                found.append((float(case.get("time", "0")), name, failed))
    return sorted(found, reverse=True)


def say(text: str) -> None:
    print(text, flush=True)


def main(names: t.Sequence[str]) -> int:
    started = time.monotonic()
    try:
        plan = planned(names or STAGES)
    except KeyError as error:
        stages = ", ".join(STAGES)
        print(f"test: no stage or check is named {error.args[0]}; the stages are {stages}", file=sys.stderr)
        return 2
    for directory in (REPORTS, CLAIMS):
        shutil.rmtree(directory, ignore_errors=True)
    CLAIMS.mkdir(parents=True)
    runner = Runner(plan, lanes())
    runner.run()
    found = tests(REPORTS)
    for seconds, test, _failed in found[:SLOWEST]:
        say(f"slow: {seconds:6.1f} s  {test}")
    # The sum over checks that ran in parallel.
    for stage, seconds in runner.seconds.items():
        say(f"stage: {seconds:5.0f} s  {stage}")
    failed = [test for _seconds, test, has_failed in found if has_failed]
    for word, those in (("skipped", plan.skipped), ("failed", [*failed, *runner.failed])):
        for one in those:
            say(f"{word}: {one}")
    if runner.unrun:
        say(f"not run: {runner.unrun} more")
    say(f"after {time.monotonic() - started:.0f} s")
    say(f"{runner.passed} passed, {len(runner.failed)} failed, {len(plan.skipped)} skipped")
    if runner.signal is not None:
        return 128 + runner.signal
    return 1 if runner.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
