# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of macvtap_link, each against `ip -batch` doing the same in the same round.

What a module costs is its process from start to exit, less that of an empty module beside it.
"""

from __future__ import annotations

import typing as t

from figures import Figure, Sample, Size, medians
from harness import BenchmarkError, Cost, Probe, ansibles_own, median, probe
from netns import UPLINK, LinkBench, LinkSession, another, bare_python, bench, import_pyroute2, settle

# ip -batch waits out a grace period of the kernel's for each link that it deletes: some 20 s for a thousand.
SLOW_ROUNDS = 2


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


def create(session: LinkSession, size: Size) -> list[Figure]:
    samples = []
    imports: list[float] = []
    used = ""
    for number in range(size.rounds):
        with bench(session, 3 * size.links) as made:

            def by_module(made: LinkBench = made) -> Cost:
                return made.module(declared(size.links))

            def by_batch(made: LinkBench = made) -> Cost:
                return made.batch(creation(size.links))

            if number == 0:
                used = probe(made, declared(size.links)).pyroute2
                made.clear()
            module, other = _in_turn(made, number, by_module, by_batch)
            imports.append(import_pyroute2(made).wall - bare_python(made).wall)
            samples.append(Sample(module, made.empty(), other, imports[-1]))
    what = f"create {size.links} links, up and verified; ip -batch = 1"
    whole = median((s.wall + s.pyroute2) / s.other.wall for s in samples if s.other)
    note = f"less what importing pyroute2 would cost; {whole:.2f} × with it; {used}"
    parts = {"import of pyroute2": median(imports)}
    return [_against_batch("create", what, samples, note=note, parts=parts)]


def elsewhere(session: LinkSession, size: Size) -> list[Figure]:
    """Links in another network namespace than their parent."""
    here, there = [], []
    with bench(session, size.rounds * size.links) as made, another(size.rounds * size.links) as netns:
        for _round in range(size.rounds):
            empty = made.empty().wall
            here.append(made.module(declared(size.links)).wall - empty)
            made.clear()
            there.append(made.module({**declared(size.links), "netns": netns}).wall - empty)
            made.module({**absent(size.links), "netns": netns})
    what = f"create {size.links} links in another network namespace; in its own = 1"
    ratio = median(other / own for own, other in zip(here, there))
    parts = {"in its own": median(here), "in another": median(there)}
    return [Figure("elsewhere", what, ratio, "×", size.rounds, 1.5, parts=parts)]


def again(session: LinkSession, size: Size) -> list[Figure]:
    with bench(session, size.links) as made:
        made.batch(creation(size.links))
        seen = probe(made, declared(size.links))
        ansibles = [ansibles_own(made, declared(size.links)) - made.empty().wall for _round in range(size.rounds)]
        # A run is short, and what else the machine does matters: more rounds than elsewhere.
        samples = [_nothing_to_do(made, size.links) for _round in range(3 * size.rounds)]
    what = f"second run on {size.links} links, nothing to do"
    cost = 1000 * median(sample.wall for sample in samples)
    parts = {**medians(samples, "ip -batch"), "of it AnsibleModule's own": median(ansibles)}
    return [
        Figure("again", what, cost, "ms", len(samples), 60, parts=parts, note=seen.pyroute2),
        Figure("output", f"what that run returns, {size.links} links", seen.output / 1e6, "MB", 1, 1.0),
    ]


def mode(session: LinkSession, size: Size) -> list[Figure]:
    samples = []
    with bench(session, size.links) as made:
        made.batch(creation(size.links))
        settle(made)
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


def delete(session: LinkSession, size: Size) -> list[Figure]:
    samples = []
    down = []
    rounds = min(size.rounds, SLOW_ROUNDS)
    with bench(session, 3 * rounds * size.links) as made:
        for _round in range(rounds):
            # Links that have been there for a while, as those are that somebody deletes.
            made.batch(creation(size.links))
            settle(made)
            module = made.module(absent(size.links))
            made.batch(creation(size.links))
            settle(made)
            other = made.batch(f"link del {name}" for name in names(size.links))
            samples.append(Sample(module, made.empty(), other))
            made.batch(line.replace(" up ", " ") for line in creation(size.links))
            down.append(Sample(made.module(absent(size.links)), made.empty(), other))
    times = median(1 / sample.ratio for sample in samples)
    what = f"delete {size.links} links, times faster than ip -batch"
    parts = {**medians(samples, "ip -batch"), "module's own, links down": median(sample.wall for sample in down)}
    return [Figure("delete", what, times, "×", rounds, 30, at_least=True, parts=parts)]


def memory(session: LinkSession, size: Size) -> list[Figure]:
    most = size.growth[-1]
    with bench(session, 2 * most) as made:
        empty = probe(made, {}, empty=True)
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


def run_once(session: LinkSession, size: Size, case: str, around: str) -> Cost:
    """Run the module with ``around`` about it."""
    with bench(session, 2 * size.links) as made:
        if case != "create":
            made.batch(creation(size.links))
        params = {
            "create": declared(size.links),
            "again": declared(size.links),
            "mode": declared(size.links, "vepa"),
            "delete": absent(size.links),
        }[case]
        return made.module(params, around=around)


def _nothing_to_do(made: LinkBench, links: int) -> Sample:
    sample = Sample(made.module(declared(links)), made.empty())
    if sample.module.result()["changed"]:
        raise BenchmarkError("a second run changed something")
    return sample


def _in_turn(
    made: LinkBench, number: int, by_module: t.Callable[[], Cost], by_batch: t.Callable[[], Cost]
) -> tuple[Cost, Cost]:
    """Measure both from nothing, in an order that changes from round to round."""
    costs = []
    for action in (by_batch, by_module) if number % 2 else (by_module, by_batch):
        costs.append(action())
        made.clear()
    return (costs[1], costs[0]) if number % 2 else (costs[0], costs[1])


def _against_batch(key: str, what: str, samples: t.Sequence[Sample], **more: t.Any) -> Figure:
    ratio = median(sample.ratio for sample in samples)
    parts = {**medians(samples, "ip -batch"), **more.pop("parts", {})}
    return Figure(key, what, ratio, "×", len(samples), 1.5, parts=parts, **more)
