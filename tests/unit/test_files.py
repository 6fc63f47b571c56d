# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reading and replacing files of the host's configuration."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible.module_utils import compat

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError


def test_a_new_file_and_its_directories(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "etc/modules-load.d/macvtap.conf"
    assert _files.read(str(file)) is None
    _files.write(str(file), "macvtap\n", mode=0o640)
    assert _files.read(str(file)) == "macvtap\n"
    assert file.stat().st_mode & 0o7777 == 0o640
    assert os.listdir(file.parent) == [file.name]
    _files.write(str(file), None)
    assert not file.exists()
    _files.write(str(file), None)


def test_a_file_that_is_there_keeps_mode_and_owner(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "mt0.nmconnection"
    file.write_text("old")
    file.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(file, 1234, 4321)
    before = file.stat()
    _files.write(str(file), "new", mode=0o644)
    after = file.stat()
    assert file.read_text() == "new"
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


@pytest.mark.parametrize("content", [b"caf\xe9\r\n\xff\x00", "größe\n".encode(), b""])
def test_every_byte_survives(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    text = _files.read(str(tmp_path / "a"))
    _files.write(str(tmp_path / "b"), text)
    assert (tmp_path / "b").read_bytes() == content


def test_a_link_is_replaced_and_not_what_it_points_to(tmp_path: pathlib.Path) -> None:
    vendor = tmp_path / "vendor"
    vendor.write_text("the vendor's")
    link = tmp_path / "link"
    link.symlink_to(vendor)
    _files.write(str(link), "ours")
    assert (link.is_symlink(), link.read_text(), vendor.read_text()) == (False, "ours", "the vendor's")
    # A configuration file is masked by such a link.
    link.unlink()
    link.symlink_to("/dev/null")
    assert _files.read(str(link)) == ""


@pytest.mark.parametrize("text", ["macvtap\n", None])
def test_a_failed_write_names_its_option(tmp_path: pathlib.Path, text: str | None) -> None:
    directory = tmp_path / "there"
    directory.mkdir()
    with pytest.raises(MacvtapError, match=rf"^persistent: {directory} cannot be written: Is a directory$"):
        _files.write(str(directory), text, option="persistent")
    assert os.listdir(tmp_path) == ["there"]
    with pytest.raises(MacvtapError, match=rf"^{directory} cannot be read: Is a directory$"):
        _files.read(str(directory))


class Selinux:
    """A policy that has a context for each path below these."""

    def __init__(self, *known: str, enabled: int = 1) -> None:
        self._known = known
        self._enabled = enabled

    def is_selinux_enabled(self) -> int:
        return self._enabled

    def matchpathcon(self, path: str, mode: int) -> tuple[int, str | None]:
        return (0, f"system_u:object_r:{mode:o}_t:s0") if path.startswith(self._known) else (-1, None)


@pytest.fixture
def labelled(tmp_path: pathlib.Path) -> pathlib.Path:
    try:
        os.setxattr(tmp_path, "security.selinux", b"system_u:object_r:dir_t:s0\0")
    except OSError as exc:
        pytest.skip(f"a context cannot be set here: {exc}")
    return tmp_path / "90-macvtap.conf"


def test_a_new_file_has_the_context_of_the_policy(labelled: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "selinux", Selinux(str(labelled)), raising=False)
    _files.write(str(labelled), "one")
    assert os.getxattr(labelled, "security.selinux") == b"system_u:object_r:100644_t:s0\0"
    assert labelled.stat().st_mode & 0o7777 == 0o644


def test_a_file_that_is_there_keeps_its_context(labelled: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labelled.write_text("old")
    os.setxattr(labelled, "security.selinux", b"system_u:object_r:theirs_t:s0\0")
    monkeypatch.setattr(compat, "selinux", Selinux(str(labelled)), raising=False)
    _files.write(str(labelled), "new")
    assert os.getxattr(labelled, "security.selinux") == b"system_u:object_r:theirs_t:s0\0"


@pytest.mark.parametrize("selinux", [Selinux("/elsewhere"), Selinux("/", enabled=0), Selinux("/", enabled=-1)])
def test_a_policy_that_says_nothing_changes_nothing(
    selinux: Selinux, labelled: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "selinux", selinux, raising=False)
    _files.write(str(labelled), "one")
    assert labelled.read_text() == "one"
    assert "security.selinux" not in os.listxattr(labelled)
