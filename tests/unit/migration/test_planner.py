# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What moves a guest, what is left to do after a migration that broke off, and what is refused."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import replace

import pytest
from guest_between import GIB, LAN, MAC, MOVE, NIC, RUNNING, WEB1, both

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import planner, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    ENDED,
    MOVED,
    UNDEFINED,
    Both,
    Desired,
    Guest,
    NicThere,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Portgroup
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

OTHER = "52:54:00:00:01:02"


def action(plan: Plan[Guest]) -> str:
    return t.cast("Guest", plan.steps[0].after).action if plan.steps else ""


def refused(desired: Desired, found: Both) -> str:
    with pytest.raises(MacvtapError) as raised:
        planner.plan(desired, found)
    return str(raised.value)


def test_a_running_guest_moves_with_its_nics() -> None:
    plan = planner.plan(MOVE, both(RUNNING))
    assert [(change.target, change.field, change.before, change.after) for change in plan.changes] == [
        ("web1", "host", "hv1", "hv2"),
        (f"web1 {MAC}", "source", "eth0", "lan0"),
    ]
    guest = t.cast("Guest", plan.steps[0].after)
    assert (guest.action, guest.running, guest.instance) == (MOVED, True, "7")
    assert [[after.get("source") for _before, after in edits] for edits in (guest.live, guest.stored)] == [["lan0"]] * 2
    assert {change.impact.value for change in plan.changes} == {"migrate"}


def test_a_guest_that_does_not_run_moves_too() -> None:
    plan = planner.plan(MOVE, both(WEB1))
    assert action(plan) == MOVED
    assert "lan0" in [change.after for change in plan.changes]


def test_a_guest_that_is_there_is_left_alone() -> None:
    assert not planner.plan(MOVE, both(None, RUNNING)).changed
    assert not planner.plan(MOVE, both(None, WEB1)).changed
    assert planner.is_complete(both(None, RUNNING))
    assert not planner.is_complete(both(WEB1, RUNNING))
    assert not planner.is_complete(both(None, replace(RUNNING, job="incoming migration")))


def test_what_is_left_here_of_a_guest_that_runs_there_is_removed() -> None:
    assert action(planner.plan(MOVE, both(WEB1, RUNNING))) == UNDEFINED
    assert action(planner.plan(MOVE, both(replace(RUNNING, job="incoming migration"), RUNNING))) == ENDED


def test_nothing_is_removed_here_that_the_destination_lacks() -> None:
    transient = replace(RUNNING, persistent=False)
    assert "is stored here alone. Store it there first" in refused(MOVE, both(WEB1, transient))
    assert action(planner.plan(replace(MOVE, persistent=False), both(WEB1, transient))) == UNDEFINED
    stands_by = replace(RUNNING, job="incoming migration")
    for there in (replace(RUNNING, paused=True), replace(RUNNING, state="crashed")):
        assert "Neither is touched: find out which one is to go on" in refused(MOVE, both(stands_by, there))


def test_a_guest_that_runs_on_both_hosts_is_not_touched() -> None:
    assert refused(MOVE, both(RUNNING, RUNNING)).startswith(
        "domain: domain 'web1' runs both here and on hv2. Neither is"
    )


def test_no_state_of_two_hosts_ends_a_guest_that_runs_nowhere_else() -> None:
    jobs = ("", "migration", "incoming migration", "save")
    running = [replace(RUNNING, job=job, paused=paused) for job in jobs for paused in (False, True)]
    states = [None, WEB1, replace(WEB1, saved=()), *running]
    for here, there in itertools.product(states, states):
        try:
            plan = planner.plan(MOVE, both(here, there))
        except MacvtapError:
            continue
        if action(plan) in (ENDED, UNDEFINED):
            assert there is not None
            assert there.running
            assert not there.job.endswith("migration")


