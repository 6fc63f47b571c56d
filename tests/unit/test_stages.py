# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The runner of the checks of `make test`."""

from __future__ import annotations

import importlib.util
import os
import pathlib
import signal
import sys
import typing as t

import pytest
import yaml
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import debian


@pytest.fixture(scope="module")
def stages() -> t.Any:
    spec = importlib.util.spec_from_file_location("stages", ROOT / ".ci" / "stages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    # As a script, it has its directory in the path.
    sys.path.insert(0, str(ROOT / ".ci"))
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / ".ci"))
    del sys.modules[spec.name], sys.modules["checks"]


@pytest.fixture(autouse=True)
def handlers() -> t.Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before):
        signal.signal(number, handler)


def script(stages: t.Any, name: str, text: str, **more: t.Any) -> t.Any:
    return stages.Check(name, ["sh", "-c", text], **more)


def test_what_is_to_begin_first_is_among_the_checks(stages: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("MACVTAP_TEST_VM", raising=False)
    plan = stages.planned(stages.STAGES)
    ordered = [job[0].name for job in stages.in_order(plan.jobs)]
    first = sys.modules["checks"].FIRST
    assert tuple(ordered[: len(first)]) == first
    assert sorted(ordered) == sorted(job[0].name for job in plan.jobs)
    assert {check.stage for job in plan.jobs for check in job} == set(stages.STAGES)


def test_one_that_fails_keeps_no_other_from_running(stages: t.Any, capfd: pytest.CaptureFixture[str]) -> None:
    words = "echo {0}1; sleep 0.2; echo {0}2"
    bad = script(stages, "bad", words.format("b") + "; false")
    runner = stages.Runner(
        stages.Plan([[bad, script(stages, "next", "true")], [script(stages, "good", words.format("g"))]]), 2
    )
    runner.run()
    assert (runner.passed, runner.failed, runner.signal) == (2, ["bad"], None)
    output = capfd.readouterr().out
    # Each output whole, although both ran at once.
    assert "== bad\nb1\nb2\n== bad: FAILED" in output
    assert "== good\ng1\ng2\n== good: ok" in output


def test_the_time_of_a_stage_is_that_of_all_its_checks(stages: t.Any) -> None:
    checks = [script(stages, name, "true", stage=stage) for name, stage in (("a", "x"), ("b", "x"), ("c", "y"))]
    runner = stages.Runner(stages.Plan([checks]), 1)
    runner.run()
    assert runner.passed == 3
    assert set(runner.seconds) == {"x", "y"}


def test_the_slowest_tests_are_those_of_all_reports(stages: t.Any, tmp_path: pathlib.Path) -> None:
    for number in range(2):
        cases = "".join(
            f'<testcase classname="tests.unit.test_x" name="test_{number}_{second}" time="{second}.{number}"/>'
            for second in range(20)
        )
        (tmp_path / f"{number}.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    (tmp_path / "killed.xml").write_text("<testsuites><tests")
    found = stages.tests(tmp_path)
    assert found[:2] == [
        (19.1, "tests/unit/test_x.py::test_1_19", False),
        (19.0, "tests/unit/test_x.py::test_0_19", False),
    ]
    assert len(found) == 40


@pytest.mark.parametrize("what", ["failure", "error"])
def test_a_test_that_failed_is_named_at_the_end(stages: t.Any, tmp_path: pathlib.Path, what: str) -> None:
    cases = f'<testcase classname="tests.unit.test_x" name="test_bad" time="1"><{what}/></testcase>'
    (tmp_path / "x.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert stages.tests(tmp_path) == [(1.0, "tests/unit/test_x.py::test_bad", True)]


def test_the_smoke_runs_on_the_oldest_and_the_newest_release_that_does_not_move(
    stages: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("MACVTAP_TEST_VM", raising=False)
    oldest, *_others, newest, _moving = debian.RELEASES
    checks = {check.name: check for (check,) in stages.planned(["molecule"]).jobs}
    states = set()
    for release in (oldest, newest):
        check = checks[f"molecule, smoke {release}"]
        assert list(check.argv) == ["molecule", "test", "--scenario-name", "smoke"]
        assert check.environment["LAB_RELEASE"] == release
        states.add(check.environment["MOLECULE_EPHEMERAL_DIRECTORY"])
    assert len(states) == 2
    assert all("LAB_RELEASE" not in check.environment for name, check in checks.items() if "smoke" not in name)


def test_the_virtual_machines_can_be_left_out(stages: t.Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("MACVTAP_TEST_VM", raising=False)
    whole = {job[0].name for job in stages.planned(["molecule"]).jobs}
    monkeypatch.setenv("MACVTAP_TEST_VM", "no")
    plan = stages.planned(["molecule"])
    left_out = sorted(whole - {job[0].name for job in plan.jobs})
    # Those that boot one, as their files say.
    scenarios = {
        path.parent.name for path in ROOT.glob("extensions/molecule/*/molecule.yml") if "LAB_VMS" in path.read_text()
    }
    assert {name.split()[1] for name in left_out} == scenarios - set(sys.modules["checks"].ONLY_MATRIX)
    assert plan.skipped == [f"{name} (MACVTAP_TEST_VM=no)" for name in left_out]


@pytest.mark.parametrize(("given", "expected"), [("1", 1), ("3", 3)])
def test_there_are_as_many_workers_as_lanes_and_all_but_one_begin_last(
    stages: t.Any, monkeypatch: pytest.MonkeyPatch, given: str, expected: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("MACVTAP_TEST_LANES", given)
    names = [job[0].name for job in stages.in_order(stages.planned(stages.STAGES).jobs)]
    workers = [name for name in names if name.startswith("integration, worker")]
    assert workers == [sys.modules["checks"].WORKER.format(number) for number in range(1, expected + 1)]
    assert names[len(names) - expected + 1 :] == workers[1:]


@pytest.mark.parametrize("given", ["1", "2"])
def test_all_workers_share_all_integration_tests_and_one_begins_with_those_that_wait(
    stages: t.Any, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("MACVTAP_TEST_LANES", given)
    checks = [check for (check,) in stages.planned(["integration"]).jobs]
    assert [check.waits for check in checks] == ([False] if given == "1" else [True, False, False])
    orders = []
    for check in checks:
        assert [word for word in check.argv if "tests" in word] == ["tests/integration"]
        assert check.environment["MACVTAP_TEST_CLAIMS"] == str(sys.modules["checks"].CLAIMS)
        orders.append([check.environment.get(f"MACVTAP_TEST_{word}", "").split() for word in ("FIRST", "LAST")])
        assert all((ROOT / name).is_file() for names in orders[-1] for name in names)
    long, waiting = orders[-1]
    assert set(long).isdisjoint(waiting)
    assert orders == [[[*waiting, *long], []]][: int(given) - 1] + [[long, waiting]] * int(given)


def test_one_that_waits_runs_beside_a_full_lane(stages: t.Any, tmp_path: pathlib.Path) -> None:
    there = [tmp_path / "a", tmp_path / "b"]
    # Each ends when the other one has begun.
    text = "touch {}; for try in $(seq 600); do [ -e {} ] && exit; sleep 0.05; done; false"
    computing = script(stages, "computing", text.format(*there))
    waiting = script(stages, "waiting", text.format(*reversed(there)), waits=True)
    runner = stages.Runner(stages.Plan([[computing], [waiting]]), 1)
    runner.run()
    assert (runner.passed, runner.failed) == (2, [])


def test_a_check_can_tell_of_its_progress_while_its_output_is_kept_back(
    stages: t.Any, capfd: pytest.CaptureFixture[str]
) -> None:
    tell = "import os; os.write(int(os.environ['MACVTAP_TEST_PROGRESS']), b'so far\\n')"
    telling = script(stages, "long", f'echo whole; {sys.executable} -c "{tell}"')
    stages.Runner(stages.Plan([[telling], [script(stages, "other", "true")]]), 1).run()
    assert capfd.readouterr().out.startswith("== long: started\nso far\n== long\nwhole\n")


def test_pre_commit_has_the_linters_of_ci(stages: t.Any) -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (linters,) = stages.planned(["lint"]).jobs
    assert [hook["entry"] for hook in repository["hooks"]] == [f".ci/test '{check.name}'" for check in linters]


def test_a_single_check_can_be_named(stages: t.Any) -> None:
    plan = stages.planned(["ruff check", "unit"])
    assert [[(check.stage, check.name) for check in job] for job in plan.jobs] == [
        [("lint", "ruff check")],
        [("unit", "unit tests")],
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_run_ends_what_runs_and_removes_what_that_made(
    stages: t.Any, tmp_path: pathlib.Path, number: signal.Signals
) -> None:
    made = tmp_path / "made"
    interrupting = script(
        stages, "cut", f"touch {made}; kill -{number.value} $PPID; sleep 60", cleanup=["rm", str(made)]
    )
    never = script(stages, "never", f"touch {tmp_path}/never")
    runner = stages.Runner(stages.Plan([[interrupting, never], [never]]), 1)
    runner.run()
    assert (runner.passed, runner.failed, runner.signal) == (0, ["cut (interrupted)"], number)
    assert runner.unrun == 2
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_stage_is_named(stages: t.Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert stages.main(["lnit"]) == 2
    assert "no stage or check is named lnit; the stages are lint, unit" in capsys.readouterr().err
