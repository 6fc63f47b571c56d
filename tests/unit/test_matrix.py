# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The page on compatibility says what was found."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import threading
import time
import typing as t

import pytest
from support import ROOT

sys.path.append(str(ROOT / ".ci"))

import checks
import matrix
import matrix_rows


def test_the_page_is_written_from_its_record() -> None:
    assert matrix.PAGE.read_text() == matrix.page(json.loads(matrix.RECORD.read_text()))


def test_a_row_that_failed_and_what_was_skipped_are_on_the_page() -> None:
    one = {"versions": {"libvirt": "7.0.0"}, "what": "all tests", "minutes": 3, "date": "2026-01-01", "passed": 2}
    one["commit"] = "0123456789"
    page = matrix.page(
        {"good": {**one, "good": True, "skipped": {}}, "bad": {**one, "good": False, "skipped": {"no X": 4}}}
    )
    assert "| good | libvirt 7.0.0 | all tests | passed, 2 tests | 3 | 2026-01-01 | 0123456789 |\n" in page
    assert "| bad | libvirt 7.0.0 | all tests | **failed**, 2 tests | 3 | 2026-01-01 | 0123456789 |\n" in page
    assert "\n- bad: 4 skipped: no X\n" in page


def test_versions_are_those_of_the_projects() -> None:
    listing = """\
libvirt-daemon 9.0.0-4+deb12u2
libvirt-daemon-system 9.9.9-1
linux-image-6.1.0-35-cloud-amd64 6.1.137-1
linux-image-cloud-amd64 6.1.138-1
python3 3.14.8-1
python3-pyroute2 1:0.7.2-2
qemu-system-x86 1:7.2+dfsg-7+deb12u13
systemd 262.1~rc1-1
"""
    assert matrix_rows.packages(listing) == {
        "Linux": "6.1.137",
        "libvirt": "9.0.0",
        "QEMU": "7.2",
        "systemd": "262.1",
        "Python": "3.14.8",
        "pyroute2": "0.7.2",
    }


def test_a_report_is_counted(tmp_path: pathlib.Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(
        "<testsuites><testcase/><testcase/><testcase><failure/></testcase><testcase><error/></testcase>"
        '<testcase><skipped message="no X"/></testcase><testcase><skipped message="no X"/></testcase></testsuites>'
    )
    result = matrix.Result(good=False, seconds=1.0)
    matrix.count(report, result)
    assert (result.passed, result.skipped) == (2, {"no X": 2})
    matrix.count(tmp_path / "none.xml", result)
    assert result.passed == 2


def test_the_rows_of_libvirt_have_whatever_uses_a_hypervisor() -> None:
    found = {pathlib.Path(path).stem for path in matrix_rows.on_hypervisors()}
    # By a fixture, by its own, by another module of the tests', and by files of the host.
    assert {"test_multicast_rules", "test_unprivileged", "test_finding_guests", "test_macvtap_persistence"} <= found
    assert not found & {"test_macvtap_link", "test_pythons", "test_readme", "test_netlink_answers"}


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for row in matrix.rows()]
    assert len(set(map(matrix.slug, names))) == len(names)


def test_a_scenario_that_no_stage_runs_is_in_a_row() -> None:
    in_rows = {word for row in matrix.rows() for word in row.argv}
    assert set(checks.ONLY_MATRIX) <= in_rows
    plan = checks.planned(["molecule"])
    assert not in_rows & {check.name.removeprefix("molecule, ") for job in plan.jobs for check in job} - {"vm"}


def _row(*argv: str, error: Exception | None = None) -> matrix.Row:
    def prepare() -> dict[str, str]:
        if error is not None:
            raise error
        return {"Python": "3"}

    return matrix.Row("a row", "what", argv, prepare)


def test_a_row_that_shows_nothing_has_not_passed(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "WORK", tmp_path)
    report = tmp_path / "report.xml"
    write = f"open({str(report)!r}, 'w').write('<a><testcase>%s</testcase></a>')"
    ran, skipped = ((sys.executable, "-c", write % what, f"--junitxml={report}") for what in ("", "<skipped/>"))
    assert matrix.run(_row(*ran))[0].good
    assert not matrix.run(_row(*skipped))[0].good
    # Not the report of another run.
    assert not matrix.run(_row(sys.executable, "-c", "", f"--junitxml={report}"))[0].good
    assert matrix.run(_row(sys.executable, "-c", ""))[0].good
    assert not matrix.run(_row(sys.executable, "-c", "raise SystemExit(3)"))[0].good


