# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that puts stored guards on links that this run has just created or changed, without waiting for udev."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands, guard_parts, loader

Nic = t.Tuple[str, str]
_WHY = "{link}, the link of {mac}, has no guard, and {what}: {exc}"


class Failures(t.NamedTuple):
    """The links that must not be used without a guard, by name, and warnings of the others."""

    refused: dict[str, MacvtapError]
    warnings: list[str]


def put_on(
    nics: t.Sequence[Nic], *, closed: t.Collection[str] = (), indexes: t.Mapping[str, int] | None = None
) -> Failures:
    """Put the guards of these NICs, link and MAC address, on their links, and open those that are ``closed``.

    Those without a guard are not touched, nor links that have not the index of ``indexes``: they are others by now.
    """
    found, guards, warnings = list(nics), None, []
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
            made.on(found, closed=closed, indexes=indexes)
            warnings = made.warnings
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is, the guests may send anything
        reasons = guard_parts.reasons(exc, {mac for _link, mac in found})
        each = {mac: [one for one in found if one[1] == mac] for mac in reasons}
        failures = [_failures(each[mac], guards, why, closed) for mac, why in reasons.items()]
        return Failures(
            {link: error for one in failures for link, error in one.refused.items()},
            [warning for one in failures for warning in one.warnings],
        )
    return Failures({}, warnings)


def _failures(
    nics: t.Sequence[Nic], guards: t.Mapping[str, t.Any] | None, exc: Exception, closed: t.Collection[str]
) -> Failures:
    """Return the failures of ``nics``; without ``guards``, which could not be read, each guard is required."""
    required = {mac for _link, mac in nics if guards is None or guards[mac].get("required", True)}
    whats = {link: loader.lets_out(link) if link in closed else guard_commands.ANYTHING for link, _mac in nics}
    texts = {link: (mac, _WHY.format(link=link, mac=mac, what=whats[link], exc=exc)) for link, mac in nics}
    return Failures(
        {
            link: MacvtapError(f"{text}. Set policy: count in the guard to go on without it")
            for link, (mac, text) in texts.items()
            if mac in required
        },
        [f"{text}. Run macvtap_guard for it, or detach the NIC" for mac, text in texts.values() if mac not in required],
    )


class Arrival:
    """The link of a NIC that is about to be attached to a running guest, as a context: after it nothing is closed.

    The link must have the ``name``, or one that is free if that is "". Nothing is closed of a NIC whose guard is not
    required, of one with a ``name`` that a link has, or if the kernel cannot do it.
    """

    def __init__(self, mac: str, name: str) -> None:
        self._mac, self._name = mac, name
        # What is closed.
        self._link = ""

    def __enter__(self) -> Arrival:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._open()

    def close(self) -> str:
        """Let nothing out of the link that the NIC gets now, until its guard is put on. To be called for each attempt.

        One that failed may have had a link, which udev has opened. Return the name that the link must have, "" if it
        may have any.
        """
        self._open()
        # What does not work is said when the guard is put on.
        with contextlib.suppress(Exception):
            guards = loader.stored()
            if self._mac in guards:
                self._link = loader.Loader(guards).close(self._mac, self._name)
            elif self._name and guards:
                loader.Loader(guards).free([self._name])
        return self._link

    def adopt(self, link: str) -> None:
        """Go on with the link of a NIC that another process has attached, and may have left closed."""
        # As above. Then it counts as not closed.
        with contextlib.suppress(Exception):
            guards = loader.stored()
            if link and self._mac in guards and loader.Loader(guards).is_closed(link):
                self._link = link

    def put_on(self, link: str) -> Failures:
        """Put the guard of the NIC on the link that it has got. If it cannot be put on, the link stays closed."""
        failures = put_on([(link, self._mac)], closed={self._link})
        if link == self._link and not failures.refused:
            # Others may have removed the guard meanwhile, or damaged the file. Then nothing has opened the link.
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                self._link = "" if self._mac in loader.stored() else link
        return failures

    def _open(self) -> None:
        """Leave nothing closed: the NIC has not come, or has got another link."""
        # It is there or not, whatever becomes of this.
        with contextlib.suppress(Exception):
            if self._link:
                loader.Loader(loader.stored()).open(self._link, self._mac)
        self._link = ""


def moved(nics: t.Sequence[Nic], indexes: t.Mapping[str, int]) -> Failures:
    """As :func:`put_on` for links that have another MAC address now: a guard of the former one goes."""
    failures = put_on(nics, indexes=indexes)
    try:
        guards = loader.stored()
        former = {link: indexes[link] for link, mac in nics if mac not in guards}
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
