# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads what guards have learned in the kernel: the addresses that guests have sent from."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    CLAIMED,
    LEARNED,
    Guest,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.rules import set_names
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft import table as nft


def read(guests: t.Iterable[Guest]) -> list[Sighting]:
    """Return the addresses that running guests have sent from, [] where no guard learns any.

    Without nftables, or without root, there is none that could be read.
    """
    nics = {name: nic for guest in guests if guest.runs for nic in guest.nics for name in set_names(nic.mac)}
    table = nft.Table()
    try:
        objects = table.read() or []
    except (MacvtapError, MissingLibraryError):
        return []
    finally:
        table.close()
    sets = [one["set"] for one in objects if "set" in one and one["set"]["name"] in nics]
    return [
        Sighting(nics[one["name"]].mac, element.value[0], LEARNED, CLAIMED, element.age, nics[one["name"]].uplink or "")
        for one in sets
        for element in (nft.element(data, one.get("timeout")) for data in one.get("elem", ()))
    ]
