# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Makes pictures out of texts: of each docs/pictures/NAME.txt, NAME.svg beside it.

    python3 docs/pictures/draw.py

A text is drawn as it stands, character by character: lines (─ │ ┌ ┐ └ ┘ ├ ┤ ┬ ┴ ┼) and arrowheads (◀ ▶ ▲ ▼) as such,
╌ and ╎ as lines on which nothing gets through, boxes with round corners (╭ ╮ ╰ ╯) filled, ✓ and ✗ in colour, and all
else as words. Lines that begin with # are left out; the first of them that begins with #: is what the picture shows.
"""

from __future__ import annotations

import html
import pathlib
import typing as t

WIDTH, HEIGHT, MARGIN = 8.4, 18, 8
# To which of its sides each character has a line: left, right, up, down.
SIDES = {
    "─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu", "├": "rud", "┤": "lud", "┬": "lrd", "┴": "lru",
    "┼": "lrud", "╭": "rd", "╮": "ld", "╰": "ru", "╯": "lu", "╌": "lr", "╎": "ud",
    "◀": "r", "▶": "l", "▲": "d", "▼": "u",
}  # fmt: skip
ENDS = {"l": (-0.5, 0.0), "r": (0.5, 0.0), "u": (0.0, -0.5), "d": (0.0, 0.5)}
HEADS = {"◀": "l", "▶": "r", "▲": "u", "▼": "d"}
ROUND, BROKEN = "╭╮╰╯", "╌╎"
# With a ground of its own: a page may be light where the reader's system is dark, and the other way round.
STYLE = """
text { font: 14px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre }
path { fill: none; stroke: #57606a; stroke-width: 1.5 } .head { fill: #57606a; stroke: none }
.ground { fill: #ffffff } .box { fill: #3b82f6; fill-opacity: .1; stroke: none }
.broken { stroke: #d1242f; stroke-dasharray: 4 3 } .yes { fill: #1a7f37; font-weight: bold }
.no { fill: #d1242f; font-weight: bold }
@media (prefers-color-scheme: dark) {
.ground { fill: #161b22 } text { fill: #e6edf3 } path { stroke: #9198a1 } .head { fill: #9198a1 }
.broken { stroke: #ff7b72 } .yes { fill: #3fb950 } .no { fill: #ff7b72 } }
"""
Rows = t.Sequence[str]


def draw(text: str) -> str:
    """Return the SVG of a text."""
    lines = text.rstrip("\n").splitlines()
    title = next((line[2:].strip() for line in lines if line.startswith("#:")), "")
    rows = [line for line in lines if not line.startswith("#")]
    while rows and not rows[0].strip():
        rows.pop(0)
    width = max(map(len, rows)) * WIDTH + 2 * MARGIN
    height = len(rows) * HEIGHT + 2 * MARGIN
    size = f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">'
    ground = '<rect class="ground" width="100%" height="100%" rx="6"/>'
    body = [ground, *_boxes(rows), *_lines(rows), *_words(rows)]
    return "\n".join([head, f"<title>{html.escape(title)}</title>", f"<style>{STYLE}</style>", *body, "</svg>", ""])


def _middle(row: int, column: int) -> tuple[float, float]:
    return MARGIN + (column + 0.5) * WIDTH, MARGIN + (row + 0.5) * HEIGHT


def _boxes(rows: Rows) -> t.Iterator[str]:
    for row, line in enumerate(rows):
        for column in (at for at, character in enumerate(line) if character == "╭"):
            right = line.index("╮", column)
            below = [at for at in range(row + 1, len(rows)) if rows[at][column : column + 1] == "╰"]
            (x, y), (to_x, to_y) = _middle(row, column), _middle(below[0], right)
            yield f'<rect class="box" x="{x:g}" y="{y:g}" width="{to_x - x:g}" height="{to_y - y:g}" rx="6"/>'


def _lines(rows: Rows) -> t.Iterator[str]:
    paths: dict[str, list[str]] = {"line": [], "broken": [], "head": []}
    for row, line in enumerate(rows):
        for column, character in enumerate(line):
            x, y = _middle(row, column)
            ends = [(x + dx * WIDTH, y + dy * HEIGHT) for dx, dy in (ENDS[side] for side in SIDES.get(character, ""))]
            if character in ROUND:
                (x1, y1), (x2, y2) = ends
                paths["line"].append(f"M{x1:g} {y1:g}Q{x:g} {y:g} {x2:g} {y2:g}")
                continue
            paths["broken" if character in BROKEN else "line"] += [f"M{x:g} {y:g}L{x1:g} {y1:g}" for x1, y1 in ends]
            if character in HEADS:
                dx, dy = ENDS[HEADS[character]]
                tip, back = (x + dx * 8, y + dy * 8), (x - dx * 8, y - dy * 8)
                wings = f"L{back[0] + dy * 8:g} {back[1] + dx * 8:g}L{back[0] - dy * 8:g} {back[1] - dx * 8:g}Z"
                paths["head"].append(f"M{tip[0]:g} {tip[1]:g}{wings}")
    for kind, found in paths.items():
        if found:
            yield f'<path class="{kind}" d="{"".join(found)}"/>'


def _words(rows: Rows) -> t.Iterator[str]:
    kinds = {"✓": ' class="yes"', "✗": ' class="no"'}
    for row, line in enumerate(rows):
        column = 0
        for word in _runs(line):
            if word.strip() and word not in SIDES:
                x, y = MARGIN + column * WIDTH, MARGIN + (row + 0.5) * HEIGHT + 5
                # Whatever font there is, words are as wide as in the text.
                length = f' textLength="{len(word) * WIDTH:g}"' if len(word) > 1 else ""
                yield f'<text{kinds.get(word, "")} x="{x:g}" y="{y:g}"{length}>{html.escape(word)}</text>'
            column += len(word)


def _runs(line: str) -> t.Iterator[str]:
    """Cut a line into words, in which there may be single blanks, and all else one by one."""
    word = ""
    for at, character in enumerate(line):
        alone = character in SIDES or character in "✓✗"
        blank = character == " " and (not word or line[at + 1 : at + 2] in ("", " ", *SIDES, *"✓✗"))
        if (alone or blank) and word:
            yield word
            word = ""
        if alone or blank:
            yield character
        else:
            word += character
    if word:
        yield word


def main() -> None:
    for path in sorted(pathlib.Path(__file__).parent.glob("*.txt")):
        path.with_suffix(".svg").write_text(draw(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
