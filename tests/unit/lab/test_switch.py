# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Leases on the lab's LAN, as dnsmasq has them on file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import model, switch
from labkit.shell import LabError

LAB = model.declare("unit-lab", ("hv1",))
FIRST, SECOND = "52:54:00:00:00:01", "52:54:00:00:00:02"


def test_a_lease_of_before_is_none_that_is_awaited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(switch, "leases_file", lambda _lab: str(tmp_path / "leases"))
    with pytest.raises(LabError, match=f"no new lease for {FIRST} within 0 s"):
        switch.awaited_leases(LAB, [FIRST], timeout=0)
    (tmp_path / "leases").write_text(f"5000 {FIRST} 192.0.2.51 one *\n5001 {SECOND} 192.0.2.52 * *\n")
    assert {lease.mac for lease in switch.awaited_leases(LAB, [FIRST], timeout=0)} == {FIRST, SECOND}
    with pytest.raises(LabError, match=f"no new lease for {FIRST} within 0 s"):
        switch.awaited_leases(LAB, [FIRST, SECOND], since=1400, timeout=0)
    assert switch.awaited_leases(LAB, [SECOND], since=1400, timeout=0)
