# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt's states of a domain mean after a migration that broke off."""

from __future__ import annotations

import itertools
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import connection as domains
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import jobs
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, paused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import aftermath, whereabouts

IN_POST_COPY = ("PAUSED_POSTCOPY", "PAUSED_POSTCOPY_FAILED", "RUNNING_POSTCOPY", "RUNNING_POSTCOPY_FAILED")


@pytest.fixture
def bindings() -> t.Any:
    return pytest.importorskip("libvirt")


def state_of(bindings: t.Any, reason: str) -> tuple[int, int]:
    """Return virDomainState and its reason by the reason's name, of which the state's is the beginning."""
    return getattr(bindings, f"VIR_DOMAIN_{reason.partition('_')[0]}"), getattr(bindings, f"VIR_DOMAIN_{reason}")


def look(state: tuple[int, int], job: str = "") -> str:
    """Return what a host says of a guest in this state."""
    domain = SimpleNamespace(isActive=lambda: 1, state=lambda: list(state))
    libvirt = SimpleNamespace(VIR_DOMAIN_PAUSED=3)
    host = SimpleNamespace(
        libvirt=libvirt,
        guest=lambda _uuid: domain,
        job=lambda _domain: job,
        paused=lambda domain: domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED,
    )
    return aftermath._look(t.cast("t.Any", host), "uuid-1")


@pytest.mark.parametrize("reason", [*IN_POST_COPY, "PAUSED_STARTING_UP"])
@pytest.mark.parametrize("job", ["", jobs.MIGRATION, jobs.INCOMING])
def test_a_guest_with_its_memory_on_two_hosts_is_neither_here_nor_there(bindings: t.Any, reason: str, job: str) -> None:
    found = look(state_of(bindings, reason), job)
    for other, stored in itertools.product(whereabouts.STATES, (True, False)):
        for both in ((found, other), (other, found), (found, found)):
            assert whereabouts.place(*both, running=True, was_stored_there=stored) == whereabouts.UNDECIDED
    if reason in IN_POST_COPY:
        assert found == f"{reason.partition('_')[0].lower()} in post-copy"


@pytest.mark.parametrize(
    ("reason", "job", "expected"),
    [
        ("RUNNING_BOOTED", "", whereabouts.RUNNING),
        ("RUNNING_MIGRATED", "", whereabouts.RUNNING),
        ("RUNNING_MIGRATION_CANCELED", "", whereabouts.RUNNING),
        ("RUNNING_CRASHED", "", whereabouts.RUNNING),
        ("RUNNING_BOOTED", jobs.MIGRATION, whereabouts.MIGRATING),
        ("PAUSED_USER", "", whereabouts.PAUSED),
        ("PAUSED_CRASHED", "", whereabouts.PAUSED),
        ("PAUSED_MIGRATION", jobs.INCOMING, whereabouts.STANDS_BY),
    ],
)
def test_other_states(bindings: t.Any, reason: str, job: str, expected: str) -> None:
    assert look(state_of(bindings, reason), job) == expected


def test_the_numbers_are_libvirts(bindings: t.Any) -> None:
    """The files have numbers, since the bindings of a host may lack a name, and the keeper may have none."""
    for reason in [*IN_POST_COPY, "PAUSED_STARTING_UP"]:
        assert state_of(bindings, reason) in aftermath._UNDECIDED_STATES
    assert len(aftermath._UNDECIDED_STATES) == len(IN_POST_COPY) + 1
    for number, reason in (
        (domains._PAUSED_TO_MIGRATE, "PAUSED_MIGRATION"),
        (paused._PAUSED_TO_SAVE, "PAUSED_SAVE"),
        (guest._RUNNING_BOOTED, "RUNNING_BOOTED"),
        (guest._STARTING_UP, "PAUSED_STARTING_UP"),
        (guest._SHUT_OFF_SAVED, "SHUTOFF_SAVED"),
        (guest._SHUT_OFF_UNKNOWN, "SHUTOFF_UNKNOWN"),
    ):
        assert number == state_of(bindings, reason), reason
    named = {"incoming migration": "MIGRATION_IN", "migration": "MIGRATION_OUT"}
    prefix = "VIR_DOMAIN_JOB_OPERATION_"
    for operation, job in domains._JOBS.items():
        names = [name for name in dir(bindings) if name.startswith(prefix) and getattr(bindings, name) == operation]
        assert names[0].startswith(prefix + named.get(job, job.upper()))
