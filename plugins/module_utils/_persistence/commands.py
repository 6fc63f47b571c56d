# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What ``ip`` is told to make a link, or to give one what its manager has no words for. Pure.

Said so that iproute2 5.12 understands it; bclim came with 6.4 and is not among it.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Kept, Route

# A request of iproute2 has room for 1024 bytes.
_MACS_AT_ONCE = 40


def add(kept: Kept, parent: str) -> list[str]:
    """Return the words that make the link on ``parent``, which stands as it is."""
    words = ["link", "add", "link", parent, "name", kept.name]
    given = {
        "numtxqueues": kept.tx_queues,
        "numrxqueues": kept.rx_queues,
        "address": kept.mac,
        "mtu": kept.mtu,
        "txqueuelen": kept.txqueuelen,
        "group": kept.group,
    }
    words += [word for key, value in given.items() if value is not None for word in (key, str(value))]
    if kept.kind == "vlan":
        return [*words, "type", "vlan", "protocol", kept.protocol or "802.1Q", "id", str(kept.vlan_id)]
    return [*words, *_type(kept), *(["macaddr", "set", *kept.source_macs[:_MACS_AT_ONCE]] if kept.source_macs else [])]


def settings(kept: Kept, what: t.Collection[str]) -> t.Iterator[list[str]]:
    """Yield the words of each command that gives a link that exists what it is to have of the fields ``what``."""
    words = []
    if "alias" in what and kept.alias:
        words += ["alias", kept.alias]
    if "addrgenmode" in what and kept.addrgenmode:
        words += ["addrgenmode", kept.addrgenmode]
    hears = bool("allmulticast" in what and kept.allmulticast)
    if hears and kept.mode != "passthru":
        words += ["allmulticast", "on"]
    if words:
        yield ["link", "set", "dev", kept.name, *words]
    if hears and kept.mode == "passthru" and kept.up is not False:
        # macvlan_open() does not pass it on to the parent, and what was never added is taken off its count later.
        yield ["link", "set", "dev", kept.name, "up"]
        yield ["link", "set", "dev", kept.name, "allmulticast", "on"]
    if "altnames" in what and kept.altnames:
        yield ["link", "property", "add", "dev", kept.name, *(w for name in kept.altnames for w in ("altname", name))]
    if "flags" in what and (kept.nodst or _nopromisc(kept) or kept.bcqueuelen is not None):
        if _nopromisc(kept):
            # On a link that is down the kernel takes from the parent's promiscuity what was never added to it.
            yield ["link", "set", "dev", kept.name, "up"]
        yield ["link", "set", "dev", kept.name, *_type(kept)]
        if _nopromisc(kept) and kept.up is False:
            yield ["link", "set", "dev", kept.name, "down"]
    if "source_macs" in what:
        for mac in kept.source_macs[_MACS_AT_ONCE:]:
            yield ["link", "set", "dev", kept.name, "type", "macvtap", "macaddr", "add", mac]


def address(kept: Kept, given: str) -> list[str]:
    """Return the words that give a companion an address, which it may have already."""
    return ["address", "replace", given, "dev", kept.name]


def route(kept: Kept, given: Route) -> list[str]:
    """Return the words that lead to guests over a companion, in place of what leads to them already."""
    words = ["route", "replace", given.destination, "dev", kept.name, "proto", "static"]
    return [*words, "src", given.source] if given.source else words


def _type(kept: Kept) -> list[str]:
    words = ["type", kept.kind, "mode", kept.mode or "vepa"]
    # At once: either flag alone would take the other one away.
    words += ["nopromisc"] if _nopromisc(kept) else []
    words += ["nodst"] if kept.nodst else []
    return words if kept.bcqueuelen is None else [*words, "bcqueuelen", str(kept.bcqueuelen)]


def _nopromisc(kept: Kept) -> bool:
    # ip takes it with this mode only, and the kernel heeds it in no other.
    return kept.promiscuous is False and kept.mode == "passthru"
