# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the kernels of a failed test's guests have logged, in its report: for failures that nobody can repeat.

Where libvirt's daemon doesn't answer, what is known of its end.
"""

from __future__ import annotations

import subprocess
import sys
import typing as t

import libvirtd_fixture
import moved_guests
import pytest
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import guest
from labkit.shell import LabError

# Seconds for a guest to answer: one that has an operating system has booted by now, or it never will.
_PATIENCE = 5
# What says why a daemon ended: its own log, and the kernel's of a crash or of too little memory.
_ENDED = """
ps -p "$(cat /run/{daemon}.pid)" -o pid=,stat=,etime=,args= || echo no process
tail -n 20 /var/log/libvirt/{daemon}.log
dmesg | grep -E 'segfault|protection fault|[Oo]ut of memory|traps:' | tail -n 5
true
"""


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> t.Iterator[None]:
    outcome: t.Any = yield
    report: pytest.TestReport = outcome.get_result()
    if call.when != "call" or not report.failed:
        return
    values = list(getattr(item, "funcargs", {}).values())
    values += [hv for hosts in values if isinstance(hosts, moved_guests.Hosts) for hv in hosts.all]
    for hv in {id(one): one for one in values if isinstance(one, libvirtd_fixture.Hypervisor)}.values():
        report.sections += [(f"guest {name}", text) for name, text in kernel_logs(hv)]


def daemon(hv: libvirtd_fixture.Hypervisor) -> str:
    """Return what is known of libvirt's daemon: its process, if there still is one, and the ends of the logs."""
    argv = [*hv.prefix, "sh", "-c", f"exec 2>&1; {_ENDED.format(daemon=hv.daemon)}"]
    return subprocess.run(argv, check=False, stdout=subprocess.PIPE, text=True, timeout=60).stdout


def kernel_logs(hv: libvirtd_fixture.Hypervisor) -> t.Iterator[tuple[str, str]]:
    """Yield the last that the kernel of each running guest has logged, and what is plugged into it."""
    try:
        names = hv.virsh("list", "--name").split()
    except (AssertionError, subprocess.TimeoutExpired) as exc:
        yield "?", f"libvirt does not list any: {exc}\n{daemon(hv)}"
        return
    for name in names:
        try:
            answer = guest.execute(
                hv.cell, name, ["sh", "-c", "dmesg | tail -n 40; ls /sys/bus/pci/devices"], timeout=_PATIENCE,
                boot=_PATIENCE,
            )  # fmt: skip
        except LabError as exc:
            yield name, str(exc)
        else:
            yield name, str(answer["stdout"])
