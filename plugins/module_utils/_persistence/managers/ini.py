# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Files of sections and keys, either of which may be there several times (configparser knows each once). Pure."""

from __future__ import annotations

import typing as t

# Sections in their order, each with its keys and values in theirs. A value that is None is left out.
Ini = t.List[t.Tuple[str, t.List[t.Tuple[str, t.Any]]]]


def render(sections: Ini) -> str:
    """Return the text, with an empty line between sections; one without keys is left out."""
    texts = []
    for name, keys in sections:
        lines = [f"{key}={value}\n" for key, value in keys if value is not None]
        texts += ["".join([f"[{name}]\n", *lines])] if lines else []
    return "\n".join(texts)
