# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The strategies of the machine: hosts, options of runs, and actions of others.

Most of it is about what is there: NICs that a domain has, stored or running, and calls that a run really makes. What is
drawn from all that could be mostly ends in an error before anything is done, or falls into nothing.
"""

from __future__ import annotations

import typing as t

from hypothesis import strategies as st

from torture import actions
from torture.actions import Action, Event
from torture.guests import Guest
from torture.nics import AUTOMATIC, Nic
from torture.world import NETWORKS, World

# How often a run makes each call.
Calls = t.Mapping[str, int]
DOMAINS = ("web1", "web2")
# The usual addresses of a domain's NICs. Sometimes it gets an address of another domain.
MACS = {name: tuple(f"52:54:00:00:0{number}:0{digit}" for digit in "abc") for number, name in enumerate(DOMAINS, 1)}
SOURCES = ("eth0", "eth1")
ALIASES, TARGETS = ("ua-lan", "ua-wan"), ("lan0", "wan0")
# Calls that change something or wait, around which actions of others are most interesting.
_CHANGES = frozenset(("define", "detach", "attach", "update", "link", "sleep", "keep"))
_GUESTS = ("start", "stop", "reset", "hang", "answer", "save")
# Options that are declared for an existing interface, alone or together.
_OPTIONS = (
    "source",
    "source",
    "network",
    "network",
    "mode",
    "mode",
    "model",
    "link_state",
    "driver",
    "bandwidth",
    "alias",
    "target",
)

domains = st.sampled_from(DOMAINS)
_sides = st.sampled_from(("before", "after"))
_modes = st.sampled_from(("bridge", "private", "vepa"))
_values: t.Mapping[str, st.SearchStrategy[t.Any]] = {
    "source": st.sampled_from(SOURCES),
    "network": st.sampled_from(sorted(NETWORKS)),
    "mode": _modes,
    "model": st.sampled_from(("virtio", "virtio", "e1000e", "e1000e", "nonsense")),
    "link_state": st.sampled_from(("up", "down")),
    "driver": st.sampled_from(({"queues": 2}, {"queues": 4})),
    "bandwidth": st.sampled_from(({"inbound": {"average": 1000}}, {"inbound": {"average": 2000}})),
    "alias": st.sampled_from(ALIASES),
    "target": st.sampled_from(TARGETS),
}


def _rarely(draw: st.DrawFn, times: int = 4) -> bool:
    return draw(st.integers(0, times - 1)) == times - 1


@st.composite
def macs(draw: st.DrawFn, domain: str) -> str:
    other = _rarely(draw, 12)
    return draw(st.sampled_from(MACS[DOMAINS[DOMAINS.index(domain) - 1] if other else domain]))


@st.composite
def nics(draw: st.DrawFn, domain: str) -> Nic:
    direct = not _rarely(draw, 6)
    network = draw(_values["network"]) if direct and _rarely(draw) else ""
    return Nic(
        draw(macs(domain)),
        type="direct" if direct else "bridge",
        source="" if network else draw(st.sampled_from(SOURCES)) if direct else "br0",
        mode=draw(_modes) if direct and not network else "",
        network=network,
        model=draw(st.sampled_from(("virtio", "virtio", "virtio", "e1000e"))),
        alias=draw(st.sampled_from(ALIASES)) if _rarely(draw) else "",
        target=draw(st.sampled_from(TARGETS)) if _rarely(draw) else "",
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    world = World()
    taken: set[str] = set()
    for name in DOMAINS:
        having = []
        for nic in draw(st.lists(nics(name), min_size=int(not _rarely(draw, 8)), max_size=3, unique_by=_address)):
            names = {nic.alias, nic.target} - {""}
            if not names & taken:
                having.append(nic)
                taken |= names
        guest = world.add(name, having)
        if not _rarely(draw, 3):
            world.start(guest)
            guest.answers = not draw(st.booleans())
            if _rarely(draw):
                # The live NIC differs from the stored one.
                edit = draw(
                    st.sampled_from(("edit_source", "edit_mode", "edit_network", "edit_remove", "edit_add", "attach"))
                )
                actions.apply(world, Action(edit, name, draw(macs(name))))
    return world


def _address(nic: Nic) -> str:
    return nic.mac


@st.composite
def _entries(draw: st.DrawFn, world: World, near: str) -> dict[str, t.Any]:
    domain = draw(domains) if not near or _rarely(draw) else near
    guest = world.named(domain)
    # NICs that only the running guest has are as likely as stored ones.
    there = [] if guest is None else [*(guest.stored or ()), *(one.nic for one in guest.live or ())]
    absent = _rarely(draw, 3)
    entry: dict[str, t.Any] = {"domain": domain}
    once = [] if guest is None else list(_selectors_of_old(guest))
    if once and _rarely(draw, 3):
        by, value = draw(st.sampled_from(once))
        entry[by] = value
        names = ["source", *draw(st.lists(st.sampled_from(_OPTIONS), max_size=1))]
    elif not there or _rarely(draw, 5):
        by = draw(st.sampled_from(("mac", "source", "network", "alias", "target")))
        entry[by] = draw(macs(domain)) if by == "mac" else draw(_values[by])
        names = ["source", "mode", *draw(st.lists(st.sampled_from(_OPTIONS), max_size=1))]
    else:
        nic = draw(st.sampled_from(there))
        having = [name for name in ("source", "network", "alias", "target") if _selects(nic, name)]
        by = draw(st.sampled_from(("mac", "mac", *having)))
        entry[by] = getattr(nic, by)
        names = draw(st.lists(st.sampled_from(_OPTIONS), max_size=2, unique=True))
    if absent:
        return {**entry, "state": "absent"}
    places = _places(by if by in {"source", "network"} else next((n for n in names if n in {"source", "network"}), ""))
    for name in names:
        if name not in places and name not in entry and (name, nic_model(entry, there)) != ("driver", "e1000e"):
            entry[name] = draw(_values[name])
    return entry


def _places(name: str) -> set[str]:
    """Return the options that exclude ``name``."""
    return {"source": {"network"}, "network": {"source", "mode"}}.get(name, set())


def _selectors_of_old(guest: Guest) -> t.Iterator[tuple[str, str]]:
    """Yield live values of NICs whose stored values differ."""
    for one in guest.live or ():
        stored = guest.stored_nic(one.nic.mac)
        for name in ("source", "network", "alias", "target"):
            if stored is not None and _selects(one.nic, name) and getattr(stored, name) != getattr(one.nic, name):
                yield name, getattr(one.nic, name)


def _selects(nic: Nic, name: str) -> bool:
    """Whether a NIC can be selected by its value of this option."""
    value = getattr(nic, name)
    if name == "source":
        return nic.type == "direct" and not nic.network
    return bool(value) and not AUTOMATIC.fullmatch(value) and (name != "alias" or value.startswith("ua-"))


def nic_model(entry: t.Mapping[str, t.Any], there: t.Iterable[Nic]) -> str:
    return str(entry.get("model") or next((nic.model for nic in there if nic.mac == entry.get("mac")), "virtio"))


def _key(entry: dict[str, t.Any]) -> tuple[str, str]:
    return entry["domain"], next(
        str(entry[name]) for name in ("mac", "alias", "target", "source", "network") if name in entry
    )


@st.composite
def options(draw: st.DrawFn, world: World, near: str = "") -> dict[str, t.Any]:
    """Options of a run on this host, mostly about the domain ``near`` if given."""
    if not near and _rarely(draw) and direct(world):
        return draw(fleet(world))
    found: dict[str, t.Any] = {"timeout": 1}
    found["interfaces"] = draw(st.lists(_entries(world, near), min_size=1, max_size=3, unique_by=_key))
    found["live"] = draw(st.sampled_from(("update", "replug", "replug", "none")))
    return {**found, **draw(_of_all())}


@st.composite
def fleet(draw: st.DrawFn, world: World) -> dict[str, t.Any]:
    """Options of a run with the same values for many NICs, like the role's; at least one NIC exists."""
    having = direct(world)
    some = draw(st.lists(st.sampled_from(having), min_size=min(2, len(having)), max_size=4, unique=True))
    found: dict[str, t.Any] = {"timeout": 1, "interfaces": [{"domain": domain, "mac": mac} for domain, mac in some]}
    option = draw(st.sampled_from(("source", "network", "mode", "model")))
    found[option] = draw(_values[option])
    found["live"] = draw(st.sampled_from(("replug", "replug", "pause", "update", "none")))
    return {**found, **draw(_of_all())}


