# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is written down about requests to release a NIC, with nothing of libvirt's."""

from __future__ import annotations

import errno
import json
import os
import pathlib
import typing as t
from dataclasses import replace
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import domain_reader, inspection, pending
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    UNGUARDED,
    Domain,
    Host,
    Iface,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest as keeper_guest
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper.guest import look
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

MAC, UUID = "52:54:00:00:00:0a", "11111111-2222-3333-4444-555555555555"
LIVE = Iface(MAC, values={"source": "eth0", "mode": "bridge", "model": "virtio"})
NIC = Nic("web1", MAC, live=LIVE, uuid=UUID, instance="1")
BOOTED, RESTORED, STARTING, PAUSED_BY_USER = [1, 1], [1, 3], [3, 11], [3, 1]
SHUT_OFF, MIGRATED, SAVED, UNKNOWN = [5, 2], [5, 4], [5, 5], [5, 0]
REQUEST: records.State = {
    "since": "2026-11-28T08:00:00Z", "returns": True, "element": "<interface/>", "ifindex": None, "allmulticast": False,
}  # fmt: skip
STATE: records.State = {"uri": "", "local": False, "uuid": UUID, "instance": "1", "nics": {MAC: REQUEST}}


@pytest.fixture
def directory(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> str:
    made = str(tmp_path / "linuxvirt.macvtap")
    monkeypatch.setattr(pending, "directory", lambda: made)
    monkeypatch.setattr(pending.Requests, "_start", lambda _self, _command: None)
    return made


def run() -> pending.Requests:
    return pending.Requests("qemu:///system", local=True)


def test_what_is_not_asked_for_after_all_is_still_what_an_earlier_run_asked_for(directory: str) -> None:
    run().register([(NIC, None)])
    earlier = records.load(directory, UUID)
    assert earlier is not None
    later = run()
    other = Nic("web1", "52:54:00:00:00:0b", live=LIVE, uuid=UUID, instance="1")
    later.register([(NIC, None), (other, None)])
    for nic in (NIC, other):
        later.withdraw(nic)
    assert records.load(directory, UUID) == earlier
    # Nor by a run that was stopped before it has written anything.
    run().withdraw(NIC)
    assert records.load(directory, UUID) == earlier
    later.discard(NIC)
    assert records.uuids(directory) == []


class Guest:
    """A domain that does not run, or runs with the NIC, in one of libvirt's states."""

    def __init__(self, state: list[int], *, running: bool, managed: bool = False) -> None:
        self.state, self.running, self.managed = (lambda: state), running, managed

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        nic = f"<interface type='direct'><mac address='{MAC}'/><target dev='none0'/></interface>"
        number = "id='7'" if self.running else ""
        return f"<domain type='qemu' {number}><devices>{nic}</devices></domain>"

    def name(self) -> str:
        return "linuxvirt-none"

    def hasManagedSaveImage(self) -> bool:  # noqa: N802
        return self.managed


MANAGED = Guest(SAVED, running=False, managed=True)


@pytest.mark.parametrize(
    ("seen", "instance"),
    [
        # The instance that is waited for then, None where nothing is outstanding any more.
        ([Guest(SHUT_OFF, running=False)], None),
        ([Guest(BOOTED, running=True)], None),
        ([Guest(PAUSED_BY_USER, running=True)], None),
        ([Guest(SAVED, running=False)], "1"),
        ([Guest(UNKNOWN, running=False, managed=True)], "1"),
        ([Guest(RESTORED, running=True)], "7"),
        ([Guest(STARTING, running=True)], "1"),
        ([Guest(SAVED, running=False), Guest(RESTORED, running=True)], "7"),
        ([Guest(SAVED, running=False), Guest(PAUSED_BY_USER, running=True)], "7"),
        ([Guest(SAVED, running=False), Guest(STARTING, running=True), Guest(BOOTED, running=True)], None),
        ([Guest(SAVED, running=False), Guest(SHUT_OFF, running=False)], None),
        # libvirtd was restarted, or the host.
        ([Guest(SAVED, running=False), Guest(UNKNOWN, running=False), Guest(RESTORED, running=True)], "7"),
        ([Guest(UNKNOWN, running=False)], None),
        # libvirt notes its own image a moment after the guest has ended, and it may be discarded.
        ([Guest(SAVED, running=False), MANAGED, Guest(RESTORED, running=True)], "7"),
        ([Guest(SAVED, running=False), MANAGED, Guest(SAVED, running=False)], None),
        ([MANAGED, Guest(UNKNOWN, running=False)], None),
        ([Guest(MIGRATED, running=False)], None),
    ],
)
def test_a_guest_that_was_saved_is_still_asked_and_one_that_was_booted_is_not(
    directory: str, seen: t.Sequence[Guest], instance: str | None
) -> None:
    run().register([(NIC, None)])
    libvirt = SimpleNamespace(libvirtError=Exception, VIR_ERR_NO_DOMAIN=42)
    for guest in seen:
        look(libvirt, SimpleNamespace(lookupByUUIDString=lambda _uuid, found=guest: found), directory, UUID)
    state = records.load(directory, UUID)
    assert (state and state["instance"]) == instance


@pytest.mark.parametrize(
    ("guest", "outstanding"), [(Guest(BOOTED, running=True), False), (Guest(RESTORED, running=True), True)]
)
def test_a_guest_of_an_earlier_boot_is_another_one_though_its_number_is_the_same(
    directory: str, guest: Guest, outstanding: bool
) -> None:
    run().register([(replace(NIC, instance="7"), None)])
    state = records.load(directory, UUID)
    assert state is not None
    records.save(directory, UUID, {**state, "boot": "another"})
    libvirt = SimpleNamespace(libvirtError=Exception, VIR_ERR_NO_DOMAIN=42)
    look(libvirt, SimpleNamespace(lookupByUUIDString=lambda _uuid: guest), directory, UUID)
    left = records.load(directory, UUID)
    assert (left is not None) == outstanding
    assert left is None or left["boot"] == state["boot"]


def test_an_unreadable_request_is_not_complete(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run().register([(NIC, None)])
    before = records.load(directory, UUID)
    libvirt = SimpleNamespace(libvirtError=Exception, VIR_ERR_NO_DOMAIN=42)

    def too_many(*_of: t.Any, **_more: t.Any) -> t.NoReturn:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", too_many)
        with pytest.raises(OSError, match="Too many open files"):
            look(libvirt, None, directory, UUID)
        with pytest.raises(OSError, match="Too many open files"):
            keeper_guest.instance(Guest(BOOTED, running=True), 7, local=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", too_many)
        with pytest.raises(OSError, match="Too many open files"):
            records.uuids(directory)
        with pytest.raises(
            MacvtapError, match=r"cannot read or write the outstanding requests in .*: Too many open files"
        ):
            run().outstanding()
    assert records.load(directory, UUID) == before


def test_what_a_guest_restored_just_now_was_asked_for_is_not_forgotten_by_the_next_request(directory: str) -> None:
    run().register([(NIC, None)])
    guest = Guest(RESTORED, running=True)
    libvirt = SimpleNamespace(libvirtError=Exception, VIR_ERR_NO_DOMAIN=42)
    later = run()
    later.catch_up(libvirt, SimpleNamespace(lookupByUUIDString=lambda _uuid: guest), UUID)
    later.register([(Nic("web1", "52:54:00:00:00:0b", live=LIVE, uuid=UUID, instance="7"), None)])
    state = records.load(directory, UUID)
    assert state is not None
    assert sorted(state["nics"]) == [MAC, "52:54:00:00:00:0b"]


def test_a_nic_that_is_attached_without_its_guard_is_listed_as_such(directory: str) -> None:
    run().register([(NIC, None)])
    state = records.load(directory, UUID)
    assert state is not None
    state["nics"][MAC].update(asked=False, unguarded=True, error="no room")
    records.save(directory, UUID, state)
    running = Domain("web1", UUID, running=True, live=(LIVE,), stored=(LIVE,), instance="1")
    host = Host("qemu:///system", {"web1": running})
    (found,) = run().listed(host)
    assert (found["state"], found["error"], found["returns"]) == (UNGUARDED, "no room", None)
    (warning,) = inspection.keeper_warnings([found], host)
    assert "attached, and its guard is not on its link yet: no room" in warning
    assert "is not on its link yet: no room" in text.requested(found)
    # It is not about to go.
    assert domain_reader._pending(state, "1", (LIVE,)) == frozenset()
    # Restored, it has its guard from the start.
    saved = replace(running, running=False, live=(), saved=(LIVE,), instance="")
    assert run().listed(Host("qemu:///system", {"web1": saved})) == []


def test_a_nic_without_its_guard_is_listed_as_such_while_it_is_asked_for(directory: str) -> None:
    run().register_unguarded(NIC, "no room")
    running = Domain("web1", UUID, running=True, live=(LIVE,), stored=(LIVE,), instance="1")
    host = Host("qemu:///system", {"web1": running})
    (found,) = run().listed(host)
    assert (found["state"], found["unguarded"], found["error"]) == (UNGUARDED, True, "no room")
    later = run()
    later.register([(NIC, LIVE)])
    assert records.uuids(directory) == [UUID]
    (found,) = later.listed(host)
    assert (found["state"], found["unguarded"], found["error"]) == (HELD, True, "no room")
    (warning,) = inspection.keeper_warnings([{**found, "pid": 7}], host)
    assert "still holds it" in warning
    assert "its guard is not on its link yet: no room" in warning.lower()
    assert "Its guard is not on its link yet: no room" in text.requested(found)
    # The guest was not asked after all.
    later.withdraw(NIC)
    assert [one["state"] for one in later.listed(host)] == [UNGUARDED]


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_signal_while_it_is_written_is_not_lost(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    put = os.replace

    def interrupted(*paths: t.Any) -> None:
        if side == "after":
            put(*paths)
        raise Interrupted("SIGTERM")

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(Interrupted):
        records.save(str(tmp_path), UUID, STATE)
    assert records.load(str(tmp_path), UUID) == (STATE if side == "after" else None)
    assert len(list(tmp_path.iterdir())) == (side == "after")


def test_what_is_damaged_in_a_file_takes_nothing_else_with_it(directory: str) -> None:
    other = "52:54:00:00:00:0b"
    run().register([(NIC, LIVE)])
    before = records.load(directory, UUID)
    assert before is not None
    path = pathlib.Path(directory, f"{UUID}.json")
    damaged = json.dumps({**before, "nics": {**before["nics"], other: {"returns": True}}, "pause": "yes"})
    path.write_text(damaged)
    again = run()
    assert again.outstanding() == {UUID: before}
    (warning,) = again.warnings
    assert warning.startswith(f"{path} is damaged. ")
    # A run that changes it keeps what it was, and the first one of several.
    for _again in range(2):
        again.keep_released([NIC])
        aside = pathlib.Path(f"{path}.damaged")
        assert aside.read_text() == damaged
        assert records.load(directory, UUID) == {**before, "nics": {MAC: {**before["nics"][MAC], "returns": False}}}
        assert records.uuids(directory) == [UUID]
        path.write_text(json.dumps({**before, "nics": {**before["nics"], other: 7}}))
    run().discard(NIC)
    assert records.uuids(directory) == []
    last = run()
    assert last.outstanding() == {}
    assert last.warnings == [f"{aside} is damaged. {warning.partition('. ')[2]}"]


@pytest.mark.parametrize("text_of", ["", "{", "[]", '{"nics": {}}', "\0\0"])
def test_a_file_of_which_nothing_is_of_use_is_kept_aside(directory: str, text_of: str) -> None:
    pathlib.Path(directory).mkdir(mode=0o700)
    path = pathlib.Path(directory, f"{UUID}.json")
    path.write_text(text_of)
    look(None, None, directory, UUID)
    assert [one.name for one in pathlib.Path(directory).glob(f"{UUID}*")] == [f"{UUID}.json.damaged"]
    path.write_text("more damage")
    run().register([(NIC, LIVE)])
    assert pathlib.Path(f"{path}.damaged").read_text() == text_of
    state = records.load(directory, UUID)
    assert state is not None
    assert list(state["nics"]) == [MAC]
