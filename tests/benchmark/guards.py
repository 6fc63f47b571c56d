# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of macvtap_guard, against libnftables loading and listing the same rules as text, as `nft` does."""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

from figures import Figure, Sample, Size, medians
from harness import Bench, BenchmarkError, Cost, median
from links import mac
from netns import UPLINK, LinkSession, bench

_BARE = str(pathlib.Path(__file__).parent / "bare_nft.py")
_TAP = str(pathlib.Path(__file__).parent / "bare_tap.py")
_LINK = "mt0"
# Addresses of the guest and of another machine.
_OWN = "10.0.0.9"
_DROPPED = (60, "10.0.1.9")
# For each link of the size.
_FRAMES = 200


def declared(count: int) -> dict[str, t.Any]:
    guards = [
        {"mac": mac(number), "addresses": [f"10.0.{number >> 8}.{number & 255}", "2001:db8:1::/64"]}
        for number in range(count)
    ]
    return {"guards": guards, "persistent": False}


def load(session: LinkSession, size: Size) -> list[Figure]:
    """Load guards where there are none."""
    samples = []
    with bench(session, 0) as made:
        guards = dataclasses.replace(made, measured="macvtap_guard")
        file = session.scratch / "ruleset"
        for _round in range(size.rounds):
            _clear(guards, session)
            module = guards.module(declared(size.links))
            file.write_bytes(_bare(guards, "list").output)
            _clear(guards, session)
            other = _bare(guards, "load", str(file))
            samples.append(Sample(module, guards.empty(), other))
        _clear(guards, session)
    what = f"load {size.links} guards; a program that loads the same as text = 1, processor time"
    ratio = median(sample.cpu / sample.other.cpu for sample in samples if sample.other)
    return [Figure("guard_load", what, ratio, "×", size.rounds, 3, parts=medians(samples, "the rules as text"))]


def again(session: LinkSession, size: Size) -> list[Figure]:
    """A second run, over all guards and over one of them."""
    every, one = [], []
    with bench(session, 0) as made:
        guards = dataclasses.replace(made, measured="macvtap_guard")
        guards.module(declared(size.links))
        for _round in range(size.rounds):
            every.append(Sample(_unchanged(guards, size.links), guards.empty(), _bare(guards, "list")))
            one.append(Sample(_unchanged(guards, 1), every[-1].empty, every[-1].other))
        _clear(guards, session)
    every_ratio, one_ratio = (median(s.cpu / s.other.cpu for s in samples if s.other) for samples in (every, one))
    peer = "listing all as text"
    return [
        Figure(
            "guard_again",
            f"second run on {size.links} guards; {peer} = 1, processor time",
            every_ratio,
            "×",
            size.rounds,
            1.5,
            parts=medians(every, peer),
        ),
        Figure(
            "guard_one",
            f"second run on one of {size.links} guards; {peer} = 1, processor time",
            one_ratio,
            "×",
            size.rounds,
            0.2,
            parts=medians(one, peer),
        ),
    ]


def frames(session: LinkSession, size: Size) -> list[Figure]:
    """Frames of a program that does nothing but write them into the tap, with a guard and without."""
    # By their length, and the address that they are from.
    costs: dict[tuple[int, str], list[tuple[float, float]]] = {one: [] for one in ((60, _OWN), (1400, _OWN), _DROPPED)}
    with bench(session, 1) as made:
        guards = dataclasses.replace(made, measured="macvtap_guard")
        made.batch([f"link add {_LINK} link {UPLINK} up address {mac(0)} type macvtap mode bridge"])
        guard = {"link": _LINK, "addresses": ["10.0.0.0/24"], "persistent": False}
        for _round in range(size.rounds):
            for (length, source), found in costs.items():
                words = [_LINK, mac(0), source, str(length), str(_FRAMES * size.links)]
                argv = [made.session.python, _TAP, *words]
                without = float(guards.run(argv).output)
                guards.module(guard)
                found.append((without, float(guards.run(argv).output)))
                _clear(guards, session)
    sent = "{} bytes: frames that a tap's writer gets out with a guard, for the same processor time"
    dropped = "{} bytes: frames of a tap's writer that a guard drops, for the same processor time"
    note = "without a guard = 1; it has nothing else to do, as no guest has"
    return [
        Figure(
            f"guard_{'frames' if source == _OWN else 'dropped'}_{length}",
            (sent if source == _OWN else dropped).format(length),
            median(without / guarded for without, guarded in found),
            "×",
            len(found),
            0.7,
            at_least=True,
            parts={
                "a frame without, ms": median(without for without, _guarded in found) / 1000,
                "a frame with a guard, ms": median(guarded for _without, guarded in found) / 1000,
            },
            note=note,
        )
        for (length, source), found in costs.items()
    ]


def run_once(session: LinkSession, size: Size, _case: str, around: str) -> Cost:
    """Run the module once more with ``around`` about it."""
    with bench(session, 0) as made:
        guards = dataclasses.replace(made, measured="macvtap_guard")
        guards.module(declared(size.links))
        try:
            return guards.module(declared(size.links), around=around)
        finally:
            _clear(guards, session)


def _unchanged(guards: Bench, count: int) -> Cost:
    cost = guards.module(declared(count))
    if cost.result()["changed"]:
        raise BenchmarkError("a second run changed something")
    return cost


def _bare(guards: Bench, *words: str) -> Cost:
    # The library is the distribution's, so the interpreter is too.
    return guards.run(["/usr/bin/python3", _BARE, *words])


def _clear(guards: Bench, session: LinkSession) -> None:
    flush = session.scratch / "flush"
    flush.write_text("flush ruleset\n")
    _bare(guards, "load", str(flush))
