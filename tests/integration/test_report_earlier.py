# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The playbook report beside what an earlier run, or something else, has left. This machine stands for a hypervisor."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import installed
import pytest
from support import PYTHON


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return installed.collections(tmp_path_factory.getbasetemp() / "installed")


def report(directory: pathlib.Path, collections: pathlib.Path, *, oldest: bool) -> str:
    hosts = {"hv1": {"ansible_connection": "local", "ansible_python_interpreter": PYTHON, "ansible_become": False}}
    inventory = directory / "inventory.json"
    inventory.write_text(json.dumps({"hypervisors": {"hosts": hosts}}))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections), "ANSIBLE_HOME": str(directory)}
    environment["ANSIBLE_NOCOLOR"] = "1"
    if oldest:
        environment["PYTHONPATH"] = str(installed.BIN.parent / "oldest-core")
    argv = [sys.executable, "-m", "ansible", "playbook", "-i", str(inventory), "linuxvirt.macvtap.report"]
    argv += ["-e", f"macvtap_report={directory}/y"]
    done = subprocess.run(argv, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("oldest", [False, True])
def test_a_report_that_cannot_be_compared_is_replaced_with_a_remark(
    tmp_path: pathlib.Path, collections: pathlib.Path, oldest: bool
) -> None:
    unknown = f"What has changed since the last report is not known: {tmp_path}/y.json is not the JSON of a report"
    assert "is not known" not in report(tmp_path, collections, oldest=oldest)
    (tmp_path / "y.json").write_text('{"mine": "{{ undefined }}"}')
    shown = report(tmp_path, collections, oldest=oldest)
    assert f"{unknown} of version 1. That file is replaced, and a backup of it is kept beside it" in shown
    assert unknown in (tmp_path / "y.txt").read_text()
    assert unknown in (tmp_path / "y.html").read_text()
    assert [path.read_text() for path in tmp_path.glob("y.json.*~")] == ['{"mine": "{{ undefined }}"}']
    # And the next one is compared with this one.
    assert json.loads((tmp_path / "y.json").read_text())["version"] == 1
    assert "is not known" not in report(tmp_path, collections, oldest=oldest)
    assert unknown not in (tmp_path / "y.txt").read_text()
    assert len(list(tmp_path.glob("y.json*"))) == 2
