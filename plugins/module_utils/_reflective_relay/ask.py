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
    report,
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


class Switches:
    """The switches that a run has probed, each once in all its attempts.

    ``auto`` and ``check`` are the options auto and check_relay.
    """

    def __init__(self, *, auto: str, check: bool) -> None:
        self._always = auto == "always"
        self.check = check
        self._answers: dict[str, RelayResult] = {}

    def resolve_auto(
        self, cases: t.Sequence[choice.Case], links: Links
    ) -> tuple[dict[str, str | None], tuple[str, ...]]:
        """Return the modes that ``auto`` resolves to, by path, and warnings; probe the switches that are needed."""
        always, check, answers = self._always, self.check, self._answers
        needed = choice.to_ask(cases, always=always, check=check) - answers.keys()
        answers.update(verdicts([links[name] for name in sorted(needed) if name in links]))
        warnings = choice.warnings(cases, answers, always=always, check=check)
        return choice.modes(cases, answers, always=always), warnings

    def result(self) -> dict[str, t.Any]:
        """Return the module's return value ``reflective_relay``, {} if no switch was probed."""
        return {"reflective_relay": [report(one) for one in self._answers.values()]} if self._answers else {}
