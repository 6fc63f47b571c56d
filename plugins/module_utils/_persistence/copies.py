# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Tells copies that a user made of the files of uplinks (``eth0.bak``) from these files themselves. Pure.

A copy begins with the line that marks a managed file, too. But its name is no uplink, so no link is created from it.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR

# What validate.check_name() lets be an uplink, and addresses.
_KEY = re.compile(r"(?![0-9]+$)[A-Za-z0-9_][A-Za-z0-9_.,+@:-]*")


def of(files: t.Mapping[str, File], links: Links) -> dict[str, str]:
    """Return the copies among ``files``, each with the path of the file that it is a copy of.

    That has the same link, and is for an uplink of this host, among ``links``. Of two files for uplinks that are
    missing, the one with the name that an uplink can have, or the shorter one, is no copy.
    """
    uplinks = _files_of_uplinks(files)
    order = sorted(uplinks, key=lambda path: (not _is_there(path, links), *_rank(path)))
    copies: dict[str, str] = {}
    owners: dict[str, str] = {}
    for path in order:
        names = uplinks[path]
        original = next((owners[name] for name in names if name in owners), None)
        if original is not None and not _is_there(path, links):
            copies[path] = original
        else:
            owners.update((name, path) for name in names if name not in owners)
    return copies


def check_written_once(files: t.Mapping[str, File], keeps: t.Callable[[str, str], bool]) -> None:
    """Refuse a link that two files have. Whether a link, with its kind, stays as it is written is what ``keeps`` says.

    One that is written now, or removed, leaves both.

    :raises MacvtapError: naming the files. Of the two one would be lost by chance.
    """
    found: dict[str, str] = {}
    for path in sorted(uplinks := _files_of_uplinks(files)):
        for name, kind in uplinks[path].items():
            first = found.setdefault(name, path)
            if first != path and keeps(name, kind):
                raise MacvtapError(
                    f"{name} is in {first} and in {path}, and only one of them can be right. Remove it from the other "
                    f"one, or declare {name} in this task"
                )


def warning(path: str, original: str) -> str:
    return (
        f"{path} has links of {original}, and no uplink of this host has its name. It is taken for a copy, and left "
        f"alone; at each boot the unit looks for such an uplink for 10 seconds. Move it out of {LINKS_DIR}"
    )


def _files_of_uplinks(files: t.Mapping[str, File]) -> dict[str, dict[str, str]]:
    """Return the links of each managed file of an uplink, with their kinds."""
    found = {path: file for path, file in files.items() if path.startswith(f"{LINKS_DIR}/") and file.ours}
    blocks = {path: _managed_blocks.parse(file.text)[1] for path, file in found.items()}
    return {path: {name: kind for name, (kind, _text) in those.items()} for path, those in blocks.items()}


def _key(path: str) -> str:
    return path.removeprefix(f"{LINKS_DIR}/")


def _is_there(path: str, links: Links) -> bool:
    return parents.lookup(_key(path).removeprefix("altname:"), links) is not None


def _rank(path: str) -> tuple[bool, int, str]:
    key = _key(path)
    return not _KEY.fullmatch(key), len(key), key
