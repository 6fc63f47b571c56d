# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs of macvtap_persistence with others at work between any two files: the short version of make torture."""

from __future__ import annotations

from torture.examples import run_short
from torture.files import PersistenceFiles


def test_concurrent_changes_between_two_files() -> None:
    run_short(PersistenceFiles, examples=40, steps=4)
