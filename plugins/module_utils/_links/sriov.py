# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""SR-IOV: which links are virtual functions, and which ones a physical function has. Read from sysfs."""

from __future__ import annotations

import contextlib
import os

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links

# sysfs has the PCI devices of all network namespaces. Without it nothing is known.
_DEVICES = "/sys/bus/pci/devices"


def non_vfs(links: Links) -> frozenset[str]:
    """Return the links that are known not to be virtual functions."""
    return frozenset(link.name for link in links.values() if link.pci and _is_non_vf(link.pci))


def _is_non_vf(pci: str) -> bool:
    device = f"{_DEVICES}/{pci}"
    return os.path.isdir(device) and not os.path.lexists(f"{device}/physfn")


def functions(links: Links) -> dict[str, tuple[str, ...]]:
    """Return the virtual functions of each link of a PCI device whose directory can be read.

    Each is the name of its link, or its PCI address if it has no link here, such as one that a guest has.
    """
    by_pci = {link.pci: link.name for link in links.values() if link.pci}
    found = {}
    for pci, name in by_pci.items():
        device = f"{_DEVICES}/{pci}"
        with contextlib.suppress(OSError):
            entries = sorted((entry for entry in os.listdir(device) if entry.startswith("virtfn")), key=_number)
            addresses = [os.path.basename(os.path.realpath(f"{device}/{entry}")) for entry in entries]
            found[name] = tuple(by_pci.get(address, address) for address in addresses)
    return found


def _number(entry: str) -> tuple[int, str]:
    return len(entry), entry
