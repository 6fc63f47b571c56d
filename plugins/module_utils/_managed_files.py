# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files that this collection manages whole, as things of a plan: one step for each, and the way back. Pure."""

from __future__ import annotations

import hashlib
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

# Where the symbolic links of ours point to.
_UNITS = "/etc/systemd/system/macvtap-links"


@dataclass(frozen=True)
class File:
    """A file, or with ``target`` a symbolic link to that."""

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
    """Return what a file has, whatever its mode; None where there is none."""
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
    """Return the files as they will be when ``planned`` is done."""
    going = {step.target for step in planned.steps}
    coming = {step.target: step.after for step in planned.steps if step.after is not None}
    return {**{path: file for path, file in files.items() if path not in going}, **coming}


def undo(steps: t.Sequence[Step[File]], files: t.Mapping[str, File]) -> Plan[File]:
    """Plan the way from ``files`` as they are now back to what ``steps`` started from.

    A file that is neither as a step has left it nor as it was before is another's by now, and stays.
    """
    back, warnings = [], []
    for step in steps:
        now = files.get(step.target)
        if content(now) in (content(step.before), content(step.after)):
            back.append(step_between(now, step.before))
        else:
            warnings.append(f"{step.target} was changed by something else while this ran, and is left as it is now")
    return Plan(tuple(back), tuple(warnings))
