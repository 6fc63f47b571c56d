# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a procfs shows every process."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _mountinfo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import process_table


def mounted(options: str) -> _mountinfo.Mount:
    return _mountinfo.Mount("24", "/", "/proc", frozenset(), "proc", options)


@pytest.mark.parametrize(
    ("mounts", "doubt"),
    [
        ([mounted("rw")], ""),
        ([mounted("rw,hidepid=off")], ""),
        ([mounted("rw,hidepid=2")], "/proc is mounted with hidepid"),
        # It is not known which options it has.
        ([], "/proc may hide processes"),
    ],
)
@pytest.mark.parametrize("privileged", [False, True])
def test_a_user_may_not_see_every_process(
    monkeypatch: pytest.MonkeyPatch, mounts: t.Sequence[_mountinfo.Mount], doubt: str, privileged: bool
) -> None:
    monkeypatch.setattr(process_table, "namespace", lambda _directory: process_table.WHOLE)
    monkeypatch.setattr(_mountinfo, "read", lambda: mounts)
    monkeypatch.setattr(process_table, "capable", lambda _capability: privileged)
    monkeypatch.setattr(_child, "is_in_user_namespace", lambda: False)
    proc, reason = process_table.find()
    assert proc == "/proc"
    assert reason.startswith(doubt if not privileged else "")
    assert bool(reason) == (bool(doubt) and not privileged)
