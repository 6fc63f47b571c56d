# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What another uplink costs a running guest, by its memory: in a pause, by a replug, and by a restart.

A machine of the LAN asks the guest for its clock a hundred times a second. The guest is silent while no answer comes,
and stands still by what its clock falls behind meanwhile.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
import typing as t
from dataclasses import dataclass, field
from functools import partial

from figures import Figure, Size
from guest_traffic import Noticed, watched
from harness import ROOT, BenchmarkError, median, undisturbed
from hypervisors import UPLINK, DomainBench, DomainSession, bench, nic_xml
from labkit import guest, model, switch
from tasks import LONG_ROUNDS

GUEST, MAC = "paused", "52:54:00:00:ff:02"
OTHER = "eth1"
# Where libvirt keeps managed saves.
SAVED = "/var/lib/libvirt/qemu/save"
# From so many MiB on there is one round: a guest needs as long to fill its memory as for all else.
_LARGE = 2048
_TIMEOUT = 300
# Fills what is free with bytes of which no page is all zeros, and leaves the kernel some room.
_USE = """
import os
with open("/proc/meminfo") as file:
    available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable"))
with open("/used/bytes", "wb") as file:
    for number in range(available * 95 // 102400 - 24):
        file.write(os.urandom(4096) * 256)
"""


@dataclass(frozen=True)
class Inside(DomainBench):
    """The hypervisor's own file system too: images are in it."""

    @property
    def prefix(self) -> list[str]:
        return self.hypervisor.prefix

    @property
    def uri(self) -> str:
        return "qemu:///system"


@dataclass
class _Seen:
    """What was noticed of a guest, and for how long the module has said that it would stand still."""

    pauses: list[Noticed] = field(default_factory=list)
    replugs: list[Noticed] = field(default_factory=list)
    restarts: list[Noticed] = field(default_factory=list)
    forecasts: list[float] = field(default_factory=list)
    used: list[int] = field(default_factory=list)


def pausing(session: DomainSession, size: Size) -> list[Figure]:
    """Put a guest that uses its memory on another uplink, and back."""
    found = []
    with bench(session, 0) as outside:
        made = Inside(outside.netns, session, outside.measured, outside.hypervisor)
        _plug_in(made)
        with _images_on_disk(made) as disk:
            for memory in size.memories:
                made.hypervisor.define_guest(GUEST, nic_xml(MAC), memory=memory)
                rounds = min(size.rounds, LONG_ROUNDS) if memory < _LARGE else 1
                found += _figures(memory, _observed(made, memory, rounds), disk)
                outside.bare("undefine")
    return found


