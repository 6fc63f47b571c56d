# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host that is a shelf of names, for tests of how a run is planned, carried out and rolled back."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import (
    Change,
    Impact,
    Journal,
    Plan,
    Step,
    converge,
)

Shelf = t.Dict[str, str]


def step(name: str, before: str | None, after: str | None) -> Step[str]:
    changes = () if before == after else (Change(name, "value", before, after, Impact.IN_PLACE),)
    return Step(name, before, after, changes, f"value: {before}", f"value: {after}")


class Host:
    """A host of named values, where some writes fail, are ignored, or stop half way."""

    def __init__(self, values: Shelf, *, refuses: str = "", ignores: str = "") -> None:
        self.values = dict(values)
        self.refuses = refuses
        self.ignores = ignores

    def observe(self) -> Shelf:
        return dict(self.values)

    def apply(self, steps: t.Sequence[Step[str]], journal: Journal[str]) -> None:
        for one in steps:
            journal.record(one)
            if one.target == self.refuses and one.after == "new":
                self.values[one.target] = "half"
                raise MacvtapError("the host refused", path=f"things[{one.target}]")
            if one.target == self.ignores:
                continue
            if one.after is None:
                del self.values[one.target]
            else:
                self.values[one.target] = one.after

    def run(self, wanted: Shelf, *, check_mode: bool = False, roll_back: bool = True) -> Plan[str]:
        return converge(
            self.observe,
            lambda seen, _answers: Plan(tuple(step(name, seen.get(name), value) for name, value in wanted.items())),
            self.apply,
            lambda journal, seen: Plan(tuple(step(s.target, seen.get(s.target), s.before) for s in journal.steps)),
            check_mode=check_mode,
            roll_back=roll_back,
        ).plan