@st.composite
def _of_all(draw: st.DrawFn) -> dict[str, t.Any]:
    on_error = {"on_error": "keep"} if _rarely(draw, 6) else {}
    return {**on_error, **({"purge": True} if _rarely(draw, 8) else {})}


def direct(world: World) -> list[tuple[str, str]]:
    """Return the stored direct interfaces, each as domain and address."""
    guests = world.guests.values()
    return [(guest.name, nic.mac) for guest in guests for nic in guest.stored or () if nic.type == "direct"]


@st.composite
def others(draw: st.DrawFn, near: str = "") -> Action:
    """Actions of others on a domain, mostly ``near`` if given, or on the host."""
    name = draw(st.one_of(st.sampled_from(_GUESTS), st.sampled_from((*actions.NAMES, *actions.OF_THE_HOST))))
    if name == "kill_keeper":
        return Action(name, "", draw(st.sampled_from(actions.PROCESSES)))
    with_mac = name.startswith(("edit_", "attach", "detach", "define_again")) and name != "edit_memory"
    domain = draw(domains) if not near or _rarely(draw) else near
    return Action(name, domain, draw(macs(domain)) if with_mac else "")


@st.composite
def events(draw: st.DrawFn, world: World, params: t.Mapping[str, t.Any], calls: Calls) -> Event:
    """An event during a run, before or after one of its calls."""
    near = draw(st.sampled_from([entry["domain"] for entry in params["interfaces"]]))
    # All kinds of calls are equally likely, however often they are made; those that change something are likelier.
    call = draw(st.sampled_from(sorted([*calls, *(_CHANGES & calls.keys())]) or ["any"]))
    nth = draw(st.integers(0, max(0, calls.get(call, 1) - 1)))
    kinds = (*("others",) * 7, "refuse", "refuse", "run", "run", "kill", "sigterm", "restart_libvirtd")
    what = draw(st.sampled_from(kinds))
    if what == "others":
        action = draw(others(near))
    elif what == "run":
        action = Action("run", "", draw(options(world, near)))
    else:
        action = Action(what)
    return Event(call, nth, draw(_sides), action)


@st.composite
def goings(draw: st.DrawFn, params: t.Mapping[str, t.Any], calls: Calls) -> Event:
    """A guest of a run that stops, or the like, while the run changes it or waits for it."""
    near = draw(st.sampled_from([entry["domain"] for entry in params["interfaces"]]))
    call = draw(st.sampled_from(sorted(_CHANGES & calls.keys()) or ["any"]))
    nth = draw(st.integers(0, max(0, calls.get(call, 1) - 1)))
    what = draw(st.sampled_from(("stop", "stop", "save", "reset", "undefine", "start", "pause", "begin_job")))
    return Event(call, nth, draw(_sides), Action(what, near))


@st.composite
def keeper_events(draw: st.DrawFn) -> Event:
    """An event during the keeper's work."""
    action = draw(others())
    if not _rarely(draw, 3):
        action = Action("kill_keeper", "", draw(st.sampled_from(actions.PROCESSES)))
    return Event("keeper", draw(st.integers(0, 12)), draw(_sides), action)
