# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts as a table. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.unchecked import NOWHERE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import aligned, printable

# The maximum number of rows and of hosts for one conflict. fleet_conflicts returns all of them.
_LIMIT = 12
_HEAD = ("", "kind", "host", "domain", "NIC or link", "seen")
Values = t.Mapping[str, t.Any]


def table(conflicts: t.Sequence[Values], gaps: t.Sequence[Values] = ()) -> str:
    """Return ``conflicts`` as text: for each one a row per place, its message and its remedy."""
    blocks = [(_rows(number, conflict), conflict) for number, conflict in enumerate(conflicts, 1)]
    all_rows = [_HEAD, *(row for rows, _conflict in blocks for row in rows)]
    head, *remaining = aligned(all_rows)
    lines = [head] if blocks else []
    indent = " " * (max(len(row[0]) for row in all_rows) + 2)
    for rows, conflict in blocks:
        count = len(rows)
        lines += remaining[:count]
        remaining = remaining[count:]
        lines.append(printable(f"{indent}{conflict['message']}"))
        if conflict.get("allowed"):
            lines.append(f"{indent}allowed by macvtap_preflight_allow")
        elif conflict["remedy"]:
            lines.append(printable(f"{indent}-> {conflict['remedy']}"))
    return "\n".join([*lines, *map(printable, _gaps(gaps))])


def _rows(number: int, conflict: Values) -> list[tuple[str, ...]]:
    first = (str(number), str(conflict["kind"]))
    rows = enumerate(_places(conflict["where"]))
    return [tuple(map(printable, (*(("", "") if index else first), *row))) for index, row in rows]


def _places(where: t.Sequence[Values]) -> t.Iterator[tuple[str, ...]]:
    """Yield a row for each place of a conflict; for many places one per host, for many hosts the first ones."""
    hosts: dict[str, list[Values]] = {}
    for place in where:
        hosts.setdefault(str(place["host"]), []).append(place)
    for host, places in list(hosts.items())[:_LIMIT]:
        if len(places) > 1 and len(where) > _LIMIT:
            yield host, "", f"{len(places)} of them", ""
            continue
        for place in places:
            what = place.get("nic") or place.get("link") or place.get("network")
            yield host, *(str(cell or "") for cell in (place.get("domain"), what, place.get("seen")))
    if len(hosts) > _LIMIT:
        yield f"and {len(hosts) - _LIMIT} hosts more", "", "", ""


def _gaps(gaps: t.Iterable[Values]) -> t.Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        alike.setdefault((gap["what"], gap["reason"]), []).append(str(gap["host"]))
    for (what, reason), hosts in alike.items():
        more = f" and {len(hosts) - _LIMIT} hosts more" if len(hosts) > _LIMIT else ""
        if what in {"domain", NOWHERE}:
            yield f"Note: {', '.join(hosts[:_LIMIT])}{more}: {reason}"
            continue
        if what == "limit":
            yield f"Not checked: {', '.join(hosts[:_LIMIT])}{more}: {reason}"
            continue
        subject = f"{'their' if len(hosts) > 1 else 'its'} domains, because " if what == "libvirt" else ""
        yield f"Not checked: {', '.join(hosts[:_LIMIT])}{more}: {subject}{reason}"
