# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a guest's NICs are changed by a pause or by a replug, and how long it stands still. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import Level, allowed
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import PauseFacts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.resolution import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# What a replug counts as when it is compared with a pause: the guest loses its addresses and connections, and gets the
# addresses back when it has configured the NIC again.
REPLUG_SECONDS = 10.0
# What a pause takes whatever the memory: QEMU ends, another one starts, and libvirt creates the links.
BASE_SECONDS = 0.4
# An image is larger than the memory in use: the state of the devices, video memory, and what the guest writes until it
# is saved.
_MARGIN = 1.25
_MARGIN_BYTES = 128 << 20


class Choice(t.NamedTuple):
    """How the NICs of a running guest are changed: ``way`` is PAUSE or REPLUG, and ``reason`` why."""

    domain: str
    way: Impact
    reason: str
    # Seconds that the guest stands still, None if unknown or if it does not.
    forecast: float | None
    memory: int | None
    # After how many seconds its save has to be aborted to keep what pause_max promises, None without a promise.
    limit: float | None = None


def candidates(resolved: t.Iterable[Resolved]) -> list[str]:
    """Return the domains with a running guest that a pause would bring something into."""
    return list(dict.fromkeys(one.before.domain for one in resolved if Impact.PAUSE in one.live_changes.values()))


def forecast(facts: PauseFacts) -> float | None:
    """Return for how many seconds a guest stands still, None if that is unknown.

    QEMU starts later if others use the processors. The file system's rates were measured beside the others.
    """
    if facts.memory is None or not facts.write_rate or not facts.read_rate:
        return None
    return BASE_SECONDS * max(1.0, facts.load) + facts.memory / facts.write_rate + facts.memory / facts.read_rate


def save_limit(facts: PauseFacts, longest: float | None) -> float | None:
    """Return for how many seconds a guest may be saved that must not stand still for more than ``longest`` seconds."""
    if longest is None or facts.memory is None or not facts.read_rate:
        return None
    return longest - facts.memory / facts.read_rate


def room(memory: int) -> int:
    """Return the space that the image of a guest needs which uses so many bytes of memory."""
    return int(memory * _MARGIN) + _MARGIN_BYTES


def choose(
    resolved: t.Sequence[Resolved], facts: t.Mapping[str, PauseFacts], level: Level, longest: float | None
) -> tuple[Choice, ...]:
    """Choose for each guest; ``resolved`` are compared with all that ``level`` allows.

    ``longest`` is the option pause_max.

    :raises MacvtapError: a pause is the only way that is allowed, and it is impossible or too long.
    """
    choices = []
    for name in candidates(resolved):
        known = facts.get(name, PauseFacts(unknown="the guest cannot be read"))
        nics = [one for one in resolved if one.before.domain == name]
        seconds = forecast(known)
        against = _unrestorable(name, nics) or _against(known, seconds, longest)
        if Impact.REPLUG not in allowed(level):
            if against:
                path = next(one.desired.path for one in nics if Impact.PAUSE in one.live_changes.values())
                raise MacvtapError(
                    f"the guest of domain {name!r} cannot be paused to change it: {against}. Set live: update to only "
                    "store the change, or add replug to live",
                    path=path,
                )
            limit = save_limit(known, longest)
            choices.append(Choice(name, Impact.PAUSE, "a replug is not allowed", seconds, known.memory, limit))
            continue
        against = _replugged(nics) or against or _cheaper(seconds, known)
        if against:
            choices.append(Choice(name, Impact.REPLUG, against, None, known.memory))
        else:
            reason = f"the forecast is less than the {REPLUG_SECONDS:g} s that a replug counts as"
            choices.append(Choice(name, Impact.PAUSE, reason, seconds, known.memory, save_limit(known, longest)))
    return tuple(choices)


def _replugged(nics: t.Sequence[Resolved]) -> str:
    """Return what of a guest needs a replug in any case."""
    needed = {n for one in nics for n, impact in one.live_changes.items() if impact is Impact.REPLUG}
    return "it has a NIC that must be replugged in any case" if needed else ""


def _unrestorable(name: str, nics: t.Sequence[Resolved]) -> str:
    """Return why libvirt could not give all NICs of a guest their links again, "" if nothing is known of."""
    host = next(one.host for one in nics if Impact.PAUSE in one.live_changes.values())
    changed = {id(one.before.live): one.after.live for one in nics if one.before.live is not None}
    # A pause takes the links of those too that are not declared, or stay as they are.
    for live in host.domains[name].live:
        iface = changed.get(id(live), live)
        on = iface.get("network") if iface is not None else None
        if iface is None or on is None or host.networks is None:
            continue
        network = host.networks.get(on)
        if network is None or not network.active:
            what = "does not exist any more" if network is None else "is not active"
            return f"its NIC {iface.mac} is on the network {on!r}, which {what}, so libvirt could not restore the guest"
        if iface.type == "direct" and not (network.live or network).mode:
            return f"its NIC {iface.mac} is on the network {on!r}, which would not give it a macvtap link any more"
    return ""


def _against(facts: PauseFacts, seconds: float | None, longest: float | None) -> str:
    """Return why a guest must not be paused, "" if nothing is against it."""
    if facts.blockers:
        return ", and ".join(facts.blockers)
    if facts.memory is not None and facts.free is not None and facts.free < room(facts.memory):
        return (
            f"its image may need {_mib(room(facts.memory))} MiB, and {_mib(facts.free)} MiB are free in the file "
            "system of libvirt's managed saves"
        )
    if longest is None:
        return ""
    if seconds is None:
        return f"pause_max is {longest:g} s, and for how long it would stand still is unknown: {facts.unknown}"
    if seconds > longest:
        return f"it would stand still for about {seconds:.1f} s, and pause_max is {longest:g} s"
    return ""


def _cheaper(seconds: float | None, facts: PauseFacts) -> str:
    """Return why a replug costs less than a pause, "" if it does not."""
    if seconds is None:
        return f"for how long a pause would take is unknown: {facts.unknown}"
    if seconds > REPLUG_SECONDS:
        return f"a pause would take about {seconds:.1f} s, and a replug counts as {REPLUG_SECONDS:g} s"
    return ""


def _mib(size: int) -> int:
    return size >> 20
