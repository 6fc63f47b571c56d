# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which disks a guest writes to, and on what file system a file is."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import disks

DOMAIN = """
<domain><devices>
  <disk type='file' device='disk'><source file='/images/web1.raw'/><target dev='vda'/></disk>
  <disk type='file' device='cdrom'><source file='/images/debian.iso'/><target dev='sda'/><readonly/></disk>
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


def test_only_files_that_are_written_to_count() -> None:
    assert disks.files(DOMAIN) == ("/images/web1.raw",)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/web1.raw", "ext4"),
        ("/images/web1.raw", "nfs4"),
        ("/imagesold/web1.raw", "ext4"),
        ("/my images/a", "ceph"),
    ],
)
def test_the_mount_that_has_a_file_says_its_type(path: str, kind: str) -> None:
    assert disks.type_of(path, MOUNTS) == kind
