# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where it is measured, and how: a network namespace, processes and what they cost, medians."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass

sys.path.append(str(pathlib.Path(__file__).resolve().parents[2] / "extensions" / "molecule" / "lab"))

from labkit import indexes

ROOT = pathlib.Path(__file__).resolve().parents[2]

MACVTAP_LINK = "ansible_collections.linuxvirt.macvtap.plugins.modules.macvtap_link"
EMPTY = "empty_module"
UPLINK = "eth0"
_SCRATCH_GROUP = 0x62656E63
# Besides the links: the ends of the veth, and the one link by which indexes.reserve() finds the counter.
_SPARE_INDEXES = 16
# The greater part of what both a module and pyroute2 import.
_ANSIBLES_IMPORTS = "import json, socket, struct, subprocess, tempfile, logging, threading, traceback"
# Indexes of a namespace: to get to its range costs a new namespace a second or two.
_RANGE = 6000
_numbers = itertools.count()


class BenchmarkError(Exception):
    """A measured process did something else than what was to be measured."""


@dataclass(frozen=True)
class Cost:
    """What one process cost, from its start to its exit: seconds. ``output`` is what it printed."""

    wall: float
    cpu: float
    output: bytes
    errors: bytes

    def result(self) -> dict[str, t.Any]:
        """Return what a module returned."""
        result: dict[str, t.Any] = json.loads(self.output)
        return result


@dataclass(frozen=True)
class Probe:
    """What a module's run was like: peak of its resident memory and size of its result, in bytes."""

    peak: int
    imports_pyroute2: bool
    output: int


@dataclass
class Session:
    """What all measurements share: an interpreter that the module runs in, a directory for files, a namespace.

    ``left`` is how many interface indexes of the namespace are not used up.
    """

    python: str
    scratch: pathlib.Path
    namespaces: contextlib.ExitStack
    bench: Bench | None = None
    left: int = 0

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
    """One namespace to measure in."""

    netns: str
    session: Session

    @property
    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.netns]

    def run(self, argv: t.Sequence[str], *, stdin: str = "", env: t.Mapping[str, str] | None = None) -> Cost:
        """Run ``argv`` in the namespace.

        :raises BenchmarkError: it failed.
        """
        # Files, not pipes: nobody's scheduling but its own is measured.
        with contextlib.ExitStack() as files:
            given, said, errors = (files.enter_context(tempfile.TemporaryFile()) for _round in range(3))
            given.write(stdin.encode())
            given.seek(0)
            whole_env = {**self.session.environment(), **(env or {})}
            started = time.perf_counter()
            process = subprocess.Popen([*self.prefix, *argv], stdin=given, stdout=said, stderr=errors, env=whole_env)
            try:
                _pid, status, usage = os.wait4(process.pid, 0)
            except BaseException:
                process.kill()
                process.wait()
                raise
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            errors.seek(0)
            cost = Cost(wall, usage.ru_utime + usage.ru_stime, said.read(), errors.read())
        if process.returncode:
            whole = (cost.output + cost.errors).decode(errors="replace")
            raise BenchmarkError(f"{' '.join(argv)[:80]} ended with {process.returncode}: {whole[-2000:]}")
        return cost

    def module(self, params: t.Mapping[str, t.Any], module: str = MACVTAP_LINK, *, around: str = "{}") -> Cost:
        """Run a module as Ansible runs it in the target's Python. ``around`` is Python code around the run."""
        run = f"runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
        # ansible-core comes behind the interpreter's own packages: it is these that the module meets.
        code = f"import runpy, sys; sys.path.append({_ansible_path()!r})\n" + around.format(run)
        args = {**params, "_ansible_check_mode": False, "_ansible_diff": False, "_ansible_remote_tmp": "/tmp"}
        return self.run([self.session.python, "-c", code], stdin=json.dumps({"ANSIBLE_MODULE_ARGS": args}))

    def empty(self) -> Cost:
        return self.module({}, EMPTY)

    def batch(self, lines: t.Iterable[str]) -> Cost:
        """Run one ``ip -batch`` over ``lines``."""
        path = self.session.scratch / "batch"
        path.write_text("".join(f"{line}\n" for line in lines))
        return self.run(["ip", "-batch", str(path)])

    def clear(self) -> None:
        """Remove all macvtap links, by a group: one by one the kernel waits out a grace period for each."""
        shown = json.loads(self.run(["ip", "-j", "link", "show", "type", "macvtap"]).output or b"[]")
        names = [link["ifname"] for link in shown if link]
        if names:
            self.batch(f"link set {name} group {_SCRATCH_GROUP}" for name in names)
            self.run(["ip", "link", "delete", "group", str(_SCRATCH_GROUP)])