def test_a_row_that_cannot_be_prepared_ends_no_other(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "WORK", tmp_path)
    result, versions = matrix.run(_row(sys.executable, error=LookupError("no Python 3.9")))
    assert (result.good, versions) == (False, {})
    assert "no Python 3.9" in (tmp_path / "a-row.log").read_text()


def test_a_row_that_fails_or_is_interrupted_cleans_up(tmp_path: pathlib.Path) -> None:
    begun, cleaned = tmp_path / "begun", tmp_path / "cleaned"
    touch = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))"

    def row(end: str) -> matrix.Row:
        cleanup = (sys.executable, "-c", touch, str(cleaned))
        return matrix.Row("a row", "what", (sys.executable, "-c", f"{touch}; {end}", str(begun)), dict, cleanup=cleanup)

    def interrupt() -> None:
        while not (begun.exists() and begun.read_text()):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    with (tmp_path / "log").open("w") as output:
        assert matrix.ended(row("sys.exit()"), {}, output) == 0
        assert not cleaned.exists()
        assert matrix.ended(row("sys.exit(3)"), {}, output) == 3
        cleaned.unlink()
        begun.unlink()
        # While it cleans up, it ignores them all.
        before = {number: signal.getsignal(number) for number in matrix.SIGNALS}
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        other = threading.Thread(target=interrupt)
        other.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                matrix.ended(row("time.sleep(600)"), {}, output)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            other.join()
    assert cleaned.exists()
    assert not pathlib.Path(f"/proc/{begun.read_text()}").exists()


WAITS = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).touch()
while not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.01)
"""


_CLEANS_UP = """
try:
    time.sleep(600)
finally:
    pathlib.Path(f"{sys.argv[1]}-by-itself").touch()
"""


@pytest.fixture
def in_lanes(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[t.Callable[[str], int]]:
    """What runs two rows of unlike kinds, which end with this Python code, and only once the other one has begun."""

    def run(end: str) -> int:
        these = [
            matrix.Row(
                f"{kind}, x", "what", [*begin, f"{WAITS}{end}", *paths], dict, cleanup=("touch", f"{paths[0]}-gone")
            )
            for kind, paths in zip(("modules", "machine"), (begun, begun[::-1]))
        ]
        monkeypatch.setattr(matrix, "rows", lambda: these)
        return matrix.main([])

    begin = (sys.executable, "-c")
    begun = [str(tmp_path / name) for name in ("one", "two")]
    for name, value in {"RECORD": tmp_path / "record", "PAGE": tmp_path / "page", "WORK": tmp_path}.items():
        monkeypatch.setattr(matrix, name, value)
    monkeypatch.setattr(matrix, "commit", lambda: "0123456789")
    monkeypatch.setattr(matrix, "PATIENCE", 5)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", os.environ["PATH"])
    before = {number: signal.getsignal(number) for number in matrix.SIGNALS}
    yield run
    for number, handler in before.items():
        signal.signal(number, handler)


def test_two_rows_run_at_a_time(in_lanes: t.Callable[[str], int], tmp_path: pathlib.Path) -> None:
    assert in_lanes("") == 0
    found = json.loads((tmp_path / "record").read_text())
    assert {name: one["good"] for name, one in found.items()} == {"modules, x": True, "machine, x": True}
    assert in_lanes("sys.exit('one' in sys.argv[1])") == 1
    found = json.loads((tmp_path / "record").read_text())
    assert {name: one["good"] for name, one in found.items()} == {"modules, x": False, "machine, x": True}


def test_what_interrupts_it_ends_both_rows(in_lanes: t.Callable[[str], int], tmp_path: pathlib.Path) -> None:
    def interrupt() -> None:
        while not all((tmp_path / name).exists() for name in ("one", "two")):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    # As in the background of a script.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        in_lanes(_CLEANS_UP)
    other.join()
    assert all((tmp_path / f"{name}-by-itself").exists() for name in ("one", "two"))
    assert all((tmp_path / f"{name}-gone").exists() for name in ("one", "two"))
    assert not (tmp_path / "record").exists()
