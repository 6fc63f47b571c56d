# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Documents the option ``guard`` of modules that create NICs or links; its specification is in _guard/options.py."""

from __future__ import annotations

import json
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import GUARD


def suboptions() -> dict[str, t.Any]:
    return {
        name: {"description": f"See O(linuxvirt.macvtap.macvtap_guard#module:{name}).", **option}
        for name, option in GUARD["options"].items()
    }


_GUARD = {
    "description": [
        "What the guest may send. The suboptions, and their defaults, are those of "
        "M(linuxvirt.macvtap.macvtap_guard), which is not needed then. An empty dictionary is a guard with all "
        "defaults. O(mac) is required.",
        "The guard is stored and loaded before anything else is done, and put on a new link before the task goes on. "
        "If that fails, nothing is changed. With C(policy: count) in the guard, a link that it could not be put on "
        "stays, with a warning.",
        "C(state: absent) in it removes the guard. With O(state=absent), it is removed after the NIC or link. As long "
        "as a running guest keeps the NIC, or another domain has one with its MAC address, the guard stays.",
        "If not set, guards are not changed.",
    ],
    "version_added": "0.2.0",
    "type": "dict",
    "suboptions": suboptions(),
}
_OPTION = r"""
options:
  guard: """


class ModuleDocFragment:
    # Annotated, because ansible-test's yamllint expects every plain assignment here to be a constant text.
    DOCUMENTATION: str = f"{_OPTION}{json.dumps(_GUARD)}\n"
