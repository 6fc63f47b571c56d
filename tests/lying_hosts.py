# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Hypervisors that report whatever they like, and a controller with one or the other ansible-core.

A hypervisor is an interpreter that prints a file instead of running a module.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys
import typing as t

import pytest
from support import ROOT

Values = t.Dict[str, t.Any]
OLDEST = pathlib.Path(sys.executable).parent.parent / "oldest-core"
CONTROLLER = os.environ.get("MACVTAP_TEST_CONTROLLER", sys.executable)
# Another controller has an ansible-core of its own.
CORES = [pytest.param(None, id="newest")]
if "MACVTAP_TEST_CONTROLLER" not in os.environ:
    missing = pytest.mark.skipif(not OLDEST.exists(), reason="needs the oldest ansible-core: .ci/setup oldest-core")
    CORES.append(pytest.param(OLDEST, id="oldest", marks=missing))
_INTERPRETER = """\
#!/bin/sh
case "$*" in
*macvtap_host_plan*) cat "$0.plan" ;;
*) cat "$0.json" ;;
esac
"""


class Controller:
    """Runs Ansible in a directory, with what it has in ``hosts.yml``."""

    def __init__(self, directory: pathlib.Path, core: pathlib.Path | None) -> None:
        self.directory = directory
        self.core = core
        self.evidence = directory / "evidence"
        self.evidence.mkdir()

    def payload(self, name: str) -> str:
        """Return a text that leaves a file in ``evidence`` if Ansible takes it for a template."""
        return "{{ lookup('ansible.builtin.pipe', 'touch %s') }}" % (self.evidence / name)

    @property
    def evaluated(self) -> list[str]:
        """The names of the payloads that were run."""
        return sorted(path.name for path in self.evidence.iterdir())

    def hosts(
        self, reports: t.Mapping[str, t.Any], plans: t.Mapping[str, t.Any] | None = None, **groups: t.Any
    ) -> None:
        """Have hypervisors that report this, and other ``groups``."""
        hosts = {}
        for name, report in reports.items():
            interpreter = self.directory / f"{name}.sh"
            interpreter.write_text(_INTERPRETER, encoding="utf-8")
            interpreter.chmod(0o755)
            for suffix, answer in (("json", report), ("plan", (plans or {}).get(name))):
                interpreter.with_suffix(f".sh.{suffix}").write_text(json.dumps(answer), encoding="utf-8")
            hosts[name] = {"ansible_python_interpreter": str(interpreter)}
        local = {"ansible_connection": "local", "ansible_become": False}
        inventory = {"hypervisors": {"hosts": hosts, "vars": local}, **groups}
        (self.directory / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")

    def guests(self, **options: t.Any) -> None:
        """Have an inventory of the guests of the hypervisors."""
        declared = {"plugin": "linuxvirt.macvtap.guests", "hypervisors": "hypervisors", "become": False, **options}
        (self.directory / "macvtap_guests.yml").write_text(json.dumps(declared), encoding="utf-8")

    def run(self, tool: str, *arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a tool of Ansible, such as playbook, on all inventories of the directory."""
        sources = [word for source in sorted(self.directory.glob("*.yml")) for word in ("-i", str(source))]
        done = subprocess.run(
            [CONTROLLER, "-m", "ansible", tool, *sources, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            timeout=600,
            env={
                **os.environ,
                "ANSIBLE_NOCOLOR": "1",
                "ANSIBLE_HOME": str(self.directory / "home"),
                **({"PYTHONPATH": str(self.core)} if self.core else {}),
            },
        )
        if ok:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def listed(self) -> t.Any:
        """Return the inventory, as ansible-inventory lists it."""
        return json.loads(self.run("inventory", "--list").stdout, object_hook=_without_marks)


def _without_marks(value: Values) -> t.Any:
    return value.get("__ansible_unsafe", value)


def variants(report: t.Any, text: t.Callable[[str], str]) -> list[t.Any]:
    """Return ``report`` once for each text that it has, keys included, with ``text`` of a number in its place."""
    places = list(_places(report, ()))
    return [_with(report, place, text(str(number))) for number, place in enumerate(places)]


def _places(value: t.Any, path: tuple[t.Any, ...]) -> t.Iterator[tuple[t.Any, ...]]:
    if isinstance(value, dict):
        for name, one in value.items():
            yield (*path, name, None)
            yield from _places(one, (*path, name))
    elif isinstance(value, list):
        for number, one in enumerate(value):
            yield from _places(one, (*path, number))
    elif isinstance(value, str) or value is None:
        yield path


def _with(report: t.Any, place: tuple[t.Any, ...], text: str) -> t.Any:
    """Return the report with ``text`` at a place, or beside it as another key if the place ends in None."""
    changed = copy.deepcopy(report)
    *path, last = place
    inner = changed
    if last is None:
        for key in path[:-1]:
            inner = inner[key]
        inner[text] = inner[path[-1]]
        return changed
    for key in path:
        inner = inner[key]
    inner[last] = text
    return changed
