# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Misspelt variables. Pure.

Ansible accepts any variable name. A misspelt variable is ignored, without an error.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.options import VARIABLES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

PREFIX = "macvtap_"
# Other variables of the roles and playbooks.
_OTHER_VARIABLES = frozenset(
    {
        "macvtap_hosts",
        "macvtap_preflight",
        "macvtap_preflight_json",
        "macvtap_probe_networks",
        "macvtap_probe_rate",
        "macvtap_report",
        "macvtap_segment",
        "macvtap_verify_json",
        *(f"macvtap_kernel_{name}" for name in ("state", "persistent", "probe", "packages", "package_names")),
        *(f"macvtap_guard_{name}" for name in ("guards", "uri")),
        *(f"macvtap_links_{name}" for name in ("links", "vlans", "tap", "guest_only", "check_relay", "persistence")),
        *(f"macvtap_networks_{name}" for name in ("networks", "check_relay", "force", "uri")),
        *(f"macvtap_domains_{name}" for name in ("interfaces", "check_relay", "pause_max", "timeout", "uri")),
        "macvtap_domains_migrate_to",
        *(f"macvtap_host_access_{name}" for name in ("shims", "addresses", "guests", "persistence")),
        *(f"macvtap_migration_{name}" for name in ("guests", "uri", "transport", "storage", "bandwidth", "downtime")),
        *(f"macvtap_migration_{name}" for name in ("timeout", "on_timeout", "live", "from", "to", "targets", "apart")),
        *(f"macvtap_migration_{name}" for name in ("leave_stuck", "serial", "file")),
    }
)
KNOWN = frozenset(VARIABLES) | _OTHER_VARIABLES
# Variables that the roles and the playbook preflight set themselves.
_INTERNAL_SUFFIXES = ("_result", "_whole", "_left_out", "_last", "_absent", "_present")
_INTERNAL = frozenset(
    (
        "macvtap_plan",
        *(
            f"macvtap_preflight_{name}"
            for name in ("conflicts", "gaps", "summary", "hosts", "fleet", "outside", "outcome", "found", "written")
        ),
        *(f"macvtap_overview{name}" for name in ("", "_found")),
        *(f"macvtap_report_{name}" for name in ("path", "earlier")),
        *(f"macvtap_verify_{name}" for name in ("undeclared", "gaps", "outcome", "found", "written")),
        *(f"macvtap_domains_{name}" for name in ("late", "moved_fields", "unconnected", "running", "waiting", "still")),
        *(
            f"macvtap_migration_{name}"
            for name in ("look", "look_now", "looks", "planned", "moves", "stuck", "lines", "rests", "path", "earlier")
        ),
    )
)
_SIMILARITY = 0.85
_MEANT = re.compile(r"m[a-z]*tap", re.IGNORECASE)
# An inventory that still has the old name would declare nothing, and purge would remove what it meant.
_RENAMED = {"macvtap_host_access_companions": "macvtap_host_access_shims"}


def misspelt(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    """Return a message for each name that is most likely a misspelt variable, or a former name of one."""
    for name in _unknown_names(names):
        suggestion = _suggestion(name)
        if suggestion:
            yield f"{name}: no role reads this variable{did_you_mean(suggestion)}"


def _suggestion(name: str) -> list[str]:
    new = _RENAMED.get(name.lower())
    return [new] if new else suggest(name.lower(), KNOWN, most=1, cutoff=_SIMILARITY)


def unknown(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    """Return the names with this collection's prefix that are not similar to any variable."""
    yield from (name for name in _unknown_names(names) if name.startswith(PREFIX) and not _suggestion(name))


def _unknown_names(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    for name in sorted({str(one) for one in names} - KNOWN - _INTERNAL):
        if not (name.startswith(PREFIX) and name.endswith(_INTERNAL_SUFFIXES)):
            yield name


def is_known(name: t.Any) -> bool:
    """Whether this collection has a variable of this name."""
    return str(name) in KNOWN


def is_similar(name: t.Any) -> bool:
    """Whether a variable may be meant for this collection, although it may be misspelt."""
    return bool(_MEANT.match(str(name)))
