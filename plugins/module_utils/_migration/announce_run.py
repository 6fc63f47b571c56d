# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_announce: the look at a guest, the announcement, and the result."""

from __future__ import annotations

import platform
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hostlinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hypervisor import Hypervisor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import announcing, heard
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
    faults = {one.mac: hostlinks.link_fault(one, name, host) for one in domain.live if one.type == "direct"}
    nics = heard.nics(domain, host.links or {}, faults, complete=host.all_holders)
    asked = [Announced(one.mac, one.link or "", one.index, one.uplink or "") for one in nics if one.is_announced]
    unheard = announcing.announce(asked) if asked and not check_mode else {}
    reasons = {one.mac: one.fault or unheard.get(one.mac, "") for one in nics}
    faulty = [f"{mac} cannot be heard on the LAN from there: {reason}" for mac, reason in reasons.items() if reason]
    if faulty:
        raise MacvtapError(
            f"domain {name!r} runs on {platform.node()}, and stays there, but {'; '.join(faulty)}", path="domain"
        )
    return {
        "changed": False,
        "domain": name,
        "running": domain.running,
        "interfaces": [
            {
                "mac": one.mac,
                "link": one.link,
                "uplink": one.uplink,
                "announced": one.mac in unheard,
                "reason": one.silent or None,
            }
            for one in nics
        ],
    }
