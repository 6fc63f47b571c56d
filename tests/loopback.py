# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The loopback link of every host that is made up for tests: it shows that the kernel has IPv6."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

LO = Link("lo", 1, mac="00:00:00:00:00:00", mtu=65536, up=True, hardware=772, loopback=True, addrgenmode="eui64")
