# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether root here is root of the machine."""

from __future__ import annotations

import os

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child


@pytest.mark.parametrize(
    ("user", "others", "another"),
    [
        ("user:[4026531837]", True, False),
        ("user:[4026532201]", True, True),
        # Unreadable, as with a policy against it, or no /proc.
        (PermissionError(), True, True),
        (FileNotFoundError(), False, True),
        # CONFIG_USER_NS is not set.
        (FileNotFoundError(), True, False),
    ],
)
def test_only_the_machines_user_namespace_counts_as_its_own(
    user: str | OSError, others: bool, another: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def readlink(_path: str) -> str:
        if isinstance(user, OSError):
            raise user
        return user

    with monkeypatch.context() as patched:
        patched.setattr(os, "readlink", readlink)
        patched.setattr(os.path, "lexists", lambda _path: others)
        found = _child.is_in_user_namespace.__wrapped__()
    assert found is another
