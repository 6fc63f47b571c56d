# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The tables of what a direct network and its portgroups have: their place in the XML. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import (
    MODES,
    VIRTUALPORT,
    VLAN,
    Field,
    Table,
    bandwidth,
)

# The place of the uplinks, each an element of its own.
INTERFACE = ("forward", "interface")

# libvirt's order of the children of <network>: virNetworkDefFormatBuf().
NETWORK = Table(
    (
        *("name", "uuid", "metadata", "forward", "bridge", "mtu", "mac", "domain", "dns", "vlan", "bandwidth", "port"),
        *("ip", "route", "virtualport", "portgroup"),
    ),
    Field("mode", ("forward",), "mode", choices=MODES),
    Field("pf", ("forward", "pf"), "dev"),
    *VIRTUALPORT,
)
# virPortGroupDefFormat()
PORTGROUP = Table(
    ("vlan", "virtualport", "bandwidth"),
    Field("default", (), "default", "bool", implied="no"),
    Field("trust_guest_rx_filters", (), "trustGuestRxFilters", "bool"),
    VLAN,
    *VIRTUALPORT,
    *bandwidth(),
)
# What a portgroup gives to a NIC.
SETTINGS = tuple(field.name for field in PORTGROUP.fields if field.name != "default")
