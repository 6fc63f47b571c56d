# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files that several links have a part in: a block for each, which comes and goes with it. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import COMPANION, HEADER, Kept

# What is below comes first, then by kind and name: a reader goes from top to bottom.
KINDS = ("vlan", "macvtap", COMPANION, "guest")
_MARK = re.compile(rf"^# ({'|'.join(KINDS)}) (\S+)\n", re.MULTILINE)

# In the words of ip, the parent.
_MADE = re.compile(r"\blink add link (\S+) name ")

Blocks = t.Dict[str, t.Tuple[str, str]]  # kind and text, by the name of the link, or the address of a guest's


def mark(kind: str, name: str) -> str:
    """Return the line that the block of a link begins with."""
    return f"# {kind} {name}"


def own_head(kept: Kept) -> list[str]:
    """Return what a file begins with that is the link's alone.

    With a companion's goes its mark: who declares all links, and has the others removed, does not mean companions.
    """
    return [HEADER, mark(kept.kind, kept.name)] if kept.kind == COMPANION else [HEADER]


def parse(text: str) -> tuple[str, Blocks]:
    """Return what the file begins with, less the first line, and its blocks."""
    head, *rest = _MARK.split(text)
    found = iter(rest)
    blocks = {name: (kind, body.strip("\n") + "\n") for kind, name, body in zip(found, found, found)}
    return head[len(HEADER) :].strip("\n"), blocks


def render(head: str, blocks: Blocks) -> str:
    """Return the text of the whole file; :func:`parse` gives the same again."""
    parents = {name: made for name, (_kind, body) in blocks.items() for made in [parent_of(body)] if made}
    ordered = sorted(blocks.items(), key=lambda item: (_depth(item[0], parents), KINDS.index(item[1][0]), item[0]))
    parts = [f"{mark(kind, name)}\n{body.rstrip(chr(10))}\n" for name, (kind, body) in ordered]
    return "\n".join([f"{HEADER}\n", *([head + "\n"] if head else []), *parts])


def parent_of(body: str) -> str | None:
    """Return the parent of the link that a block makes by ``ip``."""
    made = _MADE.search(body)
    return made[1] if made else None


def _depth(name: str, parents: t.Mapping[str, str]) -> int:
    depth = 0
    while name in parents and depth <= len(parents):
        depth, name = depth + 1, parents[name]
    return depth