@pytest.mark.parametrize(
    ("here", "there", "message"),
    [
        (
            replace(RUNNING, job="migration"),
            None,
            "domain: domain 'web1' is migrating already: migration on hv1, absent",
        ),
        (
            RUNNING,
            replace(RUNNING, job="incoming migration"),
            "is migrating already: running on hv1, incoming migration",
        ),
        (replace(RUNNING, job="incoming migration"), None, "is paused here for a migration, and does not run on hv2"),
        (replace(RUNNING, job="dump"), None, "domain 'web1' has a job in progress (dump)"),
        (replace(RUNNING, job="backup"), None, "cannot move: it has a job in progress (backup)"),
        (replace(RUNNING, state="crashed"), None, "cannot move: its guest has crashed"),
        (replace(RUNNING, pending=frozenset({MAC})), None, f"it was asked to release {MAC}, and still holds it"),
        (replace(WEB1, saved=(NIC,)), None, "it has a managed save, which stays here"),
        (replace(WEB1, saved=(NIC,)), RUNNING, "has a managed save here, with another state of the guest"),
        (None, None, "domain: neither hv1 nor hv2 has a domain 'web1'"),
        (RUNNING, replace(WEB1, uuid="uuid-2"), "hv2 has another domain of that name: its UUID is uuid-2"),
    ],
)
def test_a_guest_that_cannot_move(here: Domain | None, there: Domain | None, message: str) -> None:
    assert message in refused(MOVE, both(here, there))


@pytest.mark.parametrize(
    ("to", "more", "message"),
    [
        ({"uuid": "host-1"}, {}, "destination_uri: qemu+ssh://hv2/system leads to this host (hv2)"),
        ({"namesake": "old1"}, {}, "hv2 has a domain with its UUID (uuid-1) already, which is called 'old1'"),
        ({"macs": {MAC: ("db1",)}}, {}, f"domain: hv2 has the address {MAC} already, in db1"),
        ({"free": GIB // 2}, {}, "cannot run it: the guest has 1024 MiB of memory, and 512 MiB are free there"),
        ({}, {"blockers": ("it has a device of the host (hostdev)",)}, "cannot move: it has a device of the host"),
        ({}, {"unfit": ("its libvirt says: no",)}, "destination_uri: hv2 cannot run it: its libvirt says: no"),
    ],
)
def test_a_destination_that_cannot_have_it(to: dict[str, t.Any], more: dict[str, t.Any], message: str) -> None:
    assert message in refused(MOVE, both(RUNNING, to=to, **more))


@pytest.mark.parametrize(
    ("given", "networks", "message"),
    [
        ({"network": "lan"}, {}, "interfaces[0].network: hv2 has no network 'lan'"),
        ({"network": "lam"}, {"lan": LAN}, "hv2 has no network 'lam', for 52:54:00:00:01:01; did you mean lan?"),
        (
            {"network": "lan"},
            {"lan": replace(LAN, active=False)},
            "is not active on hv2. Start it there: virsh net-start",
        ),
        ({"network": "lan", "portgroup": "db"}, {"lan": LAN}, "network 'lan' has no portgroup 'db' on hv2"),
    ],
)
def test_a_network_that_the_destination_lacks(
    given: dict[str, str], networks: dict[str, Network], message: str
) -> None:
    desired = Desired("web1", (NicThere("interfaces[0]", MAC, given),))
    assert message in refused(desired, both(RUNNING, to={"networks": networks}))


def test_a_network_that_the_destination_has() -> None:
    lan = replace(LAN, live=None, portgroups=(Portgroup("db"),))
    desired = Desired("web1", (NicThere("interfaces[0]", MAC, {"network": "lan", "portgroup": "db"}),))
    assert planner.plan(desired, both(RUNNING, to={"networks": {"lan": lan}})).changed


def test_nics_that_the_guest_has_not() -> None:
    assert refused(Desired("web1", (NicThere("interfaces[0]", OTHER, {}),)), both(RUNNING)) == (
        f"interfaces[0].mac: domain 'web1' has no interface with the address {OTHER}; did you mean {MAC}?"
    )
    twice = tuple(NicThere(f"interfaces[{n}]", MAC, {}) for n in (0, 1))
    assert "is declared twice, here and in interfaces[0]" in refused(Desired("web1", twice), both(RUNNING))


def test_an_older_destination_is_a_warning() -> None:
    (warning,) = planner.plan(MOVE, both(RUNNING, to={"version": 7_000_000, "emulator": 5_002_000})).warnings
    assert warning.startswith("hv2 has an older libvirt (7.0.0 there, 9.0.0 here) and QEMU (5.2.0 there, 7.2.0 here)")
    assert not planner.plan(MOVE, both(RUNNING, to={"version": 11_003_000})).warnings


@pytest.mark.parametrize(
    ("desired", "message"),
    [
        (Desired("web1", storage="copy"), "storage: libvirt cannot copy disks through its own connection"),
        (Desired("web1", on_timeout="post_copy"), "on_timeout: post_copy needs a connection from QEMU to QEMU"),
        (
            Desired("web1", transport="tls", on_timeout="post_copy", live=False),
            "on_timeout: post_copy requires live: true",
        ),
    ],
)
def test_options_that_exclude_each_other(desired: Desired, message: str) -> None:
    with pytest.raises(MacvtapError) as raised:
        validate.options(desired)
    assert str(raised.value).startswith(message)


def test_options_that_go_together() -> None:
    validate.options(Desired("web1", storage="copy", transport="tls", on_timeout="post_copy"))


def test_nics_that_are_not_as_planned_are_named() -> None:
    guest = t.cast("Guest", planner.plan(MOVE, both(RUNNING)).steps[0].after)
    assert planner.misconnected(guest, both(None, RUNNING)) == f"{MAC} is on eth0 in mode bridge"
    moved = replace(NIC, values={**NIC.values, "source": "lan0", "target": "macvtap5"})
    assert planner.misconnected(guest, both(None, replace(RUNNING, live=(moved,)))) == ""
    assert planner.misconnected(guest, both(None, replace(RUNNING, live=()))) == f"{MAC} is missing"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (both(RUNNING), ""),
        (both(None, RUNNING), "The guest is on hv2 (running), and stays there"),
        (both(WEB1, RUNNING), "The guest is on hv2 (running), and stays there"),
        (both(None, replace(RUNNING, paused=True)), "The guest is on hv2 (paused), and stays there"),
        (both(None, WEB1), "The guest is on hv2 (shut off), and stays there"),
        (both(RUNNING, RUNNING), "The guest is running on hv1, running on hv2"),
        (both(RUNNING, WEB1), "The guest is running on hv1, shut off on hv2"),
        (both(WEB1), "The guest is shut off on hv1, absent on hv2"),
        (
            both(replace(RUNNING, job="incoming migration"), replace(RUNNING, job="incoming migration")),
            "The guest is incoming migration on hv1, incoming migration on hv2",
        ),
    ],
)
def test_where_a_guest_is_after_a_run_that_failed(now: Both, said: str) -> None:
    assert planner.whereabouts(both(RUNNING), now) == said


