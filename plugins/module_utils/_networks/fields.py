# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The tables of what a direct network and its portgroups have: their place in the XML. Pure."""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import (
    MODES,
    VIRTUALPORT,
    VLAN,
    Field,
    Table,
    bandwidth,
)

_TRUST = Field("trust_guest_rx_filters", (), "trustGuestRxFilters", "bool")
# What others may have set for the network itself. Its NICs get it like what a portgroup gives, which takes precedence.
_INHERITED = tuple(replace(field, inherited=True) for field in (_TRUST, VLAN))
INHERITED = tuple(field.name for field in _INHERITED)

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
    *_INHERITED,
    *VIRTUALPORT,
)
# virPortGroupDefFormat()
PORTGROUP = Table(
    ("vlan", "virtualport", "bandwidth"),
    Field("default", (), "default", "bool", implied="no"),
    _TRUST,
    VLAN,
    *VIRTUALPORT,
    *bandwidth(),
)
# libvirt generates one at each start of a guest whose network has a virtual port of type 802.1Qbg without one.
GENERATED = "virtualport.instanceid"
# What a NIC has to which nothing gives another value.
IMPLIED = {_TRUST.name: "no"}
# What a portgroup gives to a NIC.
SETTINGS = tuple(field.name for field in PORTGROUP.fields if field.name != "default")
