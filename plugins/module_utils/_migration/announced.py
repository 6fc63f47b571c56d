# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NICs of a guest are announced on the uplinks of its host, and why others are not. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import BACKUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.states import STATE_TEXTS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links

_UNKNOWN_HOLDER = "it is not known who holds its tap open, because not all processes could be inspected"


@dataclass(frozen=True)
class Nic:
    """A NIC, its ``link`` and that link's ``index``, and the ``uplink``; None, and index 0, where there is none.

    ``silent`` is why it is not announced although nothing is wrong, and ``fault`` what is wrong; "" for neither.
    """

    mac: str
    link: str | None = None
    index: int = 0
    uplink: str | None = None
    silent: str = ""
    fault: str = ""

    @property
    def is_announced(self) -> bool:
        return not self.silent and not self.fault


def nics(domain: Domain, links: Links, faults: t.Mapping[str, str | None], *, complete: bool) -> list[Nic]:
    """Return the NICs of a running guest that are macvtap links, and which of them are announced.

    ``faults`` are those of their links, by MAC address. ``complete`` is whether it is known who holds their taps.

    A false announcement cuts a guest off: switches then send its frames to this host. So one that is not known to run
    here, with its links, is not announced.
    """
    state = _not_running(domain)
    return [_nic(iface, links, faults.get(iface.mac), state, complete) for iface in domain.live if _is_macvtap(iface)]


def _is_macvtap(iface: Iface) -> bool:
    return iface.type == "direct"


def _not_running(domain: Domain) -> str:
    if domain.job and domain.job != BACKUP:
        return f"the guest has a job in progress ({domain.job})"
    if domain.state:
        return f"the guest {STATE_TEXTS[domain.state]}"
    return "the guest is paused" if domain.paused else ""


def _nic(iface: Iface, links: Links, fault: str | None, state: str, complete: bool) -> Nic:
    name = iface.get("target")
    link = links.get(name or "")
    if link is None:
        return Nic(iface.mac, name, silent=state, fault="" if state else fault or "its link does not exist")
    # A trusted guest may have given its link another address.
    trusted = iface.get("trust_guest_rx_filters") == "yes" and link.mode != "passthru"
    found = Nic((trusted and link.mac) or iface.mac, link.name, link.index, link.parent)
    silent = state or ("its link is set down (link_state)" if iface.get("link_state") == "down" else "")
    reason = "" if silent else fault or ("" if complete else _UNKNOWN_HOLDER) or _against(link, links)
    return Nic(found.mac, found.link, found.index, found.uplink, silent, reason)


def _against(link: Link, links: Links) -> str:
    if link.parent is None:
        return "its uplink is in another network namespace"
    if not link.up:
        return f"its link {link.name} is down"
    uplink = links.get(link.parent)
    if uplink is None or not uplink.up:
        return f"the uplink {link.parent} is down"
    return "" if uplink.carrier else f"the uplink {link.parent} has no carrier"
