# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Several guards at once, of which some may be damaged: those are found, and named, and keep no other from its link.

It is a part of the program of loader.py, and imports the standard library alone.
"""

from __future__ import annotations

import typing as t

# libvirt's hook, udev and a task put guards on at the same time.
_PASSES = 4
_FORM: t.Mapping[str, t.Type[t.Any]] = {"chain": str, "sets": list, "rules": list}
Object = t.Dict[str, t.Any]
_Look = t.TypeVar("_Look")


class FormError(Exception):
    """The entry of a guard has not the form that a guard has."""


class ChangedError(Exception):
    """What is to be loaded is not what is stored any more, or may not be soon: read it again, and begin anew."""


class PartError(Exception):
    """Some of several guards could not be loaded: why, by MAC address. The others are loaded."""

    def __init__(self, reasons: t.Mapping[str, Exception]) -> None:
        super().__init__("; ".join(dict.fromkeys(map(str, reasons.values()))))
        self.reasons = reasons


def reasons(exc: Exception, macs: t.Iterable[str]) -> t.Mapping[str, Exception]:
    """Return why which of these guards are not loaded: all, if the error does not name some."""
    return exc.reasons if isinstance(exc, PartError) else dict.fromkeys(macs, exc)


def load(
    guards: t.Mapping[str, Object],
    macs: t.Iterable[str],
    look: t.Callable[[], _Look],
    put: t.Callable[[t.Collection[str], _Look], None],
) -> None:
    """Have these of the ``guards`` loaded by ``put``, from what ``look`` returns of the host.

    One transaction has all or nothing: no guard is to be missing because another is damaged, or its link is odd. Those
    whose form is wrong are left out. Where it fails all the same, it is tried with each half. So one damaged guard of a
    thousand costs little more than none, and what all have in common is not listed for each.

    Several may put guards on at once: when nftables was flushed, and when a guest starts. What is there by then for one
    of them is refused, as RuntimeError, and what is gone. So for what was refused all is done again, from another look.

    :raises PartError: some of several could not be loaded. Any other error is of all, or of the only one.
    :raises ChangedError: by ``put``.
    """
    every = list(macs)
    forms = {mac: _wrong_form(guards[mac]) for mac in every}
    failed: dict[str, Exception] = {mac: exc for mac, exc in forms.items() if exc is not None}
    remaining = [mac for mac in every if mac not in failed]
    for attempt in range(_PASSES if remaining else 0):
        found = _in_halves(remaining, look, put)
        refused = {mac: exc for mac, exc in found.items() if isinstance(exc, RuntimeError) and attempt < _PASSES - 1}
        failed.update({mac: exc for mac, exc in found.items() if mac not in refused})
        remaining = [*refused]
        if not remaining:
            break
    if failed and len(every) == 1:
        raise failed[every[0]]
    if failed:
        raise PartError(failed)


def _in_halves(
    macs: t.Sequence[str], look: t.Callable[[], _Look], put: t.Callable[[t.Collection[str], _Look], None]
) -> dict[str, Exception]:
    """Return why which of these guards could not be put on."""
    failed: dict[str, Exception] = {}
    try:
        current = look()
    except RuntimeError as exc:
        return dict.fromkeys(macs, exc)
    parts = [macs]
    while parts:
        part = parts.pop()
        try:
            put(part, current)
        except ChangedError:
            # Of all that was read.
            raise
        except Exception as exc:  # pylint: disable=broad-except  # a damaged file may have anything
            half = len(part) // 2
            if half:
                parts += [part[half:], part[:half]]
            else:
                failed[part[0]] = exc
    return failed


def _wrong_form(guard: Object) -> FormError | None:
    """Return what is wrong with an entry that can be seen without the library and the kernel."""
    for name, kind in _FORM.items():
        if name not in guard:
            return FormError(f"{name!r} is missing")
        if not isinstance(guard[name], kind):
            return FormError(f"{name!r} is {type(guard[name]).__name__}, and not {kind.__name__}")
    if not all(isinstance(one, dict) for name in ("sets", "rules") for one in guard[name]):
        return FormError("a set or a rule is no object")
    if not all(isinstance(one.get("expr"), list) for one in guard["rules"]):
        return FormError("a rule has no expressions")
    return None
