# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a guest needs of a host, and what libvirt says of a host's fitness for it."""

from __future__ import annotations

import contextlib
import typing as t
from xml.etree import ElementTree

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import save_blockers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import message_of

# virCPUCompareResult.
_INCOMPATIBLE = 0


class Facts(t.NamedTuple):
    """What a guest needs. ``cpu`` is the text of its element, "" for none; memory is in bytes, None if unknown."""

    emulator: str | None
    arch: str | None
    machine: str | None
    virttype: str | None
    cpu: str
    memory: int | None
    used: int | None
    blockers: tuple[str, ...]


def host_uuid(connection: Connection) -> str:
    """Return the UUID by which libvirt tells a host from others."""
    root = ElementTree.fromstring(connection.handle.getCapabilities())  # noqa: S314  # libvirt's own
    return root.findtext("host/uuid") or ""


def of_guest(connection: Connection, handle: t.Any, domain: Domain) -> Facts:
    """Return what a guest needs, that runs or is only stored."""
    libvirt = connection.libvirt
    flags = libvirt.VIR_DOMAIN_XML_MIGRATABLE if domain.running else libvirt.VIR_DOMAIN_XML_INACTIVE
    document = str(handle.XMLDesc(flags))
    root = ElementTree.fromstring(document)  # noqa: S314  # libvirt's own
    kind, cpu = root.find("os/type"), root.find("cpu")
    used = None
    if domain.running:
        with contextlib.suppress(libvirt.libvirtError):
            used = handle.memoryStats().get("rss")
    return Facts(
        root.findtext("devices/emulator"),
        kind.get("arch") if kind is not None else None,
        kind.get("machine") if kind is not None else None,
        root.get("type"),
        ElementTree.tostring(cpu, encoding="unicode") if cpu is not None else "",
        handle.maxMemory() << 10,
        used << 10 if used else None,
        save_blockers.of(str(handle.XMLDesc(0))) if domain.running else (),
    )


def unfit(connection: Connection, facts: Facts) -> tuple[str, ...]:
    """Return why a host cannot run a guest with these needs, () if nothing is against it."""
    libvirt, handle = connection.libvirt, connection.handle
    machine = (facts.emulator, facts.arch, facts.machine, facts.virttype)
    try:
        handle.getDomainCapabilities(*machine, 0)
    except libvirt.libvirtError as exc:
        if connection.lost:
            raise
        return (f"its libvirt says: {message_of(exc)}",)
    if not facts.cpu:
        return ()
    try:
        if handle.compareHypervisorCPU(*machine, facts.cpu, 0) == _INCOMPATIBLE:
            return ("its processor lacks features that the guest has (virsh hypervisor-cpu-compare names them)",)
    except libvirt.libvirtError:
        # Not every kind of virtual machine has a processor to compare with. libvirt compares before it moves anything.
        if connection.lost:
            raise
    return ()
