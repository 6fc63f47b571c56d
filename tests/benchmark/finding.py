# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures of finding guests: the module on a hypervisor, and reading the inventory on the controller."""

from __future__ import annotations

import json
import pathlib
import sys
import typing as t

from direct_iface import domain
from figures import Figure, Sample, Size, medians
from fleets import python
from harness import BenchmarkError, Cost, Session, median
from hypervisors import DomainBench, DomainSession, mac, name, nic_xml

_SCRIPT = pathlib.Path(__file__).parent / "bare_inventory.py"
_GUESTS = 10


def module(session: DomainSession, size: Size) -> list[Figure]:
    """The module for running guests, as a multiple of a module that does nothing."""
    made = DomainBench(session.hypervisor.cell.netns, session, "macvtap_guest_addresses_info", session.hypervisor)
    own: dict[int, list[Sample]] = {}
    try:
        for number in range(max(size.guests)):
            session.hypervisor.define(domain(name(number), nic_xml(mac(number, 0))))
            session.hypervisor.virsh("start", name(number))
        _ask(made, 1)  # has the byte code written
        for _round in range(3 * size.rounds):
            for guests in size.guests:
                own.setdefault(guests, []).append(Sample(_ask(made, guests), made.empty()))
    finally:
        made.bare("undefine")
    most = max(size.guests)
    parts = {**medians(own[most])}
    for guests, samples in own.items():
        parts[f"{guests} guests, ×"] = median(sample.module.wall / sample.empty.wall for sample in samples)
        parts[f"{guests} guests, module's own"] = median(sample.wall for sample in samples)
    what = f"addresses of {most} running guests, without probe; an empty module = 1"
    return [Figure("addresses", what, parts[f"{most} guests, ×"], "×", 3 * size.rounds, 4, parts=parts)]


def _ask(made: DomainBench, guests: int) -> Cost:
    cost = made.module({"uri": made.uri, "domains": [name(number) for number in range(guests)]})
    if len(cost.result()["guests"]) != guests:
        raise BenchmarkError(f"the module should have found {guests} guests")
    return cost


def inventory(session: Session, size: Size) -> list[Figure]:
    """Reading the inventory, from what hypervisors have answered until there are hosts and groups."""
    # Nothing of this runs on a hypervisor.
    here = Session(sys.executable, session.scratch)
    found = {}
    for recorded in size.recorded:
        found[recorded] = _read(here, recorded, size.rounds)
    few, most = sorted(size.recorded)[-2:]
    parts = {f"{recorded} hypervisors, CPU": median(one["cpu"]) for recorded, one in found.items()}
    parts[f"{most} hypervisors, wall"] = median(found[most]["wall"])
    each = {recorded: parts[f"{recorded} hypervisors, CPU"] / recorded for recorded in (few, most)}
    what = f"inventory of {most} hypervisors × {_GUESTS} guests, a hypervisor; one of {few} = 1"
    note = f"{1000 * each[most]:.2f} ms of CPU for a hypervisor"
    return [Figure("inventory", what, each[most] / each[few], "×", size.rounds, 2, parts=parts, note=note)]


def _read(here: Session, recorded: int, rounds: int) -> dict[str, t.Any]:
    result: dict[str, t.Any] = json.loads(python(here, [str(_SCRIPT), str(recorded), str(_GUESTS), str(rounds)]).stdout)
    if result["guests"] != recorded * _GUESTS:
        raise BenchmarkError(f"{result['guests']} guests can be connected to, of {recorded * _GUESTS}")
    return result
