# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a move to another host costs a running guest: by the module between unlike uplinks, and by virsh.

Two of the lab's hypervisors have uplinks of unlike names. virsh moves a guest on a direct network, which both have
under one name: that is libvirt's own way. A machine of the LAN asks the guest for its clock a hundred times a second.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
import typing as t
from dataclasses import dataclass, field

import moved_guests
from direct_iface import A, B, nic
from direct_network import network, nic_on
from figures import Figure, Size
from harness import Bench, BenchmarkError, Session, median
from labkit.shell import LabError
from moved_guests import Guest, Hosts

if t.TYPE_CHECKING:
    from guest_traffic import Noticed
    from libvirtd_fixture import Hypervisor

_SILENCE, _MEDIAN = 0.3, 0.15
# How many guests leave a bridge: each must boot first.
_BRIDGED = 5
_BRIDGE = f"<interface type='bridge'><mac address='{A}'/><source bridge='br0'/><model type='virtio'/></interface>"


@dataclass
class HostsSession(Session):
    """A session with hypervisors between which guests move."""

    hosts: Hosts


@dataclass(frozen=True)
class _On(Bench):
    """A hypervisor, one of ``hosts``, where the module and virsh run."""

    hypervisor: Hypervisor
    hosts: Hosts

    @property
    def prefix(self) -> list[str]:
        return self.hypervisor.prefix


@dataclass
class _Seen:
    noticed: list[Noticed] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)

    @property
    def silences(self) -> list[float]:
        return [one.silence for one in self.noticed]


@contextlib.contextmanager
def session(python: str) -> t.Iterator[HostsSession]:
    with tempfile.TemporaryDirectory(prefix="macvtap-bench-") as scratch, contextlib.ExitStack() as stack:
        try:
            made = stack.enter_context(moved_guests.made(f"bench{os.getpid()}"))
        except LabError as exc:
            raise BenchmarkError(str(exc)) from exc
        yield HostsSession(python, pathlib.Path(scratch), made)


def moves(in_session: HostsSession, size: Size) -> list[Figure]:
    """Move a guest there and back by the module, and another one by virsh, in turn."""
    hosts = in_session.hosts
    benches = {hv.cell.name: _On(hv.cell.netns, in_session, "libvirt_guest_migrate", hv, hosts) for hv in hosts.all}
    for hv in hosts.all:
        hv.virsh("net-define", "/dev/stdin", stdin=network("lan", "bridge", hv.uplink))
        hv.virsh("net-start", "lan")
    source = hosts.source
    ours = moved_guests.boot(source, "web1", nic(A, source.uplink))
    theirs = moved_guests.boot(source, "web2", nic_on(B))
    by_module, by_virsh = _Seen(), _Seen()
    there_and_back = [(source, hosts.destination), (hosts.destination, source)]
    # Has the byte code written, and the hosts' connections tried.
    for here, there in there_and_back:
        _move(benches[here.cell.name], ours, there, _Seen(), live=size.live)
    for here, there in there_and_back * size.rounds:
        on = benches[here.cell.name]
        _move(on, ours, there, by_module, live=size.live)
        _virsh(on, theirs, there, by_virsh, live=size.live)
    hosts.clear()
    return [*_figures(by_module, by_virsh), _off_bridge(hosts, benches[source.cell.name], size)]


def _off_bridge(hosts: Hosts, on: _On, size: Size) -> Figure:
    """Move guests from a bridge of the source to the uplink of the destination, each of them a new one."""
    source, seen = hosts.source, _Seen()
    source.run("ip", "link", "add", "br0", "up", "type", "bridge", "forward_delay", "0")
    try:
        source.run("ip", "link", "set", source.uplink, "master", "br0")
        for _round in range(min(size.rounds, _BRIDGED)):
            guest = moved_guests.boot(source, "web1", _BRIDGE)
            to = [{"mac": A, "source": hosts.destination.uplink}]
            _move(on, guest, hosts.destination, seen, live=size.live, interfaces=to)
            hosts.clear()
    finally:
        source.run("ip", "link", "del", "br0")
    parts = {f"move {number}": silence for number, silence in enumerate(seen.silences, 1)}
    what = "move from a bridge to the other host's uplink itself, no answer for, longest"
    return Figure("off_bridge", what, max(seen.silences), "s", len(seen.silences), _SILENCE, parts=parts)


def _move(on: _On, guest: Guest, there: Hypervisor, seen: _Seen, **how: t.Any) -> None:
    params = moved_guests.options(on.hypervisor, there, **how)
    with moved_guests.watched(on.hosts, guest) as noticed:
        cost = on.module(params)
    if not cost.result()["changed"]:
        raise BenchmarkError(f"the module should have moved the guest: {cost.output!r}")
    seen.noticed += noticed
    seen.walls.append(cost.wall)


def _virsh(on: _On, guest: Guest, there: Hypervisor, seen: _Seen, *, live: bool) -> None:
    words = [*(["--live"] if live else []), "--p2p", "--persistent", "--undefinesource", "--tunnelled"]
    argv = ["virsh", "-q", "-c", "qemu:///system", "migrate", guest.name, moved_guests.uri(there), *words]
    with moved_guests.watched(on.hosts, guest) as noticed:
        cost = on.run(argv)
    seen.noticed += noticed
    seen.walls.append(cost.wall)


def _figures(ours: _Seen, theirs: _Seen) -> list[Figure]:
    count = len(ours.walls)
    parts = {
        "virsh, longest": max(theirs.silences),
        "the guest's clock stood still, longest": max(one.still for one in ours.noticed),
        **{f"move {number}": silence for number, silence in enumerate(ours.silences, 1)},
    }
    middle = {"virsh, median": median(theirs.silences)}
    walls = {"module": median(ours.walls), "virsh migrate": median(theirs.walls)}
    what = "move to another host and back, no answer for"
    return [
        Figure("silence", f"{what}, longest", max(ours.silences), "s", count, _SILENCE, parts=parts),
        Figure("silence_median", f"{what}, median", median(ours.silences), "s", count, _MEDIAN, parts=middle),
        Figure(
            "silence_ratio",
            "that median, times that of virsh on a direct network",
            median(ours.silences) / median(theirs.silences),
            "×",
            count,
            parts=middle,
        ),
        Figure(
            "duration",
            "whole move, times as long as virsh migrate on a direct network",
            walls["module"] / walls["virsh migrate"],
            "×",
            count,
            parts=walls,
            note="the module's with the checks of both hosts, before and after",
        ),
    ]
