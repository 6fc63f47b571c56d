# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Resolves mode ``auto``, and finds vepa that will not work, for links and for domains' NICs. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import Answers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

AUTO = "auto"
# Choices of the option auto: whose mode it resolves.
SCOPES = ("new", "always")
# The module options about switches.
OPTIONS: t.Mapping[str, t.Mapping[str, t.Any]] = {
    "auto": {"type": "str", "choices": list(SCOPES), "default": SCOPES[0]},
    "check_relay": {"type": "bool", "default": False},
}
_REFLECTED, _SAFE = _OF_THE_SWITCH = ("vepa", DEFAULT_MODE)
_NO_LINKS = "the links of its host cannot be read from here"


@dataclass(frozen=True)
class Case:
    """A desired link or NIC of the option ``path``.

    ``parent`` is the name of the host's link, None if unknown. ``declared`` is the desired mode, AUTO, or None if not
    set. ``had`` is the current mode as kept() returns it, None for a new link or NIC.
    """

    path: str
    name: str
    parent: str | None
    declared: str | None = None
    had: str | None = None


def kept(mode: str | None, *, moves: bool, declared: str | None) -> str | None:
    """Return the current ``mode`` of a link, None where it moves to another switch, and auto is open again.

    Modes other than vepa and bridge do not depend on the switch: they were chosen for another reason.
    """
    return None if moves and declared == AUTO and mode in _OF_THE_SWITCH else mode


def to_ask(cases: t.Sequence[Case], *, always: bool, check: bool) -> set[str]:
    """Return the parents whose switch must be probed: to resolve ``auto`` and, to ``check``, for vepa."""
    return {
        case.parent
        for case in cases
        if case.parent and (_open(case, always) or (check and _mode(case, {}, always=always) == _REFLECTED))
    }


def modes(cases: t.Sequence[Case], answers: Answers, *, always: bool) -> dict[str, str | None]:
    """Return what ``auto`` resolves to by the path of each case that sets it; None keeps the mode.

    An unknown switch is no reason to change an existing mode.
    """
    found: dict[str, str | None] = {}
    for case in cases:
        if case.declared == AUTO:
            answer = answers.get(case.parent or "")
            unknown = answer is None or answer.reflects is None
            stays = not _open(case, always) or (unknown and case.had is not None)
            found[case.path] = None if stays else _mode(case, answers, always=always)
    return found


def left(case: Case, *, always: bool) -> str | None:
    """Return the mode that ``case`` with auto keeps, None where the switch decides."""
    return None if _open(case, always) else case.had


def warnings(cases: t.Sequence[Case], answers: Answers, *, always: bool, check: bool) -> tuple[str, ...]:
    """Warn where a switch is unknown, and where mode vepa will not work."""
    made: dict[str, list[str]] = {}
    kept: dict[str, list[str]] = {}
    unchecked: dict[str, list[str]] = {}
    cut: dict[str, list[str]] = {}
    for case in cases:
        answer = answers.get(case.parent or "")
        reflects = answer.reflects if answer else None
        reason = (answer.reason or "") if answer else _NO_LINKS
        what = f"{case.parent or case.name}: whether its switch port reflects frames is unknown ({reason})"
        vepa = _mode(case, answers, always=always) == _REFLECTED
        if reflects is None and _open(case, always):
            (kept if case.had else made).setdefault(what, []).append(case.name)
        elif reflects is None and check and vepa:
            unchecked.setdefault(what, []).append(case.name)
        elif reflects is False and vepa:
            cut.setdefault(case.parent or "", []).append(case.name)
    return (
        *(f"{w}. Mode auto becomes {_SAFE}, which works with every switch: {join_names(n)}" for w, n in made.items()),
        *(f"{what}. Existing ones keep their mode: {join_names(names)}" for what, names in kept.items()),
        *(f"{what}. In mode {_REFLECTED} on it: {join_names(names)}" for what, names in unchecked.items()),
        *(
            f"{parent}: its switch port does not reflect frames (reflective relay, hairpin), so guests of this host in "
            f"mode {_REFLECTED} on it cannot reach each other: {join_names(names)}. Set mode: {_SAFE}, or enable "
            "reflective relay on the switch port"
            for parent, names in cut.items()
        ),
    )


def _open(case: Case, always: bool) -> bool:
    return case.declared == AUTO and (case.had is None or (always and case.had in _OF_THE_SWITCH))


def _mode(case: Case, answers: Answers, *, always: bool) -> str:
    """Return the resulting mode."""
    if case.declared not in (None, AUTO):
        return str(case.declared)
    if not _open(case, always):
        return case.had or DEFAULT_MODE
    answer = answers.get(case.parent or "")
    if answer is None or answer.reflects is None:
        return case.had or _SAFE
    return _REFLECTED if answer.reflects else _SAFE
