# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Others act at the very moment of a request: after it was recorded, and before it is made."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

ThingT = t.TypeVar("ThingT")


class Moment(Journal[ThingT]):
    """A journal that calls ``act`` once, right before an action is requested."""

    def __init__(self, action: str, act: t.Callable[[], t.Any]) -> None:
        super().__init__()
        self.action, self.act = action, act

    def record(self, step: Step[ThingT], action: str = "") -> None:
        super().record(step, action)
        if action == self.action:
            self.action = ""
            self.act()
