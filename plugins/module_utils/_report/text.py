# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A report as text for a terminal, and as Markdown. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import aligned, printable

Values = t.Mapping[str, t.Any]
Rows = t.List[t.Tuple[str, ...]]
Column = t.Tuple[str, t.Callable[[Values], t.Any]]


def declared(row: Values) -> str:
    """Return in one word whether a NIC is declared, and as it is declared."""
    if not row["declared"] and not row["drift"]:
        return "no"
    if row["drift"]:
        return {"present": "missing", "absent": "to be removed"}.get(row["drift"][0]["declared"], "differs")
    if row["pending"]:
        return "pending"
    return "restart" if row["restart"] else "yes"


def guard(row: Values) -> str | None:
    """Return the policy of a NIC's guard, and what it has caught."""
    if not row["guard_packets"]:
        return t.cast("str | None", row["guard"])
    return f"{row['guard']} ({row['guard_packets']} {'dropped' if row['guard'] == 'drop' else 'counted'})"


def speed(number: int | None) -> str:
    """Return a speed in Mbit/s, as it is written on a switch."""
    if number is None:
        return ""
    return f"{number / 1000:g} Gbit/s" if number >= 1000 else f"{number} Mbit/s"


# The columns of the table of NICs: the heading, and the value of a row.
COLUMNS: tuple[Column, ...] = (
    ("host", lambda row: row["host"]),
    ("guest", lambda row: row["guest"]),
    ("state", lambda row: row["state"]),
    ("MAC address", lambda row: row["mac"]),
    ("link", lambda row: row["link"]),
    ("uplink", lambda row: row["uplink"]),
    ("network", lambda row: f"{row['network']}/{row['portgroup']}" if row["portgroup"] else row["network"]),
    ("mode", lambda row: row["mode"]),
    ("addresses", lambda row: ", ".join(row["addresses"])),
    ("guard", guard),
    ("multicast", lambda row: row["multicast"]),
    ("declared", declared),
)
# What Markdown or the HTML in it reads as more than text.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#+\-.!|~&:@/])")


def used_columns(report: Values) -> list[Column]:
    """Return the columns that have a value in some row."""
    nics = [row for host in report["hosts"] for row in host["nics"]]
    return [(title, value) for title, value in COLUMNS if any(value(row) for row in nics)]


def nic_rows(report: Values) -> Rows:
    """Return the heading and a row for each NIC."""
    columns = used_columns(report)
    nics = (row for host in report["hosts"] for row in host["nics"])
    return [
        tuple(title for title, _value in columns),
        *(tuple(printable(value(row)) for _title, value in columns) for row in nics),
    ]


def remarks(report: Values) -> t.Iterator[str]:
    """Yield a line for each thing that the table has no room for: differences, what is undeclared, what is unknown."""
    for host in report["hosts"]:
        for note in host["notes"]:
            yield printable(f"{host['name']}: {note}")
        for row in host["nics"]:
            what = f"{host['name']}: {row['guest']} {row['mac']}" if row["guest"] else f"{host['name']}: {row['link']}"
            for one in row["drift"]:
                yield printable(f"{what}: {one['field']} is {shown(one['current'])}, declared {shown(one['declared'])}")
            for one in row["restart"]:
                yield printable(
                    f"{what}: {one['field']} is {shown(one['live'])} until the guest is stopped and started, then "
                    f"{shown(one['stored'])}"
                )
            if row["pending"]:
                yield printable(f"{what}: {requested(row['pending'])}")
        for one in host["undeclared"]:
            yield printable(f"{host['name']}: {one} is not declared")


def requested(pending: Values) -> str:
    """Return what a guest has been asked for, and what became of it."""
    since, error = pending["since"], f": {pending['error']}" if pending["error"] else ""
    if pending["state"] == "released":
        return f"the guest has released it, asked since {since}, and it is not attached again yet{error}"
    if pending["state"] == "unguarded":
        return f"it is attached, and its guard is not on its link yet{error}"
    holds = "was saved with it" if pending["state"] == "saved" else "still holds it"
    then = "attached again" if pending["returns"] else "removed"
    lacks = f". Its guard is not on its link yet{error}" if pending.get("unguarded") else error
    return f"the guest was asked to release it since {since} and {holds}. It is {then} when it is released{lacks}"


def changed(changes: t.Iterable[Values]) -> t.Iterator[str]:
    """Yield a line for each change since an earlier report."""
    for one in changes:
        what = " ".join(filter(None, (one["host"], one["what"])))
        yield printable(f"{what}: {one['field']} {shown(one['before'])} → {shown(one['after'])}")


def summary(report: Values) -> str:
    """Return the numbers of a report in one sentence."""
    numbers = report["summary"]
    parts = [
        count(numbers["hosts"], "host"),
        f"{count(numbers['guests'], 'guest')} ({numbers['running']} running)",
        count(numbers["nics"], "NIC"),
        f"{numbers['drift']} not as declared",
        f"{numbers['restart_required']} waiting for a restart",
        f"{numbers['undeclared']} not declared",
        count(numbers["conflicts"], "conflict"),
    ]
    if numbers["pending"]:
        parts.append(f"{count(numbers['pending'], 'request')} not answered")
    if numbers["not_inspected"]:
        parts.append(f"{count(numbers['not_inspected'], 'host')} not inspected")
    return ", ".join(parts)


def table(report: Values, changes: t.Iterable[Values] = (), remark: str = "") -> str:
    """Return the report as lines of text: a table of all NICs, remarks, and the numbers."""
    rows = nic_rows(report)
    lines = aligned(rows) if len(rows) > 1 else []
    return "\n".join([*lines, *remarks(report), *_remark(remark), *changed(changes), summary(report)])


def _remark(remark: str) -> t.Iterator[str]:
    """Yield what the caller remarks, if anything."""
    if remark:
        yield printable(remark)


def markdown(report: Values, changes: t.Iterable[Values] = (), remark: str = "") -> str:
    """Return the report as Markdown."""
    rows = nic_rows(report)
    lines = ["# Guests on macvtap", "", f"{summary(report)}.", ""]
    if len(rows) > 1:
        lines += [_row(rows[0]), _row(["---"] * len(rows[0]), escape=False), *map(_row, rows[1:]), ""]
    remarked = (*remarks(report), *_remark(remark))
    for title, more in (("Remarks", remarked), ("Changes", changed(changes)), ("Conflicts", _conflicts(report))):
        items = [f"- {_escaped(line)}" for line in more]
        lines += [f"## {title}", "", *items, ""] if items else []
    return "\n".join(lines)


def _conflicts(report: Values) -> t.Iterator[str]:
    for one in report["conflicts"]:
        hosts = ", ".join(dict.fromkeys(place["host"] for place in one["where"]))
        yield printable(f"{one['kind']}, {hosts}: {one['message']}")


def _row(cells: t.Iterable[str], *, escape: bool = True) -> str:
    return f"| {' | '.join(map(_escaped, cells) if escape else cells)} |"


def _escaped(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)


def shown(value: t.Any) -> str:
    """Return a value of a field, as YAML writes simple values."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def count(number: int, what: str) -> str:
    """Return a number of things, in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"
