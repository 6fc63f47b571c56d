# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The guards of NICs that are attached again: nothing gets out of their links before.

macvtap_guard has installed a program that puts guards on, if there is any guard. Part of the keeper's program: standard
library only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t

_SECONDS = 30


class Guards:
    """The guard of one NIC. ``program`` is where the program is if there is any; None if the guest is elsewhere."""

    def __init__(self, program: str | None, mac: str) -> None:
        # It comes with the first guard, and goes with the last one.
        self._command = [sys.executable, program] if program and os.path.exists(program) else []
        self._mac = mac
        self._opened: set[str] = set()

    @property
    def exists(self) -> bool:
        """Whether there may be a guard for it."""
        return bool(self._command)

    @contextlib.contextmanager
    def closed(self, name: str | None) -> t.Iterator[str]:
        """Let nothing out of the link that the NIC gets in the block, until :meth:`open`. After it, nothing is closed.

        The value is the name that the link must have: ``name``, or one that is free; "" if the link is not closed.
        """
        link = self._run("close", self._mac, *([name] if name else ()))[0].strip()
        self._opened.discard(link)
        try:
            yield link
        finally:
            if link not in self._opened:
                self.open(link)

    def open(self, link: str) -> str:
        """Put the guard on the link, or leave nothing closed if there is no such link. Return why that fails, or ""."""
        if not link:
            return ""
        self._opened.add(link)
        return self._run("open", self._mac, link)[1]

    def _run(self, *words: str) -> tuple[str, str]:
        """Run the program, and return what it prints, and why it failed."""
        if not self._command:
            return "", ""
        argv = [*self._command, *words]
        try:
            # The keeper has no module.
            done = subprocess.run(  # pylint: disable=ansible-bad-function
                argv, capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except (OSError, subprocess.SubprocessError) as exc:
            # The NIC matters more.
            return "", f"{self._command[-1]}: {exc}"
        return done.stdout, " ".join(
            done.stderr.split()
        ) or f"{self._command[-1]} has failed" if done.returncode else ""
