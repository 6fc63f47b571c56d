# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which link each of those that are written is on, as the files of ours say it. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import networkd, networkmanager, shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import DROP_IN, INTERFACES_FILE, File

_DROP_IN = re.compile(re.escape(f"{networkd.network_file(chr(0))}.d/{DROP_IN}").replace("\0", "(.+)"))
_KEYFILE = re.compile(re.escape(networkmanager.keyfile("\0")).replace("\0", "(.+)"))
_PROFILE = re.compile(r"^\[(?:macvlan|vlan)\]\nparent=(.+)$", re.MULTILINE)
_STANZA = re.compile(r"\bip link add link (\S+) name ")


def of(files: t.Iterable[File]) -> dict[str, str]:
    """Return the parents by the names of the links, as far as they may be links of ours themselves.

    A parent that was said by an address is a physical link, and one that networkd has another's file for none of ours.
    """
    return dict(pair for file in files for pair in _of(file))


def _of(file: File) -> t.Iterator[tuple[str, str]]:
    drop_in, keyfile = _DROP_IN.fullmatch(file.path), _KEYFILE.fullmatch(file.path)
    if drop_in:
        yield from ((name, drop_in[1]) for name in shared.parse(file.text)[1])
    elif keyfile:
        said = _PROFILE.search(file.text)
        if said:
            yield keyfile[1], said[1]
    elif file.path == INTERFACES_FILE:
        for name, (_kind, text) in shared.parse(file.text)[1].items():
            made = _STANZA.search(text)
            if made:
                yield name, made[1]
