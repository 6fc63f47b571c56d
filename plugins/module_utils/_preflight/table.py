# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts as one table for people. Pure."""

from __future__ import annotations

import typing as t

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
        if conflict["remedy"]:
            lines.append(f"{indent}-> {conflict['remedy']}")
    lines += [f"Not looked at: {_gap(gap)}" for gap in gaps]
    return "\n".join(lines)


def _rows(number: int, conflict: Said) -> list[tuple[str, ...]]:
    return [
        (
            "" if index else str(number),
            "" if index else str(conflict["kind"]),
            str(place["host"]),
            str(place.get("domain") or ""),
            str(place.get("nic") or place.get("link") or ""),
            str(place.get("seen") or ""),
        )
        for index, place in enumerate(conflict["where"])
    ]


def _line(row: t.Sequence[str], widths: t.Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()


def _gap(gap: Said) -> str:
    what = "its domains, since " if gap["what"] == "libvirt" else ""
    return f"{gap['host']}: {what}{gap['reason']}"
