# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Declared links as cases of which mode suits the switch, and the answer put into them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.choice import AUTO, Case, kept


def cases(wanted: t.Sequence[Wanted], links: Links, *, check: bool) -> list[Case]:
    """Return the declared links that will exist, none where nobody asks: not to ``check``, and no mode is auto.

    :raises MacvtapError: there is no such parent.
    """
    if not check and all(want.mode != AUTO for want in wanted):
        return []
    return [_case(want, links) for want in wanted if want.state != "absent"]


def settled(wanted: t.Sequence[Wanted], modes: t.Mapping[str, str | None]) -> list[Wanted]:
    """Return ``wanted`` with the ``modes`` that auto stands for, by path."""
    return [replace(want, mode=modes.get(want.path)) if want.mode == AUTO else want for want in wanted]


def _case(want: Wanted, links: Links) -> Case:
    had = links.get(want.key)
    parent = resolve(want, links).name if want.parent is not None else had.parent if had else None
    mode = kept(had.mode, moves=parent != had.parent) if had else None
    return Case(want.path, want.key, parent, want.mode, mode)
