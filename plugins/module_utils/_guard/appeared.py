# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for links that come while a task changes guards: a guest starts before its guard is in the file."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_links, guard_loader, model, store
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import GuestLink, State


def put_on(
    states: t.Sequence[State],
    planned: t.Mapping[str, GuestLink],
    links: t.Mapping[str, GuestLink],
    stored: t.Mapping[str, guard_loader.Object],
) -> None:
    """Put guards on those of the ``links`` that were not among the ``planned`` ones, as the program does for new links.

    ``states`` are what the guards of the plan are now, and ``stored`` are the entries of the file. The program did not
    know these guards before that was written. A state that has links, but no rules, is loaded as the file has it: an
    entry of another version is known to the program alone.

    :raises MacvtapError: a guard could not be put on.
    """
    for state in states:
        there = {link: links[link].index for link in state.links if link in model.still(planned, links)}
        if state.active is None and state.mac in stored and there:
            try:
                guard_loader.Loader(stored).on([(link, state.mac) for link in there], indexes=there)
            except Exception as exc:  # pylint: disable=broad-except  # as below
                raise MacvtapError(f"the stored guard of {state.mac} could not be loaded: {exc}") from exc
    names = sorted(model.new(planned, links))
    if not names:
        return
    changed = {one.mac: store.entry_of(one.active) for one in states if one.active is not None}
    entries = {**stored, **changed}
    for name in names:
        try:
            guard_loader.Loader(entries).link(name, changed)
        except Exception as exc:  # pylint: disable=broad-except  # of the library, the kernel, and a damaged entry
            if guard_links.index_of(name) == links[name].index:
                raise MacvtapError(f"{name} has come while this task ran, and got no guard: {exc}") from exc