def test_a_guest_that_does_not_run_is_not_moved_to_where_nothing_is_stored() -> None:
    assert refused(replace(MOVE, persistent=False), both(WEB1)).startswith(
        "persistent: false is only for a running guest"
    )


DISK = "/images/web1.qcow2"
LOCAL: dict[str, t.Any] = {"disks": (DISK,), "local_disks": {DISK: "ext4"}}


def test_a_running_guest_with_a_disk_that_the_destination_does_not_see_is_refused() -> None:
    message = refused(MOVE, both(RUNNING, **LOCAL))
    assert message == (
        f"storage: {DISK} is on a file system of this host alone (ext4), which hv2 does not see. To have the disks "
        "copied, set storage: copy"
    )
    for storage in ("copy", "incremental"):
        assert planner.plan(replace(MOVE, storage=storage, transport="tls"), both(RUNNING, **LOCAL)).changed
    # What is not known to be of this host alone is for libvirt to judge.
    assert planner.plan(MOVE, both(RUNNING, disks=(DISK,))).changed


def test_the_disks_of_a_guest_that_does_not_run_are_not_copied() -> None:
    (warning,) = planner.plan(MOVE, both(WEB1, **LOCAL)).warnings
    assert "moves the configuration alone" in warning
    assert DISK in warning
    message = refused(replace(MOVE, storage="copy", transport="tls"), both(WEB1, disks=(DISK,)))
    assert message.startswith("storage: the guest does not run, and libvirt copies the disks only of one that does")
    assert planner.plan(replace(MOVE, storage="copy", transport="tls"), both(WEB1)).changed
