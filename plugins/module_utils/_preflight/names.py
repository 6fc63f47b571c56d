# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Variables that no role knows although their names look as if one did. Pure.

Ansible takes any name, so that what a misspelt variable declares is nothing, and nothing fails.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.options import VARIABLES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

PREFIX = "macvtap_"
# What the roles take besides, and the playbooks.
_OTHERS = frozenset(
    {
        "macvtap_hosts",
        "macvtap_preflight",
        "macvtap_preflight_json",
        "macvtap_segment",
        *(f"macvtap_kernel_{name}" for name in ("state", "persistent", "probe", "packages", "package_names")),
        *(f"macvtap_links_{name}" for name in ("links", "vlans", "tap", "guest_only", "check_relay", "persistence")),
        *(f"macvtap_domains_{name}" for name in ("interfaces", "check_relay", "timeout", "uri")),
        *(f"macvtap_host_access_{name}" for name in ("companions", "addresses", "guests", "persistence")),
    }
)
KNOWN = frozenset(VARIABLES) | _OTHERS
# What roles set themselves, and the playbook preflight.
_OWN = ("_result", "_whole", "_left_out", "_last", "_absent")
_PLAYBOOKS_OWN = frozenset(
    f"macvtap_preflight_{name}"
    for name in ("found", "host", "conflicts", "gaps", "summary", "hosts", "fleet", "outside")
)
_ALIKE = 0.85


def misspelt(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    """Say of each name that is most likely meant for a variable that there is, which."""
    for name in _strange(names):
        near = _near(name)
        if near:
            yield f"{name}: no role has a variable of this name, so it declares nothing{did_you_mean(near)}"


def _near(name: str) -> list[str]:
    return suggest(name.lower(), KNOWN, most=1, cutoff=_ALIKE)


def unknown(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    """Return the names that begin like a variable of this collection, and are not like any."""
    yield from (name for name in _strange(names) if name.startswith(PREFIX) and not _near(name))


def _strange(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    for name in sorted({str(one) for one in names} - KNOWN - _PLAYBOOKS_OWN):
        if not (name.startswith(PREFIX) and name.endswith(_OWN)):
            yield name


def is_known(name: t.Any) -> bool:
    """Whether a variable of this name declares something."""
    return str(name) in KNOWN
