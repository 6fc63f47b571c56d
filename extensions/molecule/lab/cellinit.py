# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""PID 1 of a hypervisor or of the switch: lays out its file system, starts its daemons, reaps what they orphan.

Run inside fresh mount, UTS and PID namespaces; the one argument is a JSON file that says what to do. When this
process ends, the kernel ends everything else in its PID namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

# Where the machine's processes are to be seen, and where they are kept until that place is there.
MACHINE_PROC = "/run/host/proc"
ASIDE = "/mnt"


def mount(*args: str) -> None:
    subprocess.run(["mount", *args], check=True)


def another_system(root: str, shown: t.Sequence[str]) -> None:
    """Make the file system under ``root`` this one, with the machine's /dev and what is ``shown`` of the machine."""
    mount("-t", "tmpfs", "-o", "mode=755", "lab", "/run")
    new, upper, work = (Path("/run", part) for part in ("root", "upper", "work"))
    for path in (new, upper, work):
        path.mkdir()
    mount("-t", "overlay", "-o", f"lowerdir={root},upperdir={upper},workdir={work}", "lab", str(new))
    for source in ("/dev", *shown):
        target = Path(f"{new}{source}")
        target.mkdir(parents=True, exist_ok=True)
        mount("--rbind", source, str(target))
    (new / "machine").mkdir()
    os.chdir(new)
    subprocess.run(["pivot_root", ".", "machine"], check=True)
    os.chdir("/")
    mount("--bind", "/machine/proc", ASIDE)
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    subprocess.run(["umount", "--lazy", "/machine"], check=True)


def own_root(overlays: t.Sequence[str], shown: t.Sequence[str]) -> None:
    """An own /run and /tmp, and writes to the overlaid directories go to memory instead of to the machine.

    What is ``shown`` is there all the same, in /tmp too: a checkout may well be there.
    """
    # The names of other namespaces are nothing to this one, and a copy of their mounts would keep them alive.
    subprocess.run(["umount", "--lazy", "/run/netns"], check=False, stderr=subprocess.DEVNULL)
    mount("-t", "tmpfs", "-o", "mode=755", "lab", "/run")
    below = [source for source in shown if source.startswith("/tmp/")]  # noqa: S108
    hidden = {source: Path("/run/shown", str(index)) for index, source in enumerate(below)}
    for source, aside in hidden.items():
        aside.mkdir(parents=True)
        mount("--rbind", source, str(aside))
    mount("-t", "tmpfs", "-o", "mode=1777", "lab", "/tmp")  # noqa: S108
    for source, aside in hidden.items():
        Path(source).mkdir(parents=True, exist_ok=True)
        mount("--move", str(aside), source)
    for directory in overlays:
        upper, work = (Path("/run/overlay", directory.strip("/"), kind) for kind in ("upper", "work"))
        upper.mkdir(parents=True)
        work.mkdir()
        status = os.stat(directory)
        os.chmod(upper, status.st_mode & 0o7777)
        os.chown(upper, status.st_uid, status.st_gid)
        mount("-t", "overlay", "-o", f"lowerdir={directory},upperdir={upper},workdir={work}", "lab", directory)


def lay_out(spec: dict[str, t.Any]) -> None:
    socket.sethostname(spec["hostname"])
    another = "root" in spec
    if another:
        another_system(spec["root"], spec["shown"])
    else:
        mount("--bind", "/proc", ASIDE)
    if another or spec["overlays"]:
        own_root(spec["overlays"], spec["shown"])
        # Whoever asks in here who holds a tap has to see everybody who may: the taps are the machine's, as /dev is.
        Path(MACHINE_PROC).mkdir(parents=True)
        mount("--move", ASIDE, MACHINE_PROC)
    else:
        subprocess.run(["umount", ASIDE], check=True)
    mount("-t", "proc", "-o", "nosuid,nodev,noexec", "proc", "/proc")
    # sysfs shows the links of the network namespace that mounted it.
    mount("-t", "sysfs", "-o", "nosuid,nodev,noexec", "sysfs", "/sys")
    for path in spec["emptied"]:
        shutil.rmtree(path, ignore_errors=True)
        Path(path).mkdir(parents=True)
    for path in spec["removed"]:
        Path(path).unlink(missing_ok=True)
    for path, (mode, text) in spec["files"].items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
        os.chmod(path, mode)
    if another or spec["overlays"]:
        unlock_root()


def unlock_root() -> None:
    """Unlock root: sshd lets nobody in whose password field says locked, not even with a key, having no PAM to ask."""
    shadow = Path("/etc/shadow")
    lines = shadow.read_text().splitlines()
    fields = [line.split(":") for line in lines]
    for field in fields:
        if field[0] == "root" and field[1].startswith("!"):
            field[1] = "*"
    shadow.write_text("".join(":".join(field) + "\n" for field in fields))


def start(commands: t.Sequence[t.Sequence[str]], log: t.IO[bytes]) -> None:
    for argv in commands:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False)
        if done.returncode:
            raise RuntimeError(f"{argv[0]} ended with status {done.returncode}; its log is {log.name}")


def reap() -> t.NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
        signal.sigtimedwait({signal.SIGCHLD}, 5)


def main() -> None:
    cell = Path(sys.argv[1])
    # Until /proc is mounted anew it still is the machine's, and tells the PID by which the machine knows us.
    outer_pid = os.readlink("/proc/self")
    started = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19]
    (cell / "started").write_text(started + "\n")
    (cell / "pid").write_text(outer_pid + "\n")
    spec = json.loads((cell / "spec.json").read_text())
    os.chdir("/")
    # Opened while the machine's /run can still be seen.
    with open(cell / "status", "w", buffering=1) as status, open(cell / "log", "ab") as log:
        try:
            lay_out(spec)
            start(spec["start"], log)
        except (OSError, subprocess.SubprocessError, RuntimeError) as error:
            status.write(f"failed: {error}\n")
            sys.exit(1)
        status.write("ready\n")
    reap()


if __name__ == "__main__":
    main()
