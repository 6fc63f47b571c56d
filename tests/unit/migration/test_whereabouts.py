# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where a guest is after a migration that broke off: never on two hosts, and never resumed beside another."""

from __future__ import annotations

import itertools

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import whereabouts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.whereabouts import (
    ABSENT,
    HERE,
    MIGRATING,
    PAUSED,
    RESUME,
    RUNNING,
    SPLIT,
    STANDS_BY,
    STATES,
    STORED,
    THERE,
    TWICE,
    UNDECIDED,
)


@pytest.mark.parametrize(
    ("here", "there", "place"),
    [
        (RUNNING, ABSENT, HERE),
        (PAUSED, ABSENT, HERE),
        (RUNNING, STORED, HERE),
        (STORED, ABSENT, HERE),
        (STANDS_BY, ABSENT, RESUME),
        # It may have run there.
        (STANDS_BY, STORED, UNDECIDED),
        (STANDS_BY, STANDS_BY, UNDECIDED),
        (STANDS_BY, RUNNING, THERE),
        (ABSENT, RUNNING, THERE),
        (STORED, RUNNING, THERE),
        (ABSENT, PAUSED, THERE),
        (MIGRATING, STANDS_BY, UNDECIDED),
        (RUNNING, STANDS_BY, UNDECIDED),
        (RUNNING, RUNNING, TWICE),
        (SPLIT, ABSENT, UNDECIDED),
        (SPLIT, RUNNING, UNDECIDED),
        (ABSENT, ABSENT, UNDECIDED),
        # It moves on, to a third host.
        (ABSENT, MIGRATING, UNDECIDED),
    ],
)
def test_a_guest_that_ran(here: str, there: str, place: str) -> None:
    assert whereabouts.place(here, there, running=True) == place


@pytest.mark.parametrize(
    ("here", "there", "place"),
    [(STORED, ABSENT, HERE), (STORED, STORED, HERE), (ABSENT, STORED, THERE), (RUNNING, ABSENT, UNDECIDED)],
)
def test_a_guest_that_is_only_stored(here: str, there: str, place: str) -> None:
    assert whereabouts.place(here, there, running=False) == place


def test_a_guest_goes_on_here_if_the_destination_had_it_stored_before() -> None:
    assert whereabouts.place(STANDS_BY, STORED, running=True, was_stored_there=True) == RESUME


def test_a_guest_is_resumed_only_where_no_other_host_can_have_it() -> None:
    for here, there in itertools.product(STATES, STATES):
        if whereabouts.place(here, there, running=True) == RESUME:
            assert there in (ABSENT, STORED)
