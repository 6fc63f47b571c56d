# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the tests of migrations that break off share: something is killed at a moment, and the guest runs once.

A moment is held until what is to happen has happened, so that no test depends on how fast anything is.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

import libvirt
import moved_guests
from labkit import cells, management
from support import module_command, module_environment, module_input, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor
    from moved_guests import Hosts

# Before libvirt's call; while memory is sent; when all is sent, and the destination is asked to run the guest; when it
# has begun, and cannot say so; when the source is about to remove what it has; after libvirt's call.
MOMENTS = (BEFORE, DURING, SENT, ANSWERING, CONFIRMING, AFTER) = (
    "before",
    "during",
    "sent",
    "answering",
    "confirming",
    "after",
)
_HELD = "/run/moment"
# Holds the module at its moments, and tells its process.
_PATCH = f"""
import libvirt, os, time
with open("{_HELD}.pid", "w") as file:
    file.write(str(os.getpid()))
def hold(when, real=libvirt.virDomain.migrateToURI3):
    if when == {{moment!r}}:
        open("{_HELD}", "w").close()
        while os.path.exists("{_HELD}"):
            time.sleep(0.01)
def migrate(self, *of, real=libvirt.virDomain.migrateToURI3):
    hold("before")
    try:
        return real(self, *of)
    finally:
        hold("after")
libvirt.virDomain.migrateToURI3 = migrate
"""
# libvirt runs it when the source's QEMU has ended, and once more if it was killed meanwhile.
_HOOK = f"""#!/bin/sh
[ "$1 $2" = "web1 stopped" ] && mkdir {_HELD}.was || exit 0
touch {_HELD}
for try in $(seq 3000); do [ -e {_HELD} ] || exit 0; sleep 0.01; done
"""
_HOOK_PATH = "/etc/libvirt/hooks/qemu"


@dataclass
class Move:
    """A run of the module that is held at a moment. ``twice`` is whether the guest was seen to run on both hosts."""

    hosts: Hosts
    process: subprocess.Popen[str]
    result: dict[str, t.Any] = field(default_factory=dict)
    twice: bool = False

    def kill(self, signal: str = "KILL") -> None:
        self.hosts.source.run("sh", "-c", f"kill -{signal} $(cat {_HELD}.pid)")

    def go_on(self) -> None:
        """Let everything go on that is held."""
        for hv in self.hosts.all:
            path(hv, _HELD).unlink(missing_ok=True)
        thaw(self.hosts.destination)
        self.hosts.destination.run("ip", "link", "set", management.LINK, "up")
        source = self.hosts.source
        if source.run("sh", "-c", f"pidof {source.daemon} || true"):
            direct = [*source.prefix, "virsh", "-q", "-c", "qemu:///system", "migrate-setspeed", "web1", "10000"]
            subprocess.run(direct, check=False, capture_output=True)

    def end(self) -> dict[str, t.Any]:
        """Return the module's result; a run that was killed has none."""
        out, errors = self.process.communicate(timeout=90)
        assert "Traceback" not in errors, errors
        lines = out.strip().splitlines()
        return json.loads(lines[-1]) if lines else {}


def path(hv: Hypervisor, name: str) -> Path:
    return Path(f"{cells.root_of(hv.cell)}{name}")


def freeze(hv: Hypervisor) -> None:
    hv.run("sh", "-c", f"kill -STOP $(cat /run/{hv.daemon}.pid)")


def thaw(hv: Hypervisor) -> None:
    hv.run("sh", "-c", f"kill -CONT $(cat /run/{hv.daemon}.pid) 2>/dev/null || true")


