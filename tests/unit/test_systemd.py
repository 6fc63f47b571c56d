# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The version of a host's systemd, by where distributions have its library."""

from __future__ import annotations

import pathlib

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _systemd


@pytest.mark.parametrize(
    ("files", "version"),
    [
        (["lib/systemd/libsystemd-shared-247.so"], 247),
        (["usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so"], 252),
        (["usr/lib/systemd/libsystemd-shared-252-32.el9.so"], 252),
        (["usr/lib/systemd/libsystemd-shared-256.7-1.so", "usr/lib/systemd/libsystemd-shared-239.so"], 256),
        (["usr/lib/systemd/libsystemd-core-257.so", "usr/lib/systemd/libsystemd-shared-x.so"], None),
        ([], None),
    ],
)
def test_the_version_is_in_the_name_of_the_library(
    tmp_path: pathlib.Path, files: list[str], version: int | None
) -> None:
    for path in (tmp_path / file for file in files):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert _systemd.version(str(tmp_path)) == version
