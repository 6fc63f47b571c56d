# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The model of the kernel's links, with requests by index, and concurrent changes between any requests."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from unit.links.kernel_model import DEFAULTS, FakeKernel, RefusedError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import identity
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import CHANGED, MADE, REMOVED, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step
from torture.violations import ViolationError

# What others do to a link: those by which it is another one then, or none, or none that a run removes. "create" makes
# one where there is none. What is done to the parent of links (the first four) happens to them too.
OTHERS = ("delete", "recreate", "rename", "enslave", "set_down", "set_mtu", "set_alias", "set_mac", "create")
_OF_PARENTS = OTHERS[:4]
_AS_MADE: dict[str, t.Any] = {**DEFAULTS, "mode": "private", "mtu": 1500, "bclim": 1}


class Event(t.NamedTuple):
    """An action of others on the link ``name`` before the request, or the observation, of this number."""

    number: int
    what: str
    name: str


class Kernel(FakeKernel):
    """A host's links, with a run and others working on them."""

    def __init__(self, links: Links) -> None:
        super().__init__(links)
        self.trace: list[str] = []
        self.found: ViolationError | None = None
        self.begin(())

    def begin(self, events: t.Iterable[Event]) -> None:
        """Begin a run, during which these ``events`` happen."""
        self.events = list(events)
        self.count = 0
        # Links that others have created since the run first looked, as created.
        self.made: dict[int, Link] = {}
        # Links that others have changed, created or removed, by index.
        self.theirs: set[int] = set()
        # Links that others have made ports of a bridge, by index, with the time. No run removes those.
        self._ports: dict[int, int] = {}
        # When the run last checked what it is about to remove, change, or create links on.
        self._looked = 0
        # Indexes of links created by the current steps, by target.
        self._created: dict[str, int] = {}

    def point(self) -> None:
        for event in [event for event in self.events if event.number == self.count]:
            self.act(event.what, event.name)
        self.count += 1

    def observe(self) -> Links:
        self.point()
        return dict(self.links)

    # Actions of others.

    def act(self, what: str, name: str) -> None:
        """Carry out an action of others, if possible."""
        link = self.links.get(name)
        if link is None:
            if what == "create" and name not in self._names():
                self._make_another(name)
            return
        if link.kind == "macvtap" or (what in _OF_PARENTS and not link.loopback):
            self.trace.append(f"-> {what} {name}")
            self.theirs |= {link.index, *(one.index for one in self._on(link))}
            self.made.pop(link.index, None)
            getattr(self, f"_act_{what}", lambda _link: None)(link)

    def _make_another(self, name: str) -> None:
        parent = self.links.get("eth0")
        if parent is not None and not parent.master and not any(one.mode == "passthru" for one in self._on(parent)):
            self.trace.append(f"-> create {name}")
            link = Link(name, kind="macvtap", parent="eth0", parent_index=parent.index, mac=self._new_mac(), **_AS_MADE)
            self._take_in(link)

    def _act_delete(self, link: Link) -> None:
        # The links on it are removed with it.
        for one in (*self._on(link), link):
            self.made.pop(one.index, None)
            self._ports.pop(one.index, None)
            if one.kind == "macvtap":
                self._delete(one.name)
            else:
                del self.links[one.name]

    def _act_recreate(self, link: Link) -> None:
        self._act_delete(link)
        fields: dict[str, t.Any] = {"altnames": frozenset(), "promiscuity": 0, "allmulti": link.allmulti and 0}
        if link.kind == "macvtap":
            fields.update(up=False, promiscuous=True, allmulticast=False)
        if link.mode != "passthru":
            self._take_in(replace(link, master=None, **fields))

    def _take_in(self, link: Link) -> None:
        link = replace(link, index=next(self._numbers))
        self.links[link.name] = link
        self.theirs.add(link.index)
        if self.count and link.kind == "macvtap":
            self.made[link.index] = link

    def _act_rename(self, link: Link) -> None:
        other = f"other-{link.name}"
        if other in self.links:
            return
        self.links[other] = replace(self.links.pop(link.name), name=other)
        for one in self._on(link):
            self._set(one.name, parent=other)

    def _act_enslave(self, link: Link) -> None:
        if link.master is None and not self._on(link):
            self._set(link.name, master="br0")
            self._ports[link.index] = self.count

    def _act_set_down(self, link: Link) -> None:
        if link.up:
            self._set_up(link.name, up=False)

    def _act_set_mtu(self, link: Link) -> None:
        self._set(link.name, mtu=1300)

    def _act_set_alias(self, link: Link) -> None:
        self._set(link.name, alias="theirs")

    def _act_set_mac(self, link: Link) -> None:
        if link.mode != "passthru":
            self._set(link.name, mac=self._new_mac())

    # Actions of a run.

    def carry_out(self, steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
        """Like the adapter: refuses requests for links that were replaced or removed."""
        self._created = {}
        try:
            self.apply(steps, journal=journal)
        except RefusedError as exc:
            raise MacvtapError(f"the kernel refuses: {exc}") from exc

    def _requests(self, steps: t.Sequence[Step[Link]]) -> t.Iterator[tuple[Step[Link], str, t.Callable[[], None]]]:
        going = [step for step in steps if step.before and (step.after is None or step.recreates)]
        changing = [step for step in steps if step.before and step.after and not step.recreates]
        coming = [step for step in steps if step.after and (step.before is None or step.recreates)]
        phase = ""
        for step, action, request in super()._requests(steps):
            if action != phase:
                phase = action
                self.point()
                self._look({REMOVED: going, CHANGED: changing, MADE: coming}[phase], phase)
            self.point()
            yield step, action, self._by_index(step, action, request)

    def _look(self, steps: t.Sequence[Step[Link]], phase: str) -> None:
        """Check again before links are removed, changed or created, like the adapter does."""
        self._looked = self.count
        there = identity.by_index(self.links)
        for step in steps:
            why = identity.moved(step, there) if phase != MADE else ""
            if not why and phase != CHANGED:
                why = identity.parent_moved(step, self.links)
            if why:
                raise MacvtapError(f"{step.target} {why}", path=step.path)

    def _delete(self, name: str) -> None:
        when = self._ports.get(self.links[name].index)
        if when is not None and when < self._looked:
            self.found = ViolationError("not-meant", f"{name} is removed, which is another's port", self.trace)
        super()._delete(name)

    def _by_index(self, step: Step[Link], action: str, request: t.Callable[[], None]) -> t.Callable[[], None]:
        def asked() -> None:
            if action == MADE and step.target not in self._created:
                request()
                self._created[step.target] = self.links[step.target].index
                return
            index = self._created[step.target] if action == MADE else step.before.index if step.before else 0
            name = next((link.name for link in self.links.values() if link.index == index), "")
            if name == step.target:
                request()
            elif action != REMOVED:
                raise RefusedError("ENODEV")
            elif name:
                self._delete(name)

        return asked
