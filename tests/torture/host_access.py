# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of macvtap_host_access: runs on a kernel model, with concurrent changes between any requests."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from shims import HOST0, want
from unit.host_access.kernel_model import FOREIGN, HOSTS, THEIRS, Kernel, shown

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DesiredShim, Host, Shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.undo import undo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import UNCHANGED, Journal, Step, converge
from torture.violations import ViolationError

_NAMES = ("host0", "host1")
# Actions of others on a shim, and events that stop a run.
_ACTS = ("add", "remove", "remake", "take_over", "set", "rename", "refuse")
# The parents of shims. A shim is removed together with its parent.
_PARENTS = ("eth0", "eth1")
_SOME = st.sampled_from((*_NAMES * 3, *_PARENTS))
_NETWORKS = {
    "host0": (("192.0.2.250",), ("192.0.2.250", "2001:db8::250"), ("192.0.2.249",)),
    "host1": (("192.0.2.240",), ("192.0.2.241", "2001:db8::240")),
}
_GUESTS = {"host0": ((), ("192.0.2.77/32", "2001:db8::77/128")), "host1": ((), ("192.0.2.80/32",))}


class Event(t.NamedTuple):
    """An event for a shim before the request, or the observation, of this number."""

    number: int
    what: str
    name: str


@st.composite
def _wanted(draw: st.DrawFn) -> list[DesiredShim]:
    return [
        want(
            name=name,
            path=f"shims[{number}]",
            state=draw(st.sampled_from(("present", "present", "absent"))),
            parent=draw(st.sampled_from(("eth0", "eth1"))),
            addresses=draw(st.sampled_from(_NETWORKS[name])),
            guests=draw(st.sampled_from(_GUESTS[name])),
            mtu=draw(st.sampled_from((None, None, 1400))),
        )
        for number, name in enumerate(draw(st.lists(st.sampled_from(_NAMES), min_size=1, max_size=2, unique=True)))
    ]


