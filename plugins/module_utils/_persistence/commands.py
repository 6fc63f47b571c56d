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
_ALTNAMES_AT_ONCE = 4
# What is set when the link is there: none of it is to cost the link.
SETTINGS = ("mtu", "alias", "gso_max_size", "addrgenmode", "allmulticast", "altnames", "source_macs")


def add(kept: Kept, parent: str) -> list[str]:
    """Return the words that make the link on ``parent``, which stands as it is."""
    words = ["link", "add", "link", parent, "name", kept.name]
    given = {
        "numtxqueues": kept.tx_queues,
        "numrxqueues": kept.rx_queues,
        "address": kept.mac,
        "txqueuelen": kept.txqueuelen,
        "group": kept.group,
    }
    words += [word for key, value in given.items() if value is not None for word in (key, str(value))]
    if kept.kind == "vlan":
        return [*words, "type", "vlan", "protocol", kept.protocol or "802.1Q", "id", str(kept.vlan_id)]
    return [*words, *_type(kept), *(["macaddr", "set", *kept.source_macs[:_MACS_AT_ONCE]] if kept.source_macs else [])]


def settings(kept: Kept, what: t.Collection[str] = SETTINGS) -> t.Iterator[list[str]]:
    """Yield the words of each command that gives a link that exists what it is to have of the fields ``what``.

    One thing each, so that what cannot be set takes nothing else along.
    """
    dev = ["link", "set", "dev", kept.name]
    if "mtu" in what and kept.mtu:
        yield [*dev, "mtu", str(kept.mtu)]
    if "alias" in what and kept.alias:
        yield [*dev, "alias", kept.alias]
    if "gso_max_size" in what and kept.gso_max_size:
        yield [*dev, "gso_max_size", str(kept.gso_max_size)]
    if "addrgenmode" in what and kept.addrgenmode:
        yield [*dev, "addrgenmode", kept.addrgenmode]
    hears = bool("allmulticast" in what and kept.allmulticast)
    if hears and kept.mode == "passthru" and kept.up is not False:
        # macvlan_open() does not pass it on to the parent, and what was never added is taken off its count later.
        yield [*dev, "up"]
    if hears and not (kept.mode == "passthru" and kept.up is False):
        yield [*dev, "allmulticast", "on"]
    for start in range(0, len(kept.altnames) if "altnames" in what else 0, _ALTNAMES_AT_ONCE):
        names = kept.altnames[start : start + _ALTNAMES_AT_ONCE]
        yield ["link", "property", "add", "dev", kept.name, *(w for name in names for w in ("altname", name))]
    if "flags" in what and (kept.nodst or _nopromisc(kept) or kept.bcqueuelen is not None):
        if _nopromisc(kept):
            # On a link that is down the kernel takes from the parent's promiscuity what was never added to it.
            yield [*dev, "up"]
        yield [*dev, *_type(kept)]
        if _nopromisc(kept) and kept.up is False:
            yield [*dev, "down"]
    for start in range(_MACS_AT_ONCE, len(kept.source_macs) if "source_macs" in what else 0):
        yield [*dev, "type", "macvtap", "macaddr", "add", kept.source_macs[start]]


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
