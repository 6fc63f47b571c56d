# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The mounts of a process, as proc_pid_mountinfo(5) has them."""

from __future__ import annotations

import pathlib

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mountinfo


def test_mounts_with_any_number_of_optional_fields_and_lines_that_are_none(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_text(
        "24 1 0:22 / /proc rw,nosuid - proc proc rw,hidepid=2\n"
        "25 1 0:23 /a\\040dir /mnt/a\\040b\\134c rw,nodev shared:1 master:2 - fuse.sshfs host: rw,user_id=0\n"
        "26 1 0:24\n"
        " - \n"
        "27 1 0:25 / /cut rw - tmpfs\n"
    )
    proc, fuse = _mountinfo.read(str(file))
    assert (proc.place, proc.root, proc.kind, proc.of_filesystem) == ("/proc", "/", "proc", "rw,hidepid=2")
    assert (fuse.number, fuse.root, fuse.place, fuse.kind) == ("25", "/a dir", "/mnt/a b\\c", "fuse.sshfs")
    assert fuse.options == {"rw", "nodev"}


def test_a_mount_point_with_another_end_of_a_line_in_its_name(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "mountinfo"
    file.write_bytes(b"25 1 0:23 / /mnt/a\rb rw - tmpfs tmpfs rw\n26 1 0:24 / /mnt/c rw - tmpfs tmpfs rw\n")
    assert [one.place for one in _mountinfo.read(str(file))] == ["/mnt/a\rb", "/mnt/c"]
