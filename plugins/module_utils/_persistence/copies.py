# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Tells copies that a user made of the files of uplinks (``eth0.bak``) from these files themselves. Pure.

A copy begins with the line that marks a managed file, too. But its name is no uplink, so no link is created from it.
The file of an uplink that is missing may look the same: a run that moves links away from it, and is killed, leaves it.
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
# How names of copies end, by hand or by programs. A VLAN ID has four digits at most.
_ENDINGS = "bak|backup|copy|disabled|new|old|orig|save|saved|swp|tmp|(?:dpkg|ucf)-[a-z]+|rpm(?:new|orig|save)|[0-9]{6,}"
_COPY = re.compile(rf".*\.(?:{_ENDINGS})[0-9]?", re.IGNORECASE)


def of(files: t.Mapping[str, File], links: Links) -> dict[str, str]:
    """Return those of ``files`` with the name of a copy, each with the path of the file that it is a copy of.

    That has the same link, and is "" once its links are gone, so that these do not come back with the copy. A name
    that an uplink of this host has, among ``links``, is none of a copy.
    """
    originals = _duplicates(files, links)
    named = [path for path in _files_of_uplinks(files) if not _is_there(path, links) and _is_copy(_key(path))]
    return {path: originals.get(path, "") for path in named}


def untouched(files: t.Mapping[str, File], links: Links, keeps: t.Callable[[str, str], bool]) -> dict[str, str]:
    """Return files for missing uplinks that have nothing but what others of ``files`` have, each with such a file.

    Such a file may be a copy, or what a killed run has left. So it counts only if this run decides on a link of it,
    which ``keeps`` says, as in :func:`check_written_once`.
    """
    uplinks, blocks = _files_of_uplinks(files), {path: _blocks(file) for path, file in files.items()}
    return {
        path: original
        for path, original in _duplicates(files, links).items()
        if blocks[path].items() <= blocks[original].items()
        if all(keeps(name, kind) for name, kind in uplinks[path].items())
    }


def ordered(files: t.Mapping[str, File], links: Links) -> dict[str, File]:
    """Return the files so that of two with the same link the one whose uplink is there comes last, and counts."""
    return dict(sorted(files.items(), key=lambda item: _order(item[0], links), reverse=True))


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
    links = f"has links of {original}" if original else "has links"
    return (
        f"{path} {links}, and no uplink of this host has its name. It is taken for a copy, and left "
        f"alone; at each boot the unit looks for such an uplink for 10 seconds. Move it out of {LINKS_DIR}"
    )


def _files_of_uplinks(files: t.Mapping[str, File]) -> dict[str, dict[str, str]]:
    """Return the links of each managed file of an uplink, with their kinds."""
    found = {path: file for path, file in files.items() if path.startswith(f"{LINKS_DIR}/") and file.ours}
    return {path: {name: kind for name, (kind, _text) in _blocks(file).items()} for path, file in found.items()}


def _is_copy(key: str) -> bool:
    return not _KEY.fullmatch(key) or _COPY.fullmatch(key) is not None


def _blocks(file: File) -> dict[str, tuple[str, str]]:
    return _managed_blocks.parse(file.text)[1]


def _duplicates(files: t.Mapping[str, File], links: Links) -> dict[str, str]:
    """Return the files for uplinks that are missing, and with a link of another file, each with the path of that.

    Of two files for uplinks that are missing, that is the one with the name that an uplink can have, or the shorter.
    """
    uplinks = _files_of_uplinks(files)
    duplicates: dict[str, str] = {}
    owners: dict[str, str] = {}
    for path in sorted(uplinks, key=lambda path: _order(path, links)):
        names = uplinks[path]
        original = next((owners[name] for name in names if name in owners), None)
        if original is not None and not _is_there(path, links):
            duplicates[path] = original
        else:
            owners.update((name, path) for name in names if name not in owners)
    return duplicates


def _key(path: str) -> str:
    return path.removeprefix(f"{LINKS_DIR}/")


def _is_there(path: str, links: Links) -> bool:
    return parents.lookup(_key(path).removeprefix("altname:"), links) is not None


def _order(path: str, links: Links) -> tuple[bool, bool, int, str]:
    key = _key(path)
    return not _is_there(path, links), _is_copy(key), len(key), key