@contextlib.contextmanager
def held(hosts: Hosts, moment: str, patch: str = "", **options: t.Any) -> t.Iterator[Move]:
    """Move web1 to the second host, and hold that at a moment; see meanwhile that it never runs on both.

    While memory is sent, it is sent so slowly that it does not end.
    """
    source, destination = hosts.all[:2]
    if moment in (SENT, ANSWERING):
        # Through the daemons nothing would be sent while one of them stands still.
        options = {"transport": "tls", **options}
    if moment in (DURING, SENT, ANSWERING):
        options = {"bandwidth": 1, **options}
    for hv in hosts.all:
        path(hv, _HELD).unlink(missing_ok=True)
    given = moved_guests.options(source, destination, **options)
    command = [*source.prefix, *module_command("libvirt_guest_migrate", patch=patch + _PATCH.format(moment=moment))]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        if moment == CONFIRMING:
            stack.enter_context(_hooked(source))
        process = stack.enter_context(
            subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=module_environment())
        )
        made = Move(hosts, process)
        stack.callback(made.go_on)
        stack.enter_context(_sampled(made))
        assert process.stdin is not None
        process.stdin.write(module_input(given))
        process.stdin.close()
        process.stdin = None
        if moment in (BEFORE, AFTER, CONFIRMING):
            _await(made, lambda: path(source, _HELD).exists())
        else:
            _await(made, lambda: _is_sending(source))
        if moment in (SENT, ANSWERING):
            freeze(destination)
            source.virsh("migrate-setspeed", "web1", "10000")
            _await(made, lambda: "phase='perform3_done'" in path(source, "/run/libvirt/qemu/web1.xml").read_text())
        if moment == ANSWERING:
            destination.run("ip", "link", "set", management.LINK, "down")
            thaw(destination)
            _await(made, lambda: "running" in destination.virsh("domstate", "web1"))
        yield made


def _await(made: Move, true: t.Callable[[], bool]) -> None:
    assert until(lambda: true() or made.process.poll() is not None, 60)
    if made.process.poll() is not None:
        raise AssertionError(f"the module has ended: {made.end()}")


def _is_sending(hv: Hypervisor) -> bool:
    shown = hv.virsh("domjobinfo", "web1")
    return "Data processed" in shown and "Outgoing migration" in shown


@contextlib.contextmanager
def _hooked(hv: Hypervisor) -> t.Iterator[None]:
    hook = path(hv, _HOOK_PATH)
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(_HOOK, encoding="utf-8")
    hook.chmod(0o755)
    was = path(hv, f"{_HELD}.was")
    # libvirt looks for hooks when it starts.
    hv.restart()
    try:
        yield
    finally:
        hook.unlink()
        hv.restart()
        was.rmdir()


@contextlib.contextmanager
def _sampled(made: Move) -> t.Iterator[None]:
    """See again and again on which hosts the guest runs."""
    ended = threading.Event()

    def sample() -> None:
        readers = [_Reader(hv) for hv in reversed(made.hosts.all[:2])]
        while not ended.wait(0.02):
            # The destination first: a guest that runs there then, and on the source after that, runs twice.
            made.twice = made.twice or all(reader.runs("web1") for reader in readers)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class _Reader:
    def __init__(self, hv: Hypervisor) -> None:
        self._hv = hv
        self._handle: t.Any = None

    def runs(self, name: str) -> bool:
        """Whether a domain runs; a daemon that does not answer has no say."""
        try:
            if self._handle is None:
                self._handle = libvirt.openReadOnly(self._hv.uri)
            return bool(self._handle.lookupByName(name).state()[0] == libvirt.VIR_DOMAIN_RUNNING)
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                self._handle = None
            return False


def runs_once(hosts: Hosts, guest: moved_guests.Guest) -> str:
    """Wait until a guest runs on one host alone, as it was, and return the host's name."""

    def places() -> moved_guests.Where:
        return moved_guests.where(hosts, guest.name)

    deadline = time.monotonic() + 60
    while True:
        found = places()
        if len(found.runs) == 1 and not found.paused:
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    (name,) = found.runs
    assert hosts.on(name).in_guest(guest.name, "cat", "/proc/sys/kernel/random/boot_id").strip() == guest.boot_id
    return name
