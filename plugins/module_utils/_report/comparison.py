# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""All that preflight finds, shows and stops at. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, summary, table, unchecked
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import fleet as fleets
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import outcome

Values = t.Mapping[str, t.Any]


def comparison(fleet: t.Any, outside: t.Any, hosts: t.Sequence[str], time: str | None) -> dict[str, t.Any]:
    """Return what is found on the hosts of ``fleet``, as the filter fleet_comparison documents it.

    ``fleet`` is as in :func:`compare.conflicts`. So is ``outside``, whose hosts are not checked. ``hosts`` has the
    names of all that there are to check. ``time`` is when they were looked at.

    :raises MacvtapError: ``fleet`` or ``outside`` is not a dictionary of dictionaries.
    """
    inside = fleets.plain(fleet)
    whole = {**inside, **fleets.plain(outside)}
    conflicts = [one.as_dict() for one in compare.conflicts(whole)]
    gaps = compare.gaps(whole)
    result = outcome.outcome({host: outcome.Run() for host in inside}, conflicts, gaps)
    return {
        "hosts": list(inside),
        "conflicts": conflicts,
        "gaps": gaps,
        "outcome": {**result, "playbook": "preflight", "time": time},
        "lines": _lines(inside, conflicts, gaps, [host for host in hosts if host not in inside], result),
        "stop": _stop(inside, conflicts, gaps),
    }


def _lines(
    inside: t.Mapping[str, Values],
    conflicts: t.Sequence[Values],
    gaps: t.Sequence[Values],
    left_out: t.Sequence[str],
    result: Values,
) -> list[str]:
    *declarations, conclusion = summary.lines(inside, conflicts)
    return [
        *declarations,
        *table.table(conflicts, gaps).splitlines(),
        *([f"Not compared, because macvtap_preflight is false: {', '.join(left_out)}"] if left_out and inside else []),
        outcome.table(result)[-1],
        conclusion,
    ]


def _stop(inside: t.Collection[str], conflicts: t.Sequence[Values], gaps: t.Sequence[Values]) -> Values | None:
    unknown = {gap["host"] for gap in gaps if gap["what"] == unchecked.HOST} & set(inside)
    if inside and len(unknown) == len(inside):
        return {"hosts": list(inside), "reason": "No host could be checked. The table above has the reasons"}
    stopping = [one for one in conflicts if not one["allowed"]]
    concerned = {place["host"] for one in stopping for place in one["where"]}
    if not stopping:
        return None
    reason = f"Conflicts: {len(stopping)}. See the table above. Nothing was changed"
    return {"hosts": [host for host in inside if host in concerned], "reason": reason}
