# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for the programs on guests' links that check where checksums are written: see checksum_program.py."""

from __future__ import annotations

import functools
import os
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import checksums, guard_loader, model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import CHECKSUM, GuestLink, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step


class Programs:
    """The programs of guards. A kernel may be too old for them: guards are put on without them, with a warning."""

    def __init__(self) -> None:
        self._links = guard_loader.programs()
        self._usable: bool | None = None
        self._reason = ""
        # What this run has taken off, by the index of the link.
        self._taken: dict[int, str] = {}
        self.warnings: list[str] = []

    def without(self, links: t.Iterable[GuestLink], policy: str) -> set[str]:
        """Return those of the links that lack the program with this policy, none where the kernel cannot have it."""
        missing = {one.name for one in links if self._policy(one) != policy}
        return missing if missing and self._is_usable(policy) else set()

    def follow(
        self,
        steps: t.Sequence[Step[State]],
        host: Host,
        begin: t.Callable[[Step[State]], None],
        *,
        gone: bool = False,
    ) -> None:
        """Put programs on the links of guards; if ``gone``, take off those of guards that are gone.

        A link that a guard comes to lack its program on, as by an undo, has none. One that is not a guard's any more
        gets back what this run has taken off, if there is the guard again. ``begin`` is called with a step right before
        the first change for it.

        Whose link it is follows from the chain on it, or from its record, or else from its address, which a guest may
        have changed: it is not the guard of that address then.

        :raises MacvtapError: the kernel refuses one.
        """
        pairs = [(step.before, step.after) for step in steps]
        present = {after.mac for _before, after in pairs if after is not None and after.exists}
        links, owners = host.links, model.owners(host, present)
        final = {**host.guards, **{after.mac: after for _before, after in pairs if after is not None}}
        desired = {link: one.active.policy for one in final.values() if one.active is not None for link in one.links}
        for step, (before, after) in zip(steps, pairs):
            if before is None or after is None or after.exists is gone:
                continue
            own = {link for link, mac in owners.items() if mac == after.mac}
            # A guest that has started meanwhile has it from the hook, with its guard.
            own -= host.new if after.active is not None else frozenset()
            lacking = {*after.unchecked} - {*before.unchecked}
            for link in sorted({*before.links, *after.links, *own} - ({*after.unchecked} - lacking) & links.keys()):
                former = self._taken.get(links[link].index) if after.exists else None
                policy = None if link in lacking else desired.get(link, former)
                self._set(links[link], policy, functools.partial(begin, step))

    def counted(self, links: t.Iterable[GuestLink]) -> dict[str, dict[str, t.Any]]:
        """Return how many frames and bytes the programs on these links have dropped or counted, {} without any.

        And how many seconds ago the last was, None without any.
        """
        found = [one for link in links if self._policy(link) for one in [self._links.counted(link.index)]]
        if not found:
            return {}
        last = max(one.last for one in found)
        age = round(max(0.0, time.clock_gettime(time.CLOCK_MONOTONIC) - last / 1e9), 1) if last else None
        packets, size = (sum(values) for values in list(zip(*found))[:2])
        return {CHECKSUM: {"packets": packets, "bytes": size, "last_age": age}}

    def _policy(self, link: GuestLink) -> str | None:
        """Return the policy of the program on a link; None without any, or where there cannot be one."""
        try:
            return self._links.policy(link.index) if self._usable is not False else None
        except OSError as exc:
            self._not_usable(exc)
            return None

    def _set(self, link: GuestLink, policy: str | None, begin: t.Callable[[], None]) -> None:
        current = self._policy(link)
        if policy is not None and current != policy and not self._is_usable(policy):
            self.warnings = [guard_loader.UNCHECKED.format(reason=self._reason)]
        if self._usable is False or (policy is not None and current == policy):
            return
        begin()
        try:
            if policy is None:
                self._taken.update({link.index: current} if current is not None else {})
                # Also that of another version.
                self._links.take_off(link.index)
            else:
                self._links.put_on(link.index, policy)
        except (OSError, ValueError) as exc:
            raise MacvtapError(f"{link.name}: the check of checksums was not changed: {exc}") from exc

    def _is_usable(self, policy: str) -> bool:
        """Return whether the kernel takes the program: found out once, by loading it."""
        if self._usable is None:
            try:
                os.close(self._links.load(policy))
                self._usable = True
            except (OSError, ValueError) as exc:
                self._not_usable(exc)
        return bool(self._usable)

    def _not_usable(self, exc: Exception) -> None:
        self._usable, self._reason = False, checksums.why_not(exc)
