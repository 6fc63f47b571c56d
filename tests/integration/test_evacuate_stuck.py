# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that the playbook evacuate leaves behind, and what it writes down of them.

The hosts answer what is set for them: a guest that cannot move at one look, and can at the next, needs the very moment.
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest
from lying_hosts import Controller, Values

# Answers with the next file of the module, and with the last one from then on.
INTERPRETER = """\
#!/bin/sh
case "$*" in
*libvirt_guest_migrate*)
    echo asked >> "$0.asked"
    cat "$0.migrate.$(wc -l < "$0.asked")" ;;
*libvirt_guest_announce*) echo '{"changed": false}' ;;
*) cat "$0.look" ;;
esac
"""
MOVES: Values = {"changed": True, "rules": [], "rules_there": [], "left": [], "warnings": []}
STAYS: Values = {"failed": True, "msg": "domain web1 has a job (backup)"}


def look(*running: str) -> Values:
    domains = [{"name": name, "running": True, "memory": 512, "live": [], "stored": []} for name in running]
    libvirt = {"available": True, "memory_free": 9000, "reason": None}
    return {"changed": False, "domains": domains, "links": [], "networks": [], "libvirt": libvirt}


class Fleet:
    """hv1 with the guests web1 and web2, which is emptied, and hv2."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.controller = Controller(directory, None)
        self.homes = directory / "homes.json"
        self.begun = directory / "homes.json.begun"
        self.asked = directory / "hv1.sh.asked"

    def evacuate(self, *answers: Values, **variables: t.Any) -> str:
        """Empty hv1, whose guests' migrations answer this one after the other, and return what is shown."""
        hosts = {}
        for name, found in {"hv1": look("web1", "web2"), "hv2": look()}.items():
            interpreter = self.controller.directory / f"{name}.sh"
            interpreter.write_text(INTERPRETER)
            interpreter.chmod(0o755)
            pathlib.Path(f"{interpreter}.look").write_text(json.dumps(found))
            for number, answer in enumerate(answers, 1):
                pathlib.Path(f"{interpreter}.migrate.{number}").write_text(json.dumps(answer))
            hosts[name] = {"ansible_python_interpreter": str(interpreter)}
        local = {"ansible_connection": "local", "ansible_become": False}
        inventory = {"hypervisors": {"hosts": hosts, "vars": local}}
        (self.controller.directory / "hosts.yml").write_text(json.dumps(inventory))
        options = {"macvtap_migration_from": "hv1", "macvtap_migration_file": str(self.homes), **variables}
        done = self.controller.run("playbook", "linuxvirt.macvtap.evacuate", "-e", json.dumps(options), ok=False)
        self.failed = done.returncode != 0
        return done.stdout

    def written(self) -> list[Values | None]:
        """Return where guests are at home, and which hosts they are leaving; None of a file that is not there."""
        return [json.loads(file.read_text()) if file.exists() else None for file in (self.homes, self.begun)]

    def times(self) -> int:
        return len(self.asked.read_text().splitlines())


@pytest.fixture
def fleet(tmp_path: pathlib.Path) -> Fleet:
    return Fleet(tmp_path)


def test_without_being_told_no_guest_moves(fleet: Fleet) -> None:
    assert "No guest was moved, because these cannot move:" in fleet.evacuate(STAYS, MOVES)
    assert fleet.failed
    assert (fleet.times(), fleet.written()) == (2, [None, None])


def test_a_guest_that_stays_is_shown_and_stays(fleet: Fleet) -> None:
    # web1 could move when it is hv1's turn.
    shown = fleet.evacuate(STAYS, MOVES, MOVES, MOVES, macvtap_migration_leave_stuck=True)
    assert not fleet.failed, shown
    assert "These guests stay here, because they cannot move:" in shown
    assert "web1: domain web1 has a job (backup)" in shown
    # web2 is looked at twice, and moves.
    assert fleet.times() == 4
    assert fleet.written() == [{"web2": "hv1"}, None]


def test_of_a_guest_that_stays_at_its_turn_nothing_is_left_written(fleet: Fleet) -> None:
    fleet.homes.write_text('{"db1": "hv3"}')
    fleet.begun.write_text('{"db1": "hv3"}')
    shown = fleet.evacuate(MOVES, MOVES, STAYS, MOVES, MOVES, macvtap_migration_leave_stuck=True)
    assert not fleet.failed, shown
    assert "web1: domain web1 has a job (backup)" in shown
    assert fleet.times() == 5
    assert fleet.written() == [{"db1": "hv3", "web2": "hv1"}, {"db1": "hv3"}]


def test_what_an_earlier_run_has_begun_stays_written(fleet: Fleet) -> None:
    fleet.homes.write_text('{"web1": "hv1"}')
    fleet.begun.write_text('{"web1": "hv1"}')
    shown = fleet.evacuate(MOVES, MOVES, STAYS, MOVES, MOVES, macvtap_migration_leave_stuck=True)
    assert not fleet.failed, shown
    assert fleet.written() == [{"web1": "hv1", "web2": "hv1"}, {"web1": "hv1"}]
