# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the tests of interrupted pauses share: something happens at a moment of a pause, and no guest is lost."""

from __future__ import annotations

import signal
import time
import typing as t

from direct_iface import A, Result, run_beside

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

# What a pause does, each step under the name of its function, and numbered from the second of a name on. Between two of
# them nothing changes but in the run itself. Popen starts the keeper, unless it runs already.
STEPS = (
    "replace",
    "Popen",
    "setMetadata",
    "managedSave",
    "managedSaveGetXMLDesc",
    "replace 2",
    "managedSaveDefineXML",
    "create",
    "setMetadata 2",
    "unlink",
)
# What is done at a moment of a pause: before or after one of its steps, or so many seconds after the step's beginning.
AT_MOMENT = """
import os, signal, subprocess, threading
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.saving import Pauses
moment, when = {moment!r}
done, steps = [], []
owners = {{name: libvirt.virDomain for name in {steps!r} if hasattr(libvirt.virDomain, name)}}
owners.update(replace=os, unlink=os, Popen=subprocess)
def act():
    if not done:
        done.append(True)
        {action}
def around(name, function):
    passed = []
    def called(*of, **more):
        passed.append(name)
        step = name if len(passed) == 1 else f"{{name}} {{len(passed)}}"
        steps.append(step)
        if step == moment and when == "before":
            act()
        elif step == moment and when != "after":
            timer = threading.Timer(when, act)
            timer.daemon = True
            timer.start()
        try:
            return function(*of, **more)
        finally:
            if step == moment and when == "after":
                act()
    return called
def pause(self, *of, original=Pauses.pause, **more):
    Pauses.pause = original
    for name, owner in owners.items():
        setattr(owner, name, around(name, getattr(owner, name)))
    return original(self, *of, **more)
Pauses.pause = pause
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def move(source: str) -> Result:
    return {"domain": "web1", "mac": A, "source": source, "live": "pause"}


def at_moment(moment: tuple[str, str | float], action: str) -> str:
    """Return the patch by which ``action`` happens at a ``moment``."""
    return AT_MOMENT.format(moment=moment, steps=STEPS, action=action)


def at(hv: Hypervisor, moment: tuple[str, str | float], action: str, source: str) -> Result:
    """Move web1 to ``source`` while ``action`` happens at a ``moment``; a run that is killed has no result."""
    try:
        return run_beside(hv, at_moment(moment, action), move(source))
    except AssertionError as exc:
        if KILL not in action or "no result" not in str(exc):
            raise
        return {"rc": -signal.SIGKILL, "msg": ""}


def files(hv: Hypervisor, *patterns: str) -> list[str]:
    return hv.run("sh", "-c", f"ls {' '.join(patterns)} 2>/dev/null; true").split()


def wait(what: t.Callable[[], bool]) -> None:
    deadline = time.monotonic() + 40
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_whole(hv: Hypervisor) -> bool:
    """Whether the guest runs, was not booted again, and has no image."""
    state = hv.virsh("domstate", "--reason", "web1")
    assert "booted" not in state
    return "running" in state and not files(hv, "/var/lib/libvirt/qemu/save/*")


def source_of(hv: Hypervisor) -> str:
    return hv.dump("web1", live=True).partition("<source dev='")[2].partition("'")[0]
