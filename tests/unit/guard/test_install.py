# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What loads guards, where a run was killed before udev and systemd have read it."""

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import install

MACS = ["52:54:00:00:0a:01"]


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for directory in ("etc/libvirt", "run/systemd/system"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


class Host:
    """An installer, and the commands that it has run."""

    def __init__(self, root: pathlib.Path) -> None:
        self.commands: list[str] = []
        self.installer = install.Installer(self._run, str(root))

    def _run(self, words: t.Sequence[str]) -> tuple[int, str]:
        self.commands.append(" ".join(words))
        return 0, ""


def test_what_was_not_read_is_read_in_the_next_run(root: pathlib.Path) -> None:
    killed = Host(root)
    killed.installer.install(MACS)
    again = Host(root)
    assert again.installer.outdated(MACS)
    assert "libvirt reads" in "".join(again.installer.install(MACS))
    again.installer.start()
    assert again.commands == ["systemctl daemon-reload", "systemctl start --no-block macvtap-guard.service"]
    assert (root / install.WANTS.lstrip("/")).is_symlink()
    last = Host(root)
    assert not last.installer.outdated(MACS)
    last.installer.install(MACS)
    last.installer.start()
    assert last.commands == []


def test_a_run_that_was_killed_between_two_files_is_completed(
    root: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _files.write

    def killed(path: str, *values: t.Any, **how: t.Any) -> None:
        if path.endswith(install.NFTABLES):
            raise KeyboardInterrupt
        write(path, *values, **how)

    with monkeypatch.context() as patched:
        patched.setattr(_files, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            Host(root).installer.install(MACS)
    again = Host(root)
    again.installer.install(MACS)
    again.installer.start()
    assert again.commands[0] == "systemctl daemon-reload"


def test_what_a_killed_removal_has_left_is_removed(root: pathlib.Path) -> None:
    made = Host(root).installer
    assert not made.installed()
    made.install(MACS)
    made.start()
    for path in (install.HOOK, install.WANTS):
        (root / path.lstrip("/")).unlink()
    assert made.installed()
    made.remove()
    assert not made.installed()
    assert [one for one in root.rglob("*guard*") if one.is_file()] == []
