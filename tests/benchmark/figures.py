# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a figure is, and what it is made of.

What a module costs is its process from start to exit, less that of an empty module beside it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from harness import Cost, median


@dataclass(frozen=True)
class Size:
    """How much of everything: ``links`` in a task, ``looped`` where a task is looped, ``growth`` step by step.

    Of ``domains``, ways that take them one by one are given ``one_by_one``. ``hosts`` are those of a fleet that is
    compared, ``fleets`` are numbers of hosts that playbooks run on. ``memories`` are those of guests in MiB. ``guests``
    run on a hypervisor, and ``recorded`` hypervisors are in an inventory. ``live`` is whether a guest runs on while it
    is moved to another host. On a busy machine an emulated one does not always survive: see moved_guests.migrate().
    """

    rounds: int = 5
    links: int = 1000
    looped: int = 50
    growth: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000)
    domains: int = 200
    one_by_one: int = 10
    hosts: int = 200
    memories: tuple[int, ...] = (192, 1024, 4096)
    guests: tuple[int, ...] = (1, 10, 20)
    recorded: tuple[int, ...] = (2, 50, 500)
    fleets: tuple[int, ...] = (2, 50)
    live: bool = True


@dataclass(frozen=True)
class Figure:
    """One figure; None for one that could not be measured, and ``note`` says why.

    ``parts`` are what it comes from: medians over ``rounds``, in seconds if their names do not end with a unit.
    """

    key: str
    what: str
    value: float | None
    unit: str
    rounds: int
    target: float | None = None
    at_least: bool = False
    parts: t.Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None or self.value is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def allowed(self) -> str:
        """The target in words."""
        return "–" if self.target is None else f"{'≥' if self.at_least else '≤'} {self.target:g} {self.unit}"


@dataclass(frozen=True)
class Sample:
    """One round: a run of the module, one of the empty module, and what it is compared with."""

    module: Cost
    empty: Cost
    other: Cost | None = None
    pyroute2: float = 0.0

    @property
    def wall(self) -> float:
        return self.module.wall - self.empty.wall - self.pyroute2

    @property
    def cpu(self) -> float:
        return self.module.cpu - self.empty.cpu

    @property
    def ratio(self) -> float:
        return self.wall / self.other.wall if self.other else 0.0


def medians(samples: t.Sequence[Sample], other: str = "") -> dict[str, float]:
    """Return the medians of what samples are made of; ``other`` is what they are compared with."""
    found = {
        "module": median(s.module.wall for s in samples),
        "empty module": median(s.empty.wall for s in samples),
        "module's own": median(s.wall for s in samples),
        "module's own, CPU": median(s.cpu for s in samples),
    }
    others = [sample.other for sample in samples if sample.other]
    if others:
        found[other] = median(cost.wall for cost in others)
        found[f"{other}, CPU"] = median(cost.cpu for cost in others)
    return found
