# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for modules: probes each parent's switch once per run, and resolves the modes that depend on it."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import choice, judge, probe
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import (
    COUNT,
    METHODS,
    TIMEOUT,
    RelayResult,
)


def verdicts(
    parents: t.Iterable[Link], *, method: str = METHODS[0], timeout: int = TIMEOUT, count: int = COUNT
) -> dict[str, RelayResult]:
    """Return what the switches behind ``parents`` do, by the parents' names.

    :raises MacvtapError: this user may not send probes.
    """
    links = {link.name: link for link in parents}
    why = {name: judge.blocker(link, method) for name, link in links.items()}
    asked = probe.ask(
        [link for name, link in links.items() if why[name] is None], method=method, timeout=timeout, count=count
    )
    return {
        name: judge.verdict(link, method, asked[name], timeout)
        if name in asked
        else RelayResult(name, None, why[name], method)
        for name, link in links.items()
    }


def settle(
    cases: t.Sequence[choice.Case], links: Links, answers: dict[str, RelayResult], *, always: bool, check: bool
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """Return the modes that ``auto`` resolves to, by path, and warnings.

    ``answers`` are those of this run; new ones are added to them.
    """
    needed = choice.to_ask(cases, always=always, check=check) - answers.keys()
    answers.update(verdicts([links[name] for name in sorted(needed) if name in links]))
    warnings = choice.warnings(cases, answers, always=always, check=check)
    return choice.modes(cases, answers, always=always), warnings
