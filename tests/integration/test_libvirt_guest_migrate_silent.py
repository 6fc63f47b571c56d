# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A network between two hosts that drops what they send: the task ends in time, and says what it knows."""

from __future__ import annotations

import typing as t

import direct_iface
import killed_moves
import moved_guests
import pytest
from direct_iface import ok
from killed_moves import DURING
from labkit import management
from moved_guests import Hosts, move

pytestmark = direct_iface.MARKS
MUTE = (
    f"add table ip mute; add chain ip mute in {{ type filter hook input priority 0; iifname {management.LINK} drop; }}"
)
# Of libvirtd's own connections, by default half a minute in all.
KEEPALIVE = "keepalive_interval = 2\\nkeepalive_count = 1\\n"
# Of those of the module, and how long it waits for a connection.
PATCH = """
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import connection, silence
silence._ASK_SECONDS, silence._ASK_AGAIN, connection._RECONNECT_SECONDS = 2, 1, 3
"""


@pytest.fixture
def impatient(hosts: Hosts) -> t.Iterator[Hosts]:
    """Hosts whose daemons notice soon that a connection is silent; the second one is heard by them again afterwards."""
    # The source's daemon asks the destination's by the one file, and each asks its clients by the other.
    files = ("qemu.conf", f"{hosts.source.daemon}.conf")
    for hv in hosts.all:
        for name in files:
            conf = f"/etc/libvirt/{name}"
            hv.run("sh", "-c", f"cp {conf} /run/{name}; printf '{KEEPALIVE}' >>{conf}")
        hv.restart()
    yield hosts
    hosts.destination.nft("add table ip mute; delete table ip mute")
    for hv in hosts.all:
        for name in files:
            hv.run("cp", f"/run/{name}", f"/etc/libvirt/{name}")
        hv.restart()


# With the other transports QEMU may hold libvirt up until TCP gives up: see tests/unit/migration/test_transfer.py.
def test_a_network_that_goes_silent_ends_the_task_and_the_guest_runs_on(impatient: Hosts) -> None:
    hosts = impatient
    guest = moved_guests.start(hosts)
    with killed_moves.held(hosts, DURING, PATCH) as made:
        hosts.destination.nft(MUTE)
        failed = made.end()
    assert failed["msg"].startswith("domain: domain 'web1' did not move to hv2: "), failed
    assert "Here the guest is running, and hv2 cannot be asked: cannot connect to " in failed["msg"]
    assert failed["msg"].endswith("Run again when both hosts can be asked")
    place = moved_guests.where(hosts, "web1")
    assert (place.runs, place.stored) == (["hv1"], ["hv1"])
    hosts.destination.nft("delete table ip mute")
    assert killed_moves.runs_once(hosts, guest) == "hv1"
    ok(move(*hosts.all))
    moved_guests.assert_whole(hosts, guest, hosts.destination)
