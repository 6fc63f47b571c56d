# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that finds out whether running guests can be paused, and what that would take."""

from __future__ import annotations

import contextlib
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import save_blockers, save_directory
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, PauseFacts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris

_STATUS = re.compile(r"^(?:VmRSS|VmSwap|HugetlbPages):\s+([0-9]{1,18}) kB", re.MULTILINE)


def read(connection: Connection, domains: t.Sequence[Domain]) -> dict[str, PauseFacts]:
    """Return the facts of these running domains, by name.

    :raises MacvtapError: libvirt cannot be asked.
    """
    found = {domain.name: _read(connection, domain) for domain in domains}
    if not connection.local or uris.is_session(connection.url):
        unknown = f"{connection.uri} may lead to another host, or to a user's own libvirt"
        return {name: facts._replace(unknown=unknown).made() for name, facts in found.items()}
    largest = max((facts.memory or 0 for facts in found.values()), default=0)
    try:
        measured = save_directory.measure(largest)
    except MacvtapError as exc:
        return {name: facts._replace(unknown=facts.unknown or str(exc)).made() for name, facts in found.items()}
    return {name: facts.made(measured) for name, facts in found.items()}


class _Guest(t.NamedTuple):
    blockers: tuple[str, ...] = ()
    memory: int | None = None
    total: int | None = None
    unknown: str = ""

    def made(self, measured: save_directory.Measured | None = None) -> PauseFacts:
        known = measured._asdict() if measured is not None else {}
        return PauseFacts(self.blockers, self.memory, self.total, unknown=self.unknown, **known)


def _read(connection: Connection, domain: Domain) -> _Guest:
    with connection.translate_errors(f"cannot read domain {domain.name!r}"):
        handle = connection.running(domain.uuid, domain.instance)
        if handle is None:
            return _Guest(unknown="the guest has stopped")
        document = str(handle.XMLDesc(0))
        blockers = [*save_blockers.of(document), *_jobs(connection, handle, document)]
        if domain.pending:
            blockers.append("it was asked to release a NIC that it still holds")
        if handle.hasManagedSaveImage():
            blockers.append("it has a managed save already (virsh managedsave-remove discards it)")
        statistics = handle.memoryStats()
        # What the balloon leaves to the guest, or else all.
        total = statistics.get("actual") or handle.info()[2]
    used = _resident(connection, domain) or statistics.get("rss") or total
    if save_blockers.has_huge_pages(document):
        used = total
    return _Guest(tuple(blockers), min(used, total) << 10, total << 10)


def _jobs(connection: Connection, handle: t.Any, document: str) -> list[str]:
    job = connection.job(handle)
    found = [f"it has a job in progress ({job})"] if job else []
    for disk in save_blockers.disks(document):
        # Not every disk can have one.
        with contextlib.suppress(connection.libvirt.libvirtError):
            if handle.blockJobInfo(disk, 0):
                found.append(f"its disk {disk} has a block job in progress")
    return found


def _resident(connection: Connection, domain: Domain) -> int | None:
    """Return QEMU's memory in KiB, also what is swapped out, None if unknown."""
    words = domain.instance.split()
    if not connection.local or len(words) < 2:
        return None
    try:
        with open(f"/proc/{words[1]}/status", encoding="utf-8", errors="replace") as file:
            return sum(map(int, _STATUS.findall(file.read())))
    except OSError:
        return None
