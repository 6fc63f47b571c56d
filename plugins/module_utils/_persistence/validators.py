# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Has the tools that will read the files read them first, where they are installed."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    INTERFACES_FILE,
    UDEV_FILE,
    UPLINKS_FILE,
    File,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

# Runs a program with a text as its input; None if it is not installed.
Run = t.Callable[[t.Sequence[str], t.Optional[str]], t.Optional[t.Tuple[int, str]]]

# Each by the file; {} is where the text lies, which is its input if it has none.
_COMMANDS: dict[str, tuple[str, ...]] = {
    INTERFACES_FILE: ("ifquery", "--list", "--interfaces", "{}"),
    UDEV_FILE: ("udevadm", "verify", "{}"),
    UPLINKS_FILE: ("udevadm", "verify", "{}"),
}
_KEYFILE = ("nmcli", "--offline", "connection", "modify", "connection.autoconnect", "yes")
# What a version says that cannot do it yet: udevadm before 254, nmcli before 1.40.
_TOO_OLD = ("Unknown command verb", "Unknown operation", "unrecognized option", "unknown option", "is unknown")


def check(steps: t.Sequence[Step[File]], run: Run, directory: str | None = None) -> list[str]:
    """Check what ``steps`` would write, and return what a tool has to say of what it takes.

    :raises MacvtapError: a tool does not take it, with what it says.
    """
    coming = (step.after for step in steps if step.after is not None and step.after.target is None)
    return [told for file in coming for told in _check(file, run, directory)]


def _check(file: File, run: Run, directory: str | None) -> t.Iterator[str]:
    command = _KEYFILE if file.path.endswith(".nmconnection") else _COMMANDS.get(file.path)
    if command is None:
        return
    # By its name systemd-analyze and udevadm know what it is.
    with tempfile.TemporaryDirectory(dir=directory) as passing:
        path = os.path.join(passing, os.path.basename(file.path))
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as copy:
            copy.write(file.text)
        answer = run([word.format(path) for word in command], file.text if command is _KEYFILE else None)
    if answer is None:
        return
    code, said = answer
    if code == 0 and command[0] == "udevadm" and "deprecat" in said:
        # From systemd 258 on, of an owner who is no system user: the unit sets that too.
        notes = (line.replace(path, file.path).strip() for line in said.splitlines() if "deprecat" in line)
        yield f"{command[0]} takes {file.path}, and warns: {'; '.join(notes)}"
    if code != 0 and not any(words in said for words in _TOO_OLD):
        raise MacvtapError(f"{command[0]} does not take what was to be written to {file.path}: {said.strip()}")
