# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_announce: the look at a guest, the announcement, and the result."""

from __future__ import annotations

import platform
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hostlinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hypervisor import Hypervisor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import announced, announcing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.announcing import Announced
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest


def run(hypervisor: Hypervisor, name: str, *, check_mode: bool) -> dict[str, t.Any]:
    """Announce a guest that runs here, and return the module's result.

    :raises MacvtapError: there is no such domain, or a NIC of its running guest cannot be heard.
    """
    host = hypervisor.observe([name])
    domain = host.domains.get(name)
    if domain is None:
        hint = did_you_mean(suggest(name, host.known))
        raise MacvtapError(f"{platform.node()} has no domain {name!r}{hint}", path="domain")
    nics = _nics(domain, host)
    asked = [Announced(one.mac, one.link or "", one.index, one.uplink or "") for one in nics if one.is_announced]
    unheard = announcing.announce(asked) if asked and not check_mode else {}
    announced_now = {mac for mac, reason in unheard.items() if not reason}
    reasons = {one.mac: one.fault or unheard.get(one.mac, "") for one in nics}
    if any(reasons.values()):
        # Links of a guest go down or away when it is stopped or paused, or moves on: that is no fault of this host.
        domain, nics = _meanwhile(hypervisor, domain, nics)
        reasons = {one.mac: reasons.get(one.mac, "") for one in nics if not one.silent}
    faulty = [f"{mac}: {reason}" for mac, reason in reasons.items() if reason]
    if faulty:
        raise MacvtapError(
            f"domain {name!r} runs on {platform.node()}. These NICs could not be announced on the LAN: "
            f"{'; '.join(faulty)}",
            path="domain",
        )
    return _result(domain, nics, announced_now)


def _nics(domain: Domain, host: Host) -> list[announced.Nic]:
    faults = {one.mac: hostlinks.link_fault(one, domain.name, host) for one in domain.live if one.type == "direct"}
    return announced.nics(domain, host.links or {}, faults, complete=host.all_holders)


def _meanwhile(
    hypervisor: Hypervisor, domain: Domain, nics: t.Sequence[announced.Nic]
) -> tuple[Domain, list[announced.Nic]]:
    """Look at a guest once more: return it as it is now, and those of its NICs that it still has.

    NICs of a guest that has been started again since are not known to this run.
    """
    host = hypervisor.observe([domain.name])
    now = host.domains.get(domain.name)
    if now is None or not now.running or (now.uuid, now.instance) != (domain.uuid, domain.instance):
        return replace(domain, running=False, live=()), []
    silent = {one.mac: one for one in _nics(now, host) if one.silent}
    return now, [silent.get(one.mac, one) for one in nics]


def _result(domain: Domain, nics: t.Sequence[announced.Nic], announced_now: t.Container[str]) -> dict[str, t.Any]:
    interfaces = [
        {
            "mac": one.mac,
            "link": one.link,
            "uplink": one.uplink,
            "announced": one.mac in announced_now,
            "reason": (None if one.mac in announced_now else one.silent) or None,
        }
        for one in nics
    ]
    return {
        "changed": False,
        "domain": domain.name,
        "running": domain.running,
        "interfaces": interfaces,
        "warnings": [
            f"domain {domain.name!r}: {one['mac']} was not announced: {one['reason']}"
            for one in interfaces
            if one["reason"]
        ],
    }
