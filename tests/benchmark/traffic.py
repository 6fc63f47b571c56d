# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a running guest notices: numbered frames are sent to it each millisecond, and it says which arrived."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import time
import typing as t
from dataclasses import dataclass
from functools import partial

import frames
from ansible.parsing.plugin_docs import read_docstring
from figures import Figure, Size
from harness import ROOT, BenchmarkError, median
from hypervisors import DomainBench, DomainSession, bench, nic_xml
from labkit import model, switch
from tasks import LONG_ROUNDS

GUEST = "busy"
MAC = "52:54:00:00:ff:01"
_INTERVAL = 1  # ms
_BEFORE, _AFTER = 0.5, 2.0
_TIMEOUT = 120
_SOURCE = pathlib.Path(frames.__file__).read_text(encoding="utf-8")
_RECORD = "/tmp/frames"
# virtio both, so that the guest's driver serves both.
_MODELS = ("virtio-non-transitional", "virtio")
_MODES = ("vepa", "bridge")
_LATER = "the module has no option live yet"


Ways = t.Dict[str, t.Callable[[DomainBench, str], object]]


@dataclass(frozen=True)
class Traffic:
    """What became of the frames: how many did not arrive, and the longest time without one, in ms."""

    lost: int
    gap: float


def has_live() -> bool:
    """Whether the module can do to a running guest what is measured here."""
    path = os.path.join(ROOT, "plugins", "modules", "libvirt_direct_iface.py")
    return "live" in read_docstring(path)["doc"]["options"]


def running(session: DomainSession, size: Size) -> list[Figure]:
    """A NIC is taken out of a running guest and plugged in again as another model; its mode is changed; and back."""
    replug: Ways = {"virsh detach-device and attach-device": _by_virsh}
    change: Ways = {"ip link set": _by_ip}
    if has_live():
        replug["module"] = lambda made, to: _by_module(made, "replug", model=to)
        change["module"] = lambda made, to: _by_module(made, "update", mode=to)
    rounds = min(size.rounds, LONG_ROUNDS)
    quiet: list[Traffic] = []
    replugged: dict[str, list[Traffic]] = {way: [] for way in replug}
    changed: dict[str, list[Traffic]] = {way: [] for way in change}
    with bench(session, 0) as made:
        made.hypervisor.define_guest(GUEST, nic_xml(MAC))
        made.hypervisor.virsh("start", GUEST)
        guest = Listener(made)
        for _round in range(rounds):
            quiet.append(guest.observe(partial(time.sleep, 1)))
            for ways, there_and_back, seen in ((replug, _MODELS, replugged), (change, _MODES, changed)):
                for way, action in ways.items():
                    seen[way] += [guest.observe(partial(action, made, to)) for to in there_and_back]
    return [_replug_figure({"nothing": quiet, **replugged}), _mode_figure({"nothing": quiet, **changed})]


def _replug_figure(seen: t.Mapping[str, t.Sequence[Traffic]]) -> Figure:
    gaps = {f"{way}, ms": median(traffic.gap for traffic in observed) for way, observed in seen.items()}
    what = "replug of a running guest's NIC: without a frame for"
    note = "of it up to 300 ms until this guest looks for new cards" if "module" in seen else _LATER
    rounds = len(seen.get("module", ()))
    return Figure("replug", what, gaps.get("module, ms"), "ms", rounds, parts=gaps, note=note)


def _mode_figure(seen: t.Mapping[str, t.Sequence[Traffic]]) -> Figure:
    # Not the median: one frame lost in all of them is one lost.
    lost = {f"{way}, frames": sum(traffic.lost for traffic in observed) for way, observed in seen.items()}
    gaps = {f"{way}, ms": median(traffic.gap for traffic in observed) for way, observed in seen.items()}
    rounds = len(seen.get("module", ()))
    what = f"change the mode of a running guest's NIC, {rounds} times: frames lost"
    note = "" if "module" in seen else _LATER
    return Figure("live_mode", what, lost.get("module, frames"), "frames", rounds, parts={**lost, **gaps}, note=note)


