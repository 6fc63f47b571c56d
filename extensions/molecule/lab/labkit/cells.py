# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Namespaces: make them, start PID 1 in them, enter them, end them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

from labkit import rtnetlink
from labkit.model import PYTHON, Cell
from labkit.shell import LabError, run, try_run

INIT = Path(__file__).resolve().parent.parent / "cellinit.py"


class Spec(t.TypedDict):
    """What cellinit.py does; see there."""

    hostname: str
    overlays: list[str]
    emptied: list[str]
    removed: list[str]
    files: dict[str, tuple[int, str]]
    start: list[list[str]]
    # Which of the machine's directories a cell with a root of its own shows all the same.
    shown: t.NotRequired[list[str]]
    # Another system's root directory in place of the machine's.
    root: t.NotRequired[str]


def add_netns(cell: Cell) -> None:
    run(["ip", "netns", "add", cell.netns])
    run(["ip", "-n", cell.netns, "link", "set", "lo", "up"])


def boot(cell: Cell, spec: Spec, *, timeout: float = 40.0) -> None:
    """Start PID 1 of a cell and wait until all its daemons have said that they are up."""
    cell.dir.mkdir(parents=True, exist_ok=True)
    (cell.dir / "spec.json").write_text(json.dumps(spec))
    os.chmod(cell.dir / "spec.json", 0o600)
    (cell.dir / "status").touch()
    argv = ["nsenter", f"--net=/run/netns/{cell.netns}", "unshare", "--mount", "--uts", "--pid", "--fork"]
    argv += ["--kill-child", "--propagation", "private", PYTHON, str(INIT), str(cell.dir)]
    with open(cell.dir / "log", "ab") as log:
        # Away from the terminal: it outlives this command, and Ctrl-C is not meant for it.
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=_environment()
        )
    try:
        _await_ready(cell, process, time.monotonic() + timeout)
    except BaseException:
        process.kill()  # and by --kill-child all that is in the cell
        process.wait()
        raise


def _await_ready(cell: Cell, process: subprocess.Popen[bytes], deadline: float) -> None:
    while time.monotonic() < deadline:
        status = (cell.dir / "status").read_text().strip()
        if status == "ready":
            return
        if status or process.poll() is not None:
            break
        time.sleep(0.02)
    words = (cell.dir / "log").read_text(errors="replace").strip().splitlines()[-1:]
    status = (cell.dir / "status").read_text().strip() or "did not come up in time"
    raise LabError(f"{cell.name} of lab {cell.lab}: {status}" + "".join(f" ({line})" for line in words))


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}


def pid_of(cell: Cell) -> int | None:
    """PID 1 of the cell as the machine numbers it; None unless that very process is alive."""
    try:
        pid = int((cell.dir / "pid").read_text())
        state, started = process_state(pid)
        return pid if state not in "ZX" and started == (cell.dir / "started").read_text().strip() else None
    except (OSError, ValueError):
        return None


def process_state(pid: int) -> tuple[str, str]:
    """State letter and start time of a process, fields 3 and 22 of proc(5)'s stat; OSError if there is none."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return fields[0], fields[19]


def enter(cell: Cell) -> list[str]:
    """The words to put before a command so that it runs inside the cell."""
    pid = pid_of(cell)
    if pid is None:
        raise LabError(f"{cell.name} of lab {cell.lab} is not running; make the lab anew")
    return ["nsenter", "--target", str(pid), "--mount", "--uts", "--net", "--pid", "--"]


def root_of(cell: Cell) -> Path:
    """The cell's file system, seen from the machine."""
    return Path("/proc", enter(cell)[2], "root")


def end(cell: Cell) -> None:
    """End PID 1, and so all processes of the cell; nothing to do where it has ended."""
    pid = pid_of(cell)
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while pid_of(cell) is not None:
        if time.monotonic() > deadline:
            raise LabError(f"process {pid} ({cell.name} of lab {cell.lab}) does not end")
        time.sleep(0.01)


def delete_netns(cell: Cell) -> None:
    """Links first: they go at once, and with them their nodes in /dev; a namespace is cleaned up some time later."""
    if not Path("/run/netns", cell.netns).exists():
        return
    # Thousands of them, where somebody was killed while they used up indexes.
    try_run(["ip", "-n", cell.netns, "link", "del", "group", str(rtnetlink.FILLER_GROUP)])
    tried: set[str] = set()
    # One at a time and looked at anew: the lower ones come first, and take all that is on them along in one go.
    while names := [name for name in _links(cell) if name not in tried]:
        tried.add(names[0])
        try_run(["ip", "-n", cell.netns, "link", "del", names[0]])
    try_run(["ip", "netns", "del", cell.netns])


def _links(cell: Cell) -> list[str]:
    links = json.loads(try_run(["ip", "-n", cell.netns, "-j", "link"]).stdout or "[]")
    return [link["ifname"] for link in links if link.get("link_type") != "loopback"]
