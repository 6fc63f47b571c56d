# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Fixture: a file with the XML of one domain."""

from __future__ import annotations

import pathlib

import pytest

from .xmlfiles import DOMAIN


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    file = tmp_path / "web1.xml"
    file.write_text(DOMAIN)
    return file
