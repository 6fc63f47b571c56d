# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What tests share: running a module as Ansible would on a target."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time
import types
import typing as t

import preloaded
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Another system's root directory, for the hypervisors of the tests to run that in place of the machine's own: one whose
# libvirt is newer, or has a daemon for each driver. It needs what .ci/setup installs for the tests of libvirt.
OTHER_ROOT = os.environ.get("MACVTAP_TEST_ROOT", "")
# There a virtual environment of the machine's has no interpreter.
PYTHON = "/usr/bin/python3" if OTHER_ROOT else sys.executable
MODULES = "ansible_collections.linuxvirt.macvtap.plugins.modules"
ROOT_ONLY = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")]
# The newest pyroute2, and the one that Debian 12 has (0.7.2).
PYTHONS = [pytest.param("/usr/bin/python3", id="debian")]
PYTHONS += [] if OTHER_ROOT else [pytest.param(sys.executable, id="newest")]


@functools.lru_cache
def ansible_path() -> str:
    import ansible

    return str(pathlib.Path(ansible.__file__).parent.parent)


def module_command(name: str, python: str = PYTHON, patch: str = "") -> list[str]:
    """Return the command that runs a module. ``patch`` is code that first changes what the module consists of."""
    # A foreign interpreter finds ansible-core behind its own packages, so that it is these which the module meets.
    code = (
        f"import runpy, sys; sys.path.append({ansible_path()!r})\n"
        f"{patch}\n"
        f"runpy.run_module({MODULES + '.' + name!r}, run_name='__main__', alter_sys=True)"
    )
    return [python, "-c", code]


def module_input(params: t.Mapping[str, t.Any], *, check: bool = False, diff: bool = False) -> str:
    args = {**params, "_ansible_check_mode": check, "_ansible_diff": diff, "_ansible_remote_tmp": "/tmp"}
    return json.dumps({"ANSIBLE_MODULE_ARGS": args})


def meanwhile(when: str, function: str, command: t.Sequence[str]) -> str:
    """Return a patch by which others run a command once, "before" or "after" a function.

    ``function`` is one of ours, such as _host_access.reachability.checked.
    """
    package, _dot, name = f"ansible_collections.linuxvirt.macvtap.plugins.module_utils.{function}".rpartition(".")
    return (
        f"import {package} as package, subprocess\n"
        f"real, acts = package.{name}, [lambda: subprocess.run({list(command)!r}, check=True)]\n"
        "def acting(*args, **how):\n"
        f"    acts.pop()() if acts and {when == 'before'} else None\n"
        "    result = real(*args, **how)\n"
        "    acts.pop()() if acts else None\n"
        "    return result\n"
        f"package.{name} = acting\n"
    )


# A patch by which a run gets SIGTERM while the kernel carries out its request ``number`` that changes something: the
# answer is in the socket then, and has not been received.
STOPPED_IN_SEND = """
import os, signal, socket
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
sent, opened = [], rtnetlink.open_socket
class Socket(socket.socket):
    def send(self, data, *how):
        length = super().send(data, *how)
        # Of each four types the third is that of the requests that only read.
        if rtnetlink.HEADER.unpack_from(data)[1] % 4 != 2:
            sent.append(1)
            if len(sent) == {number}:
                signal.raise_signal(signal.SIGTERM)
        return length
rtnetlink.open_socket = lambda: Socket(fileno=opened().detach())
"""


def module_environment() -> dict[str, str]:
    # pytest's own variable has the test's name.
    own = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return {**own, "PYTHONPATH": str(ROOT / ".collections"), "LC_ALL": "C.UTF-8"}


