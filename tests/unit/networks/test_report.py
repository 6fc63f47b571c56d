# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is returned of the NICs on a network."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, User

MAC, TRUST = "52:54:00:00:00:0a", "trust_guest_rx_filters"
GUEST = User("lan", "web1", MAC, True, True, uplink="eth0", mode="bridge", values={TRUST: "yes"})
# Its port is gone, since the network was stopped.
FORGOTTEN = replace(GUEST, values={}, own=frozenset({TRUST}))


def test_what_a_restart_makes_libvirt_forget_is_remembered() -> None:
    lan = Definition("bridge", ("eth0",))
    assert report.differing(GUEST, lan) == [TRUST]
    assert report.differing(FORGOTTEN, lan) == []
    assert report.remembered([FORGOTTEN], [GUEST]) == [GUEST]
    # Nothing is known of one that was not there, or that has started again since.
    for first in ([], [replace(GUEST, uplink="eth1")], [replace(GUEST, live=False)], [FORGOTTEN]):
        assert report.remembered([FORGOTTEN], first) == [FORGOTTEN]
    stopped = replace(FORGOTTEN, live=False, uplink="")
    assert report.remembered([stopped, GUEST], [GUEST]) == [stopped, GUEST]
