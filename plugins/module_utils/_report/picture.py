# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The layout of a picture of one host: its uplinks on the left, VLAN links on them, and the NICs on these. Pure.

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
# Where each kind of box begins, and how wide it is.
_COLUMNS = {"uplink": (0, 190), "vlan": (240, 190), "nic": (480, 340)}
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
    width: int = 0
    height: int = 0
    boxes: list[Box] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)


def picture(host: Values) -> Picture:
    """Return the picture of a host of a report."""
    uplinks = {link["name"]: link for link in host["uplinks"]}
    result = Picture(width=sum(_COLUMNS["nic"]))
    for name in sorted(_roots(host, uplinks)):
        vlans = [link["name"] for link in host["uplinks"] if link.get("parent") == name and link["kind"] == "vlan"]
        _draw_root(result, host, uplinks, name, vlans)
    return result


def _roots(host: Values, uplinks: t.Mapping[str, Values]) -> set[str]:
    """Return the names of the links of the first column."""
    roots = {name for name, link in uplinks.items() if not (link.get("kind") == "vlan" and link["parent"] in uplinks)}
    return roots | ({_NO_UPLINK} if any(not row["uplink"] for row in host["nics"]) else set())


def _draw_root(
    result: Picture, host: Values, uplinks: t.Mapping[str, Values], name: str, vlans: t.Sequence[str]
) -> None:
    children = _draw_nics(result, host, "" if name == _NO_UPLINK else name)
    for vlan in vlans:
        nics = _draw_nics(result, host, vlan)
        children.append(_draw_parent(result, nics, vlan, uplinks[vlan], "vlan"))
    _draw_parent(result, children, name, uplinks.get(name), "uplink")


def _draw_nics(result: Picture, host: Values, uplink: str) -> list[Box]:
    boxes = []
    x, width = _COLUMNS["nic"]
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


def _draw_parent(result: Picture, children: t.Sequence[Box], name: str, link: Values | None, kind: str) -> Box:
    """Add a box beside the middle of its children, and the curves to them."""
    if children:
        y = (children[0].y + children[-1].y) // 2
    else:
        y = result.height
        result.height += _LINE
    x, width = _COLUMNS[kind]
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