def run_module(
    name: str,
    params: t.Mapping[str, t.Any],
    *,
    check: bool = False,
    diff: bool = False,
    python: str = PYTHON,
    prefix: t.Sequence[str] = (),
    timeout: float = 120,
    patch: str = "",
    alone: bool = False,
) -> dict[str, t.Any]:
    """Run the module ``name`` in a process of its own and return its result, with ``rc`` added.

    ``prefix`` is a command to run it under (``["ip", "netns", "exec", "ns"]``), ``python`` the interpreter: a
    foreign one finds ansible-core in this one's packages. ``patch``: see :func:`module_command`. ``alone`` is a
    process that has not been forked by one that has imported the module (see preloaded.py).
    """
    given, environment = module_input(params, check=check, diff=diff), module_environment()
    done: preloaded.Run | subprocess.CompletedProcess[str] | None = None
    if python == PYTHON and not patch and not alone:
        program = preloaded.Program(python, f"{MODULES}.{name}", [ansible_path()], environment)
        done = preloaded.run(prefix, program, given, timeout)
    if done is None:
        done = subprocess.run(
            [*prefix, *module_command(name, python, patch)],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env=environment,
        )
    assert "Traceback" not in done.stderr, done.stderr
    try:
        result: dict[str, t.Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError) as exc:
        raise AssertionError(f"no result from {name}: {done.stdout!r} {done.stderr!r}") from exc
    return {**result, "rc": done.returncode}


def until(true: t.Callable[[], bool], seconds: float = 30) -> bool:
    """Wait for a condition, and return whether it came true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@contextlib.contextmanager
def running_module(
    name: str, params: t.Mapping[str, t.Any], *, prefix: t.Sequence[str] = (), patch: str = "", **how: t.Any
) -> t.Iterator[subprocess.Popen[str]]:
    """Start the module and let the caller wait for it, or kill it; ``how`` is for Popen."""
    command = [*prefix, *module_command(name, patch=patch)]
    outputs = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **how}
    environment = module_environment()
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, env=environment, **outputs) as process:
        assert process.stdin is not None
        process.stdin.write(module_input(params))
        process.stdin.close()
        process.stdin = None
        yield process


class Killed:
    """Runs of a module that end after as much processor time as is said, whatever else the machine does meanwhile.

    The kernel ends them by a signal that no module handles. ``prefix`` must run the module in its own process.
    """

    def __init__(self, name: str, prefix: t.Sequence[str]) -> None:
        self._name, self._prefix = name, prefix

    def whole(self, params: t.Mapping[str, t.Any]) -> float:
        """Run the module to its end, and return how many seconds of processor time it took."""
        before = _processor_seconds()
        result = run_module(self._name, params, prefix=self._prefix, alone=True)
        assert not result.get("failed"), result
        return _processor_seconds() - before

    def after(self, seconds: float, params: t.Mapping[str, t.Any]) -> bool:
        """Start a run, and return whether it was ended before it was done."""
        timer = functools.partial(signal.setitimer, signal.ITIMER_PROF, seconds)
        with running_module(self._name, params, prefix=self._prefix, preexec_fn=timer) as process:
            return process.wait(120) == -signal.SIGPROF


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def documented(module: types.ModuleType) -> dict[str, t.Any]:
    """Return the options of a module's documentation with those of its fragments, put together as Ansible does."""
    documentation = yaml.safe_load(module.DOCUMENTATION)
    options: dict[str, t.Any] = {}
    for fragment in documentation["extends_documentation_fragment"]:
        name, _dot, part = fragment.partition("linuxvirt.macvtap.")[2].partition(".")
        found = importlib.import_module(f"ansible_collections.linuxvirt.macvtap.plugins.doc_fragments.{name}")
        text = getattr(found.ModuleDocFragment, part.upper() or "DOCUMENTATION")
        options.update(yaml.safe_load(text)["options"])
    return {**options, **documentation["options"]}


def shape(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return what an argument specification says apart from descriptions, aliases and what is required."""
    return {
        name: {
            "type": spec["type"],
            "choices": spec.get("choices"),
            "options": shape(spec.get("options", spec.get("suboptions", {}))),
        }
        for name, spec in options.items()
    }
