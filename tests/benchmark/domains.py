# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of libvirt_direct_iface over many domains, each against other ways of doing the same.

Imports and connecting are in a run over one domain as well: a domain more costs what the run over all costs beyond it.
"""

from __future__ import annotations

import peers
from figures import Figure, Sample, Size, medians
from harness import BenchmarkError, Cost, ansibles_own, median
from hypervisors import NICS, DomainBench, DomainSession, bench, name
from tasks import LONG_ROUNDS, NOTHING, play

_START = """
import sys, time
started = time.perf_counter()
import libvirt
imported = time.perf_counter()
connection = libvirt.open(sys.argv[1])
print(imported - started, time.perf_counter() - imported)
"""


def again(session: DomainSession, size: Size) -> list[Figure]:
    """A second run, with nothing to do, and what other ways take to come to the same end."""
    count = size.domains
    samples, single = [], []
    with bench(session, count) as made:
        ansibles = [ansibles_own(made, made.declared(count)) - made.empty().wall for _round in range(size.rounds)]
        # A run is short, and what else the machine does matters: more rounds than elsewhere.
        for _round in range(3 * size.rounds):
            samples.append(Sample(_unchanged(made, count), made.empty()))
            single.append(Sample(_unchanged(made, 1), samples[-1].empty))
        parts = {
            **medians(samples),
            "of it AnsibleModule's own": median(ansibles),
            "module's own, one domain": median(sample.wall for sample in single),
            "a domain more, CPU, ms": 1000 * median(_slope(pair, count, "cpu") for pair in zip(samples, single)),
            **_start(made, size),
        }
        others = [_one_by_one(made, size, peer, parts["module's own"]) for peer in peers.PEERS]
    each = median(_slope(pair, count, "wall") for pair in zip(samples, single))
    what = f"second run on {count} domains × {NICS} NICs, a domain"
    note = f"(own with {count} domains − own with one) / {count - 1}: neither imports nor connecting are in it"
    return [Figure("again", what, 1000 * each, "ms", len(samples), 0.5, parts=parts, note=note), *others]


def tasks(session: DomainSession, size: Size) -> list[Figure]:
    """The same as an Ansible task."""
    what = "the same run as a task, times faster than looping community.libvirt.virt"
    if note := peers.missing("community.libvirt"):
        return [Figure("again_tasks", what, None, "×", 0, note=note)]
    costs: dict[str, list[float]] = {}
    with bench(session, size.domains) as made:
        files = [session.scratch / f"{name(number)}.xml" for number in range(size.one_by_one)]
        for file, document in zip(files, made.stored()):
            file.write_text(document)
        ways = {
            "libvirt_direct_iface": {"linuxvirt.macvtap.libvirt_direct_iface": made.declared(size.domains)},
            "community.libvirt.virt": peers.community_libvirt(made.uri, files),
        }
        for task in (NOTHING, *ways.values()):  # has the byte code written, the controller's too
            play(made, task, peers.COLLECTIONS)
        for _round in range(min(size.rounds, LONG_ROUNDS)):
            nothing = play(made, NOTHING).wall
            for way, task in ways.items():
                costs.setdefault(way, []).append(play(made, task, peers.COLLECTIONS).wall - nothing)
    times = size.domains / size.one_by_one
    ratios = [times * loop / ours for ours, loop in zip(*costs.values())]
    parts = {f"task, {way}": median(values) for way, values in costs.items()}
    note = f"the loop is over {size.one_by_one} domains, and counts {times:g} times"
    return [Figure("again_tasks", what, median(ratios), "×", len(ratios), parts=parts, note=note)]


def mode(session: DomainSession, size: Size) -> list[Figure]:
    """Another mode for all NICs, against libvirt being given the finished documents."""
    count = size.domains
    samples: list[Sample] = []
    ratios, ours, bares = [], [], []
    with bench(session, count) as made:
        documents = made.stored()

        def by_module(value: str) -> Cost:
            cost = made.module(made.declared(count, value))
            if len(cost.result()["changes"]) != count * NICS:
                raise BenchmarkError(f"the mode of {count * NICS} NICs should have changed")
            return cost

        def by_define(value: str) -> Cost:
            return made.bare("define", [text.replace("mode='bridge'", f"mode='{value}'") for text in documents])

        for number in range(size.rounds):
            # There and back; who goes first changes.
            there, back = ("private", "bridge") if number % 2 else ("vepa", "bridge")
            if number % 2:
                define, module = by_define(there), by_module(back)
            else:
                module, define = by_module(there), by_define(back)
            empty = made.empty()
            samples.append(Sample(module, empty, define))
            ours.append(module.wall - made.module(made.declared(1, back)).wall)
            bares.append(define.wall - made.bare("connect", documents).wall)
            ratios.append(ours[-1] / bares[-1])
    whole = median(sample.module.wall / sample.other.wall for sample in samples if sample.other)
    parts = {
        **medians(samples, "a script that defines"),
        "module beyond its run over one domain": median(ours),
        "the script beyond one that only connects": median(bares),
    }
    what = f"change the mode of {count * NICS} NICs; defineXML of {count} finished documents = 1"
    note = f"without starting, imports and connecting on both sides; whole processes: {whole:.2f} ×"
    return [Figure("mode", what, median(ratios), "×", len(ratios), 1.3, parts=parts, note=note)]


def run_once(session: DomainSession, size: Size, case: str, around: str) -> Cost:
    """Run the module with ``around`` about it."""
    with bench(session, size.domains) as made:
        return made.module(made.declared(size.domains, {"again": "bridge", "mode": "vepa"}[case]), around=around)


def _unchanged(made: DomainBench, count: int) -> Cost:
    cost = made.module(made.declared(count))
    if cost.result()["changed"]:
        raise BenchmarkError("a second run changed something")
    return cost


def _slope(pair: tuple[Sample, Sample], count: int, of: str) -> float:
    """Return what a domain more costs, by a run over ``count`` domains and one over a single one."""
    every, one = (float(getattr(sample, of)) for sample in pair)
    return (every - one) / (count - 1)


def _start(made: DomainBench, size: Size) -> dict[str, float]:
    """Return what of a run does not depend on the number of domains, by the target's own clock."""
    argv = [made.session.python, "-c", _START, made.uri]
    imports, connects = zip(*(map(float, made.run(argv).output.split()) for _round in range(size.rounds)))
    return {"import of libvirt": median(imports), "connecting": median(connects)}


def _one_by_one(made: DomainBench, size: Size, peer: peers.Peer, own: float) -> Figure:
    """How many times faster the module is than a peer's processes for each domain."""
    key, what = f"again_{peer.program}", f"the same run, times faster than {peer.words} for each domain"
    if note := peers.missing(peer.program):
        return Figure(key, what, None, "×", 0, note=note)
    some, times = range(size.one_by_one), size.domains / size.one_by_one
    cost = median(sum(peer.run(made, made.uri, name(number)) for number in some) for _round in range(size.rounds))
    note = f"it is run for {len(some)} domains, and counts {times:g} times"
    return Figure(key, what, times * cost / own, "×", size.rounds, parts={peer.words: cost}, note=note)
