# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Run the tests on all that users have: releases of Debian, Pythons, versions of pyroute2 and of ansible-core.

Arguments are the beginnings of names of rows, such as libvirt; by default all. Two rows run at a time, of unlike kinds.
Each prints one line when it ends. What it found is stored in docs/compatibility.json, from which docs/compatibility.md
is written. A row's output is in .cache/matrix.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

from matrix_rows import ROOT, WORK, LabError, Row, rows
from stages import PATIENCE, signal_group

RECORD, PAGE = ROOT / "docs/compatibility.json", ROOT / "docs/compatibility.md"
# A machine of two processors runs two rows at a time.
LANES = (False, True)
# What ends a row, and then the matrix.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
HEAD = """\
<!-- SPDX-License-Identifier: GPL-3.0-or-later -->
<!-- Copyright (c) linuxvirt.macvtap contributors -->
# Compatibility

What the tests ran with, on which commit, and when. `make matrix` runs them and writes this page from what it found;
`make matrix ROWS=…` runs some of them.

| row | versions | what ran | result | minutes | date | commit |
|---|---|---|---|---|---|---|
"""


@dataclass
class Result:
    """What a row's end left: whether it is good, and the tests it has."""

    good: bool
    seconds: float
    passed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def run(row: Row) -> tuple[Result, dict[str, str]]:
    """Run a row, whatever becomes of it, and return what it found."""
    log, started = WORK / f"{slug(row.name)}.log", time.monotonic()
    reports = [pathlib.Path(word.partition("=")[2]) for word in row.argv if word.startswith("--junitxml=")]
    for report in reports:
        report.unlink(missing_ok=True)
    versions: dict[str, str] = {}
    with log.open("w") as output:
        try:
            versions = row.prepare()
            environment = {**os.environ, **row.environment(), "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}
            code = ended(row, environment, output)
        except (LabError, LookupError, OSError, subprocess.CalledProcessError) as exc:
            print(exc, file=output)
            code = 1
    result = Result(code == 0, time.monotonic() - started)
    for report in reports:
        count(report, result)
        # Where all tests are skipped, nothing was shown.
        result.good = result.good and result.passed > 0
    return result, versions


def ended(row: Row, environment: t.Mapping[str, str], output: t.IO[str]) -> int:
    """Run a row's command to its end and return the status; whatever ends it, nothing of it stays."""

    def start(argv: t.Sequence[str]) -> subprocess.Popen[bytes]:
        # In a session of its own: what a signal to this process means for it is decided here.
        return subprocess.Popen(
            argv, cwd=ROOT / row.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    code, process = 1, start(row.argv)
    try:
        code = process.wait()
    except BaseException:
        # Another signal must not leave what this ends.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        signal_group(process, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        signal_group(process, signal.SIGKILL)
        process.wait()
        raise
    finally:
        if code and row.cleanup:
            start(row.cleanup).wait()
    return code


def count(report: pathlib.Path, result: Result) -> None:
    """Count the tests of a report of pytest's, and why some were skipped."""
    if not report.exists():
        return
    for case in ET.parse(report).iter("testcase"):  # noqa: S314
        skipped = case.find("skipped")
        if skipped is None:
            result.passed += all(case.find(tag) is None for tag in ("failure", "error"))
        else:
            reason = str(skipped.get("message"))
            result.skipped[reason] = result.skipped.get(reason, 0) + 1


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-").lower()


def page(record: t.Mapping[str, t.Any]) -> str:
    """Return docs/compatibility.md, from docs/compatibility.json."""
    lines, notes = [], []
    for name, one in record.items():
        versions = "; ".join(f"{what} {version}" for what, version in one["versions"].items())
        result = "passed" if one["good"] else "**failed**"
        tests = f", {one['passed']} test{'s' * (one['passed'] > 1)}" if one["passed"] else ""
        cells = (name, versions, one["what"], result + tests, one["minutes"], one["date"], one["commit"])
        lines.append(f"| {' | '.join(map(str, cells))} |")
        notes += [f"- {name}: {count} skipped: {reason}" for reason, count in one["skipped"].items()]
    skipped = "\n".join(["\n## What was not run there, and why\n", *notes, ""]) if notes else ""
    minutes = [sum(one["minutes"] for name, one in record.items() if lane_of(name) == lane) for lane in LANES]
    took = f"\nTwo rows run at a time, which takes about {max(minutes) / 60:.1f} hours in all.\n"
    return HEAD + "\n".join(lines) + "\n" + took + skipped


def main(names: t.Sequence[str]) -> int:
    if os.geteuid():
        print("matrix: run this as root, for network namespaces", file=sys.stderr)
        return 2
    wanted = [row for row in rows() if not names or row.name.startswith(tuple(names))]
    unknown = [name for name in names if not any(row.name.startswith(name) for row in wanted)]
    if unknown:
        names = [row.name for row in rows()]
        print(f"matrix: no row begins with {unknown[0]!r}; the rows are {'; '.join(names)}", file=sys.stderr)
        return 2
    for number in SIGNALS:
        # As with nohup, what is ignored stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    WORK.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
    return run_lanes([[row for row in wanted if lane_of(row.name) == lane] for lane in LANES])


def run_lanes(lanes: t.Sequence[t.Sequence[Row]]) -> int:
    """Run them side by side, and return 1 if a row of one failed."""
    forked = multiprocessing.get_context("fork")
    recording = forked.Lock()
    running = [forked.Process(target=run_lane, args=(those, recording)) for those in lanes if those]
    try:
        for process in running:
            process.start()
        for process in running:
            process.join()
    except BaseException:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for process in running:
            if process.pid is not None:
                process.terminate()
                process.join()
        raise
    return 1 if any(process.exitcode for process in running) else 0


def lane_of(name: str) -> bool:
    """Return which of the LANES a row runs in. Those that share files, or a virtual machine's name, are in the same."""
    return name.partition(",")[0] in ("machine", "controller", "publishing")


def run_lane(those: t.Sequence[Row], recording: t.ContextManager[object]) -> None:
    """Run rows one after the other, and exit with 1 if one of them failed."""
    # The terminal's Ctrl-C is for the process that started this one, which passes it on once.
    os.setsid()
    # Where this was started in the background, Ctrl-C's signal is ignored. By it, each row is told to clean up.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    failed = 0
    try:
        for row in those:
            result, versions = run(row)
            failed += not result.good
            where = "" if result.good else f"; see {os.path.relpath(WORK / slug(row.name), ROOT)}.log"
            print(f"{row.name}: {'ok' if result.good else 'FAILED'}, {result.seconds:.0f} s{where}", flush=True)
            with recording:
                store(row, result, versions)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)


def store(row: Row, result: Result, versions: dict[str, str]) -> None:
    """Put what a row found into the record, and write the page anew."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[row.name] = {
        "versions": versions,
        "what": row.what,
        "good": result.good,
        "passed": result.passed,
        "skipped": dict(sorted(result.skipped.items())),
        "minutes": round(result.seconds / 60),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "commit": commit(),
    }
    known = [one.name for one in rows() if one.name in record]
    record = {name: record[name] for name in known}
    RECORD.write_text(json.dumps(record, indent=2) + "\n")
    PAGE.write_text(page(record))


def commit() -> str:
    """Return the commit that this is a checkout of, with a + if files are not as they are in it."""
    head = git("rev-parse", "--short=10", "HEAD").strip()
    own = [f":(exclude){path.relative_to(ROOT)}" for path in (RECORD, PAGE)]
    return head + "+" * bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", *own))


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
