# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of macvtap_link, each against `ip -batch` doing the same in the same round.

What a module costs is its process from start to exit, less that of an empty module beside it.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from harness import (
    UPLINK,
    Bench,
    BenchmarkError,
    Cost,
    Probe,
    Session,
    ansibles_own,
    bare_python,
    bench,
    import_pyroute2,
    median,
    probe,
)

# ip -batch waits out a grace period of the kernel's for each link that it deletes: some 20 s for a thousand.
SLOW_ROUNDS = 2


@dataclass(frozen=True)
class Size:
    """How much of everything: ``links`` in a task, ``looped`` where a task is looped, ``growth`` step by step."""

    rounds: int = 5
    links: int = 1000
    looped: int = 50
    growth: tuple[int, ...] = (10, 30, 100, 300, 1000, 3000)


@dataclass(frozen=True)
class Figure:
    """One figure. ``parts`` are what it comes from: medians over ``rounds``, in seconds if their names say no unit."""

    key: str
    what: str
    value: float
    unit: str
    rounds: int
    target: float | None = None
    at_least: bool = False
    parts: t.Mapping[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


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


def names(count: int) -> list[str]:
    return [f"mt{number}" for number in range(count)]


def mac(number: int) -> str:
    return f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"


def declared(count: int, mode: str = "bridge") -> dict[str, t.Any]:
    links = [{"name": name, "mac": mac(number)} for number, name in enumerate(names(count))]
    return {"parent": UPLINK, "mode": mode, "links": links}


def absent(count: int) -> dict[str, t.Any]:
    return {"state": "absent", "links": [{"name": name} for name in names(count)]}


def creation(count: int) -> list[str]:
    # In one line, and so in one message: the quickest that iproute2 can do.
    return [
        f"link add {name} link {UPLINK} up address {mac(number)} type macvtap mode bridge"
        for number, name in enumerate(names(count))
    ]


def create(session: Session, size: Size) -> list[Figure]:
    samples = []
    imports: list[float] = []
    uses_pyroute2 = False
    for number in range(size.rounds):
        with bench(session, 3 * size.links) as made:

            def by_module(made: Bench = made) -> Cost:
                return made.module(declared(size.links))

            def by_batch(made: Bench = made) -> Cost:
                return made.batch(creation(size.links))

            if number == 0:
                uses_pyroute2 = probe(made, declared(size.links)).imports_pyroute2
                made.clear()
            module, other = _in_turn(made, number, by_module, by_batch)
            imports.append(import_pyroute2(made).wall - bare_python(made).wall)
            samples.append(Sample(module, made.empty(), other, imports[-1] if uses_pyroute2 else 0.0))
    what = f"create {size.links} links, up and verified; ip -batch = 1"
    note = "less the import of pyroute2" if uses_pyroute2 else "pyroute2 is not imported"
    parts = {"import of pyroute2": median(imports)}
    return [_against_batch("create", what, samples, note=note, parts=parts)]


def again(session: Session, size: Size) -> list[Figure]:
    with bench(session, size.links) as made:
        made.batch(creation(size.links))
        seen = probe(made, declared(size.links))
        ansibles = [ansibles_own(made, declared(size.links)) - made.empty().wall for _round in range(size.rounds)]
        # A run is short, and what else the machine does matters: more rounds than elsewhere.
        samples = [_nothing_to_do(made, size.links) for _round in range(3 * size.rounds)]
    note = "pyroute2 is imported" if seen.imports_pyroute2 else "pyroute2 is not imported"
    what = f"second run on {size.links} links, nothing to do"
    cost = 1000 * median(sample.wall for sample in samples)
    parts = {**_parts(samples), "of it AnsibleModule's own": median(ansibles)}
    return [
        Figure("again", what, cost, "ms", len(samples), 60, parts=parts, note=note),
        Figure("output", f"what that run returns, {size.links} links", seen.output / 1e6, "MB", 1, 1.0),
    ]


def mode(session: Session, size: Size) -> list[Figure]:
    samples = []
    with bench(session, size.links) as made:
        made.batch(creation(size.links))
        for number in range(size.rounds):
            # There and back; who goes first changes.
            there, back = ("private", "bridge") if number % 2 else ("vepa", "bridge")
            first, second = ("batch", "module") if number % 2 else ("module", "batch")
            costs = {}
            for who, value in ((first, there), (second, back)):
                if who == "module":
                    costs[who] = made.module(declared(size.links, value))
                else:
                    costs[who] = made.batch(f"link set {n} type macvtap mode {value}" for n in names(size.links))
            samples.append(Sample(costs["module"], made.empty(), costs["batch"]))
    what = f"change the mode of {size.links} links; ip -batch = 1"
    return [_against_batch("mode", what, samples)]


def delete(session: Session, size: Size) -> list[Figure]:
    samples = []
    rounds = min(size.rounds, SLOW_ROUNDS)
    with bench(session, 2 * rounds * size.links) as made:
        for _round in range(rounds):
            made.batch(creation(size.links))
            module = made.module(absent(size.links))
            made.batch(creation(size.links))
            other = made.batch(f"link del {name}" for name in names(size.links))
            samples.append(Sample(module, made.empty(), other))
    times = median(1 / sample.ratio for sample in samples)
    what = f"delete {size.links} links, times faster than ip -batch"
    return [Figure("delete", what, times, "×", rounds, 30, at_least=True, parts=_parts(samples))]


def memory(session: Session, size: Size) -> list[Figure]:
    most = size.growth[-1]
    with bench(session, 2 * most) as made:
        empty = probe(made, {}, "empty_module")
        probes: dict[str, Probe] = {
            "create": probe(made, declared(most)),
            "again": probe(made, declared(most)),
            "mode": probe(made, declared(most, "vepa")),
            "delete": probe(made, absent(most)),
        }
    parts = {f"{what}, MB": seen.peak / 1e6 for what, seen in probes.items()}
    peak = max(seen.peak for seen in probes.values())
    what = f"peak memory at {most} links"
    return [Figure("memory", what, peak / 1e6, "MB", 1, parts={**parts, "empty module, MB": empty.peak / 1e6})]


def _nothing_to_do(made: Bench, links: int) -> Sample:
    sample = Sample(made.module(declared(links)), made.empty())
    if sample.module.result()["changed"]:
        raise BenchmarkError("a second run changed something")
    return sample


def _in_turn(
    made: Bench, number: int, by_module: t.Callable[[], Cost], by_batch: t.Callable[[], Cost]
) -> tuple[Cost, Cost]:
    """Measure both from nothing, in an order that changes from round to round."""
    costs = []
    for action in (by_batch, by_module) if number % 2 else (by_module, by_batch):
        costs.append(action())
        made.clear()
    return (costs[1], costs[0]) if number % 2 else (costs[0], costs[1])


def _against_batch(key: str, what: str, samples: t.Sequence[Sample], **more: t.Any) -> Figure:
    ratio = median(sample.ratio for sample in samples)
    parts = {**_parts(samples), **more.pop("parts", {})}
    return Figure(key, what, ratio, "×", len(samples), 1.5, parts=parts, **more)


def _parts(samples: t.Sequence[Sample]) -> dict[str, float]:
    parts = {
        "module": median(s.module.wall for s in samples),
        "empty module": median(s.empty.wall for s in samples),
        "module's own": median(s.wall for s in samples),
        "module's own, CPU": median(s.cpu for s in samples),
    }
    others = [sample.other for sample in samples if sample.other]
    if others:
        parts["ip -batch"] = median(other.wall for other in others)
        parts["ip -batch, CPU"] = median(other.cpu for other in others)
    return parts
