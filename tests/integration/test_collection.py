# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The built and installed collection, run over the lab's hypervisors as a user would."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import typing as t

import pytest
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import cells, guest, image, indexes, lifecycle, model

BIN = pathlib.Path(sys.executable).parent
GUESTS = {"hv1": "web1", "hv2": "web2"}


class Fleet:
    """Two hypervisors with a defined guest each, and the collection installed in a path of its own."""

    def __init__(self, lab: model.Lab, home: pathlib.Path) -> None:
        self.lab = lab
        self.home = home

    def play(self, playbook: str, *more: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        inventories = ["-i", str(ROOT / "docs/example/inventory"), "-i", str(self.lab.inventory)]
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(self.home / "collections"),
            "ANSIBLE_HOME": str(self.home),
            "ANSIBLE_NOCOLOR": "1",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }
        done = subprocess.run(
            ["ansible-playbook", f"linuxvirt.macvtap.{playbook}", *inventories, *more],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def on(self, hypervisor: str, *command: str) -> str:
        argv = [*cells.enter(self.lab.hypervisor(hypervisor)), *command]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    def state(self) -> dict[str, list[str]]:
        """What there is of links and domains on each hypervisor, in the tools' own words."""
        return {
            hv: [
                re.sub(r" state \w+ ", " ", self.on(hv, "ip", "-d", "link", "show", "type", "macvtap")),
                self.on(hv, "virsh", "dumpxml", "--inactive", name),
            ]
            for hv, name in GUESTS.items()
        }


def changed(done: subprocess.CompletedProcess[str]) -> list[int]:
    return [int(found) for found in re.findall(r"\bchanged=(\d+)", done.stdout)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    if os.geteuid() != 0:
        pytest.skip("needs root, for the lab")
    home = tmp_path_factory.mktemp("home")
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    subprocess.run([*galaxy, "build", "--output-path", home], cwd=ROOT, check=True, capture_output=True)
    (artefact,) = home.glob("linuxvirt-macvtap-*.tar.gz")
    subprocess.run(
        [*galaxy, "install", "--offline", "-p", home / "collections", artefact],
        cwd=home,
        check=True,
        capture_output=True,
    )
    lab = lifecycle.create(model.declare(f"pytest-{os.getpid()}", tuple(GUESTS)), index_count=indexes.COUNT)
    try:
        for hv, name in GUESTS.items():
            guest.define(lab.hypervisor(hv), name, image.cache_dir(None), memory=192)
        yield Fleet(lab, home)
    finally:
        lifecycle.destroy(lab.name)


def test_the_artefact_holds_what_a_user_needs_and_nothing_else(fleet: Fleet) -> None:
    installed = fleet.home / "collections/ansible_collections/linuxvirt/macvtap"
    found = {path.name for path in installed.iterdir()}
    assert found == {
        "CHANGELOG.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "changelogs",
        "docs",
        "meta",
        "playbooks",
        "plugins",
        "roles",
    }


def test_site_makes_the_fleet_as_declared_and_a_second_run_costs_little_and_changes_nothing(fleet: Fleet) -> None:
    assert min(changed(fleet.play("site"))) > 0
    made = fleet.state()
    again = fleet.play("site", "-vvv")
    assert changed(again) == [0, 0]
    for hv in GUESTS:
        # Said once for each module that runs on the host. Lines about two hosts come in any order.
        host = re.escape(f"{hv}.{fleet.lab.name}")
        runs = re.findall(rf"^<{host}> SSH: EXEC .*python3 && sleep 0", again.stdout, re.MULTILINE)
        assert 1 <= len(runs) <= 6, again.stdout
    assert fleet.state() == made


def test_verify_agrees_and_notices_a_difference_without_touching_it(fleet: Fleet) -> None:
    fleet.play("site")
    fleet.play("verify")
    fleet.on("hv2", "ip", "link", "set", "spare0", "type", "macvtap", "mode", "private")
    before = fleet.state()
    done = fleet.play("verify", check=False)
    assert done.returncode != 0
    assert re.search(r'"field": "mode".*"target": "spare0"|private', done.stdout + done.stderr)
    assert "hv1" not in re.findall(r"^(\w+)\s+: ok=.*failed=[1-9]", done.stdout, re.MULTILINE)
    assert fleet.state() == before
    assert changed(fleet.play("site")) == [0, 1]


def test_check_mode_of_site_touches_nothing(fleet: Fleet) -> None:
    fleet.play("teardown")
    before = fleet.state()
    assert min(changed(fleet.play("site", "--check", "--diff"))) > 0
    assert fleet.state() == before


def test_teardown_removes_what_is_declared_and_nothing_else(fleet: Fleet) -> None:
    fleet.on("hv1", "ip", "link", "add", "link", "eth0", "name", "foreign0", "type", "macvtap", "mode", "bridge")
    mac = "52:54:00:00:00:99"
    foreign = f"<interface type='direct'><mac address='{mac}'/><source dev='eth0' mode='bridge'/></interface>"
    hv1 = fleet.lab.hypervisor("hv1")
    command = [*cells.enter(hv1), "virsh", "attach-device", "--config", "web1", "/dev/stdin"]
    subprocess.run(command, input=foreign, text=True, check=True, capture_output=True)
    before = fleet.state()
    fleet.play("site")
    assert fleet.state() != before
    fleet.play("teardown")
    after = fleet.state()
    assert "foreign0" in after["hv1"][0]
    assert "spare0" not in after["hv1"][0] + after["hv2"][0]
    assert mac in after["hv1"][1]
    assert "52:54:00:00:01:01" not in after["hv1"][1]
    assert changed(fleet.play("teardown")) == [0, 0]
