# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How it is measured: processes in a network namespace and what they cost, medians."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import statistics
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parents[2]

_MODULES = "ansible_collections.linuxvirt.macvtap.plugins.modules."
_EMPTY = "empty_module"


class BenchmarkError(Exception):
    """A measured process did something else than what was to be measured."""


@dataclass(frozen=True)
class Cost:
    """What one process cost, from its start to its exit: seconds. ``output`` is what it printed.

    ``peak`` is the largest resident memory of it or of one of its own processes, in bytes.
    """

    wall: float
    cpu: float
    output: bytes
    errors: bytes
    peak: int = 0

    def result(self) -> dict[str, t.Any]:
        """Return what a module returned."""
        result: dict[str, t.Any] = json.loads(self.output)
        return result


@dataclass(frozen=True)
class Probe:
    """What a module's run was like: peak of its resident memory and size of its result, in bytes.

    ``pyroute2`` says how much of that the module imported.
    """

    peak: int
    pyroute2: str
    output: int


@dataclass
class Session:
    """What all measurements share: an interpreter that the module runs in, a directory for files."""

    python: str
    scratch: pathlib.Path

    def environment(self) -> dict[str, str]:
        """Return the environment of what is measured: the same for all, and with a byte-code cache."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ANSIBLE_"))}
        return {
            **kept,
            "PYTHONPATH": os.pathsep.join((str(ROOT / ".collections"), str(pathlib.Path(__file__).parent))),
            # Not beside the sources, where only an installation should write.
            "PYTHONPYCACHEPREFIX": str(ROOT / ".cache" / "benchmark"),
            "LC_ALL": "C.UTF-8",
        }


@dataclass(frozen=True)
class Bench:
    """One namespace to measure the module ``measured`` in."""

    netns: str
    session: Session
    measured: str

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.netns]

    def run(self, argv: t.Sequence[str], *, stdin: str = "", env: t.Mapping[str, str] | None = None) -> Cost:
        """Run ``argv`` in the namespace.

        :raises BenchmarkError: it failed.
        """
        return run([*self.prefix, *argv], {**self.session.environment(), **(env or {})}, stdin=stdin)

    def module(self, params: t.Mapping[str, t.Any], *, around: str = "{}", empty: bool = False) -> Cost:
        """Run the module as Ansible runs it in the target's Python. ``around`` is Python code around the run."""
        name = _EMPTY if empty else _MODULES + self.measured
        run = f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
        # ansible-core comes behind the interpreter's own packages: it is these that the module meets.
        code = f"import runpy, sys; sys.path.append({_ansible_path()!r})\n" + around.format(run)
        args = {**params, "_ansible_check_mode": False, "_ansible_diff": False, "_ansible_remote_tmp": "/tmp"}
        return self.run([self.session.python, "-c", code], stdin=json.dumps({"ANSIBLE_MODULE_ARGS": args}))

    def empty(self) -> Cost:
        return self.module({}, empty=True)


def run(argv: t.Sequence[str], env: t.Mapping[str, str], *, stdin: str = "", cwd: pathlib.Path | None = None) -> Cost:
    """Run ``argv``.

    :raises BenchmarkError: it failed.
    """
    # Files, not pipes: nobody's scheduling but its own is measured.
    with contextlib.ExitStack() as files:
        given, message, errors = (files.enter_context(tempfile.TemporaryFile()) for _round in range(3))
        given.write(stdin.encode())
        given.seek(0)
        started = time.perf_counter()
        process = subprocess.Popen(argv, stdin=given, stdout=message, stderr=errors, env=env, cwd=cwd)
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        message.seek(0)
        errors.seek(0)
        cpu, peak = usage.ru_utime + usage.ru_stime, 1024 * usage.ru_maxrss
        cost = Cost(wall, cpu, message.read(), errors.read(), peak)
    if process.returncode:
        whole = (cost.output + cost.errors).decode(errors="replace")
        raise BenchmarkError(f"{' '.join(argv)[:120]} ended with {process.returncode}: {whole[-2000:]}")
    return cost


def probe(made: Bench, params: t.Mapping[str, t.Any], *, empty: bool = False) -> Probe:
    """Run the module once more and look at it from within, which would disturb a measurement of time."""
    # VmHWM, not ru_maxrss: that one counts the process that was forked, before it executed Python.
    around = (
        "import atexit\n"
        "def look():\n"
        "    peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0]\n"
        "    parts = sum(name.startswith('pyroute2') for name in sys.modules)\n"
        "    sys.stderr.write('\\nprobe %s %d' % (peak, parts))\n"
        "atexit.register(look)\n"
        "{}"
    )
    cost = made.module(params, around=around, empty=empty)
    _rest, peak, parts = cost.errors.decode().rsplit(maxsplit=2)
    message = f"{parts} modules of pyroute2 are imported" if parts != "0" else "pyroute2 is not imported"
    return Probe(int(peak) * 1024, message, len(cost.output))


def ansibles_own(made: Bench, params: t.Mapping[str, t.Any]) -> float:
    """Return what a run with these arguments costs if the module does nothing but return what it returned before.

    That is what AnsibleModule takes to check so many arguments and to write so much output: seconds.
    """
    result = made.session.scratch / "result.json"
    # AnsibleModule takes no warnings in the form in which it returns them.
    returned = json.loads(made.module(params).output)
    assert not returned.get("warnings"), returned["warnings"]
    result.write_text(json.dumps(returned), encoding="utf-8")
    around = (
        "import json\n"
        "from ansible.module_utils import basic\n"
        "init = basic.AnsibleModule.__init__\n"
        "def end(self, *args, **kwargs):\n"
        "    init(self, *args, **kwargs)\n"
        f"    self.exit_json(**json.load(open({str(result)!r})))\n"
        "basic.AnsibleModule.__init__ = end\n"
        "{}"
    )
    return made.module(params, around=around).wall


def median(values: t.Iterable[float]) -> float:
    return statistics.median(values)


def _ansible_path() -> str:
    spec = importlib.util.find_spec("ansible")
    if spec is None or spec.origin is None:
        raise BenchmarkError("ansible-core is not installed beside the interpreter that runs the benchmark")
    return str(pathlib.Path(spec.origin).parent.parent)


@contextlib.contextmanager
def undisturbed() -> t.Iterator[None]:
    """Keep a second Ctrl-C from leaving anything behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
