# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""systemd as the first process of one of the lab's hypervisors, which can be powered off and boot again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

PROGRAM = "/lib/systemd/systemd"
# What a real host has in all these is of no concern here, and much of it can't be had in a namespace.
_MASK = """
cd /etc/systemd/system
rm -rf *.wants *.requires
for unit in /lib/systemd/system/*.wants/*; do ln -sf /dev/null "${unit##*/}"; done
ln -sf /dev/null systemd-machined.service
systemctl enable virtlogd.socket libvirtd.service libvirt-guests.service
printf 'ON_BOOT=start\\nON_SHUTDOWN=suspend\\nSTART_DELAY=0\\n' >/etc/default/libvirt-guests
kill $(cat /run/libvirtd.pid)
kill $(cat /run/virtlogd.pid) || true
"""
# A /run of its own, which a boot empties, and a group of its own for systemd to keep its units' processes in.
_BOOT = """
mkdir -p /run/cgroup
mountpoint -q /run/cgroup || mount -t cgroup2 cgroup2 /run/cgroup
mkdir -p /run/cgroup/$0
echo $$ >/run/cgroup/$0/cgroup.procs
exec unshare --mount --pid --cgroup --fork --kill-child --mount-proc sh -ec '
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir /run/lock
mount -t cgroup2 cgroup2 /sys/fs/cgroup
exec env container=lab /lib/systemd/systemd --system --unit=multi-user.target --log-target=null
'
"""


class Machine:
    """A hypervisor that systemd runs; ``prefix`` is the command that runs another one on it."""

    def __init__(self, hv: Hypervisor) -> None:
        self._hv = hv
        self._group = f"linuxvirt-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self.prefix: list[str] = []
        # What runs modules on it.
        self.python = hv.python
        hv.run("sh", "-ec", _MASK)

    def boot(self) -> None:
        self._process = subprocess.Popen([*self._hv.prefix, "sh", "-ec", _BOOT, self._group])
        deadline = time.monotonic() + 60
        while not self._is_up(self._process.pid):
            assert time.monotonic() < deadline
            assert self._process.poll() is None
            time.sleep(0.05)

    def _is_up(self, pid: int) -> bool:
        """Find systemd below the process that has started it, and ask it."""
        while Path(f"/proc/{pid}/comm").read_text().strip() != "systemd":
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children:
                return False
            pid = int(children[0])
        self._pid = pid
        self.prefix = ["nsenter", "--target", str(pid), "--mount", "--uts", "--net", "--pid", "--cgroup", "--"]
        command = [*self.prefix, "systemctl", "is-active", "multi-user.target"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def run(self, *command: str, stdin: str = "") -> str:
        done = subprocess.run(
            [*self.prefix, *command], input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
        return done.stdout

    def power_off(self) -> None:
        assert self._process is not None
        self.run("systemctl", "--no-block", "poweroff")
        self._process.wait(60)
        self._process = self._pid = None

    def end(self) -> None:
        if self._process is not None:
            if self._pid is not None:
                # And so all that runs there.
                os.kill(self._pid, signal.SIGKILL)
            else:
                self._process.kill()
            self._process.wait(60)
        # The last of its processes may take a moment.
        remove = (
            f"cd /run/cgroup; while [ -e {self._group} ]; do find {self._group} -depth -type d -exec rmdir {{}} +; done"
        )
        self._hv.run("timeout", "20", "sh", "-c", remove)


@contextlib.contextmanager
def machine(hv: Hypervisor) -> t.Iterator[Machine]:
    """Have systemd run the hypervisor, with libvirtd and libvirt-guests, which saves the guests and restores them."""
    made = Machine(hv)
    try:
        made.boot()
        yield made
    finally:
        made.end()
