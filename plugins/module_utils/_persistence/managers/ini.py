# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files of sections and keys, either of which may be there several times (configparser knows each once). Pure."""

from __future__ import annotations

import typing as t

# Sections in their order, each with its keys and values in theirs. A value that is None is left out.
Ini = t.List[t.Tuple[str, t.List[t.Tuple[str, t.Any]]]]


def render(sections: Ini) -> str:
    """Return the text, with an empty line between sections; :func:`parse` gives the same again, as strings."""
    texts = []
    for name, keys in sections:
        lines = [f"{key}={value}\n" for key, value in keys if value is not None]
        texts += ["".join([f"[{name}]\n", *lines])] if lines else []
    return "\n".join(texts)


def parse(text: str) -> Ini:
    sections: Ini = []
    for line in text.splitlines():
        key, mark, value = line.partition("=")
        if line.startswith("[") and line.endswith("]"):
            sections.append((line[1:-1], []))
        elif mark and sections and not line.startswith("#"):
            sections[-1][1].append((key, value))
    return sections


def values(sections: Ini, section: str, key: str) -> list[str]:
    """Return all values of a key in all sections of the name."""
    return [value for name, keys in sections if name == section for one, value in keys if one == key]
