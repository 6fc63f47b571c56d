# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Fixtures of all unit tests: the same examples in each run, and isolation from runs on this machine."""

from __future__ import annotations

import functools

import pytest
from hypothesis import HealthCheck, settings
from shuffled import pytest_collection_modifyitems, pytest_terminal_summary

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _lock
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import pending
from torture.examples import depend_on_the_seed_alone

__all__ = ["pytest_collection_modifyitems", "pytest_terminal_summary"]

# make torture looks for new ones. No example fails for being slow, because a busy machine makes any of them slow.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")
depend_on_the_seed_alone()


@pytest.fixture(autouse=True)
def own_notes(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test its own locks and notes, instead of those in /run, and hide those of this machine's root."""
    monkeypatch.setattr(pending, "_OF_ROOT", ())
    monkeypatch.setattr(_lock, "directory", functools.lru_cache(None)(lambda: str(tmp_path_factory.mktemp("run"))))
