# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Configuration files of this collection, in which each link has a block of its own. Pure.

The first line says that the file is managed; a block begins with a line that has the kind and the name of its link.
So a task changes the blocks of the links that it declares, and leaves those of others as they are.
"""

from __future__ import annotations

import re
import typing as t

# The first line of each file of ours, and how they are told from others'.
HEADER = "# Managed by Ansible (linuxvirt.macvtap): what is changed here is lost."
# In the order in which they stand in a file. "guest" is the NIC of a guest, whose name is its MAC address.
KINDS = ("vlan", "macvtap", "macvlan", "guest")
_MARK = re.compile(rf"^# ({'|'.join(KINDS)}) (\S+)\n", re.MULTILINE)

Blocks = t.Dict[str, t.Tuple[str, str]]  # kind and text, by the name


def parse(text: str) -> tuple[str, Blocks]:
    """Return what the file begins with, less the first line, and its blocks."""
    head, *rest = _MARK.split(text)
    found = iter(rest)
    blocks = {name: (kind, body.strip("\n") + "\n") for kind, name, body in zip(found, found, found)}
    return head[len(HEADER) :].strip("\n"), blocks


def render(head: str, blocks: Blocks, order: t.Sequence[str] | None = None) -> str:
    """Return the text of the whole file; :func:`parse` gives the same again.

    :param order: the names, one by one. Left out, they are ordered by kind and name.
    """
    if order is None:
        order = sorted(blocks, key=lambda name: (KINDS.index(blocks[name][0]), name))
    parts = [f"# {blocks[name][0]} {name}\n{blocks[name][1].rstrip(chr(10))}\n" for name in order]
    return "\n".join([f"{HEADER}\n", *([head + "\n"] if head else []), *parts])
