# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files that several links have a part in: a block for each, which comes and goes with it. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import HEADER

# VLANs first: macvtap links are on them, and ifupdown goes from top to bottom.
_KINDS = ("vlan", "macvtap", "guest")
_MARK = re.compile(r"^# (vlan|macvtap|guest) (\S+)\n", re.MULTILINE)

Blocks = t.Dict[str, t.Tuple[str, str]]  # kind and text, by the name of the link, or the address of a guest's


def parse(text: str) -> tuple[str, Blocks]:
    """Return what the file begins with, less the first line, and its blocks."""
    head, *rest = _MARK.split(text)
    found = iter(rest)
    blocks = {name: (kind, body.strip("\n") + "\n") for kind, name, body in zip(found, found, found)}
    return head[len(HEADER) :].strip("\n"), blocks


def render(head: str, blocks: Blocks) -> str:
    """Return the text of the whole file; :func:`parse` gives the same again."""
    ordered = sorted(blocks.items(), key=lambda item: (_KINDS.index(item[1][0]), item[0]))
    parts = [f"# {kind} {name}\n{body.rstrip(chr(10))}\n" for name, (kind, body) in ordered]
    return "\n".join([f"{HEADER}\n", *([head + "\n"] if head else []), *parts])
