# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of macvtap links: runs on a model of the kernel, with others at work between any two requests."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from unit.links.kernel_model import FakeKernel, RefusedError
from unit.links.test_planner_properties import NAMES, declarations, hosts

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import identity, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    MADE,
    REMOVED,
    Link,
    Links,
    Wanted,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import UNCHANGED, Journal, Step, converge
from torture.stage import ViolationError

# What others do to a link: those by which it is another one then, or none.
_OTHERS = ("delete", "recreate", "rename", "set_down", "set_mtu", "set_alias")


class Event(t.NamedTuple):
    """What others do to the link ``name`` before the request, or the observation, of this number."""

    number: int
    what: str
    name: str


class _Kernel(FakeKernel):
    """The model's kernel, asked by index as the adapter asks it, with others at work between any two requests."""

    def __init__(self, links: Links) -> None:
        super().__init__(links)
        self.events: list[Event] = []
        self.count = 0
        # Links that others have made since the run looked first, as they made them.
        self.made: dict[int, Link] = {}
        # Links that others have changed, made or removed, by index.
        self.theirs: set[int] = set()
        self.trace: list[str] = []
        # What the steps under way have made so far: indexes by their targets.
        self._created: dict[str, int] = {}

    def point(self) -> None:
        for event in [event for event in self.events if event.number == self.count]:
            self.act(event.what, event.name)
        self.count += 1

    def observe(self) -> Links:
        self.point()
        return dict(self.links)

    def act(self, what: str, name: str) -> None:
        """Let others do something, if it can be done."""
        link = self.links.get(name)
        if link is None or link.kind != "macvtap":
            return
        self.trace.append(f"-> {what} {name}")
        self.theirs.add(link.index)
        self.made.pop(link.index, None)
        if what in {"delete", "recreate"}:
            self._delete(name)
        if what == "recreate":
            index = next(self._numbers)
            self.theirs.add(index)
            made = replace(link, index=index, up=False, promiscuous=True, allmulticast=False, altnames=frozenset())
            if link.mode != "passthru":
                self.links[name] = made
                if self.count:
                    self.made[index] = made
        elif what == "rename" and f"other-{name}" not in self.links:
            self.links[f"other-{name}"] = replace(self.links.pop(name), name=f"other-{name}")
        elif what == "set_down" and link.up:
            self._set_up(name, up=False)
        elif what == "set_mtu":
            self._set(name, mtu=1300)
        elif what == "set_alias":
            self._set(name, alias="theirs")

    def carry_out(self, steps: t.Sequence[Step[Link]], journal: Journal[Link]) -> None:
        """As the adapter: what is about another link now is refused, and so is a request about one that has gone."""
        there = identity.by_index(self.links)
        self._created = {}
        for step in steps:
            if step.before is not None and identity.moved(step, there):
                raise MacvtapError(f"{step.target} is another one", path=step.path)
        try:
            self.apply(steps, journal=journal)
        except RefusedError as exc:
            raise MacvtapError(f"the kernel refuses: {exc}") from exc

    def _requests(self, steps: t.Sequence[Step[Link]]) -> t.Iterator[tuple[Step[Link], str, t.Callable[[], None]]]:
        for step, action, request in super()._requests(steps):
            self.point()
            yield step, action, self._by_index(step, action, request)

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


class MacvtapLinks(RuleBasedStateMachine):
    """Runs of macvtap_link's planner and way back, and others."""

    sequences: t.ClassVar[int] = 0
    runs: t.ClassVar[int] = 0

    @initialize(links=hosts(twins=False))
    def begin(self, links: Links) -> None:
        type(self).sequences += 1
        self.kernel = _Kernel(links)

    @rule(what=st.sampled_from(_OTHERS), name=st.sampled_from(NAMES))
    def others(self, what: str, name: str) -> None:
        self.kernel.act(what, name)

    @rule(data=st.data(), number=st.sampled_from((0, 1, 1, 2, 3)))
    def run(self, data: st.DataObject, number: int) -> None:
        type(self).runs += 1
        wanted = data.draw(declarations(dict(self.kernel.links), limits=False))
        names = st.sampled_from([*(want.name for want in wanted), *self.kernel.links])
        event = st.builds(Event, st.integers(1, 7), st.sampled_from(_OTHERS), names)
        events = data.draw(st.lists(event, min_size=number, max_size=number))
        kernel = self.kernel
        kernel.events, kernel.count, kernel.theirs, kernel.made = list(events), 0, set(), {}
        kernel.trace.append(f"run {wanted}")
        before = dict(kernel.links)
        message = _run(kernel, wanted)
        kernel.trace.append(f"ends: {message or 'ok'}")
        self._check(wanted, before, message)

    def _check(self, wanted: t.Sequence[Wanted], before: Links, message: str) -> None:
        kernel = self.kernel
        declared = {want.name for want in wanted}
        there = {link.index: link for link in kernel.links.values()}
        for name, link in before.items():
            if link.kind != "macvtap" or link.index in kernel.theirs:
                continue
            now = there.get(link.index)
            if name not in declared and (now is None or _own(now) != _own(link)):
                raise ViolationError("not-meant", f"{name} was {link} and is {now}", kernel.trace)
            same = now or kernel.links.get(name)
            if UNCHANGED in message and (same is None or _own(same) != _own(link)):
                raise ViolationError("false-as-before", f"{name} was {link} and is {same}: {message}", kernel.trace)
        for index, link in kernel.made.items():
            now = there.get(index)
            if now is None or _own(now) != _own(link):
                raise ViolationError("not-meant", f"others made {link}, and it is {now}", kernel.trace)
        made = {link.name for link in kernel.links.values() if link.index not in kernel.theirs} - before.keys()
        if UNCHANGED in message and made:
            raise ViolationError("false-as-before", f"{made} are left: {message}", kernel.trace)
        for want in wanted if not message and not kernel.theirs else ():
            if (want.state == "absent") != (want.name not in kernel.links):
                raise ViolationError("not-as-declared", f"{want}: {kernel.links.get(want.name)}", kernel.trace)


def _run(kernel: _Kernel, wanted: t.Sequence[Wanted]) -> str:
    """Run, and return the error's text, "" if there is none."""
    brought: Journal[Link] = Journal()
    try:
        converge(
            observe=kernel.observe,
            plan=lambda links, _answers: planner.plan(wanted, links),
            apply=kernel.carry_out,
            undo=lambda journal, links: planner.undo(journal, links, {}, brought),
            revert=lambda steps: kernel.carry_out(steps, brought),
            check_mode=False,
        )
    except MacvtapError as exc:
        return str(exc)
    return ""


def _own(link: Link) -> Link:
    """The link without what the kernel or its parent gives it."""
    alone = replace(link, index=0, bclim=None)
    return replace(alone, mac=None, parent_allmulti=None) if link.mode == "passthru" else alone
