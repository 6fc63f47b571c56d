# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Warnings of a rollback of domains' interfaces: what is not as before, and cannot be restored. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import due_at_restart
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    ATTACHED,
    DETACHED,
    LINK,
    LINK_DOWN,
    LINK_MAC,
    PAUSED,
    RULE,
    STORED,
    Domain,
    Host,
    Iface,
    Nic,
    target,
)


def of_domain(before: Nic, domain: Domain | None, actions: frozenset[str], *, undefined: bool) -> list[str]:
    """Return what became of the whole domain; ``undefined`` is whether only its guest runs on."""
    if domain is None:
        gone = f"domain {before.domain!r} was undefined, renamed or moved while this ran, and nothing of it is put back"
        return [gone] if actions - {RULE} else []
    warnings = []
    if STORED in actions and domain.overwritten:
        warnings.append(
            f"What the other editor has stored of domain {domain.name!r} may be lost. Check its configuration"
        )
    if STORED in actions and undefined:
        warnings.append(
            f"domain {before.domain!r} was undefined while this ran, and its guest runs on without a stored "
            "configuration, so there is nothing to put back"
        )
    return warnings


def of_guest(before: Nic, current: Nic, stored: Iface | None, actions: frozenset[str], host: Host) -> list[str]:
    """Return what of the guest is not as before: the same instance, a saved one, or one that was started since.

    ``stored`` is what the rollback leaves stored of the NIC.
    """
    domain = host.domains[before.domain]
    if domain.running and before.instance == domain.instance:
        repaired = _of_repaired_link(current, before) if LINK in actions else []
        return repaired + (_of_release(current, before, stored, domain) if actions & {DETACHED, ATTACHED} else [])
    if PAUSED in actions and domain.is_restored_later:
        return [
            f"domain {before.domain!r} is saved. The keeper process restores its guest as soon as libvirt can, as "
            f"virsh start {before.domain} does"
        ]
    return _of_started_guest(current, stored, host) if STORED in actions and domain.running else []


def _of_release(current: Nic, before: Nic, stored: Iface | None, domain: Domain) -> list[str]:
    """Return what happens when the guest releases a NIC that it was asked for; that cannot be taken back."""
    if current.live is None or current.mac not in domain.pending:
        return []
    # The guest had it only by this run.
    gone = stored is None and before.live is None
    then = "gone" if gone else "attached again" + (" as it is stored" if stored is not None else "")
    return [f"{target(current)}: the guest was asked to release this NIC and may still do so. It is then {then}"]


def _of_repaired_link(current: Nic, before: Nic) -> list[str]:
    """Return warnings about repaired links, which stay repaired: undoing that would cut the guest off."""
    if current.live is None or before.live is None:
        return []
    messages = {LINK_DOWN: "was down", LINK_MAC: f"had the address {before.live.get(LINK_MAC)}"}
    repaired = [
        text for name, text in messages.items() if name in before.live.values and name not in current.live.values
    ]
    return (
        [f"{target(before)}: the guest's link {' and '.join(repaired)}, and is left as the guest needs it"]
        if repaired
        else []
    )


def _of_started_guest(current: Nic, stored: Iface | None, host: Host) -> list[str]:
    """Warn if a guest that was started while this ran has what this run had stored."""
    if current.live is None or stored is None:
        differs = current.live is not stored
    else:
        differs = bool(due_at_restart(current.live, stored, host))
    if not differs:
        return []
    return [
        f"{target(current)}: the guest was started while this ran. Its NIC differs from the stored one "
        "until the domain is stopped and started"
    ]
