# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What of a running guest's XML keeps it from being saved, by libvirt's or by QEMU's rules. Pure.

libvirt or QEMU refuse them, some by version. Of these, shmem alone was tried (libvirt 9.0, QEMU 7.2); the others are
left alone to be safe. What is not listed here may still be refused: libvirt then resumes the guest, and the run fails.
"""

from __future__ import annotations

import typing as t
from xml.etree import ElementTree

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# Elements below <devices> by their path, with the reason.
_DEVICES = (
    ("hostdev", "it has a device of the host (hostdev)"),
    ("interface[@type='hostdev']", "it has an interface of type hostdev"),
    ("interface[@type='vdpa']", "it has an interface of type vdpa"),
    ("filesystem", "it has a shared file system (filesystem)"),
    ("shmem", "it has memory shared with others (shmem)"),
    ("tpm/backend[@type='passthrough']", "it has the TPM of the host"),
    ("video/model/acceleration[@accel3d='yes']", "it has 3D acceleration"),
    ("disk/mirror", "it has a block job in progress"),
    ("disk/source[@type='pci']", "it has an NVMe device of the host"),
)
_DOMAIN = (("launchSecurity", "its memory is encrypted (launchSecurity)"),)


def of(document: str) -> tuple[str, ...]:
    """Return why a guest with this live XML of libvirt's cannot be saved, () if nothing is known of."""
    root = _parse(document)
    found = [reason for path, reason in _DOMAIN if root.find(path) is not None]
    found += [reason for path, reason in _DEVICES if root.find(f"devices/{path}") is not None]
    return tuple(found)


def disks(document: str) -> list[str]:
    """Return the targets of a domain's disks."""
    root = _parse(document)
    return [dev for one in root.iterfind("devices/disk/target") if (dev := one.get("dev"))]


def has_huge_pages(document: str) -> bool:
    """Whether the memory is in huge pages, which do not count as resident memory of QEMU's."""
    root = _parse(document)
    return root.find("memoryBacking/hugepages") is not None


def has_agent(document: str) -> bool:
    """Whether the guest agent of a running domain is connected."""
    channels: t.Iterator[ElementTree.Element] = _parse(document).iterfind("devices/channel/target")
    return any(one.get("name") == "org.qemu.guest_agent.0" and one.get("state") == "connected" for one in channels)


def _parse(document: str) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(document)  # noqa: S314  # libvirt's own
    except (ElementTree.ParseError, ValueError) as exc:
        raise MacvtapError(f"the XML of the domain is not well formed: {exc}") from exc
