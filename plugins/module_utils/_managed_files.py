# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans for files that this collection manages as a whole: one step for each file, and undo. Pure."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

# Targets of managed symbolic links begin with this.
_UNITS = "/etc/systemd/system/macvtap-links"


@dataclass(frozen=True)
class File:
    """A file, or with ``target`` a symbolic link to it."""

    path: str
    text: str = ""
    mode: int = 0o644
    target: str | None = None

    @property
    def ours(self) -> bool:
        return self.target.startswith(_UNITS) if self.target is not None else self.text.startswith(HEADER + "\n")

    @property
    def view(self) -> str:
        return self.text if self.target is None else f"link to {self.target}"


def content(file: File | None) -> tuple[str, str | None] | None:
    """Return a file's content regardless of its mode, or None for no file."""
    return None if file is None else (file.text, file.target)


def step_between(before: File | None, after: File | None) -> Step[File]:
    """Return the step from one state of a file to another."""
    target = (after or before or File("")).path
    changes = []
    if before is None or after is None:
        if before is not after:
            changes.append(Change(target, "state", _state(before), _state(after), Impact.NONE))
    else:
        if content(before) != content(after):
            changes.append(Change(target, "content", _digest(before), _digest(after), Impact.NONE))
        if before.mode != after.mode:
            changes.append(Change(target, "mode", f"{before.mode:04o}", f"{after.mode:04o}", Impact.NONE))
    return Step(target, before, after, tuple(changes), before.view if before else "", after.view if after else "")


def _state(file: File | None) -> str:
    return "absent" if file is None else "file" if file.target is None else "link"


def _digest(file: File) -> str:
    return "sha256:" + hashlib.sha256(file.view.encode(errors="surrogateescape")).hexdigest()[:12]


def predicted(planned: Plan[File], files: t.Mapping[str, File]) -> dict[str, File]:
    """Return the files as they will be after ``planned``."""
    going = {step.target for step in planned.steps}
    coming = {step.target: step.after for step in planned.steps if step.after is not None}
    return {**{path: file for path, file in files.items() if path not in going}, **coming}


def undo(steps: t.Sequence[Step[File]], files: t.Mapping[str, File]) -> Plan[File]:
    """Plan the way back from the current ``files`` to the state before ``steps``.

    A file that matches neither state was changed by something else, and is left alone.
    """
    reverse, warnings = [], []
    for step in steps:
        current = files.get(step.target)
        if content(current) in (content(step.before), content(step.after)):
            reverse.append(step_between(current, step.before))
        else:
            warnings.append(f"{step.target} was changed by something else while this ran, and is left as it is now")
    return Plan(tuple(reverse), tuple(warnings))
