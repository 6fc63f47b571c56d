# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host with a shim, and without, made up for tests of what is planned and put back."""

from __future__ import annotations

import typing as t

from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    OWNER_ALIAS,
    SCOPE_LINK,
    SETTINGS,
    Address,
    DesiredShim,
    Host,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

ETH0 = Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True, carrier=True, altnames=frozenset({"uplink"}))
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:03", mtu=1500, up=True, carrier=True)
HOST0 = Link(
    "host0", 10, "macvlan", "eth0", 2, "bridge", "02:00:00:00:00:fa", 1500, up=True, alias=OWNER_ALIAS, group=0
)
KERNEL, RA = 2, 9
OF_ETH0 = (
    Address("192.0.2.1", 24, index=2),
    Address("2001:db8::1", 64, index=2),
    Address("fe80::2", 64, index=2, link_local=True),
)
OF_HOST0 = (
    Address("192.0.2.250", 32, index=10),
    Address("2001:db8::250", 128, index=10),
    Address("fe80::fa", 64, index=10, link_local=True),
)
WAYS = (
    Route("0.0.0.0/0", 2, "192.0.2.254"),
    Route("192.0.2.0/24", 2, source="192.0.2.1", protocol=KERNEL, scope=SCOPE_LINK),
    Route("::/0", 2, "fe80::1", metric=1024, protocol=RA),
    Route("2001:db8::/64", 2, metric=256, protocol=KERNEL),
)
OVER_HOST0 = (
    Route("192.0.2.77/32", 10, source="192.0.2.250", scope=SCOPE_LINK),
    Route("2001:db8::77/128", 10, metric=1024),
    Route("2001:db8::250/128", 10, metric=256, protocol=KERNEL),
    Route("fe80::/64", 10, metric=256, protocol=KERNEL),
)
BARE = Host({link.name: link for link in (LO, ETH0, ETH1)}, OF_ETH0, WAYS)
WITH = Host({**BARE.links, "host0": HOST0}, OF_ETH0 + OF_HOST0, WAYS + OVER_HOST0, {"host0": SETTINGS})


def want(**given: t.Any) -> DesiredShim:
    usual = {
        "parent": "eth0",
        "addresses": ("192.0.2.250", "2001:db8::250"),
        "guests": ("192.0.2.77/32", "2001:db8::77/128"),
    }
    return DesiredShim(**{"name": "host0", "path": "shims[3]", **usual, **given})


ABSENT = want(state="absent")
