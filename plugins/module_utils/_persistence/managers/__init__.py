# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What makes links at boot, and what must leave them alone: one object each."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.ifupdown import Ifupdown
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.networkd import Networkd
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.networkmanager import (
    NetworkManager,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import SystemdUnit

UNIT, NETWORKD, NETWORKMANAGER, IFUPDOWN = SystemdUnit(), Networkd(), NetworkManager(), Ifupdown()
MANAGERS = (UNIT, NETWORKD, NETWORKMANAGER, IFUPDOWN)
