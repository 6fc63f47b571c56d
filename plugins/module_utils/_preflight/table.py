# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts as one table for people. Pure."""

from __future__ import annotations

import typing as t

# So many places of a conflict have a row each, and so many hosts are named. All are in what fleet_conflicts returns.
_MOST = 12
_HEAD = ("", "kind", "host", "domain", "NIC or link", "seen")
Said = t.Mapping[str, t.Any]


def table(conflicts: t.Sequence[Said], gaps: t.Sequence[Said] = ()) -> str:
    """Return ``conflicts`` as text: each with its places, a row each, its message and its remedy."""
    blocks = [(_rows(number, conflict), conflict) for number, conflict in enumerate(conflicts, 1)]
    every = [_HEAD, *(row for rows, _conflict in blocks for row in rows)]
    widths = [max(len(row[column]) for row in every) for column in range(len(_HEAD))]
    lines = [_line(_HEAD, widths)] if blocks else []
    indent = " " * (widths[0] + 2)
    for rows, conflict in blocks:
        lines += [_line(row, widths) for row in rows]
        lines.append(f"{indent}{conflict['message']}")
        if conflict.get("allowed"):
            lines.append(f"{indent}allowed by macvtap_preflight_allow")
        elif conflict["remedy"]:
            lines.append(f"{indent}-> {conflict['remedy']}")
    return "\n".join([*lines, *_gaps(gaps)])


def _rows(number: int, conflict: Said) -> list[tuple[str, ...]]:
    first = (str(number), str(conflict["kind"]))
    return [(*(("", "") if index else first), *row) for index, row in enumerate(_places(conflict["where"]))]


def _places(where: t.Sequence[Said]) -> t.Iterator[tuple[str, ...]]:
    """Return the places of a conflict, of many a row for each host, and of many hosts the first ones."""
    hosts: dict[str, list[Said]] = {}
    for place in where:
        hosts.setdefault(str(place["host"]), []).append(place)
    for host, places in list(hosts.items())[:_MOST]:
        if len(places) > 1 and len(where) > _MOST:
            yield host, "", f"{len(places)} of them", ""
            continue
        for place in places:
            what = place.get("nic") or place.get("link")
            yield host, *(str(word or "") for word in (place.get("domain"), what, place.get("seen")))
    if len(hosts) > _MOST:
        yield f"and {len(hosts) - _MOST} hosts more", "", "", ""


def _line(row: t.Sequence[str], widths: t.Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _gaps(gaps: t.Iterable[Said]) -> t.Iterator[str]:
    alike: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        alike.setdefault((gap["what"], gap["reason"]), []).append(str(gap["host"]))
    for (what, reason), hosts in alike.items():
        more = f" and {len(hosts) - _MOST} hosts more" if len(hosts) > _MOST else ""
        if what == "domain":
            yield f"To know: {', '.join(hosts[:_MOST])}{more}: {reason}"
            continue
        if what == "limit":
            yield f"Not looked at: {', '.join(hosts[:_MOST])}{more}: {reason}"
            continue
        whose = f"{'their' if len(hosts) > 1 else 'its'} domains, since " if what == "libvirt" else ""
        yield f"Not looked at: {', '.join(hosts[:_MOST])}{more}: {whose}{reason}"
