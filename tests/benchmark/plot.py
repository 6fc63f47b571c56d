# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures as an SVG that is readable on light and on dark: against targets, against other ways, and the growth."""

from __future__ import annotations

import math
import typing as t
from html import escape

if t.TYPE_CHECKING:
    from figures import Figure

_STYLE = """
text { font: 13px sans-serif; fill: #1f2328 } .axis { stroke: #6e7781; stroke-opacity: .5 }
.small { font-size: 11px } .title { font-weight: bold } .target { stroke: #6e7781; stroke-width: 2 }
.met { fill: #2da44e } .compared { fill: #3b82f6 } .missed { fill: #d1242f }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } }
"""
_WIDTH, _BAR, _LABELS, _GROWTH = 900, 26, 430, 320
_LINES = (("making them", "create", "#3b82f6"), ("second run", "again", "#16a34a"), ("ip -batch", "batch", "#d97706"))
_Curve = t.Dict[int, float]


def plot(figures: t.Sequence[Figure]) -> str:
    """Return the text of the SVG."""
    judged = [figure for figure in figures if figure.met is not None]
    compared = [
        figure for figure in figures if figure.target is None and figure.value and "times faster" in figure.what
    ]
    curves = _curves(figures)
    middle = 50 + _BAR * len(judged)
    top = middle + (50 + _BAR * len(compared) if compared else 0)
    below = top + (_GROWTH + 40 if curves else 0)
    body = [*_bars(judged), *_compared(compared, middle + 18), *_growth(curves, top + 40)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {below}" role="img">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *body, "</svg>", ""])


def _bars(figures: t.Sequence[Figure]) -> t.Iterator[str]:
    """Each figure as a share of what its target allows, on a logarithmic scale; left of the line it is met."""
    shares = [_share(figure) for figure in figures]
    low, high = min([0.1, *shares]) / 1.5, max([3.0, *shares]) * 1.5
    to_x = _scale(low, high, _LABELS, _WIDTH - 170)
    yield _text(
        0, 18, "Figures against their targets (the line, and in brackets; a bar left of the line meets it)", "title"
    )
    bottom = 34 + _BAR * len(figures)
    for number, (figure, share) in enumerate(zip(figures, shares)):
        y, value = 34 + _BAR * number, figure.value or 0.0
        kind = "met" if figure.met else "missed"
        yield _text(0, y + 15, figure.what, "small")
        width = to_x(share) - _LABELS
        yield f'<rect class="{kind}" x="{_LABELS}" y="{y + 3}" width="{width:.0f}" height="{_BAR - 8}"/>'
        yield _text(
            max(to_x(share), to_x(1)) + 6,
            y + 16,
            f"{value:.{0 if value >= 100 else 2}f} {figure.unit} ({figure.allowed})",
            "small",
        )
    yield f'<line class="target" x1="{to_x(1):.0f}" x2="{to_x(1):.0f}" y1="30" y2="{bottom}"/>'


def _compared(figures: t.Sequence[Figure], top: int) -> t.Iterator[str]:
    """How many times faster than other ways, on a logarithmic scale that begins with 1."""
    if not figures:
        return
    values = [max(figure.value or 1.0, 1.0) for figure in figures]
    to_x = _scale(1.0, max([10.0, *values]) * 1.5, _LABELS, _WIDTH - 110)
    yield _text(0, top, "Times faster than other ways (longer is better)", "title")
    for number, (figure, value) in enumerate(zip(figures, values)):
        y = top + 16 + _BAR * number
        yield _text(0, y + 15, figure.what, "small")
        width = to_x(value) - _LABELS
        yield f'<rect class="compared" x="{_LABELS}" y="{y + 3}" width="{width:.0f}" height="{_BAR - 8}"/>'
        yield _text(to_x(value) + 6, y + 16, f"{value:.{0 if value >= 100 else 1}f} ×", "small")


def _growth(curves: t.Mapping[str, _Curve], top: int) -> t.Iterator[str]:
    """Seconds over links, both logarithmic: a straight line at 45° is linear growth."""
    points = [point for curve in curves.values() for point in curve.items()]
    if not points:
        return
    sizes = sorted({links for links, _cost in points})
    seconds = [max(cost, 1e-3) for _links, cost in points]
    left, right, above, below = 60, _WIDTH - 130, top + 20, top + _GROWTH - 40
    to_x = _scale(sizes[0], sizes[-1], left, right)
    to_y = _scale(min(seconds), max(seconds), below, above)
    yield _text(0, top, "Seconds for so many links in one run, less those of an empty module", "title")
    for links in sizes:
        yield f'<line class="axis" x1="{to_x(links):.0f}" x2="{to_x(links):.0f}" y1="{above}" y2="{below}"/>'
        yield _text(to_x(links) - 10, below + 18, str(links), "small")
    for power in range(math.ceil(math.log10(min(seconds))), math.floor(math.log10(max(seconds))) + 1):
        y = to_y(10.0**power)
        yield f'<line class="axis" x1="{left}" x2="{right}" y1="{y:.0f}" y2="{y:.0f}"/>'
        yield _text(0, y + 4, f"{10.0**power:g} s", "small")
    ends = []
    for title, key, colour in _LINES:
        curve = {links: max(cost, 1e-3) for links, cost in curves.get(key, {}).items()}
        if curve:
            path = " ".join(f"{to_x(links):.0f},{to_y(cost):.0f}" for links, cost in sorted(curve.items()))
            yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>'
            ends.append((to_y(curve[max(curve)]) + 4, title))
    lowest = 0.0
    for y, title in sorted(ends):
        lowest = max(y, lowest + 14)
        yield _text(right + 8, lowest, title, "small")


def _curves(figures: t.Sequence[Figure]) -> dict[str, _Curve]:
    return {
        figure.key.replace("growth_", ""): {
            int(name.split()[0]): cost for name, cost in figure.parts.items() if name.endswith(" links")
        }
        for figure in figures
        if figure.key.startswith("growth_")
    }


def _share(figure: Figure) -> float:
    share = (figure.value or 0.0) / (figure.target or 1)
    return max(1 / share if figure.at_least and share > 0 else share, 1e-3)


def _scale(low: float, high: float, start: float, end: float) -> t.Callable[[float], float]:
    span = math.log(high / low) or 1.0
    return lambda value: start + (end - start) * math.log(value / low) / span


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}">{escape(text)}</text>'
