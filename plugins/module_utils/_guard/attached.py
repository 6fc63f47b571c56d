# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that puts stored guards on links that this run has just created or changed, without waiting for udev."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader

Nic = t.Tuple[str, str]
_WHY = "{link}, the link of {mac}, has no guard, and the guest may send anything: {exc}"


class Failures(t.NamedTuple):
    """The links that must not be used without a guard, by name, and warnings of the others."""

    refused: dict[str, MacvtapError]
    warnings: list[str]


def put_on(nics: t.Sequence[Nic]) -> Failures:
    """Put the guards of these NICs, link and MAC address, on their links. Those without a guard are not touched."""
    found, guards = list(nics), None
    try:
        try:
            guards = loader.stored()
        except (OSError, ValueError, KeyError, TypeError):
            mentioned = loader.mentions(nics)
            found = [one for one in nics if one[1] in mentioned]
            raise
        found = [one for one in nics if one[1] in guards]
        if found:
            made = loader.Loader(guards)
            made.on(found)
            return Failures({}, [made.unchecked] if made.unchecked else [])
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is, the guests may send anything
        return _failures(found, guards, exc)
    return Failures({}, [])


def _failures(nics: t.Sequence[Nic], guards: t.Mapping[str, t.Any] | None, exc: Exception) -> Failures:
    """Return the failures of ``nics``; without ``guards``, which could not be read, each guard is required."""
    required = {mac for _link, mac in nics if guards is None or guards[mac].get("required", True)}
    texts = {link: (mac, _WHY.format(link=link, mac=mac, exc=exc)) for link, mac in nics}
    return Failures(
        {
            link: MacvtapError(f"{text}. Set policy: count in the guard to go on without it")
            for link, (mac, text) in texts.items()
            if mac in required
        },
        [f"{text}. Run macvtap_guard for it, or detach the NIC" for mac, text in texts.values() if mac not in required],
    )


def moved(nics: t.Sequence[Nic]) -> Failures:
    """As :func:`put_on` for links that have another MAC address now: a guard of the former one goes."""
    failures = put_on(nics)
    try:
        guards = loader.stored()
        former = [link for link, mac in nics if mac not in guards]
        if former:
            loader.Loader(guards).off(former)
    except ImportError:
        # Without the library nothing has put a guard there.
        pass
    except Exception as exc:  # pylint: disable=broad-except
        failures.warnings.append(
            f"the former guards of {', '.join(link for link, _mac in nics)} may still be on: {exc}"
        )
    return failures