@contextlib.contextmanager
def _images_on_disk(made: Inside) -> t.Iterator[str]:
    """Have guests saved to the file system of this checkout, and tell its type: the hypervisor's own is in memory."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="saved-") as directory:
        made.run(["mount", "--bind", directory, SAVED])
        try:
            yield made.run(["findmnt", "-n", "-o", "FSTYPE", SAVED]).output.decode().strip()
        finally:
            with undisturbed():
                made.run(["umount", SAVED])


def _observed(made: Inside, memory: int, rounds: int) -> _Seen:
    seen = _Seen()
    made.hypervisor.virsh("start", GUEST)
    lab, cell = model.require(made.hypervisor.cell.lab), made.hypervisor.cell
    (nic,) = guest.wait(lab, cell, GUEST)
    notice = partial(_noticed, ["ip", "netns", "exec", lab.switch.netns], nic["ipv4"])
    for _round in range(rounds):
        _use_memory(made)
        for source in (OTHER, UPLINK):
            seen.pauses.append(notice(partial(_by_pause, made, source, memory, seen)))
        for source in (OTHER, UPLINK):
            seen.replugs.append(notice(partial(_by_module, made, source, "replug")))
        seen.restarts.append(notice(partial(_by_restart, made, OTHER)))
        _by_module(made, UPLINK, "replug")
    return seen


def _figures(memory: int, seen: _Seen, disk: str) -> list[Figure]:
    rounds = len(seen.pauses)
    silence = median(found.silence for found in seen.pauses)
    replug = median(found.silence for found in seen.replugs)
    restart = median(found.silence for found in seen.restarts)
    parts = {
        "pause, the guest's clock stood still": median(found.still for found in seen.pauses),
        "pause, forecast": median(seen.forecasts),
        "replug, without an answer": replug,
        "replug, the guest's clock stood still": median(found.still for found in seen.replugs),
        "shutdown and start, without an answer": restart,
        "memory in use, MB": median(seen.used) / 1e6,
    }
    size = f"{memory} MiB" if memory < 1024 else f"{memory / 1024:g} GiB"
    note = "the replug is with this guest's lease from DHCP, and the restart with nothing to shut down or to start"
    pairs = [(found.still, forecast) for found, forecast in zip(seen.pauses, seen.forecasts)]
    factors = [max(still / forecast, forecast / still) for still, forecast in pairs]
    listed = {f"pause {number}, {what}": pair[place] for number, pair in enumerate(pairs, 1) for place, what in _PAIR}
    return [
        Figure(f"pause_{memory}", f"pause of a guest of {size}: no answer for", silence, "s", rounds, parts=parts),
        Figure(
            f"pause_restart_{memory}",
            f"that pause, {size}, times faster than shutdown and start",
            restart / silence,
            "×",
            rounds,
            parts={"than a replug, ×": replug / silence},
            note=note,
        ),
        Figure(
            f"forecast_{memory}",
            f"forecast of that pause, {size}: off by a factor of",
            max(factors),
            "×",
            rounds,
            2,
            parts=listed,
            note=f"the worst of them, by the guest's clock; images on {disk}",
        ),
    ]


_PAIR = ((0, "measured"), (1, "forecast"))


def _plug_in(made: Inside) -> None:
    """Give the hypervisor a second uplink to the same switch."""
    netns = model.require(made.hypervisor.cell.lab).switch.netns
    port = ["link", "add", f"port-{OTHER}", "type", "veth", "peer", "name", OTHER, "netns", made.netns]
    for words in (port, ["link", "set", f"port-{OTHER}", "master", switch.BRIDGE, "up"]):
        subprocess.run(["ip", "-n", netns, *words], check=True)
    made.run(["ip", "link", "set", OTHER, "up"])


def _noticed(prefix: t.Sequence[str], address: str, action: t.Callable[[], object]) -> Noticed:
    with watched(prefix, address) as found:
        action()
    return found[0]


def _use_memory(made: Inside) -> None:
    script = 'mkdir -p /used && mount -t tmpfs -o size=100% tmpfs /used && exec python3 -I -S -c "$0"'
    done = guest.execute(made.hypervisor.cell, GUEST, ["sh", "-c", script, _USE], timeout=_TIMEOUT)
    if done["status"]:
        raise BenchmarkError(f"the guest does not fill its memory: {done}")


def _by_module(made: Inside, source: str, live: str) -> dict[str, t.Any]:
    params = {"uri": made.uri, "domain": GUEST, "mac": MAC, "source": source, "live": live}
    done = made.module(params).result()
    if not done["changed"] or bool(done["restart_required"]) != (live == "none"):
        raise BenchmarkError(f"the module should have given the guest another uplink: {done}")
    return done


def _by_pause(made: Inside, source: str, memory: int, seen: _Seen) -> None:
    (pause,) = _by_module(made, source, "pause")["pauses"]
    if pause["memory_bytes"] < 0.8 * memory * 2**20:
        raise BenchmarkError(f"the guest should use its memory of {memory} MiB: {pause}")
    seen.forecasts.append(pause["forecast_seconds"])
    seen.used.append(pause["memory_bytes"])


def _by_restart(made: Inside, source: str) -> None:
    _by_module(made, source, "none")
    # A session of its own: the guest's agent ends what the shell that has started it leaves behind.
    made.hypervisor.in_guest(GUEST, "setsid", "sh", "-c", "(sleep 0.2; poweroff -f) >/dev/null 2>&1 </dev/null &")
    deadline = time.monotonic() + _TIMEOUT
    while made.hypervisor.virsh("domstate", GUEST).strip() != "shut off":
        if time.monotonic() > deadline:
            raise BenchmarkError("the guest does not shut down")
        time.sleep(0.02)
    made.hypervisor.virsh("start", GUEST)
