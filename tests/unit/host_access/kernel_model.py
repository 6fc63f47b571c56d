# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A model of a kernel with macvlan shims, for tests of what is put back."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import replace

from shims import BARE, WITH

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    SETTINGS,
    Address,
    Done,
    Host,
    Route,
    Shim,
    fields,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import INCOMPLETE_GROUP, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# What is left out, the kernel chooses.
THEIRS = Address("192.0.2.222", 32)
FOREIGN = Route("198.51.100.0/24", protocol=3)
Shims = t.Dict[str, t.Dict[str, t.Any]]


class Kernel:
    """Links, with what is on them, as far as shims go; requests as the adapter makes them, one after the other."""

    def __init__(self, host: Host) -> None:
        self.links = dict(host.links)
        self.settings = {name: dict(values) for name, values in host.settings.items()}
        self.addresses, self.routes = list(host.addresses), list(host.routes)
        self.made: set[int] = set()
        self._indexes = itertools.count(100)

    def host(self) -> Host:
        return replace(
            WITH,
            links=dict(self.links),
            settings={name: dict(values) for name, values in self.settings.items()},
            addresses=tuple(self.addresses),
            routes=tuple(self.routes),
            made=frozenset(self.made),
        )

    def remove(self, name: str) -> None:
        link = self.links.pop(name, None)
        if link is not None:
            self.settings.pop(name, None)
            self.addresses = [one for one in self.addresses if one.index != link.index]
            self.routes = [one for one in self.routes if one.index != link.index]

    def make(self, link: Link) -> Link:
        made = replace(link, index=next(self._indexes), mac=link.mac or "02:00:00:00:01:00", mtu=link.mtu or 1500)
        self.links[link.name] = made
        self.settings[link.name] = dict.fromkeys(SETTINGS, 0)
        return made

    def add(self, name: str, part: Address | Route) -> None:
        index = self.links[name].index
        if isinstance(part, Address):
            self.addresses.append(replace(part, index=index))
        else:
            metric = part.metric or (1024 if ":" in part.destination else 0)
            self.routes.append(replace(part, index=index, metric=metric))

    def drop(self, name: str, part: Address | Route) -> None:
        index = self.links[name].index
        # Addresses are equal whatever link they are on.
        self.addresses = [one for one in self.addresses if (one, one.index) != (part, index)]
        self.routes = [one for one in self.routes if one != replace(part, index=index)]

    def requests(self, steps: t.Sequence[Step[Shim]], journal: Journal[Shim]) -> t.Iterator[None]:
        """Yield before each request, when it is in the journal already."""
        for step in steps:
            before, after = step.before, step.after
            comes = before is None or step.recreates
            if after is None or comes:
                journal.record(step, Done.LINK)
                yield
                if before is not None:
                    self.remove(step.target)
                yield
                if after is not None:
                    half = replace(after.link, up=False, alias=None, group=INCOMPLETE_GROUP)
                    self.made.add(self.make(half).index)
            if after is None:
                continue
            yield from self._settings(step, after, journal)
            if not comes:
                journal.record(step, Done.IN_PLACE)
            yield
            there = self.links.get(step.target)
            if there is None:
                raise ConnectionError
            wanted = replace(after.link, index=there.index, group=after.link.group or 0)
            self.links[step.target] = replace(wanted, mac=wanted.mac or there.mac, mtu=wanted.mtu or there.mtu)
            yield from self._parts(step, journal, comes=comes)

    def _settings(self, step: Step[Shim], after: Shim, journal: Journal[Shim]) -> t.Iterator[None]:
        for name, value in after.settings.items():
            if self.settings.get(step.target, {}).get(name) != value:
                journal.record(step, Done.setting(name))
                yield
                if step.target in self.settings:
                    self.settings[step.target][name] = value

    def _parts(self, step: Step[Shim], journal: Journal[Shim], *, comes: bool) -> t.Iterator[None]:
        after = t.cast("Shim", step.after)
        having: list[Address | Route] = [*after.addresses, *after.routes]
        had: list[Address | Route] = []
        if step.before is not None and not comes:
            had = [*step.before.routes, *step.before.addresses]
        for part in had:
            if part not in having:
                journal.record(step, Done.takes(part))
                yield
                self._alive(step)
                self.drop(step.target, part)
        for part in having:
            if part not in had:
                journal.record(step, Done.gives(part))
                yield
                self._alive(step)
                self.add(step.target, part)

    def _alive(self, step: Step[Shim]) -> None:
        if step.target not in self.links:
            raise ConnectionError


def shown(kernel: Kernel) -> Shims:
    """Return all that there is, less indexes."""
    host = kernel.host()
    shims = {name: planner.current(name, host) for name in host.links}
    found = {name: fields(one) for name, one in shims.items() if one is not None}
    for name, link in host.links.items():
        found.setdefault(name, {"mac": link.mac, "mtu": link.mtu})["kind"] = link.kind
    return {name: {k: sorted(v) if isinstance(v, list) else v for k, v in one.items()} for name, one in found.items()}


HOSTS = [WITH, BARE, replace(WITH, settings={"host0": dict.fromkeys(SETTINGS, 0)})]
