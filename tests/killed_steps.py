# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs that are killed right after a step: after each request to the kernel and to libvirt, and each file."""

from __future__ import annotations

import signal
import typing as t

from support import running_module

# What it is that changes a host, by module. What a run has merely read is written to the files that are left out.
_PATCH = """
import importlib, os, signal
effects = {effects!r}
left = [{after!r}]
def around(name, function, changes):
    def call(*args, **how):
        result = function(*args, **how)
        if changes(args):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call
def lists(args):
    return not all("list" in one for one in args[-1]["nftables"])
def is_ours(args):
    path = str(args[-1])
    return "macvtap" in path and "/run/linuxvirt-macvtap/guards.json" not in path
def always(args):
    return bool(args[-1])
for owner, names, changes in effects:
    package, _colon, kind = owner.partition(":")
    try:
        target = importlib.import_module(package)
    except ImportError:
        continue
    target = getattr(target, kind) if kind else target
    for name in names:
        setattr(target, name, around(name, getattr(target, name), globals()[changes]))
"""
_OURS = "ansible_collections.linuxvirt.macvtap.plugins.module_utils"
EFFECTS = [
    ("nftables:Nftables", ["json_cmd"], "lists"),
    (
        "os",
        [
            "replace",
            "unlink",
        ],
        "is_ours",
    ),
    (f"{_OURS}._links.rtnetlink", ["transact", "transact_at_once"], "always"),
    ("libvirt:virDomain", ["attachDeviceFlags", "detachDeviceFlags", "updateDeviceFlags"], "always"),
    ("libvirt:virConnect", ["defineXMLFlags"], "always"),
]


def killed(name: str, params: t.Mapping[str, t.Any], *, prefix: t.Sequence[str], after: int = 1) -> bool:
    """Run a module that is killed right after so many steps. Return whether it was, or had fewer of them."""
    patch = _PATCH.format(effects=EFFECTS, after=after)
    with running_module(name, params, prefix=prefix, patch=patch) as process:
        code = process.wait(120)
    assert code in (0, -signal.SIGKILL), code
    return code != 0
