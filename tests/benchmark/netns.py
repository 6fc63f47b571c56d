# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A network namespace with an uplink, to measure macvtap_link in."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import typing as t
from dataclasses import dataclass

from harness import ROOT, Bench, BenchmarkError, Cost, Session, undisturbed

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import indexes

UPLINK = "eth0"
_SCRATCH_GROUP = 0x62656E63
# Besides the links: the ends of the veth, and the one link by which indexes.reserve() finds the counter.
_SPARE_INDEXES = 16
# The greater part of what both a module and pyroute2 import.
_ANSIBLES_IMPORTS = "import json, socket, struct, subprocess, tempfile, logging, threading, traceback"
# Indexes of a namespace: to get to its range costs a new namespace a second or two.
_RANGE = 6000
_numbers = itertools.count()


@dataclass
class LinkSession(Session):
    """A session with a namespace that is used for one measurement after the other.

    ``left`` is how many interface indexes of the namespace are not used up.
    """

    namespaces: contextlib.ExitStack
    bench: LinkBench | None = None
    left: int = 0


@dataclass(frozen=True)
class LinkBench(Bench):
    """A namespace and the links in it."""

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
def session(python: str) -> t.Iterator[LinkSession]:
    with tempfile.TemporaryDirectory(prefix="macvtap-bench-") as scratch, contextlib.ExitStack() as namespaces:
        made = LinkSession(python, pathlib.Path(scratch), namespaces)
        _warm_up(made)
        yield made


@contextlib.contextmanager
def bench(in_session: LinkSession, links: int) -> t.Iterator[LinkBench]:
    """Give a namespace with an uplink and nothing on it, in which ``links`` links can be made in all."""
    if in_session.bench is None or in_session.left < links:
        in_session.namespaces.close()
        in_session.left = max(links, _RANGE)
        in_session.bench = in_session.namespaces.enter_context(_namespace(in_session))
    in_session.left -= links
    try:
        yield in_session.bench
    finally:
        with undisturbed():
            in_session.bench.clear()


@contextlib.contextmanager
def _namespace(in_session: LinkSession) -> t.Iterator[LinkBench]:
    with another(in_session.left) as netns:
        made = LinkBench(netns, in_session, "macvtap_link")
        made.batch([f"link add {UPLINK} up type veth peer name far0", "link set far0 up"])
        yield made


@contextlib.contextmanager
def another(links: int) -> t.Iterator[str]:
    """Give an empty namespace, in which ``links`` links can be made in all."""
    netns = f"macvtap-bench-{os.getpid()}-{next(_numbers)}"
    try:
        subprocess.run(["ip", "netns", "add", netns], check=True)
        # /dev/tapN is named after the interface index, and /dev is one for all namespaces.
        indexes.reserve(netns, links + _SPARE_INDEXES)
        yield netns
    finally:
        with undisturbed():
            if indexes.netns_path(netns).exists():
                subprocess.run(["ip", "netns", "del", netns], check=True)
            indexes.release([netns])


def settle(made: LinkBench) -> None:
    """Wait until IPv6 has found the addresses of new links to be theirs alone: until then, changes wait for it."""
    deadline = time.monotonic() + 120
    while b"tentative" in made.run(["ip", "-6", "address", "show", "tentative"]).output:
        if time.monotonic() > deadline:
            raise BenchmarkError("addresses of the links are tentative after two minutes")
        time.sleep(0.2)


def bare_python(made: Bench) -> Cost:
    # With what a module has imported anyway, so that the difference to import_pyroute2() is pyroute2's.
    return made.run([made.session.python, "-c", _ANSIBLES_IMPORTS])


def import_pyroute2(made: Bench) -> Cost:
    return made.run([made.session.python, "-c", f"{_ANSIBLES_IMPORTS}; import pyroute2"])


def _warm_up(in_session: LinkSession) -> None:
    """Have the byte code of everything that is measured written, as it is where a collection is installed."""
    with bench(in_session, 4) as made:
        for state in ("up", "absent"):
            made.module({"name": "mt0", "parent": UPLINK, "mode": "bridge", "state": state})
        made.empty()
        import_pyroute2(made)