class Listener:
    """A guest that writes down which frames it hears."""

    def __init__(self, made: DomainBench) -> None:
        self._made = made
        self._observed = 0
        in_background = 'python3 -I -S -c "$0" record "$1" "$2" >"$1.log" 2>&1 &'
        made.hypervisor.in_guest(GUEST, "sh", "-c", in_background, _SOURCE, _RECORD, str(_TIMEOUT))
        self._await("ready")

    def observe(self, action: t.Callable[[], object]) -> Traffic:
        """Do something while frames are on their way to the guest.

        :raises BenchmarkError: none arrived before or after it.
        """
        with _sender(self._made) as sender:
            time.sleep(_BEFORE)
            started = time.monotonic()
            action()
            ended = time.monotonic()
            time.sleep(_AFTER)
            message, _errors = sender.communicate(timeout=_TIMEOUT)
        times = [float(line) for line in message.split()]
        gap, *ranges = self._await(str(self._observed)).split()
        self._observed += 1
        pairs = [word.split("-") for word in ranges]
        heard = [number for first, last in pairs for number in range(int(first), int(last) + 1)]
        if times[heard[0]] > started or times[heard[-1]] < ended:
            raise BenchmarkError(f"of {len(times)} frames the guest heard {len(heard)}, and none before or none after")
        return Traffic(heard[-1] - heard[0] + 1 - len(heard), float(gap))

    def _await(self, suffix: str) -> str:
        """Return what a file of the guest says, once it is there."""
        deadline = time.monotonic() + _TIMEOUT
        while not (text := self._made.hypervisor.in_guest(GUEST, "cat", f"{_RECORD}.{suffix}")):
            if time.monotonic() > deadline:
                log = self._made.hypervisor.in_guest(GUEST, "cat", f"{_RECORD}.log")
                raise BenchmarkError(f"the guest's recorder has not written {suffix}: {log!r}")
            time.sleep(0.2)
        return text


@contextlib.contextmanager
def _sender(made: DomainBench) -> t.Iterator[subprocess.Popen[str]]:
    """Send from the lab's switch, as a machine plugged into it would."""
    netns = model.Cell(made.hypervisor.cell.lab, model.SWITCH).netns
    argv = [
        "ip",
        "netns",
        "exec",
        netns,
        made.session.python,
        "-c",
        _SOURCE,
        "send",
        switch.BRIDGE,
        MAC,
        str(_INTERVAL),
    ]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "sending\n":
            raise BenchmarkError("the sender of frames does not start")
        yield process
    finally:
        process.kill()
        process.wait()


def _by_module(made: DomainBench, live: str, **params: str) -> None:
    done = made.module({"uri": made.uri, "domain": GUEST, "mac": MAC, "live": live, **params}).result()
    if not done["changed"] or done["restart_required"]:
        raise BenchmarkError(f"the module should have changed the running guest: {done}")


def _by_virsh(made: DomainBench, to: str) -> None:
    """Take the NIC out and plug it in again with another model, at the same address."""
    live = made.hypervisor.dump(GUEST, live=True)
    element = live[live.index("<interface") : live.index("</interface>")] + "</interface>"
    made.hypervisor.virsh("detach-device", GUEST, "/dev/stdin", "--live", stdin=element)
    before = next(name for name in _MODELS if f"<model type='{name}'/>" in element)
    after = element.replace(f"<model type='{before}'/>", f"<model type='{to}'/>")
    made.hypervisor.virsh("attach-device", GUEST, "/dev/stdin", "--live", stdin=after)


def _by_ip(made: DomainBench, mode: str) -> None:
    (link,) = made.hypervisor.virsh("domiflist", GUEST).splitlines()
    made.run(["ip", "link", "set", link.split()[0], "type", "macvtap", "mode", mode])
