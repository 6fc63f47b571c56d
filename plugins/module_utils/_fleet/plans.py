# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the results of macvtap_host_plan say of a fleet: which hosts have something to do, and what. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _diff
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import LINK_GONE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.summary import host_names
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import printable

Plan = t.Mapping[str, t.Any]  # the result of macvtap_host_plan on one host


def lines(plans: t.Mapping[str, Plan]) -> list[str]:
    """Return what is to be done on each host, grouped by equal lines, and which guests have to be restarted."""
    return grouped(
        (host, text)
        for host, plan in plans.items()
        # Of tags that select nothing, the message says so.
        for text in (differences(plan) or plan.get("msg") or "as declared", *notes(plan))
    )


def grouped(texts: t.Iterable[tuple[str, str]]) -> list[str]:
    """Return a line for each text, with the hosts that it is said of."""
    alike: dict[str, list[str]] = {}
    for host, text in texts:
        alike.setdefault(text, []).append(host)
    return [printable(f"{host_names(hosts)}: {text}") for text, hosts in alike.items()]


def notes(plan: Plan) -> list[str]:
    """Return what is to be known of a host beside its differences: what it lacks, is not known, or waits."""
    return [*_missing(plan), *_unknown_guests(plan), *_waiting(plan)]


def differences(plan: Plan) -> str:
    """Return in one line how a host differs from its declarations, "" if it does not."""
    if "differences" in plan:
        return str(plan["differences"])
    if plan.get("unreachable") or plan.get("failed"):
        return f"it could not be looked at: {plan.get('msg') or 'no reason is known'}"
    changes = [change for stage in plan["stages"] for change in stage["changes"]]
    parts = [_diff.describe_returned(changes)] if changes else []
    # What a module writes for itself is no field of what is declared.
    own = (stage["name"] for stage in plan["stages"] if stage.get("changed") and not stage["changes"])
    parts += [f"{name}: files of the module itself are outdated or missing" for name in own]
    parts += [stage["error"] for stage in plan["stages"] if stage.get("error")]
    return ". ".join(parts)


def _missing(plan: Plan) -> t.Iterator[str]:
    missing = _missing_packages(plan)
    if missing:
        yield f"lacks the packages {', '.join(missing)}"


def _missing_packages(plan: Plan) -> list[str]:
    return [name for stage in plan.get("stages") or () for name in stage.get("missing_packages") or ()]


def _unknown_guests(plan: Plan) -> t.Iterator[str]:
    """Yield that the guests are not known, unless that follows from what is said of the host in any case."""
    reason = str(plan.get("guests_unknown") or "")
    errors = [str(stage.get("error") or "") for stage in plan.get("stages") or ()]
    is_said = any("libvirt" in name for name in _missing_packages(plan)) or any(reason in error for error in errors)
    if reason and not is_said:
        yield unknown_guests(reason)


def unknown_guests(reason: str) -> str:
    """Return that the guests of a host are not known, for this ``reason``."""
    return f"its guests are not known: {reason}"


def _waiting(plan: Plan) -> t.Iterator[str]:
    for stage in plan.get("stages") or ():
        for one in stage.get("restart_required") or ():
            what = " ".join(str(one[key]) for key in ("network", "domain", "mac") if one.get(key))
            fields = [name for name in one["fields"] if name != LINK_GONE]
            if len(fields) < len(one["fields"]):
                yield f"{what} has lost its link, and has no network until the guest is stopped and started"
            if fields:
                yield f"{what} has its former {', '.join(fields)} until the guest is stopped and started"
        for one in stage.get("pending") or ():
            yield f"{one['domain']} {one['mac']} has not been released by its guest yet"
