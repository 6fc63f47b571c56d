# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Carries out the steps of a plan in batches, and records each request in the journal right before it is sent."""

from __future__ import annotations

import errno
import os
import socket
import sys
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    identity,
    messages,
    requests,
    rtnetlink,
    tap,
    udev,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.kernel_errors import refusal_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INDEX,
    MADE,
    REFUSED,
    REMOVED,
    Link,
    Links,
    Lost,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.network import Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# How many links are removed in one send, at 40 bytes each.
_AT_ONCE = rtnetlink.BATCH_BYTES // 44

Steps = t.Sequence[Step[Link]]
Asked = t.Tuple[Step[Link], bytes]
Refusals = t.Dict[str, MacvtapError]  # by the steps' targets
Confirm = t.Callable[[Steps, Links], Refusals]


class Execution:
    """Carries out steps: removals first, then changes, then new links.

    ``confirm`` is called right before links are removed, changed or created, with all links as they are then. It
    returns the steps that must not be carried out, and why, by target. With ``go_on`` the other steps continue after a
    failure, and one error with all failures is raised at the end.
    """

    def __init__(
        self, network: Network, journal: Journal[Link], confirm: Confirm | None = None, *, go_on: bool = False
    ) -> None:
        self._network = network
        self._journal = journal
        self._confirm = confirm
        self._go_on = go_on
        self._errors: Refusals = {}
        self._coming: frozenset[str] = frozenset()
        # Completed requests: targets and actions.
        self._done: set[tuple[str, str]] = set()

    def carry_out(self, steps: Steps) -> None:
        """Raises MacvtapError: the first failure in the steps' order; other steps may have been carried out."""
        going = [step for step in steps if step.before and (step.after is None or step.recreates)]
        changing = [step for step in steps if step.before and step.after and not step.recreates]
        coming = [step for step in steps if step.after and (step.before is None or step.recreates)]
        if changing or coming:
            messages.require()
        self._coming = frozenset(step.target for step in coming)
        self._remove(going)
        self._change(changing)
        self._create(coming)
        if self._errors:
            raise MacvtapError(". ".join(map(str, self._errors.values())))

    def _fail(self, failed: t.Mapping[str, MacvtapError]) -> None:
        if failed and not self._go_on:
            raise next(iter(failed.values()))
        self._errors.update(failed)

    def _remaining(self, steps: Steps) -> Steps:
        return [step for step in steps if step.target not in self._errors]

    def _confirmed(self, steps: Steps, links: Links, moved: t.Callable[[Step[Link]], str]) -> Steps:
        """Return the ``steps`` whose link is still the planned one among ``links``, and that are confirmed."""
        failed = {}
        for step in steps:
            why = moved(step)
            if why:
                message = (
                    f"{step.target} {why}: something else changed it after this task started. It is left alone; run "
                    "the task again"
                )
                failed[step.target] = MacvtapError(message, path=step.path)
        self._fail(failed)
        if self._confirm:
            self._fail(self._confirm(self._remaining(steps), links))
        return self._remaining(steps)

    def _parent_moved(self, step: Step[Link], links: Links) -> str:
        parent = step.after.parent if step.after else None
        return "" if parent in self._coming else identity.parent_moved(step, links)

    def _remove(self, steps: Steps) -> None:
        if not steps:
            return
        links = self._network.observe(())
        there = identity.by_index(links)
        steps = self._confirmed(
            steps, links, lambda step: identity.moved(step, there) or self._parent_moved(step, links)
        )
        self._record_losses(steps, links)
        for name, sock in self._network.sockets.items():
            theirs = [step for step in steps if netns_of(step) == name]
            for start in range(0, len(theirs), _AT_ONCE):
                self._remove_at_once(sock, theirs[start:][:_AT_ONCE], links)

    def _remove_at_once(self, sock: socket.socket, steps: Steps, links: Links) -> None:
        """Remove links; several by moving them to a temporary link group.

        Each removal waits for an RCU grace period of some 20 ms; a group waits once. All in one send: a purge would not
        find a link that a killed run left in another group.
        """
        self._send([(step, request) for step in steps for request in requests.before_removal(step)], REMOVED)
        steps = self._remaining(steps)
        indexes = [t.cast("Link", step.before).index for step in steps]
        asked = [messages.delete(index) for index in indexes]
        if len(steps) > 1:
            group = _unused_group(links)
            asked = [*(messages.move(index, group) for index in indexes), messages.delete_group(group)]
        for step in steps:
            self._journal.record(step, REMOVED)
        answers = rtnetlink.transact_at_once(sock, asked) if asked else []
        failed: dict[int, MacvtapError] = {}
        for n, answer in enumerate(answers):
            # A link that is gone already is fine. The last request is the removal of the whole group.
            if answer is not None and answer.code != errno.ENODEV:
                failed.update((at, refusal_of(steps[at], answer)) for at in ([n] if n < len(steps) else range(n)))
        self._done.update((step.target, REMOVED) for n, step in enumerate(steps) if n not in failed)
        self._fail_some([(steps[n], failed[n]) for n in sorted(failed)], REMOVED)
        for step in self._remaining(steps):
            if step.before and step.before.tap:
                tap.forget(step.before.tap)

    def _record_losses(self, steps: Steps, links: Links) -> None:
        gone = {step.before.index for step in steps if step.before and step.before.netns is None}
        addresses = self._network.observe_on_links() if gone else {}
        others: dict[int, list[Link]] = {}
        for link in links.values():
            for index in gone & {link.parent_index, link.under} if not link.netns and link.index not in gone else ():
                others.setdefault(index, []).append(link)
        for index in gone:
            self._network.lost[None, index] = Lost(tuple(addresses.get(index, ())), tuple(others.get(index, ())))

    def _change(self, steps: Steps) -> None:
        if not steps:
            return
        links = self._network.observe(())
        there = identity.by_index(links)
        steps = self._confirmed(steps, links, lambda step: identity.moved(step, there))
        self._send(list(requests.release_conflicts(steps)), CHANGED)
        self._write_sysctls([(step, t.cast("Link", step.before)) for step in self._remaining(steps)], CHANGED)
        steps = self._remaining(steps)
        self._send([(step, request) for step in steps for request in requests.change(step)], CHANGED)
        self._tell(
            [(s, s.after) for s in self._remaining(steps) if s.after and s.before and s.after.mac != s.before.mac]
        )
        # A link that has got IPv6 only now.
        new = [(step, step.before) for step in self._remaining(steps) if step.before and step.before.accept_ra is None]
        self._write_sysctls(new, CHANGED)
        steps = [step for step in self._remaining(steps) if identity.tap_differs(step)]
        for step in steps:
            self._journal.record(step, CHANGED)
        self._set_up_taps([(step, t.cast("Link", step.before)) for step in steps])

    def _create(self, steps: Steps) -> None:
        # With an address by the kernel a new link could not be recognised, and udev would change it later.
        waiting = [requests.with_address(step) for step in self._remaining(steps)]
        made: dict[str, int] = {}
        while waiting:
            names = {step.after.key for step in waiting if step.after}
            wave = [step for step in waiting if step.after and step.after.parent not in names] or waiting
            begun = {step.target for step in wave}
            waiting = [step for step in waiting if step.target not in begun]
            # A link on one that this run has created gets the new index of its parent.
            links = self._create_wave([requests.on_created(step, made) for step in wave])
            made.update((link.name, link.index) for link in links)

    def _create_wave(self, steps: Steps) -> list[Link]:
        links = self._network.observe(())
        steps = self._confirmed(steps, links, lambda step: identity.parent_moved(step, links))
        started = udev.now()
        # Sent in the parent's namespace (ours), wherever the link will be.
        create = [(step, requests.create(step, self._network.descriptors.get(netns_of(step)))) for step in steps]
        self._send(create, MADE, at_home=True)
        steps = self._remaining(steps)
        found = self._find_created(steps)
        steps = self._remaining(steps)
        self._write_sysctls([(step, found[step.target]) for step in steps], MADE)
        self._tell([(step, found[step.target]) for step in self._remaining(steps)], new=True)
        steps = self._remaining(steps)
        # By index from here on: another link may have this name as an alternative name.
        self._send([(s, request) for s in steps for request in requests.post_create(s, found[s.target].index)], MADE)
        steps = self._remaining(steps)
        self._set_up_taps([(step, found[step.target]) for step in steps if step.after and step.after.tap], started)
        return [found[step.target] for step in self._remaining(steps)]

    def _tell(self, steps: t.Sequence[tuple[Step[Link], Link]], *, new: bool = False) -> None:
        """Tell who is interested that these links are new, or have another MAC address."""
        own = {link.name: step for step, link in steps if link.netns is None}
        refused = self._network.on_links([link for _step, link in steps if link.name in own], new) if own else {}
        self._fail({own[name].target: MacvtapError(exc.message, path=own[name].path) for name, exc in refused.items()})

    def _find_created(self, steps: Steps) -> dict[str, Link]:
        links = self._network.observe(()) if steps else {}
        there = identity.by_index(links)
        found, failed = {}, {}
        for step in steps:
            link = identity.find_made(t.cast("Link", step.after), links, there)
            if link is None:
                failed[step.target] = MacvtapError(
                    f"the link {step.target} was removed while this task ran", path=step.path
                )
            else:
                found[step.target] = link
                self._journal.record(step, f"{INDEX}{link.index}")
        self._fail(failed)
        return found

    def _send(self, asked: t.Sequence[Asked], action: str, *, at_home: bool = False) -> None:
        """Send requests for ``action``, and record it for each step right before its first request."""
        failed: dict[int, MacvtapError] = {}
        for name, sock in self._network.sockets.items():
            theirs = [n for n, (step, _request) in enumerate(asked) if name == (None if at_home else netns_of(step))]
            for batch in rtnetlink.batches([asked[n][1] for n in theirs]):
                numbers = [theirs.pop(0) for _request in batch]
                for step in {asked[n][0].target: asked[n][0] for n in numbers}.values():
                    self._journal.record(step, action)
                for n, answer in zip(numbers, rtnetlink.transact_at_once(sock, batch)):
                    step, request = asked[n]
                    if answer is not None and not requests.is_fulfilled(request, answer):
                        failed[n] = refusal_of(step, answer, request)
                    else:
                        self._done.add((step.target, action))
        self._fail_some([(asked[n][0], failed[n]) for n in sorted(failed)], action)

    def _write_sysctls(self, steps: t.Sequence[tuple[Step[Link], Link]], action: str) -> None:
        """Write what netlink cannot set, before the links come up. In a rollback they come up without it, too."""
        failed = {}
        for step, link in steps:
            for path, value in requests.sysctls(link, t.cast("Link", step.after)):
                self._journal.record(step, action)
                try:
                    self._network.write_sysctl(link, path, value)
                except MacvtapError as exc:
                    failed[f"{step.target} {path}"] = MacvtapError(exc.message, path=step.path)
        self._fail(failed)

    def _fail_some(self, failed: t.Sequence[tuple[Step[Link], MacvtapError]], action: str) -> None:
        refused: Refusals = {}
        for step, error in failed:
            if step.target not in refused and (step.target, action) not in self._done:
                self._journal.record(step, action + REFUSED)
            refused.setdefault(step.target, error)
        self._fail(refused)

    def _set_up_taps(self, steps: t.Sequence[tuple[Step[Link], Link]], made: int | None = None) -> None:
        """Set nodes and permissions of the taps of links; ``made`` is when they were created."""
        if not steps:
            return
        now = self._network.taps([link for _step, link in steps])
        if made is not None:
            # Otherwise udev resets what is set here.
            udev.wait([one.device for one in now.values() if one.device], made)
        failed = {}
        for step, link in steps:
            if made is not None and not identity.sets_tap(step, now[link.key]):
                continue
            try:
                tap.set_up(link.name, now[link.key], t.cast("t.Any", step.after).tap)
            except MacvtapError as exc:
                failed[step.target] = MacvtapError(exc.message, path=step.path)
        self._fail(failed)


def netns_of(step: Step[Link]) -> str | None:
    link = step.after or step.before
    return link.netns if link else None


def _unused_group(links: Links) -> int:
    used = {link.group for link in links.values()}
    while True:
        # Random, so that concurrent runs choose different ones.
        group = (1 << 30) | int.from_bytes(os.urandom(4), sys.byteorder) >> 2
        if group not in used:
            return group
