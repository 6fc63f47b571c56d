# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What guests were asked for, as it is written down; what comes of it is in test_sequences.py."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import keeper
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

UUID = "00000000-0000-4000-8000-000000000001"
STATE: keeper.State = {"uuid": UUID, "instance": "1", "nics": {"52:54:00:00:00:01": {"returns": True}}}


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_signal_while_it_is_written_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    put = os.replace

    def interrupted(*paths: t.Any) -> None:
        if side == "after":
            put(*paths)
        raise Interrupted("SIGTERM")

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(Interrupted):
        keeper.save(str(tmp_path), UUID, STATE)
    assert keeper.load(str(tmp_path), UUID) == (STATE if side == "after" else None)
    assert len(list(tmp_path.iterdir())) == (side == "after")