@contextlib.contextmanager
def session(python: str) -> t.Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="macvtap-bench-") as scratch, contextlib.ExitStack() as namespaces:
        made = Session(python, pathlib.Path(scratch), namespaces)
        _warm_up(made)
        yield made


@contextlib.contextmanager
def bench(in_session: Session, links: int) -> t.Iterator[Bench]:
    """Give a namespace with an uplink and nothing on it, in which ``links`` links can be made in all."""
    if in_session.bench is None or in_session.left < links:
        in_session.namespaces.close()
        in_session.left = max(links, _RANGE)
        in_session.bench = in_session.namespaces.enter_context(_namespace(in_session))
    in_session.left -= links
    try:
        yield in_session.bench
    finally:
        with _undisturbed():
            in_session.bench.clear()


@contextlib.contextmanager
def _namespace(in_session: Session) -> t.Iterator[Bench]:
    netns = f"macvtap-bench-{os.getpid()}-{next(_numbers)}"
    made = Bench(netns, in_session)
    try:
        subprocess.run(["ip", "netns", "add", netns], check=True)
        # /dev/tapN is named after the interface index, and /dev is one for all namespaces.
        indexes.reserve(netns, in_session.left + _SPARE_INDEXES)
        made.batch([f"link add {UPLINK} up type veth peer name far0", "link set far0 up"])
        yield made
    finally:
        with _undisturbed():
            if indexes.netns_path(netns).exists():
                subprocess.run(["ip", "netns", "del", netns], check=True)
            indexes.release([netns])


def bare_python(made: Bench) -> Cost:
    # With what a module has imported anyway, so that the difference to import_pyroute2() is pyroute2's.
    return made.run([made.session.python, "-c", _ANSIBLES_IMPORTS])


def import_pyroute2(made: Bench) -> Cost:
    return made.run([made.session.python, "-c", f"{_ANSIBLES_IMPORTS}; import pyroute2"])


def probe(made: Bench, params: t.Mapping[str, t.Any], module: str = MACVTAP_LINK) -> Probe:
    """Run a module once more and look at it from within, which would disturb a measurement of time."""
    # VmHWM, not ru_maxrss: that one counts the process that was forked, before it executed Python.
    around = (
        "import atexit\n"
        "def look():\n"
        "    peak = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0]\n"
        "    sys.stderr.write('\\nprobe %s %d' % (peak, 'pyroute2' in sys.modules))\n"
        "atexit.register(look)\n"
        "{}"
    )
    cost = made.module(params, module, around=around)
    _rest, peak, imported = cost.errors.decode().rsplit(maxsplit=2)
    return Probe(int(peak) * 1024, imported == "1", len(cost.output))


def ansibles_own(made: Bench, params: t.Mapping[str, t.Any]) -> float:
    """Return what a run with these arguments costs if the module does nothing but return what it returned before.

    That is what AnsibleModule takes to check so many arguments and to write so much output: seconds.
    """
    result = made.session.scratch / "result.json"
    result.write_bytes(made.module(params).output)
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


def _warm_up(in_session: Session) -> None:
    """Have the byte code of everything that is measured written, as it is where a collection is installed."""
    with bench(in_session, 4) as made:
        for state in ("up", "absent"):
            made.module({"name": "mt0", "parent": UPLINK, "mode": "bridge", "state": state})
        made.empty()
        import_pyroute2(made)


def _ansible_path() -> str:
    spec = importlib.util.find_spec("ansible")
    if spec is None or spec.origin is None:
        raise BenchmarkError("ansible-core is not installed beside the interpreter that runs the benchmark")
    return str(pathlib.Path(spec.origin).parent.parent)


@contextlib.contextmanager
def _undisturbed() -> t.Iterator[None]:
    """Keep a second Ctrl-C from leaving a namespace behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
