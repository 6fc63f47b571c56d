# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The outcome of verify and preflight, for jobs: a state of each host and of the fleet, and what differs. Pure."""

from __future__ import annotations

import collections
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import plans, unchecked
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report.text import count, shown
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import aligned, printable

Values = t.Mapping[str, t.Any]
Lines = t.Iterator[str]
# From the best to the worst. The fleet has the worst state of its hosts.
STATES = ("ok", "drift", "conflict", "unreachable", "failed")
# The version of the returned form.
VERSION = 1
# The maximum number of differences in the table. The result has all of them.
_LIMIT = 200
_HEAD = ("host", "what", "field", "declared", "found")


@dataclass(frozen=True)
class Run:
    """A host: the result of macvtap_host_plan, None if that was not asked for, and what is there and not declared."""

    plan: t.Mapping[str, t.Any] | None = None
    undeclared: tuple[str, ...] = ()


def outcome(
    hosts: t.Mapping[str, Run], conflicts: t.Sequence[Values] = (), gaps: t.Sequence[Values] = ()
) -> dict[str, t.Any]:
    """Return the outcome of a playbook on ``hosts``. ``conflicts`` and ``gaps`` are as compare.py returns them.

    Without hosts nothing was checked, and the state is failed.
    """
    read = {host: _of_host(host, run) for host, run in hosts.items()}
    for gap in gaps:
        if gap["what"] in {unchecked.HOST, "libvirt"} and gap["host"] in read:
            state = "unreachable" if gap["reason"].startswith(unchecked.UNREACHABLE) else "failed"
            read[gap["host"]]["lost"] = (state, gap["reason"])
        elif gap["what"] == unchecked.NOWHERE and gap["host"] in read and hosts[gap["host"]].plan is not None:
            read[gap["host"]]["notes"] = [*read[gap["host"]]["notes"], gap["reason"]]
    stopping = [one for one in conflicts if not one["allowed"]]
    counts = collections.Counter(host for one in stopping for host in {place["host"] for place in one["where"]})
    by_host = {
        host: {
            "state": _state(one, counts[host]),
            "drift": len(one["drift"]),
            "conflicts": counts[host],
            "restart_required": len(one["restart_required"]),
            "undeclared": len(hosts[host].undeclared),
        }
        for host, one in read.items()
    }
    return {
        "version": VERSION,
        "state": max((one["state"] for one in by_host.values()), key=STATES.index, default="failed"),
        "counts": _counts(by_host, len(stopping)),
        "by_host": by_host,
        "drift": [row for one in read.values() for row in one["drift"]],
        "restart_required": [row for one in read.values() for row in one["restart_required"]],
        "undeclared": [{"host": host, "what": what} for host, run in hosts.items() for what in run.undeclared],
        "notes": [{"host": host, "note": note} for host, one in read.items() for note in one["notes"]],
        **{
            name: [{"host": host, "reason": one["lost"][1]} for host, one in read.items() if one["lost"][0] == name]
            for name in ("unreachable", "failed")
        },
    }


def _of_host(host: str, run: Run) -> dict[str, t.Any]:
    """Return what the plan of one host says: ``drift``, ``restart_required``, ``notes``. If it was ``lost``, why."""
    read: dict[str, t.Any] = {"drift": [], "restart_required": [], "notes": [], "lost": ("", "")}
    if run.plan is None:
        return read
    # A failure that the playbook allows is only known by its message.
    if run.plan.get("unreachable") or run.plan.get("msg") or "stages" not in run.plan:
        reason = unchecked.first_line(run.plan.get("msg") or run.plan.get("differences"))
        read["lost"] = ("unreachable" if run.plan.get("unreachable") else "failed", reason)
        return read
    read["notes"] = plans.notes(run.plan)
    for stage in run.plan["stages"]:
        read["drift"] += _drift(host, stage)
        read["restart_required"] += [
            {"host": host, "domain": one.get("domain"), "mac": one.get("mac"), "fields": list(one["fields"])}
            for one in stage.get("restart_required") or ()
        ]
    if run.plan.get("differences") and not read["drift"]:
        read["drift"] = [_row(host, "host", "state", None, run.plan["differences"])]
    return read


def _drift(host: str, stage: Values) -> t.Iterator[dict[str, t.Any]]:
    for one in stage["changes"]:
        yield _row(host, one["target"], one["field"], one["after"], one["before"])
    if stage.get("error"):
        # What is declared is not possible as the host is now.
        yield _row(host, stage["name"], "error", None, stage["error"])


def _row(host: str, what: str, field: str, declared: t.Any, found: t.Any) -> dict[str, t.Any]:
    return {"host": host, "what": what, "field": field, "declared": declared, "found": found}


def _state(one: Values, conflicts: int) -> str:
    if one["lost"][0]:
        return str(one["lost"][0])
    if conflicts:
        return "conflict"
    return "drift" if one["drift"] else "ok"


def _counts(by_host: t.Mapping[str, Values], conflicts: int) -> dict[str, int]:
    """Return the numbers of the whole fleet. A conflict of several hosts counts once."""
    states = collections.Counter(one["state"] for one in by_host.values())
    sums = {name: sum(one[name] for one in by_host.values()) for name in ("drift", "restart_required", "undeclared")}
    return {
        "hosts": len(by_host),
        **{f"hosts_{state}": states[state] for state in STATES},
        **sums,
        "conflicts": conflicts,
    }


def table(result: Values) -> list[str]:
    """Return an outcome as lines: a table of what differs, notes, the hosts that are not known, and the numbers."""
    rows = [
        tuple(printable(cell) for cell in (*(one[key] for key in _HEAD[:3]), *(shown(one[key]) for key in _HEAD[3:])))
        for one in result["drift"][:_LIMIT]
    ]
    more = len(result["drift"]) - len(rows)
    return [
        *(aligned([_HEAD, *rows]) if rows else []),
        *([f"and {count(more, 'difference')} more"] if more else []),
        *plans.grouped((one["host"], one["note"]) for one in result["notes"]),
        *_lost(result),
        _conclusion(result["counts"]),
    ]


def _lost(result: Values) -> Lines:
    for one in result["unreachable"]:
        yield printable(f"{one['host']}: unreachable: {one['reason'] or 'no reason is known'}")
    for one in result["failed"]:
        yield printable(f"{one['host']}: failed: {one['reason'] or 'no reason is known'}")


def _conclusion(counts: Values) -> str:
    parts = [f"{counts['hosts_ok']} of {count(counts['hosts'], 'host')} ok"]
    if counts["drift"]:
        parts.append(f"{counts['hosts_drift']} with drift ({count(counts['drift'], 'difference')})")
    if counts["conflicts"]:
        parts.append(f"{counts['hosts_conflict']} with conflicts")
    parts += [f"{counts[f'hosts_{state}']} {state}" for state in ("unreachable", "failed") if counts[f"hosts_{state}"]]
    if counts["restart_required"]:
        parts.append(f"{count(counts['restart_required'], 'NIC')} waiting for a restart")
    return ", ".join(parts)
