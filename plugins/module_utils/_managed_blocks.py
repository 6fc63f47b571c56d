# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Configuration files of this collection with one block for each link. Pure.

The first line marks the file as managed. Each block begins with a line that has the kind and name of its link. So a
task changes the blocks of the links that it declares, and leaves all other blocks alone.
"""

from __future__ import annotations

import re
import typing as t

# The first line of every managed file. Files without it are not managed by this collection.
HEADER = "# Managed by Ansible (linuxvirt.macvtap): what is changed here is lost."
# In their order within a file. "guest" is a guest's NIC, named by its MAC address.
KINDS = ("vlan", "macvtap", "macvlan", "guest")
_MARK = re.compile(rf"^# ({'|'.join(KINDS)}) (\S+)\n", re.MULTILINE)

Blocks = t.Dict[str, t.Tuple[str, str]]  # kind and text, by name


def parse(text: str) -> tuple[str, Blocks]:
    """Return the text before the first block, without the first line, and the blocks."""
    head, *rest = _MARK.split(text)
    parts = iter(rest)
    blocks = {name: (kind, body.strip("\n") + "\n") for kind, name, body in zip(parts, parts, parts)}
    start = len(HEADER)
    return head[start:].strip("\n"), blocks


def render(head: str, blocks: Blocks, order: t.Sequence[str] | None = None) -> str:
    """Return the text of the whole file, the inverse of :func:`parse`.

    :param order: the names in order. Default: by kind and name.
    """
    if order is None:
        order = sorted(blocks, key=lambda name: (KINDS.index(blocks[name][0]), name))
    parts = [f"# {blocks[name][0]} {name}\n{blocks[name][1].rstrip(chr(10))}\n" for name in order]
    return "\n".join([f"{HEADER}\n", *([head + "\n"] if head else []), *parts])
