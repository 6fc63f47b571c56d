# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Variables that no role knows although their names look as if one did. Pure.

Ansible takes any name, so that what a misspelt variable declares is nothing, and nothing fails.
"""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.options import VARIABLES

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
# What roles and playbooks set themselves.
_OWN = ("_result", "_whole", "_left_out", "_last")
_PLAYBOOKS_OWN = "macvtap_preflight_"
_ALIKE = 0.85


def misspelt(names: t.Iterable[t.Any]) -> t.Iterator[str]:
    """Say of each name that is most likely meant for a variable that there is, which."""
    for name in sorted({str(one) for one in names} - KNOWN):
        if not name.startswith(PREFIX) or name.startswith(_PLAYBOOKS_OWN) or name.endswith(_OWN):
            continue
        near = difflib.get_close_matches(name, KNOWN, n=1, cutoff=_ALIKE)
        if near:
            yield f"{name}: no role has a variable of this name, so it declares nothing; did you mean {near[0]}?"
