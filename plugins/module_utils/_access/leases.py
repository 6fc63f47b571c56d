# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which addresses a link has from a DHCP server, as its manager has noted it."""

from __future__ import annotations

import glob
import os
import re
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Address

# Of systemd-networkd by the link's index, of NetworkManager's own client and of dhclient by its name.
_NOTED = (
    "run/systemd/netif/leases/{index}",
    "var/lib/NetworkManager/internal-*-{name}.lease",
    "var/lib/dhcp/dhclient.{name}.leases",
)
_ADDRESS = re.compile(r"^(?:ADDRESS=|\s*fixed-address\s+)([0-9.]+)", re.MULTILINE)


def marked(addresses: t.Sequence[Address], names: t.Mapping[int, str]) -> tuple[Address, ...]:
    """Return the addresses, those as leased that their manager has noted of the links that ``names`` are of."""
    found = {index: noted(name, index) for index, name in names.items()}
    return tuple(replace(one, leased=True) if one.address in found.get(one.index, ()) else one for one in addresses)


def noted(name: str, index: int, root: str = "/") -> frozenset[str]:
    """Return the addresses of all leases that are noted, those that are over included."""
    found: set[str] = set()
    for pattern in _NOTED:
        for path in glob.glob(os.path.join(root, pattern.format(name=glob.escape(name), index=index))):
            try:
                with open(path, encoding="utf-8", errors="replace") as file:
                    found.update(_ADDRESS.findall(file.read()))
            except OSError:  # it has gone, or is not for this user
                continue
    return frozenset(found)
