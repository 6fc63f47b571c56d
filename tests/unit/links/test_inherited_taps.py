# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links that are created get permissions on their taps: declared ones, and those of a node of their own."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.identity import sets_tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

OWN = Tap("/dev/tap7", (240, 1), (240, 1), "root", "kvm", 0o660)
MISSING = Tap("/dev/tap7", (240, 1))
FOREIGN = Tap("/dev/tap7", (240, 1), (240, 2), "root", "root", 0o666)
UNKNOWN = Tap("/dev/tap7", None, (240, 2), "root", "root", 0o600)
DECLARED = Tap("", mode=0o640)
REPAIRED = Tap("/dev/tap7", (240, 1), repair=True)
NEW, NEW_MISSING = Tap("/dev/tap8", (240, 3), (240, 3), "root", "root", 0o600), Tap("/dev/tap8", (240, 3))


@pytest.mark.parametrize(
    ("before", "after", "now", "sets"),
    [
        (OWN, OWN, NEW, True),
        (OWN, OWN, NEW_MISSING, False),
        (OWN, Tap("/dev/tap7", (240, 1), (240, 1), "root", "kvm", 0o600), NEW_MISSING, True),
        (MISSING, MISSING, NEW, False),
        (MISSING, MISSING, NEW_MISSING, False),
        (FOREIGN, FOREIGN, NEW, False),
        (UNKNOWN, UNKNOWN, NEW, False),
        (MISSING, REPAIRED, NEW_MISSING, True),
        # New ones; what is restored by a rollback has the tap that it had.
        (None, DECLARED, NEW, True),
        (None, DECLARED, NEW_MISSING, True),
        (None, MISSING, NEW_MISSING, False),
        (None, OWN, NEW, True),
        (None, OWN, NEW_MISSING, True),
    ],
)
def test_permissions_that_nobody_has_declared_need_a_node(before: Tap | None, after: Tap, now: Tap, sets: bool) -> None:
    step = Step("mt0", None if before is None else Link("mt0", 7, tap=before), Link("mt0", 7, tap=after), ())
    assert sets_tap(step, now) is sets
