# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The model of networks, watched: what a run must not do is a violation at the request that does it."""

from __future__ import annotations

import contextlib
import copy
import typing as t

from network_model import Guest, Model, Net, Nic
from network_spec import Spec, parsed

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Desired
from torture.violations import ViolationError

NAMES = ("lan", "dmz", "old")
UUIDS = {name: f"{number}3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c" for number, name in enumerate(NAMES, 1)}
# Another editor's mark in a network: a portgroup of this prefix.
THEIRS = "theirs"


class Shown(t.NamedTuple):
    """A network without what libvirt counts. The order in an active network is of no importance."""

    uuid: str
    stored: Spec | None
    live: t.Any
    autostart: bool


class WatchedModel(Model):
    """The host: two networks, one more name, and three guests with a NIC on one of them each."""

    def __init__(self, trace: list[str]) -> None:
        super().__init__()
        self.trace = trace
        self.declared: dict[str, Desired] = {}
        self.force = False
        self.running_run = False
        # Networks that others have changed since the run began, and marks of theirs that the run has overwritten.
        self.touched: set[str] = set()
        self.lost: dict[str, str] = {}
        self.marks = 0
        # The number of the current request, of the last one that listed the domains, and of those that read networks.
        self.now = self.listed = 0
        self.read: dict[str, int] = {}
        # When others have last changed guests, and when they have set marks, by the number of the request.
        self.changed: dict[str, int] = {}
        self.marked: dict[str, int] = {}
        # The marks that were set by a define, which has an event.
        self.with_events: set[str] = set()
        for name in NAMES[:2]:
            self.define(
                f"<network><name>{name}</name><uuid>{UUIDS[name]}</uuid><metadata><x/></metadata>"
                "<forward mode='bridge'><interface dev='eth0'/></forward><portgroup name='a'/></network>"
            )
        self.create(UUIDS["lan"])
        for number, name in enumerate(("lan", "lan", "dmz"), 1):
            uuid = f"00000000-0000-4000-9000-00000000000{number}"
            mac = f"52:54:00:00:00:0{number}"
            self.guests[uuid] = Guest(f"web{number}", uuid, Nic(uuid, mac, name, "a" if number == 1 else ""))

    def copy(self) -> WatchedModel:
        made = copy.copy(self)
        made.nets, made.guests, made.events = copy.deepcopy((self.nets, self.guests, self.events))
        made.trace, made.running_run = [], False
        return made

    def shown(self) -> dict[str, Shown]:
        return {
            net.name: Shown(net.uuid, net.stored, _unordered(net.live), net.autostart) for net in self.nets.values()
        }

    def begin(self, declared: t.Sequence[Desired], *, force: bool) -> None:
        self.declared = {one.name: one for one in declared}
        self.force = force
        self.touched, self.lost, self.read, self.changed, self.marked = set(), {}, {}, {}, {}
        self.now = self.listed = 0
        self.running_run = True

    def end(self) -> None:
        self.running_run = False

    @contextlib.contextmanager
    def by_others(self) -> t.Iterator[None]:
        was, self.running_run = self.running_run, False
        try:
            yield
        finally:
            self.running_run = was

    def at(self, number: int, what: str) -> None:
        self.now = number
        if what == "domains":
            self.listed = number

    def looked(self, uuid: str) -> None:
        self.read[uuid] = self.now

    def mark(self, *, by_define: bool) -> str:
        """Return a new portgroup of another editor's."""
        self.marks += 1
        name = f"{THEIRS}{self.marks}"
        self.marked[name] = self.now
        self.with_events |= {name} if by_define else set()
        return f'<portgroup name="{name}" />'

    # Requests, of the run if it runs.

    def define(self, document: str) -> str:
        if self.running_run:
            _name, uuid, spec = parsed(document)
            net = self.nets.get(uuid)
            had = set(net.stored.groups) if net is not None and net.stored is not None else set()
            for mark in {one for one in had if one.startswith(THEIRS)} - set(spec.groups):
                # Nothing was read after it was set: only libvirt's events can show it, if it has any.
                if self.marked.get(mark, 0) < self.read.get(uuid, 0):
                    self._violation("lost-update", f"{mark} of {net.name if net else uuid}")
                self.lost.update({net.name: mark} if net is not None and mark in self.with_events else {})
            if net is not None:
                self._not_chosen(net, had - set(spec.groups))
        return super().define(document)

    def destroy(self, uuid: str) -> None:
        net = self.nets.get(uuid)
        if self.running_run and net is not None and not self.force:
            desired = self.declared.get(net.name)
            stored = desired is not None and desired.state != "active"
            self._not_in_use(net, f"{net.name} is stopped", stored=stored)
        super().destroy(uuid)

    def undefine(self, uuid: str) -> None:
        net = self.nets.get(uuid)
        desired = self.declared.get(net.name) if net is not None else None
        if (
            self.running_run
            and net is not None
            and desired is not None
            and desired.state == "absent"
            and not self.force
        ):
            self._not_in_use(net, f"{net.name} is removed", stored=True)
        super().undefine(uuid)

    def _not_chosen(self, net: Net, gone: t.Collection[str]) -> None:
        """Guests that have chosen one of the portgroups ``gone`` are a violation, unless the run restores a network."""
        desired = self.declared.get(net.name)
        absent = {one.name for one in desired.portgroups if not one.present} if desired is not None else set()
        for nic in () if self.force else self._users(net, stored=True):
            if nic.portgroup in absent & set(gone):
                self._violation("portgroup-taken", f"{nic.portgroup} of {net.name} is removed, and {nic} has chosen it")

    def update(self, uuid: str, command: str, element: str, *, stored: bool = False) -> None:
        net = self.nets.get(uuid)
        if self.running_run and net is not None and net.live is not None:
            if net.live.mode == "passthrough" and not self.force:
                self._not_in_use(net, f"the counts of {net.name} are reset")
            if command == "remove":
                for nic in self._users(net):
                    if nic.uplink and f'"{nic.uplink}"' in element:
                        self._violation("uplink-taken", f"{nic} is on it")
        super().update(uuid, command, element, stored=stored)

    def _not_in_use(self, net: Net, what: str, *, stored: bool = False) -> None:
        for nic in self._users(net, stored=stored):
            self._violation("taken", f"{what}, and {nic} is on it")

    def _users(self, net: Net, *, stored: bool = False) -> t.Iterator[Nic]:
        """Yield the NICs on a network that the run can know of: those from before it last listed the domains."""
        for uuid, guest in self.guests.items():
            if self.changed.get(uuid, 0) >= self.listed > 0:
                continue
            for nic in (guest.live, guest.stored if stored else None):
                if nic is not None and nic.network == net.name:
                    yield nic

    def _violation(self, kind: str, message: str) -> t.NoReturn:
        raise ViolationError(kind, message, self.trace)


def _unordered(live: Spec | None) -> t.Any:
    if live is None:
        return None
    return live.mode, live.pf, frozenset(live.interfaces), frozenset(live.portgroups), live.rest
