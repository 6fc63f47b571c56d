# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files as earlier versions wrote them, by which network managers made the links themselves.

They are for the VLAN 20 of the uplink (PARENT.20), the macvtap link mt0 on it, mt1 on the uplink and the shim
host0 on it.
"""

from __future__ import annotations

from . import earlier_ifupdown, earlier_networkd, earlier_networkmanager

# By the manager, and the uplink that it has in the tests.
UPLINKS = {"networkd": "eth0", "networkmanager": "eth1", "ifupdown": "eth2"}
FILES = {
    "networkd": earlier_networkd.FILES,
    "networkmanager": earlier_networkmanager.FILES,
    "ifupdown": earlier_ifupdown.FILES,
}
