# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which disks a guest writes to, and on what file system a file is."""

from __future__ import annotations

import os
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mountinfo
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import disks

if t.TYPE_CHECKING:
    import pathlib

DOMAIN = """
<domain><devices>
  <disk type='file' device='disk'><source file='/images/web1.raw'/><target dev='vda'/></disk>
  <disk type='file' device='cdrom'><source file='/images/debian.iso'/><target dev='sda'/><readonly/></disk>
  <disk type='file' device='disk'><source file='/images/quorum.raw'/><target dev='vdd'/><shareable/></disk>
  <disk type='file' device='cdrom'><target dev='sdb'/></disk>
  <disk type='block' device='disk'><source dev='/dev/vg/web1'/><target dev='vdb'/></disk>
  <disk type='network' device='disk'><source protocol='rbd' name='pool/web1'/><target dev='vdc'/></disk>
</devices></domain>"""
MOUNTS = r"""
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:40 / /images rw,relatime shared:1 - xfs /dev/sdb1 rw
31 30 0:41 / /images rw,relatime - nfs4 filer:/images rw
32 22 0:42 / /my\040images rw - ceph mon:/ rw
"""
# The kernel escapes no other white space, and no other end of a line than \n.
ODD = "33 22 0:43 / /no\u00a0break rw - nfs rw rw\n34 22 0:44 / /next\u2028line rw - cifs rw rw\n"


def test_nothing_is_looked_up_on_a_file_system_of_another_host(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").symlink_to(tmp_path / "mnt/pool")
    (tmp_path / "web1.raw").touch()
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    mounts = f"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n31 22 0:41 / {tmp_path}/mnt rw - nfs4 filer:/images rw\n"
    asked: list[str] = []
    readlink = os.readlink

    def followed(path: str) -> str:
        asked.append(path)
        return readlink(path)

    monkeypatch.setattr(os, "readlink", followed)
    kinds = {
        name: disks.kind_of(f"{tmp_path}/{name}", _mountinfo.parse(mounts))
        for name in ("images/a", "mnt/a", "web1.raw", "circle")
    }
    assert kinds == {"images/a": "nfs4", "mnt/a": "nfs4", "web1.raw": "ext4", "circle": ""}
    assert not [path for path in asked if path.startswith(f"{tmp_path}/mnt")]


def test_only_files_that_are_written_to_count() -> None:
    assert disks.files(DOMAIN) == ("/images/web1.raw",)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/web1.raw", "ext4"),
        ("/images/web1.raw", "nfs4"),
        ("/imagesold/web1.raw", "ext4"),
        ("/my images/a", "ceph"),
        ("/no\u00a0break/a", "nfs"),
        ("/next\u2028line/a", "cifs"),
    ],
)
def test_the_mount_that_has_a_file_says_its_type(path: str, kind: str) -> None:
    assert disks.type_of(path, _mountinfo.parse(MOUNTS + ODD)) == kind
