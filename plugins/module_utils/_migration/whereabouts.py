# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where a guest is after a migration that broke off, by what both hosts say of it. Pure."""

from __future__ import annotations

# What one host says of a domain. STANDS_BY is a guest that is paused for a migration, SPLIT one whose memory is on two
# hosts; other states are jobs.
STATES = (ABSENT, STORED, RUNNING, PAUSED, STANDS_BY, MIGRATING, SPLIT) = (
    "absent",
    "stored",
    "running",
    "paused",
    "standing by",
    "migrating",
    "paused in post-copy",
)
# Where it is: on the destination; here, where it still is or goes on; on both; or not decided yet.
THERE, HERE, RESUME, TWICE, UNDECIDED = "there", "here", "resume", "twice", ""


def place(here: str, there: str, *, running: bool, was_stored_there: bool = False) -> str:
    """Return where the guest is.

    ``running`` is whether it ran when its migration began, and ``was_stored_there`` whether the destination had it.
    """
    if running and (here, there) == (STANDS_BY, STORED) and not was_stored_there:
        # It may have run there, and stopped. What stands by here is then of the past.
        return UNDECIDED
    return _of_running(here, there) if running else _of_stored(here, there)


def _of_running(here: str, there: str) -> str:
    if (here, there) == (RUNNING, RUNNING):
        return TWICE
    if there == RUNNING or (there == PAUSED and here in (ABSENT, STORED)):
        return THERE if here in (ABSENT, STORED, STANDS_BY) else UNDECIDED
    if there not in (ABSENT, STORED):
        return UNDECIDED
    if here == STANDS_BY:
        return RESUME
    return HERE if here in (RUNNING, PAUSED, STORED) else UNDECIDED


def _of_stored(here: str, there: str) -> str:
    if here == ABSENT:
        return THERE if there == STORED else UNDECIDED
    return HERE if here == STORED else UNDECIDED
