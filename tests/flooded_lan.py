# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The LAN of a lab, where it is seen what of a flood of forged frames (guest_flood.py) arrives."""

from __future__ import annotations

import contextlib
import pathlib
import subprocess
import time
import typing as t

import guest_flood
from labkit import model
from support import until

if t.TYPE_CHECKING:
    import libvirtd_fixture

SOURCE = pathlib.Path(guest_flood.__file__).read_text(encoding="utf-8")
OWN = frozenset({"own"})


class Lan:
    """What arrives on the LAN of the lab."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert self._line() == "counting\n"

    def kinds(self) -> set[str]:
        """Return the kinds of frames that have arrived since the last call."""
        stdin = t.cast("t.IO[str]", self._process.stdin)
        stdin.write("\n")
        stdin.flush()
        return set(self._line().split()[::4])

    def until_flooded(self) -> set[str]:
        """Return the kinds of frames that arrive until some have for a while."""
        found: set[str] = set()

        def has_more() -> bool:
            found.update(more := self.kinds())
            return bool(more)

        # The first of them may have been sent before.
        for _time in range(3):
            assert until(has_more)
            time.sleep(0.1)
        return found

    def until(self, kinds: t.Collection[str] = OWN) -> set[str]:
        """Return the kinds of frames that have arrived when these have."""
        found: set[str] = set()

        def are_there() -> bool:
            found.update(self.kinds())
            return found >= {*kinds}

        assert until(are_there), found
        return found

    def _line(self) -> str:
        return t.cast("t.IO[str]", self._process.stdout).readline()


@contextlib.contextmanager
def lan_of(hv: libvirtd_fixture.Hypervisor, mac: str) -> t.Iterator[Lan]:
    """Count what arrives of the flood of the NIC with this address."""
    netns = model.Cell(hv.cell.lab, model.SWITCH).netns
    argv = ["ip", "netns", "exec", netns, "/usr/bin/python3", "-c", SOURCE, "count", mac]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Lan(process)
        finally:
            process.kill()
