# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A missing library is named with the package of the host's distribution."""

from __future__ import annotations

import sys

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MissingLibraryError


@pytest.mark.parametrize(
    ("os_release", "hint"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "apt install python3-libvirt"),
        ("ID=linuxmint\nID_LIKE=ubuntu\n", "apt install python3-libvirt"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-libvirt"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install python3-libvirt-python"),
        ("ID=arch\n", "install the distribution's package of it (often python3-libvirt)"),
        ("", "install the distribution's package of it (often python3-libvirt)"),
    ],
)
def test_hint_names_the_distributions_package(os_release: str, hint: str) -> None:
    assert _deps.install_hint("libvirt", os_release) == hint


def test_a_missing_library_is_told_apart_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lxml", None)
    with pytest.raises(MissingLibraryError, match="lxml is missing") as caught:
        _deps.load("lxml", "etree")
    assert "lxml" in caught.value.trace