class HostAccess(RuleBasedStateMachine):
    """Runs of macvtap_host_access's planner and undo, and actions of others."""

    sequences: t.ClassVar[int] = 0
    runs: t.ClassVar[int] = 0

    @initialize(host=st.sampled_from(HOSTS))
    def begin(self, host: Host) -> None:
        type(self).sequences += 1
        self.kernel = Kernel(host)
        self.trace: list[str] = []
        self.events: list[Event] = []
        self.count = 0
        # Shims that others have changed since the run first looked, links that they have created, and links on which
        # they have put something, by index.
        self.touched: set[str] = set()
        self.theirs: dict[int, Link] = {}
        self.added: set[int] = set()

    @rule(what=st.sampled_from(_ACTS[:-1]), name=_SOME)
    def others(self, what: str, name: str) -> None:
        self._act(what, name)

    @rule(wanted=_wanted(), data=st.data())
    def run(self, wanted: list[DesiredShim], data: st.DataObject) -> None:
        type(self).runs += 1
        event = st.builds(Event, st.integers(1, 25), st.sampled_from(_ACTS), _SOME)
        self.events = data.draw(st.lists(event, max_size=3))
        disturbed = bool(self.events)
        self.trace.append(f"run {wanted}")
        self.count, self.touched, self.theirs, self.added = 0, set(), {}, set()
        # Of each run.
        self.kernel.made = set()
        before = shown(self.kernel)
        message = self._converge(wanted)
        self.trace.append(f"ends: {message or 'ok'}")
        self._check(before, {one.name for one in wanted}, message)
        if not message and not disturbed and planner.plan(wanted, self.kernel.host()).changed:
            raise ViolationError("not-idempotent", "the same run again would change something", self.trace)

    def _converge(self, wanted: t.Sequence[DesiredShim]) -> str:
        """Run, and return the error's text, or "" on success."""
        try:
            converge(
                observe=self._seen,
                plan=lambda host, _answers: planner.plan(wanted, host),
                apply=self._apply,
                undo=undo,
                revert=self._revert,
                check_mode=False,
            )
        except MacvtapError as exc:
            return str(exc)
        return ""

    def _check(self, before: t.Mapping[str, t.Any], declared: t.Collection[str], message: str) -> None:
        now = shown(self.kernel)
        there = {link.index: link for link in self.kernel.links.values()}
        for index, link in self.theirs.items():
            if there.get(index) != link:
                raise ViolationError("not-meant", f"others made {link}, and it is {there.get(index)}", self.trace)
        for index in self.added & there.keys():
            if not any(one == THEIRS and one.index == index for one in self.kernel.addresses):
                raise ViolationError("not-meant", f"{there[index].name} is without the address of others'", self.trace)
        for name in {*before, *now} - self.touched:
            same = before.get(name) == now.get(name)
            if not same and (name not in declared or UNCHANGED in message):
                kind = "false-as-before" if name in declared else "not-meant"
                raise ViolationError(kind, f"{name}: {before.get(name)} is {now.get(name)}: {message}", self.trace)

    # The host as the run sees it.

    def _seen(self) -> Host:
        if self.count:
            self._point()
        self.count += 1
        return self.kernel.host()

    def _apply(self, steps: t.Sequence[Step[Shim]], journal: Journal[Shim]) -> None:
        for step in steps:
            self._carry_out(step, journal, refusing=True)

    def _revert(self, steps: t.Sequence[Step[Shim]]) -> None:
        failed = []
        for step in steps:
            try:
                self._carry_out(step, Journal(), refusing=False)
            except MacvtapError as exc:
                failed.append(str(exc))
        if failed:
            raise MacvtapError(". ".join(failed))

    def _carry_out(self, step: Step[Shim], journal: Journal[Shim], *, refusing: bool) -> None:
        """Like the adapter: every request is by index, and none is made for a link that was replaced."""
        made = set(self.kernel.made)
        comes = step.before is None or step.recreates or step.after is None
        for number, _request in enumerate(self.kernel.requests([step], journal)):
            self._point(refusing=refusing)
            self.count += 1
            now = self.kernel.links.get(step.target)
            index = now.index if now else 0
            new = self.kernel.made - made
            if new:
                expected = next(iter(new))
            else:
                expected = step.before.link.index if step.before and not (comes and number) else 0
            parents = {link.index for link in self.kernel.links.values()}
            if comes and step.after is not None and step.after.link.parent_index not in parents:
                raise MacvtapError(f"{step.target} would be on a link that has gone", path=step.path)
            if index != expected:
                raise MacvtapError(f"{step.target} is another link by now", path=step.path)

    def _point(self, *, refusing: bool = False) -> None:
        for event in [event for event in self.events if event.number == self.count]:
            if event.what != "refuse":
                self._act(event.what, event.name)
            elif refusing:
                self.trace.append("-> refuse")
                raise MacvtapError("the kernel refuses")

    # Actions of others.

    def _act(self, what: str, name: str) -> None:
        link = self.kernel.links.get(name)
        if link is None:
            return
        if name in _PARENTS:
            if what in {"remove", "remake"}:
                self._act_on_parent(link, remake=what == "remake")
            return
        self.trace.append(f"-> {what} {name}")
        self.touched.add(name)
        if what == "rename":
            self._rename(link)
        elif what == "add":
            self._add_to(link)
        elif what == "set":
            self.kernel.links[name] = replace(link, mtu=1333)
            if link.index in self.theirs:
                self.theirs[link.index] = self.kernel.links[name]
        else:
            self._replace(link, what)

    def _add_to(self, link: Link) -> None:
        # Each address or route is on a link only once.
        if not any(one == THEIRS and one.index == link.index for one in self.kernel.addresses):
            self.kernel.add(link.name, THEIRS)
            self.kernel.add(link.name, FOREIGN)
            self.added.add(link.index)

    def _replace(self, link: Link, what: str) -> None:
        """Remove a link, and "remake" it, or let another one "take_over" its name."""
        self.kernel.remove(link.name)
        self.theirs.pop(link.index, None)
        if what in {"remake", "take_over"}:
            on = self.kernel.links.get("eth0")
            like = Link(link.name, kind="dummy", mac=link.mac)
            if what == "remake" and on is not None:
                like = replace(HOST0, name=link.name, mtu=1300, parent_index=on.index)
            made = self.kernel.make(like)
            self.theirs[made.index] = made

    def _rename(self, link: Link) -> None:
        other = f"other-{link.name}"
        if other in self.kernel.links:
            return
        self.touched.add(other)
        self.kernel.links[other] = replace(self.kernel.links.pop(link.name), name=other)
        self.kernel.settings[other] = self.kernel.settings.pop(link.name, {})
        if link.index in self.theirs:
            self.theirs[link.index] = self.kernel.links[other]

    def _act_on_parent(self, link: Link, *, remake: bool) -> None:
        self.trace.append(f"-> {'remake' if remake else 'remove'} {link.name}")
        above = [one for one in self.kernel.links.values() if one.parent == link.name]
        self.touched |= {link.name, *(one.name for one in above)}
        for one in (*above, link):
            self.kernel.remove(one.name)
            self.theirs.pop(one.index, None)
            self.added.discard(one.index)
        if remake:
            self.kernel.make(link)
