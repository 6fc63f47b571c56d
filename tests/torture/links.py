# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of macvtap links: runs on a kernel model, with concurrent changes between any two requests."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from unit.links.test_planner_properties import NAMES, declarations, hosts

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import UNCHANGED, Journal, converge
from torture.kernel import OTHERS, Event, Kernel
from torture.violations import ViolationError

# Links that others change between runs. The last two are parents.
_LINKS = (*NAMES, "eth0", "eth1")


class MacvtapLinks(RuleBasedStateMachine):
    """Runs of macvtap_link's planner and undo, and actions of others."""

    sequences: t.ClassVar[int] = 0
    runs: t.ClassVar[int] = 0

    @initialize(links=hosts(twins=False))
    def begin(self, links: Links) -> None:
        type(self).sequences += 1
        self.kernel = Kernel(links)

    @rule(what=st.sampled_from(OTHERS), name=st.sampled_from(_LINKS))
    def others(self, what: str, name: str) -> None:
        self.kernel.act(what, name)

    @rule(data=st.data(), number=st.sampled_from((0, 1, 1, 2, 3)))
    def run(self, data: st.DataObject, number: int) -> None:
        type(self).runs += 1
        wanted = data.draw(declarations(dict(self.kernel.links), limits=False))
        names = st.sampled_from([*(want.name for want in wanted), *self.kernel.links, *NAMES])
        event = st.builds(Event, st.integers(1, 12), st.sampled_from(OTHERS), names)
        events = data.draw(st.lists(event, min_size=number, max_size=number))
        kernel = self.kernel
        kernel.begin(events)
        kernel.trace.append(f"run {wanted}")
        before = dict(kernel.links)
        message = _run(kernel, wanted)
        kernel.trace.append(f"ends: {message or 'ok'}")
        if kernel.found is not None:
            raise kernel.found
        self._check(wanted, before, message)

    def _check(self, wanted: t.Sequence[DesiredLink], before: Links, message: str) -> None:
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


def _run(kernel: Kernel, wanted: t.Sequence[DesiredLink]) -> str:
    """Run, and return the error's text, or "" on success."""
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
    """Return the link without values set by the kernel or inherited from its parent, which others may rename."""
    alone = replace(link, index=0, bclim=None, parent=None)
    return replace(alone, mac=None, parent_allmulti=None) if link.mode == "passthru" else alone
