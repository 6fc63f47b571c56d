# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How an XML file is replaced: links, mounts, owner and mode, a backup, and others who edit it meanwhile."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _plan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, planner, rollback, xmlfile
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

from .xmlfiles import DOMAIN, MAC, TO_DIRECT, converge, never, put


def test_a_signal_right_after_the_file_was_written_is_no_other_editor(path: pathlib.Path) -> None:
    signals = [Interrupted("SIGTERM")]

    def interrupted(name: str, content: bytes) -> None:
        put(name, content)
        if signals:
            raise signals.pop()

    with pytest.raises(Interrupted, match=r"^stopped by SIGTERM\. The host is as it was before$"):
        converge(xmlfile.open_file(str(path), write=interrupted), TO_DIRECT)
    assert path.read_text() == DOMAIN


def test_a_link_stays_one(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    link = tmp_path / "link.xml"
    link.symlink_to("web1.xml")
    converge(xmlfile.open_file(str(link), write=put), TO_DIRECT)
    assert link.is_symlink()
    assert "direct" in path.read_text()


def test_another_editor_is_noticed_and_wins(path: pathlib.Path) -> None:
    file = xmlfile.open_file(str(path), write=never)
    host = file.observe({"web1"})
    steps = planner.plan(declare.declare([("", {"domain": "web1", **TO_DIRECT})]), host).steps
    path.write_text(DOMAIN.replace("mine", "yours"))
    with pytest.raises(StaleError, match="changed by another process while this ran: nothing was written"):
        file.apply(steps)


def test_what_fails_after_writing_is_put_back_to_the_byte(path: pathlib.Path) -> None:
    def spoil(name: str, content: bytes) -> None:
        put(name, content.replace(b"eth0", b"eth1"))
        os.utime(name)

    file = xmlfile.open_file(str(path), write=spoil)
    with pytest.raises(MacvtapError, match=r"the host still differs.*is left as it is now"):
        converge(file, TO_DIRECT)

    # Undoing the edit alone would put the interface behind the comment.
    document = DOMAIN.replace("bridge", "direct").replace("  </devices>", "    <!-- last -->\n  </devices>")
    path.write_text(document)
    file = xmlfile.open_file(str(path), write=put)
    host = file.observe({"web1"})
    steps = planner.plan(declare.declare([("", {"domain": "web1", "mac": MAC, "state": "absent"})]), host).steps
    journal: _plan.Journal[Nic] = _plan.Journal()
    file.apply(steps, journal)
    assert MAC not in path.read_text()
    file.revert(rollback.undo(journal, file.observe({"web1"})).steps)
    assert path.read_text() == document


def test_a_failed_write_is_reported_and_leaves_the_file(path: pathlib.Path) -> None:
    def fail(_name: str, _content: bytes) -> None:
        raise RuntimeError("no space")

    with pytest.raises(MacvtapError, match=r"cannot write .*web1\.xml: no space\. The host is as it was before"):
        converge(xmlfile.open_file(str(path), write=fail), TO_DIRECT)
    assert path.read_text() == DOMAIN


def test_a_backup_is_made_once_and_only_for_a_change(path: pathlib.Path) -> None:
    made: list[str] = []

    def backup(name: str) -> str:
        made.append(pathlib.Path(name).read_text())
        return f"{name}.old"

    file = xmlfile.open_file(str(path), write=put, backup=backup)
    converge(file, TO_DIRECT)
    converge(file, TO_DIRECT)
    converge(file, {**TO_DIRECT, "mode": "private"})
    assert (made, file.backup_file) == ([DOMAIN], f"{path}.old")
    file = xmlfile.open_file(str(path), write=put, backup=backup)
    converge(file, {**TO_DIRECT, "mode": "private"})
    assert file.backup_file is None


def test_a_read_only_file_is_not_replaced(path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Which root never sees: it may write everything.
    monkeypatch.setattr(os, "access", lambda place, _mode: place != str(path))
    with pytest.raises(MacvtapError, match=r"web1\.xml is read-only for this user"):
        converge(xmlfile.open_file(str(path), write=never), TO_DIRECT)


def test_a_file_that_is_a_mount_is_written_into_only_if_that_is_allowed(
    path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xmlfile, "_mounts", lambda: {"/", str(path)})
    for check_mode in (True, False):
        file = xmlfile.open_file(str(path), write=never)
        steps = converge(xmlfile.open_file(str(path), write=put, in_place=True), TO_DIRECT, check_mode=True).plan.steps
        with pytest.raises(MacvtapError, match=r"it is a mount point.* Set unsafe_writes: true"):
            file.require(steps) if check_mode else converge(file, TO_DIRECT)
    assert path.read_text() == DOMAIN
    converge(xmlfile.open_file(str(path), write=put, in_place=True), TO_DIRECT)
    # What is right already need not be written.
    xmlfile.open_file(str(path), write=never).require(())


def test_mounts_are_found_by_their_names() -> None:
    assert {"/", "/proc"} <= xmlfile._mounts()


class Module:
    """As much of AnsibleModule as replaces files."""

    def __init__(self, tmpdir: pathlib.Path) -> None:
        self.tmpdir = str(tmpdir)
        self.params: dict[str, t.Any] = {}
        self.unsafe: bool | None = None

    def atomic_move(self, source: str, target: str, *, unsafe_writes: bool) -> None:
        assert pathlib.Path(target).stat().st_uid == pathlib.Path(source).stat().st_uid
        self.unsafe = unsafe_writes
        os.replace(source, target)


def test_a_module_replaces_the_file(path: pathlib.Path, tmp_path: pathlib.Path) -> None:
    module = Module(tmp_path)
    before = path.stat().st_ino
    xmlfile.writer(module)(str(path), b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_ino != before
    assert module.unsafe is False
    assert [one.name for one in tmp_path.iterdir()] == ["web1.xml"]


@pytest.mark.parametrize("shared", [False, True])
def test_ansible_keeps_owner_mode_and_link(path: pathlib.Path, shared: bool) -> None:
    link = path.with_name("link.xml")
    link.symlink_to(path.name)
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 12, 34)
    before = path.stat()
    # On another file system than the file, as a remote_tmp often is.
    arguments = {"_ansible_remote_tmp": "/dev/shm" if shared else str(path.parent), "_ansible_keep_remote_files": False}
    with patch_module_args(arguments):
        module = AnsibleModule({})
        file = xmlfile.open_file(str(link), write=xmlfile.writer(module), backup=module.backup_local)
        converge(file, TO_DIRECT)
        module.cleanup(module.tmpdir)
    after = path.stat()
    assert link.is_symlink()
    assert "eth0" in path.read_text()
    assert pathlib.Path(file.backup_file or "").read_text() == DOMAIN
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino


def test_a_file_does_not_change_hands(
    path: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: t.Any) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    with pytest.raises(MacvtapError, match="Set become: true"):
        xmlfile.writer(Module(tmp_path))(str(path), b"new")
    assert path.read_text() == DOMAIN
