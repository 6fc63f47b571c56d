# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The built and installed collection, run over the lab's hypervisors as a user would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import typing as t

import installed
import pytest
from installed import Fleet, changed
from labkit import cells, guest, image
from support import ROOT

# Compares the plan with the roles in check mode.
PLANNED = str(ROOT / "tests/planned.yml")
GUESTS = {"hv1": "web1", "hv2": "web2"}


def state(fleet: Fleet) -> dict[str, list[str]]:
    """What there is of links and domains on each hypervisor, in the tools' own words."""
    return {
        hv: [
            re.sub(r" state \w+ ", " ", fleet.on(hv, "ip", "-d", "link", "show", "type", "macvtap")),
            fleet.on(hv, "virsh", "dumpxml", "--inactive", name),
        ]
        for hv, name in GUESTS.items()
    }


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Fleet]:
    """Two hypervisors with a defined guest each."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for the lab")
    with installed.fleet(tmp_path_factory, GUESTS) as made:
        for hv, name in GUESTS.items():
            guest.define(made.lab.hypervisor(hv), name, image.cache_dir(None), memory=192)
        yield made


def test_the_artefact_holds_what_a_user_needs_and_nothing_else(fleet: Fleet) -> None:
    installed = fleet.collections / "ansible_collections/linuxvirt/macvtap"
    found = {path.name for path in installed.iterdir()}
    assert found == {
        # Galaxy runs ansible-lint by it.
        ".ansible-lint",
        "CHANGELOG.md",
        "CODE_OF_CONDUCT.md",
        "CONTRIBUTING.md",
        "FILES.json",
        "LICENSE",
        "MANIFEST.json",
        "README.md",
        "SECURITY.md",
        "changelogs",
        "docs",
        "meta",
        "playbooks",
        "plugins",
        "roles",
    }


def test_site_makes_the_fleet_as_declared_and_a_second_run_costs_little_and_changes_nothing(fleet: Fleet) -> None:
    # Another test may have made it already.
    fleet.brought_to("teardown")
    assert min(changed(fleet.play("site"))) > 0
    made = state(fleet)
    again = fleet.play("site", "-vvv")
    assert changed(again) == [0, 0]
    for hv in GUESTS:
        # Said once for each module that runs on the host: the one that plans. No facts, and no package manager. Lines
        # about two hosts come in any order.
        host = re.escape(f"{hv}.{fleet.lab.name}")
        runs = re.findall(rf"^<{host}> SSH: EXEC .*python3 && sleep 0", again.stdout, re.MULTILINE)
        assert len(runs) == 1, again.stdout
    assert "hv1, hv2: as declared" in again.stdout
    assert state(fleet) == made


def test_verify_agrees_and_notices_a_difference_without_touching_it(fleet: Fleet) -> None:
    fleet.brought_to("site")
    fleet.play("verify")
    fleet.as_after = ""
    # Its mode is not declared, and an existing link keeps it.
    fleet.on("hv2", "ip", "link", "set", "spare0", "type", "macvtap", "mode", "private")
    fleet.on("hv2", "ip", "link", "set", "spare0", "up")
    before, report, lost = state(fleet), fleet.home / "verify.json", fleet.home / "lost.yml"
    lost.write_text("hypervisors: {hosts: {hv0: {ansible_host: 127.0.0.1, ansible_port: 1}}}", encoding="utf-8")
    fleet.play(PLANNED)
    options = ("-i", str(lost), "-e", f"macvtap_verify_json={report}")
    done = fleet.play("verify", *options, check=False)
    assert done.returncode == 4
    assert '"msg": "Not as declared: spare0 state: up → down"' in done.stdout
    assert "hv1" not in re.findall(r"^(\w+)\s+: ok=.*failed=[1-9]", done.stdout, re.MULTILINE)
    assert "hv2   spare0  state  down      up" in done.stdout
    assert "1 of 3 hosts ok, 1 with drift (1 difference), 1 unreachable" in done.stdout
    written = json.loads(report.read_text())
    assert {host: one["state"] for host, one in written["by_host"].items()} == {
        "hv0": "unreachable",
        "hv1": "ok",
        "hv2": "drift",
    }
    assert written["drift"] == [{"host": "hv2", "what": "spare0", "field": "state", "declared": "down", "found": "up"}]
    # Nobody is left to write anything.
    assert fleet.play("verify", "--limit", "hv0", *options, check=False).returncode == 4
    assert json.loads(report.read_text())["counts"]["hosts"] == 0
    assert state(fleet) == before
    assert changed(fleet.play("site")) == [0, 1]


def test_check_mode_of_site_touches_nothing(fleet: Fleet) -> None:
    fleet.brought_to("teardown")
    before = state(fleet)
    assert min(changed(fleet.play("site", "--check", "--diff"))) > 0
    fleet.play(PLANNED)
    assert state(fleet) == before


def test_teardown_removes_what_is_declared_and_nothing_else(fleet: Fleet) -> None:
    fleet.brought_to("teardown")
    fleet.on("hv1", "ip", "link", "add", "link", "eth0", "name", "foreign0", "type", "macvtap", "mode", "bridge")
    mac = "52:54:00:00:00:99"
    foreign = f"<interface type='direct'><mac address='{mac}'/><source dev='eth0' mode='bridge'/></interface>"
    hv1 = fleet.lab.hypervisor("hv1")
    command = [*cells.enter(hv1), "virsh", "attach-device", "--config", "web1", "/dev/stdin"]
    subprocess.run(command, input=foreign, text=True, check=True, capture_output=True)
    before = state(fleet)
    fleet.play("site")
    assert state(fleet) != before
    fleet.play("teardown")
    after = state(fleet)
    assert "foreign0" in after["hv1"][0]
    assert "spare0" not in after["hv1"][0] + after["hv2"][0]
    assert mac in after["hv1"][1]
    assert "52:54:00:00:01:01" not in after["hv1"][1]
    assert changed(fleet.play("teardown")) == [0, 0]
