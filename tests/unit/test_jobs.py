# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The examples of docs/jobs.md: exit codes, metrics, units and the rulebook."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t

import pytest
import yaml
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_outcome import fleet_outcome
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report.outcome import STATES

JOBS = ROOT / "docs/example/jobs"
PAGE = (ROOT / "docs/jobs.md").read_text(encoding="utf-8")


def job(directory: pathlib.Path, written: str | None, code: int) -> subprocess.CompletedProcess[str]:
    """Run the wrapper with an ansible-playbook that writes this text to the file that it is given, and its code."""
    fake = directory / "ansible-playbook"
    # The file is in the argument after -e.
    fake.write_text(
        f"#!{sys.executable}\nimport json, pathlib, sys\nwritten = {written!r}\n"
        "if written is not None:\n"
        "    (file,) = json.loads(sys.argv[sys.argv.index('-e') + 1]).values()\n"
        f"    pathlib.Path(file).write_text(written)\nsys.exit({code})\n",
        encoding="utf-8",
    )
    fake.chmod(0o755)
    # That of an earlier run.
    (directory / "a b.json").write_text('{"state": "ok", "counts": {"hosts": 1}}', encoding="utf-8")
    environment = {**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "MACVTAP_JSON": "a b.json"}
    command = [sys.executable, str(JOBS / "macvtap_job.py"), "verify", "--limit", "hv1"]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("state", STATES)
def test_each_state_has_the_exit_code_that_the_page_lists(tmp_path: pathlib.Path, state: str) -> None:
    head, codes = (
        [cell.strip(" `") for cell in re.findall(rf"(?m)^\| {word} \|(.*)\|$", PAGE)[0].split("|")]
        for word in ("state", "exit code")
    )
    done = job(tmp_path, json.dumps({"state": state, "counts": {"hosts": 3}}), 0 if state == "ok" else 2)
    assert done.returncode == int(dict(zip(head, codes))[state])
    assert done.stdout == f"verify: {state}\n"


@pytest.mark.parametrize(
    ("written", "code", "state"),
    [
        (None, 4, "failed"),
        (None, 0, "failed"),
        ("{", 2, "failed"),
        (json.dumps(fleet_outcome([])), 4, "unreachable"),
        (json.dumps(fleet_outcome([])), 2, "failed"),
        # Something else ended the run.
        (json.dumps({"state": "ok", "counts": {"hosts": 3}}), 2, "failed"),
        (json.dumps({"state": "ok", "counts": {"hosts": 3}}), 250, "failed"),
    ],
)
def test_a_job_that_has_learnt_nothing_never_shows_an_earlier_outcome(
    tmp_path: pathlib.Path, written: str | None, code: int, state: str
) -> None:
    assert job(tmp_path, written, code).stdout == f"verify: {state}\n"


def unescaped(at: re.Match[str]) -> str:
    return {"n": "\n"}.get(at[1], at[1])


def test_the_metrics_of_hostile_names_can_be_read(tmp_path: pathlib.Path) -> None:
    names = ["hv1", 'a"b', "c\\", "d\ne", "{{ 7 * 7 }}"]
    # Only these two could be planned.
    hostvars: dict[str, t.Any] = {name: {} for name in names}
    hostvars["hv1"] = {"macvtap_plan": {"stages": [], "differences": "anything"}}
    hostvars['a"b'] = {"macvtap_plan": {"stages": []}}
    made = {**fleet_outcome(names, hostvars), "playbook": "verify", "time": "2026-01-01T00:00:00Z"}
    (tmp_path / "outcome.json").write_text(json.dumps(made), encoding="utf-8")
    file = tmp_path / "macvtap.prom"
    environment = {**os.environ, "MACVTAP_JSON": str(tmp_path / "outcome.json"), "ANSIBLE_HOME": str(tmp_path)}
    playbook = pathlib.Path(sys.executable).parent / "ansible-playbook"
    subprocess.run(
        [playbook, JOBS / "textfile.yml", "-e", f"metrics_file={file}"], env=environment, cwd=tmp_path, check=True
    )
    samples = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("# ")]
    label = r'\{(?:host|playbook)="((?:[^"\\\n]|\\[\\"n])*)"\}'
    read = [re.fullmatch(rf"(\w+){label} (\d+)", line) for line in samples]
    assert all(read), samples
    parts = [one.groups() for one in read if one]
    found = {(metric, re.sub(r"\\(.)", unescaped, host)): value for metric, host, value in parts}
    assert [found["macvtap_drift", name] for name in names] == ["1", "0", "0", "0", "0"]
    assert [found["macvtap_failed", name] for name in names] == ["0", "0", "1", "1", "1"]
    assert found["macvtap_check_timestamp_seconds", "verify"] == "1767225600"
    # The page shows all of them.
    assert {metric for metric, _host, _value in parts} == set(re.findall(r"(?m)^(macvtap_\w+)\{", PAGE))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_systemd_takes_the_units(tmp_path: pathlib.Path) -> None:
    for name in ("macvtap-verify.service", "macvtap-verify.timer"):
        text = (JOBS / name).read_text(encoding="utf-8")
        # What is run exists only where it is installed.
        text = re.sub(r"(?m)^(Exec\w+=)(\S+)", r"\1/bin/true", text)
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = sorted(map(str, tmp_path.iterdir()))
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_rulebook_runs_playbooks_that_there_are() -> None:
    (rules,) = yaml.safe_load((JOBS / "rulebook.yml").read_text(encoding="utf-8"))
    for rule in rules["rules"]:
        name = rule["action"]["run_playbook"]["name"].removeprefix("linuxvirt.macvtap.")
        assert (ROOT / "playbooks" / f"{name}.yml").exists()
