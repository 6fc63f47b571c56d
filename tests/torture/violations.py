# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Violated invariants, each of its own kind."""

from __future__ import annotations

import functools
import typing as t


class ViolationError(AssertionError):
    """A violated invariant. ``kind`` is its name."""

    def __init__(self, kind: str, message: str, trace: t.Sequence[str]) -> None:
        super().__init__("\n".join([f"{kind}: {message}", *trace]))
        self.kind = kind


@functools.lru_cache(None)
def class_of(kind: str) -> type[ViolationError]:
    """Return a class for each kind, so that shrinking keeps the kind."""
    return type(kind, (ViolationError,), {})
