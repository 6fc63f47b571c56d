# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper's program, and what starts it at boot; what it does is in domains/test_pending.py."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import launch, links, process


@pytest.fixture
def systemd(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The directories of units are below this one: etc, which lasts, and run."""
    directories = tuple(str(tmp_path / name) for name in ("etc", "run"))
    monkeypatch.setattr(process, "UNIT_DIRECTORIES", directories)
    return tmp_path


def test_the_program_stands_alone(tmp_path: pathlib.Path) -> None:
    command = launch.install(str(tmp_path), "", unit=False)
    (tmp_path / "libvirt.py").write_text("def registerErrorHandler(*_of): pass\n")
    # Nothing of the collection is to be found, nor of what Python has installed; nothing is outstanding.
    done = subprocess.run(
        [command[0], "-I", "-S", command[1], str(tmp_path), process.BY_TWO, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=60, cwd="/",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "keeper.lock").read_text()
    made = os.stat(command[1])
    launch.install(str(tmp_path), "", unit=False)
    assert os.stat(command[1]).st_ino == made.st_ino


def test_a_unit_starts_it_at_boot_as_long_as_something_is_outstanding(systemd: pathlib.Path) -> None:
    assert not launch.outlives_boot()
    launch.install(str(systemd), "/opt/100% lib's", unit=True)
    unit, link = systemd / "etc" / process.UNIT, systemd / "etc" / process.WANTS / process.UNIT
    (started,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert started == (f'ExecStart="{sys.executable}" "{systemd}/keeper.pyz" "{systemd}" "systemd" "/opt/100%% lib\'s"')
    assert link.resolve() == unit
    assert launch.outlives_boot()
    process._remove_unit(f"{systemd}/another")
    assert launch.outlives_boot()
    process._remove_unit(str(systemd))
    assert not launch.outlives_boot()
    assert not unit.exists()


def test_a_masked_unit_stays_masked(systemd: pathlib.Path) -> None:
    (systemd / "etc").mkdir()
    unit = systemd / "etc" / process.UNIT
    unit.symlink_to("/dev/null")
    launch.install(str(systemd), "", unit=True)
    assert unit.is_symlink()
    assert not launch.outlives_boot()


def test_where_units_cannot_be_written_to_last_they_are_for_this_boot(systemd: pathlib.Path) -> None:
    (systemd / "etc").write_text("no directory")
    launch.install(str(systemd), "", unit=True)
    assert (systemd / "run" / process.UNIT).exists()
    assert not launch.outlives_boot()


def test_a_link_has_the_stored_name_only_where_that_is_free() -> None:
    named = "<interface type='direct'><target dev='lo'/></interface>"
    assert "target" not in links.with_free_target(named, None)
    # Its own link has not gone yet.
    assert links.with_free_target(named, links.ifindex("lo")) == named
    free = named.replace("lo", "no-such-link")
    assert links.with_free_target(free, None) == free
