# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Parts of messages: lists of names, suggestions, and duplicate declarations. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# More digits than any number of the kernel or of libvirt has. int() refuses a text of thousands.
_MOST_DIGITS = 20
# Control characters, also those of terminals, and those that change the direction of text.
_UNPRINTABLE = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028-\\u202e\\u2066-\\u2069]")


def number(text: str) -> int | None:
    """Return the whole number that a host or libvirt has written, None if it is none.

    ``str.isdigit`` takes characters that ``int`` refuses, such as ².
    """
    return int(text) if len(text) <= _MOST_DIGITS and text.isascii() and text.isdigit() else None


def printable(value: t.Any) -> str:
    """Return a value that comes from a host as text that is safe on a terminal; "" for None."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", "" if value is None else str(value))


def join_names(names: t.Sequence[str], most: int = 5) -> str:
    """Return ``names`` as a list; beyond ``most``, only how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def aligned(rows: t.Sequence[t.Sequence[str]]) -> list[str]:
    """Return ``rows``, which have equally many cells, as lines of aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def suggest(name: str, among: t.Iterable[str], *, most: int = 3, cutoff: float = 0.6) -> list[str]:
    """Return the names of ``among`` that ``name`` most likely stands for, most likely first."""
    import difflib

    return difflib.get_close_matches(name, list(among), n=most, cutoff=cutoff)


def did_you_mean(names: t.Sequence[str]) -> str:
    """Return the end of a message that suggests ``names``, or "" without any."""
    return f"; did you mean {' or '.join(names)}?" if names else ""


def declared_twice(what: str, path: str, other: str) -> MacvtapError:
    """Return the error that ``what`` is declared in the options ``path`` and ``other``."""
    return MacvtapError(f"{what} is declared twice, here and in {other}", path=path)


def distribution(os_release: str) -> frozenset[str]:
    """Return the words of ID and ID_LIKE in os-release(5). opensuse-leap also counts as opensuse."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    words = {word for key in ("ID", "ID_LIKE") for word in fields.get(key, "").strip("\"'").split()}
    return frozenset(words | {word.split("-")[0] for word in words})
