# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guests that libvirt_guest_migrate moves between hosts with different versions of libvirt and QEMU.

The first host has the machine's own, and the other one those of MACVTAP_TEST_NEWER_ROOT.
"""

from __future__ import annotations

import os
import typing as t

import direct_iface
import libvirtd_fixture
import moved_guests
import pytest
from direct_iface import A, domain, nic, ok
from moved_guests import Hosts, Where, move

NEWER = os.environ.get("MACVTAP_TEST_NEWER_ROOT", "")
pytestmark = [
    *direct_iface.MARKS,
    pytest.mark.skipif(not NEWER, reason="MACVTAP_TEST_NEWER_ROOT names no root directory of a newer release"),
]


@pytest.fixture(scope="module")
def _versions() -> t.Iterator[Hosts]:
    systems = {"hv1": libvirtd_fixture.system_in("/"), "hv2": libvirtd_fixture.system_in(NEWER)}
    with moved_guests.made(f"versions{os.getpid()}", systems=systems) as made:
        yield made


@pytest.fixture
def versions(_versions: Hosts) -> t.Iterator[Hosts]:
    yield _versions
    _versions.clear()


def machine(hosts: Hosts, host: int, name: str = "web1") -> str:
    return hosts.all[host].dump(name).partition("machine='")[2].partition("'")[0]


def test_a_guest_moves_to_newer_versions_and_back(versions: Hosts) -> None:
    older, newer = versions.all
    assert older.release < newer.release
    guest = moved_guests.start(versions)
    before = machine(versions, 0)
    there = ok(move(older, newer))
    moved_guests.assert_whole(versions, guest, newer)
    assert "older" not in str(there.get("warnings"))
    # That of the older QEMU, which the newer one has too.
    assert machine(versions, 1) == before
    back = ok(move(newer, older))
    assert "hv1 has an older libvirt" in str(back["warnings"])
    assert "libvirt and QEMU promise only that a guest can move to newer ones" in str(back["warnings"])
    moved_guests.assert_whole(versions, guest, older)


def test_a_guest_with_a_machine_of_the_newer_qemu_does_not_go_to_the_older_one(versions: Hosts) -> None:
    older, newer = versions.all
    newer.define(domain("web1", nic(A, newer.uplink)))
    newer.virsh("start", "web1")
    kind = machine(versions, 1)
    for check in (True, False):
        refused = move(newer, older, check=check)
        assert refused["rc"], refused
        assert refused["msg"].startswith("destination_uri: hv1 cannot run it: ")
        assert kind in refused["msg"]
    assert moved_guests.where(versions, "web1") == Where(["hv2"], [], ["hv2"])
