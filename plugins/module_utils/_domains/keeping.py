# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for what libvirt has no word for: rules by which udev gives it to a guest's link at each start."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files, _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import shared, udev
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.host import ip_program
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import GUESTS_FILE, HEADER

# Runs a program, and returns its status and what it said; None where it is not installed.
Run = t.Callable[[t.Sequence[str]], t.Optional[t.Tuple[int, str]]]
_CONTROL = "/run/udev/control"
_LOCK_SECONDS = 30


class Keeper:
    """The rules of the links of guests on this host. All paths are below ``root``, which is / but in tests."""

    def __init__(self, run: Run | None = None, root: str = "/") -> None:
        self._run = run
        self._root = root
        self._file = os.path.join(root, GUESTS_FILE.lstrip("/"))
        self.warnings: list[str] = []

    def observe(self) -> tuple[frozenset[str] | None, str]:
        """Return the addresses whose links get all multicast; or None, and why that cannot be written down here."""
        if not os.path.exists(os.path.join(self._root, _CONTROL.lstrip("/"))):
            return None, "there is no udev on this host to set it at the next start"
        text = self._text()
        if text is None:
            said = f"{GUESTS_FILE} is somebody else's: its first line does not say that this collection has written it"
            return None, f"{said}. It is left alone; move it away"
        blocks = shared.parse(text)[1]
        ip = ip_program()
        return frozenset(mac for mac, (_kind, rule) in blocks.items() if rule == udev.of_guest(mac, ip)), ""

    def apply(self, wanted: t.Mapping[str, bool]) -> None:
        """Write a rule for the addresses of which ``wanted`` says so, and none for the others of it.

        :raises MacvtapError: the file cannot be written.
        """
        if not wanted or self.observe()[0] is None:
            return
        if not any(wanted.values()) and not os.path.lexists(self._file):
            return
        with _lock.held("rules", timeout=_LOCK_SECONDS, directory=os.path.join(self._root, "run")):
            text = self._text()
            if text is None:
                raise MacvtapError(f"{GUESTS_FILE} was written by somebody else while this ran")
            ip = ip_program()
            head, blocks = shared.parse(text)
            left = {mac: block for mac, block in blocks.items() if mac not in wanted}
            left.update((mac, ("guest", udev.of_guest(mac, ip))) for mac, on in wanted.items() if on)
            if left == blocks:
                return
            _files.write(self._file, shared.render(head, left) if left else None)
        self._tell_udev()

    def _text(self) -> str | None:
        """Return the file's text, that of an empty one where there is none; None where it is somebody else's."""
        text = _files.read(self._file)
        if text is None and not os.path.lexists(self._file):
            return f"{HEADER}\n"
        return text if text is not None and text.startswith(f"{HEADER}\n") else None

    def _tell_udev(self) -> None:
        # By itself it looks for changed rules no more than every three seconds, in which a guest may start.
        answer = self._run(["udevadm", "control", "--reload"]) if self._run else None
        if answer is not None and answer[0] != 0:
            self.warnings.append(
                f"udev reads {GUESTS_FILE} by itself within three seconds; udevadm control --reload failed: "
                f"{answer[1].strip()}"
            )
