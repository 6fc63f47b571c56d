# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads which addresses of a link are DHCP leases, from the lease files of network managers."""

from __future__ import annotations

import glob
import os
import re
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Address

# systemd-networkd names them by the link's index, NetworkManager's client and dhclient by its name.
_NOTED = (
    "run/systemd/netif/leases/{index}",
    "var/lib/NetworkManager/internal-*-{name}.lease",
    "var/lib/dhcp/dhclient.{name}.leases",
)
_ADDRESS = re.compile(r"^(?:ADDRESS=|\s*fixed-address\s+)([0-9.]+)", re.MULTILINE)


def marked(addresses: t.Sequence[Address], names: t.Mapping[int, str]) -> tuple[Address, ...]:
    """Return the addresses, with ``leased`` set on those in a lease file of the links in ``names``."""
    found = {index: noted(name, index) for index, name in names.items()}
    return tuple(replace(one, leased=True) if one.address in found.get(one.index, ()) else one for one in addresses)


def noted(name: str, index: int, root: str = "/") -> frozenset[str]:
    """Return the addresses of all leases on file, expired ones included."""
    found: set[str] = set()
    for pattern in _NOTED:
        for path in glob.glob(os.path.join(root, pattern.format(name=glob.escape(name), index=index))):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    found.update(_ADDRESS.findall(file.read()))
            except OSError:  # removed meanwhile, or not readable for this user
                continue
    return frozenset(found)
