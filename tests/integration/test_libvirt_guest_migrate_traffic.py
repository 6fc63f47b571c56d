# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the LAN notices of a guest that libvirt_guest_migrate moves: nothing is lost, and it is not silent for long."""

from __future__ import annotations

import typing as t

import direct_iface
import moved_guests
from direct_iface import ok
from moved_guests import Hosts, move

pytestmark = direct_iface.MARKS
# On a machine with nothing else to do it is a tenth of this.
SILENCE = 5.0


def test_a_stream_goes_on_through_moves_there_and_back(hosts: Hosts, record_property: t.Any) -> None:
    guest = moved_guests.start(hosts)
    hv1, hv2 = hosts.all
    silences = []
    with moved_guests.streaming(hosts, guest):
        for one, other in ((hv1, hv2), (hv2, hv1), (hv1, hv2)):
            with moved_guests.watched(hosts, guest) as noticed:
                assert ok(move(one, other))["changed"]
            silences.append(noticed[0].silence)
    moved_guests.assert_whole(hosts, guest, hv2)
    print("silent for at most", " ".join(f"{silence:.2f}" for silence in silences), "s")
    record_property("silences", silences)
    assert max(silences) < SILENCE
