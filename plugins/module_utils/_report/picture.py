# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The layout of a picture of one host: its uplinks on the left, VLAN links on them or on others, then the NICs. Pure.

Each NIC has a row of its own, and what it is on lies beside the middle of its NICs. So no two curves cross, however
many NICs there are.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import text

Values = t.Mapping[str, t.Any]
# Pixels.
_LINE = 40
_BOX_HEIGHT = 32
_WIDTHS = {"uplink": 190, "vlan": 190, "nic": 340}
# From the beginning of one column to that of the next.
_COLUMN = 240
# So many VLAN links may be on one another (MAX_NEST_DEV of the kernel).
_DEEPEST = 8
_NO_UPLINK = "no uplink"


@dataclass(frozen=True)
class Box:
    """A box of the picture, in pixels. ``kind`` is uplink, vlan or nic; ``problem`` is whether to draw attention to it.

    ``row`` is the number of the NIC in the report of the host, None for other boxes.
    """

    x: int
    y: int
    width: int
    height: int
    kind: str
    title: str
    detail: str
    problem: bool = False
    row: int | None = None


@dataclass(frozen=True)
class Curve:
    """A curve from the right of one box to the left of another."""

    x1: int
    y1: int
    x2: int
    y2: int


@dataclass
class Picture:
    """``width`` and ``height`` are in pixels; ``nic_x`` is where the column of NICs begins."""

    nic_x: int = 2 * _COLUMN
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    @property
    def width(self) -> int:
        return self.nic_x + _WIDTHS["nic"]


def picture(host: Values) -> Picture:
    """Return the picture of a host of a report."""
    uplinks = {link["name"]: link for link in host["uplinks"]}
    trees = _trees(uplinks)
    if any(not row["uplink"] for row in host["nics"]):
        trees.append(_Tree(_NO_UPLINK))
    # Each column of VLAN links moves the NICs, from the second one on.
    result = Picture(nic_x=_COLUMN * max([2, *map(_depth, trees)]))
    for tree in sorted(trees):
        _draw(result, host, uplinks, tree, 0)
    return result


class _Tree(t.NamedTuple):
    """A link, and the VLAN links on it."""

    name: str
    vlans: tuple[_Tree, ...] = ()


def _trees(uplinks: t.Mapping[str, Values]) -> list[_Tree]:
    """Return all links, each once.

    The kernel has no VLAN link that is above itself, or on too many others; but a host may report it. What is not drawn
    on another link then is drawn as an uplink.
    """
    on: dict[str | None, list[str]] = {}
    for name, link in uplinks.items():
        parent = link["parent"] if link.get("kind") == "vlan" else None
        on.setdefault(parent if parent in uplinks else None, []).append(name)
    drawn: set[str] = set()

    def tree(name: str, depth: int) -> _Tree:
        drawn.add(name)
        vlans = on.get(name, ()) if depth < _DEEPEST else ()
        return _Tree(name, tuple(tree(vlan, depth + 1) for vlan in vlans if vlan not in drawn))

    return [tree(name, 0) for name in (*on.get(None, ()), *sorted(uplinks)) if name not in drawn]


def _depth(tree: _Tree) -> int:
    return 1 + max(map(_depth, tree.vlans), default=0)


def _draw(result: Picture, host: Values, uplinks: t.Mapping[str, Values], tree: _Tree, column: int) -> Box:
    """Add a link with all that is on it, and return its box."""
    children = _draw_nics(result, host, "" if tree.name == _NO_UPLINK else tree.name)
    children += [_draw(result, host, uplinks, vlan, column + 1) for vlan in tree.vlans]
    return _draw_parent(result, children, tree.name, uplinks.get(tree.name), column)


def _draw_nics(result: Picture, host: Values, uplink: str) -> list[Box]:
    boxes = []
    x, width = result.nic_x, _WIDTHS["nic"]
    for row, nic in enumerate(host["nics"]):
        if (nic["uplink"] or "") != uplink:
            continue
        parts = (nic["link"] if nic["guest"] else None, nic["mode"], nic["network"], *nic["addresses"][:1])
        title = " ".join(filter(None, (nic["guest"] or nic["link"], nic["mac"])))
        detail = ", ".join(filter(None, (nic["state"], *parts)))
        problem = bool(nic["drift"] or nic["restart"] or nic["pending"])
        boxes.append(Box(x, result.height, width, _BOX_HEIGHT, "nic", title, detail, problem, row))
        result.height += _LINE
    result.boxes += boxes
    return boxes


def _draw_parent(result: Picture, children: t.Sequence[Box], name: str, link: Values | None, column: int) -> Box:
    """Add a box beside the middle of its children, and the curves to them."""
    if children:
        y = (children[0].y + children[-1].y) // 2
    else:
        y = result.height
        result.height += _LINE
    kind = "vlan" if column else "uplink"
    x, width = _COLUMN * column, _WIDTHS[kind]
    problem = link is not None and (not link["exists"] or bool(link["unfit"]) or link["carrier"] is False)
    box = Box(x, y, width, _BOX_HEIGHT, kind, name, _detail(link), problem)
    result.boxes.append(box)
    middle = _BOX_HEIGHT // 2
    result.curves += [Curve(x + width, y + middle, child.x, child.y + middle) for child in children]
    return box


def _detail(link: Values | None) -> str:
    if link is None:
        return ""
    if not link["exists"]:
        return "missing"
    vlan = f"VLAN {link['vlan_id']}" if link["vlan_id"] else None
    carrier = "no carrier" if link["carrier"] is False else None
    return ", ".join(filter(None, (vlan, f"MTU {link['mtu']}", text.speed(link["speed"]), carrier)))
