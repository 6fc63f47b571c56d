# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Turns desired links into cases of mode auto, and applies the resolved modes. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.parents import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO, Case, kept


def cases(desired: t.Sequence[DesiredLink], links: Links, *, check: bool) -> list[Case]:
    """Return the links that will exist; none if no mode is auto and there is nothing to ``check``.

    :raises MacvtapError: a parent does not exist.
    """
    if not check and all(entry.mode != AUTO for entry in desired):
        return []
    return [_case(entry, links) for entry in desired if entry.state != "absent"]


def resolve_modes(desired: t.Sequence[DesiredLink], modes: t.Mapping[str, str | None]) -> list[DesiredLink]:
    """Return ``desired`` with mode auto replaced by ``modes``, by path."""
    return [replace(entry, mode=modes.get(entry.path)) if entry.mode == AUTO else entry for entry in desired]


def _case(entry: DesiredLink, links: Links) -> Case:
    had = links.get(entry.key)
    parent = resolve(entry, links).name if entry.parent is not None else had.parent if had else None
    mode = kept(had.mode, moves=parent != had.parent, declared=entry.mode) if had else None
    return Case(entry.path, entry.key, parent, entry.mode, mode)
