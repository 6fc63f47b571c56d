# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The rollback is the inverse of what was begun, and of nothing else."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import rollback
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    AUTOSTART,
    DEFINED,
    RESTARTED,
    STARTED,
    STOPPED,
    UNDEFINED,
    UPDATED,
    Definition,
    Host,
    Network,
    Portgroup,
    User,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal, Plan, Step

from .planned import lan

BEFORE = Definition("bridge", ("eth0",))
MORE = replace(BEFORE, interfaces=("eth0", "eth1"))
VEPA = replace(BEFORE, mode="vepa")
THEIRS = replace(BEFORE, portgroups=(Portgroup("theirs"),))
GUEST = User("lan", "web1", "52:54:00:00:00:0a", True, True, uplink="eth0", mode="bridge")


def network(stored: Definition | None = BEFORE, live: Definition | None = BEFORE, **more: t.Any) -> Network:
    return lan(stored, live, **more)


def undo(
    before: Network | None, after: Network | None, current: Network | None, *actions: str, users: tuple[User, ...] = ()
) -> Plan[Network]:
    journal: Journal[Network] = Journal()
    step = Step("lan", before, after, ())
    for action in actions:
        journal.record(step, action)
    there = {current.name: current} if current is not None else {}
    return rollback.undo(journal, Host("qemu:///system", there, {"lan": users} if users else {}))


def target(planned: Plan[Network]) -> Network | None:
    (step,) = planned.steps
    return step.after


def ours(stored: Definition, live: Definition | None) -> Network:
    """Return a network as this run has stored it."""
    made = network(stored, live)
    return replace(made, defined=made.xml)


def test_what_was_begun_is_undone() -> None:
    done = ours(MORE, MORE)
    planned = undo(network(), done, done, DEFINED, UPDATED)
    assert target(planned) == network()
    assert {change.impact for change in planned.changes} == {Impact.CONFIG, Impact.LIVE}
    # Only stored yet.
    stored = ours(MORE, BEFORE)
    assert target(undo(network(), done, stored, DEFINED, UPDATED)) == network()
    assert target(undo(network(), network(), network(autostart=False), AUTOSTART)) == network()
    inactive = network(live=None)
    assert target(undo(network(), inactive, inactive, STOPPED)) == network()
    assert target(undo(inactive, network(), network(), STARTED)) == inactive
    for actions in ((STOPPED,), (STOPPED, UNDEFINED)):
        assert target(undo(network(), None, inactive if len(actions) == 1 else None, *actions)) == network()
    assert undo(network(), done, network(), DEFINED, UPDATED) == Plan()
    assert undo(None, network(), None, DEFINED) == Plan()


@pytest.mark.parametrize("current", [ours(VEPA, VEPA), ours(VEPA, None)])
def test_a_restart_is_undone_by_another_one(current: Network) -> None:
    planned = undo(network(), ours(VEPA, VEPA), current, DEFINED, RESTARTED)
    assert target(planned) == network()
    assert (Impact.RECREATE in {change.impact for change in planned.changes}) == current.active


def test_what_libvirt_forgets_of_guests_is_said() -> None:
    inactive = network(live=None)
    planned = undo(network(), inactive, inactive, STOPPED, users=(GUEST,))
    assert target(planned) == network()
    assert planned.warnings[0].endswith("until they have stopped: web1 (52:54:00:00:00:0a, running)")
    assert undo(network(), inactive, inactive, STOPPED).warnings == ()


def test_a_new_network_goes_again_unless_it_is_in_use_or_changed() -> None:
    new = ours(BEFORE, BEFORE)
    assert target(undo(None, new, new, DEFINED, STARTED)) is None
    used = undo(None, new, new, DEFINED, STARTED, users=(GUEST,))
    assert (used.steps, "guests have started on it" in used.warnings[0]) == ((), True)
    theirs = undo(None, new, replace(network(THEIRS), defined=new.xml), DEFINED, STARTED)
    assert (theirs.steps, "changed by another editor" in theirs.warnings[0]) == ((), True)
    # Another network of that name has another UUID.
    assert undo(None, new, replace(new, uuid="another"), DEFINED, STARTED) == Plan()


# This run has stored MORE, and another editor THEIRS after that.
EDITED = replace(network(THEIRS, MORE), defined=ours(MORE, MORE).xml)


@pytest.mark.parametrize(
    ("before", "after", "current", "actions", "users", "warning"),
    [
        (network(), ours(MORE, MORE), EDITED, (DEFINED,), (), "another editor"),
        (network(), ours(MORE, MORE), ours(BEFORE, THEIRS), (UPDATED,), (), "another editor"),
        (network(live=None), network(), network(), (STARTED,), (GUEST,), "stays active because guests use it"),
        (network(), ours(VEPA, VEPA), network(BEFORE, VEPA), (RESTARTED,), (GUEST,), "not restarted once more"),
        (network(), network(MORE), None, (DEFINED,), (), "was removed by another editor"),
        (network(), None, replace(network(), uuid="another"), (STOPPED, UNDEFINED), (), "another network has the name"),
    ],
)  # fmt: skip
def test_what_others_have_done_stays(  # noqa: PLR0917
    before: Network,
    after: Network | None,
    current: Network | None,
    actions: tuple[str, ...],
    users: t.Any,
    warning: str,
) -> None:
    planned = undo(before, after, current, *actions, users=users)
    assert planned.steps == ()
    assert warning in planned.warnings[0]


def test_an_uplink_that_a_guest_got_meanwhile_stays_in_the_active_network() -> None:
    done = ours(MORE, MORE)
    planned = undo(network(), done, done, DEFINED, UPDATED, users=(replace(GUEST, uplink="eth1"),))
    after = target(planned)
    assert after is not None
    assert after.live is not None
    assert (after.interfaces, after.live.interfaces) == (("eth0",), ("eth0", "eth1"))
    assert planned.warnings == (
        "network 'lan' keeps the uplink eth1, because guests have started on it: web1 (52:54:00:00:00:0a, running)",
    )


@pytest.mark.parametrize("action", [STOPPED, RESTARTED])
def test_a_start_gives_the_network_what_is_stored(action: str) -> None:
    before = network(MORE, BEFORE)
    planned = undo(before, None, replace(before, active=False, live=None, live_xml=""), action)
    assert "had other values than its stored ones" in planned.warnings[0]
    assert len(planned.steps) == 1
    # As it is then.
    done = undo(before, before, network(MORE, MORE), action)
    assert (done.steps, done.warnings) == ((), planned.warnings)
