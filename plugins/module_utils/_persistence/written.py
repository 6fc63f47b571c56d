# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which links the files of ours are for, those of earlier versions among them. Pure."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    boot,
    ifupdown,
    networkd,
    networkmanager,
    shared,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    DROP_IN,
    INTERFACES_FILE,
    OLD_HOOK,
    SYSCTL_FILE,
    SYSTEMD,
    UDEV_FILE,
    UNIT,
    File,
    Written,
)

_SHARED = (INTERFACES_FILE, OLD_HOOK, UNIT, SYSCTL_FILE, UDEV_FILE)
# The files that one link has for itself.
_OWN = re.compile(
    "|".join(
        re.escape(path("\0")).replace("\0", "(.+)")
        for path in (
            networkd.netdev_file,
            networkd.network_file,
            networkd.unmanaged_file,
            networkmanager.keyfile,
        )
    )
)


def is_shared(path: str) -> bool:
    """Whether several links have a part in the file."""
    return path in _SHARED or path.endswith(f".network.d/{DROP_IN}") or networkd.is_parent_file(path)


def links_of(file: File) -> t.Mapping[str, str]:
    """Return the links that a file of ours is for, with their kind where the file says it."""
    marked = {name: kind for name, (kind, _text) in shared.parse(file.text)[1].items()}
    if is_shared(file.path):
        return marked
    found = _OWN.fullmatch(file.path)
    return {name: marked.get(name, "") for name in found.groups() if name} if found else {}


def of(files: t.Iterable[File]) -> dict[str, Written]:
    """Return what is written of each link, by its name. What the unit makes goes before what managers make."""
    files = list(files)
    found: dict[str, Written] = {}
    for file in files:
        for name, kind in links_of(file).items():
            _add(found, Written(name, kind))
        for manager in (networkd, networkmanager, ifupdown):
            for one in manager.written(file):
                _add(found, one)
    for entry in boot.parse(files).values():
        parent = entry.key if entry.parent == boot.UPLINK else entry.parent
        if parent.startswith("altname:"):
            parent = parent[len("altname:") :]
        found[entry.name] = Written(entry.name, entry.kind, SYSTEMD, parent, entry.vlan)
    return found


def _add(found: dict[str, Written], one: Written) -> None:
    """Put together what several files say of one link."""
    was = found.get(one.name, Written(one.name))
    found[one.name] = replace(
        was,
        kind=one.kind or was.kind,
        backend=one.backend or was.backend,
        parent=one.parent or was.parent,
        vlan=one.vlan or was.vlan,
    )
