# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the outstanding requests mean for the guests of a host as they are now. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import model, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records


def listed(states: t.Mapping[str, records.State], host: Host, pid: int | None) -> list[dict[str, t.Any]]:
    """Return the NICs of ``host`` that the keeper, process ``pid``, has something to do with.

    ``states`` has the requests by domain UUID. ``returns`` is the NIC that the keeper attaches afterwards, None if
    none. ``unguarded`` is whether the running guest has it without its guard. ``error`` is why, or why it is not
    attached yet.
    """
    found = []
    for domain in host.domains.values():
        for mac, nic in sorted(states.get(domain.uuid, {"nics": {}})["nics"].items()):
            state = _state(domain, mac, states[domain.uuid])
            returns = None if state in ("", model.UNGUARDED) else _returning(domain, mac, nic)
            if not state or (state == model.RELEASED and returns is None):
                continue
            unguarded = state in (model.HELD, model.UNGUARDED) and bool(nic.get("unguarded"))
            found.append(
                {
                    "domain": domain.name,
                    "mac": mac,
                    "target": next((i.get("target") for i in domain.live if i.mac == mac), None),
                    "state": state,
                    "unguarded": unguarded,
                    "error": nic.get("error") if unguarded or state == model.RELEASED else None,
                    "since": nic.get("since"),
                    "pid": pid,
                    "returns": returns,
                }
            )
    return found


def _state(domain: Domain, mac: str, asked: records.State) -> str:
    """Return the state of a request ``asked`` of ``domain``, "" where it was for another instance."""
    held = any(iface.mac == mac for iface in (domain.live if domain.running else domain.saved or ()))
    if not records.is_asked(asked["nics"][mac]):
        return model.UNGUARDED if domain.running and asked.get("instance") == domain.instance and held else ""
    if not domain.running:
        if domain.saved and not held:
            # The guest had released the NIC before it was saved.
            return model.RELEASED
        # An image of libvirt's that is gone was discarded, and one in a file of the user's is not known.
        elsewhere = asked.get("saved") and not asked.get("managed")
        return model.SAVED if domain.saved is not None or elsewhere else ""
    if asked.get("instance") != domain.instance:
        return ""
    return model.HELD if held else model.RELEASED


def _returning(domain: Domain, mac: str, nic: records.State) -> Iface | None:
    ifaces: t.Sequence[Iface] = domain.stored if domain.persistent else ()
    stored = next((iface for iface in ifaces if iface.mac == mac), None)
    if stored is None and nic.get("returns"):
        ifaces = xml.interfaces(f"<domain><devices>{nic.get('desired') or nic.get('element', '')}</devices></domain>")
        return next((iface for iface in ifaces if iface.mac == mac), None)
    return stored
