# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which mode ``auto`` stands for, and which vepa will not work: one decision for links and for domains' NICs. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.model import Answers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

AUTO = "auto"
# Whose mode auto decides: the option's words.
SCOPES = ("new", "always")
_REFLECTED, _SAFE = _OF_THE_SWITCH = ("vepa", "bridge")
_NO_LINKS = "the links of its host cannot be looked at from here"


@dataclass(frozen=True)
class Case:
    """A link or a NIC that is declared in the option ``path``.

    ``parent`` is the name of the host's link, None where none is known. ``declared`` is a mode, AUTO, or None where
    none is said; ``had`` is the mode that it has, None where it does not exist yet, as kept() returns it.
    """

    path: str
    name: str
    parent: str | None
    declared: str | None = None
    had: str | None = None


def kept(mode: str | None, *, moves: bool) -> str | None:
    """Return the ``mode`` that a link has, None where what was found of its switch is not true of that which it gets.

    Modes other than vepa and bridge do not depend on the switch: somebody has chosen them for another reason.
    """
    return None if moves and mode in _OF_THE_SWITCH else mode


def to_ask(cases: t.Sequence[Case], *, always: bool, check: bool) -> set[str]:
    """Return the parents whose switch must be known: for what ``auto`` is to decide and, to ``check``, for vepa."""
    return {
        case.parent
        for case in cases
        if case.parent and (_open(case, always) or (check and _mode(case, {}, always=always) == _REFLECTED))
    }


def modes(cases: t.Sequence[Case], answers: Answers, *, always: bool) -> dict[str, str | None]:
    """Return what ``auto`` stands for by the path of each case that says it; None leaves the mode as it is.

    What is unknown is no reason to change what exists.
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
    """Return the mode that is left as it is where ``case`` says auto, None where the switch decides."""
    return None if _open(case, always) else case.had


def warnings(cases: t.Sequence[Case], answers: Answers, *, always: bool, check: bool) -> tuple[str, ...]:
    """Say where nothing is known, and where mode vepa will not do what it is for."""
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
        *(f"{w}. Mode auto is {_SAFE} then, which works with every switch: {join_names(n)}" for w, n in made.items()),
        *(f"{what}. What exists keeps its mode then: {join_names(names)}" for what, names in kept.items()),
        *(f"{what}. In mode {_REFLECTED} on it: {join_names(names)}" for what, names in unchecked.items()),
        *(
            f"{parent}: its switch port does not reflect frames (reflective relay, hairpin), so that guests of this "
            f"host in mode {_REFLECTED} on it will not reach each other: {join_names(names)}. Say mode: {_SAFE}, or "
            "let the switch port reflect"
            for parent, names in cut.items()
        ),
    )


def _open(case: Case, always: bool) -> bool:
    return case.declared == AUTO and (case.had is None or (always and case.had in _OF_THE_SWITCH))


def _mode(case: Case, answers: Answers, *, always: bool) -> str:
    """Return the mode that it will have. The kernel and libvirt make vepa of what says none."""
    if case.declared not in (None, AUTO):
        return str(case.declared)
    if not _open(case, always):
        return case.had or _REFLECTED
    answer = answers.get(case.parent or "")
    if answer is None or answer.reflects is None:
        return case.had or _SAFE
    return _REFLECTED if answer.reflects else _SAFE
