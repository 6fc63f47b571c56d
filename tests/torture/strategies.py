# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the machine draws: hosts, options of runs, and what others do."""

from __future__ import annotations

import typing as t

from hypothesis import strategies as st

from torture import actions
from torture.actions import Action
from torture.nics import Nic
from torture.stage import Event
from torture.world import World

DOMAINS = ("web1", "web2")
# Addresses that a domain's NICs have mostly; now and then it gets one of another's.
MACS = {name: tuple(f"52:54:00:00:0{number}:0{digit}" for digit in "abc") for number, name in enumerate(DOMAINS, 1)}
SOURCES = ("eth0", "eth1")
# Calls that others are most worth to come between, more often than all.
_CALLS = ("define", "detach", "attach", "update", "link", "read", "sleep", "list", "lookup", "links")
_NTH = (0, 0, 0, 1, 1, 2, 3, 5)
_GUESTS = ("start", "stop", "reset", "hang", "answer", "save")

domains = st.sampled_from(DOMAINS)
_sides = st.sampled_from(("before", "after"))
_modes = st.sampled_from(("bridge", "private", "vepa"))


def _rarely(draw: st.DrawFn, times: int = 4) -> bool:
    return draw(st.integers(0, times - 1)) == times - 1


@st.composite
def macs(draw: st.DrawFn, domain: str) -> str:
    other = _rarely(draw, 10)
    return draw(st.sampled_from(MACS[DOMAINS[DOMAINS.index(domain) - 1] if other else domain]))


@st.composite
def nics(draw: st.DrawFn, domain: str) -> Nic:
    direct = not _rarely(draw)
    return Nic(
        draw(macs(domain)),
        type="direct" if direct else "bridge",
        source=draw(st.sampled_from(SOURCES)) if direct else "br0",
        mode=draw(_modes) if direct else "",
        model=draw(st.sampled_from(("virtio", "e1000e"))),
        alias="ua-lan" if _rarely(draw) else "",
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    for name in DOMAINS:
        having = draw(st.lists(nics(name), max_size=3, unique_by=(lambda nic: nic.mac)))
        aliased = [nic for nic in having if nic.alias]
        guest = world.add(name, [nic for nic in having if nic not in aliased[1:]])
        if draw(st.booleans()):
            world.start(guest)
            guest.answers = not draw(st.booleans())
    return world


@st.composite
def _entries(draw: st.DrawFn) -> dict[str, t.Any]:
    domain = draw(domains)
    entry: dict[str, t.Any] = {"domain": domain}
    by = draw(st.sampled_from(("mac", "mac", "mac", "source", "alias", "target")))
    if by == "mac":
        entry["mac"] = draw(macs(domain))
    elif by == "alias":
        entry["alias"] = "ua-lan"
    elif by == "target":
        entry["target"] = "lan0"
    if draw(st.sampled_from((False, False, True))):
        entry["state"] = "absent"
        if by == "source":
            entry["source"] = draw(st.sampled_from(SOURCES))
        return entry
    if not _rarely(draw, 8) or by == "source":
        entry["source"] = draw(st.sampled_from(SOURCES))
    if draw(st.booleans()):
        entry["mode"] = draw(_modes)
    if _rarely(draw, 3):
        entry["model"] = draw(st.sampled_from(("virtio", "e1000e", "nonsense")))
    if _rarely(draw, 3):
        entry["link_state"] = draw(st.sampled_from(("up", "down")))
    if _rarely(draw, 6):
        entry["driver"] = {"queues": draw(st.sampled_from((2, 4)))}
    if _rarely(draw, 6):
        entry["bandwidth"] = {"inbound": {"average": draw(st.sampled_from((1000, 2000)))}}
    return entry


def _key(entry: dict[str, t.Any]) -> tuple[str, str]:
    return entry["domain"], next(str(entry[name]) for name in ("mac", "alias", "target", "source") if name in entry)


_several = st.lists(_entries(), min_size=1, max_size=3, unique_by=_key)


@st.composite
def options(draw: st.DrawFn) -> dict[str, t.Any]:
    """Options of a run."""
    found: dict[str, t.Any] = {"interfaces": draw(_several), "timeout": 1}
    found["live"] = draw(st.sampled_from(("update", "replug", "none")))
    if _rarely(draw):
        found["on_error"] = "keep"
    if _rarely(draw):
        found["purge"] = True
    return found


@st.composite
def others(draw: st.DrawFn) -> Action:
    """What others do to a domain."""
    name = draw(st.one_of(st.sampled_from(_GUESTS), st.sampled_from((*actions.NAMES, *actions.OF_THE_HOST))))
    if name == "kill_keeper":
        return Action(name, "", draw(st.sampled_from(actions.PROCESSES)))
    with_mac = name.startswith(("edit_", "attach", "detach", "define_again")) and name != "edit_memory"
    domain = draw(domains)
    return Action(name, domain, draw(macs(domain)) if with_mac else "")


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Something that falls into a run, before or after a call of it."""
    call = draw(st.sampled_from((*_CALLS, "any", "any", "any")))
    nth = draw(st.integers(8, 45) if call == "any" else st.sampled_from(_NTH))
    what = draw(st.sampled_from((*("others",) * 6, "refuse", "refuse", "kill", "sigterm", "run", *actions.OF_THE_HOST)))
    if what == "others":
        action = draw(others())
    elif what == "kill_keeper":
        action = Action(what, "", draw(st.sampled_from(actions.PROCESSES)))
    elif what == "run":
        action = Action("run", "", draw(options()))
    else:
        action = Action(what)
    return Event(call, nth, draw(_sides), action)


@st.composite
def keeper_events(draw: st.DrawFn) -> Event:
    """Something that falls into what the keeper does."""
    action = draw(others())
    if not _rarely(draw, 3):
        action = Action("kill_keeper", "", draw(st.sampled_from(actions.PROCESSES)))
    return Event("keeper", draw(st.integers(0, 12)), draw(_sides), action)
