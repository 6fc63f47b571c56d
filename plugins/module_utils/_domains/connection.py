# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is read of domains over a connection to libvirt."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import jobs, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import connection

# A running domain's root element.
_ID = re.compile(r"""<domain\b[^>]*?\sid=['"]([0-9]+)['"]""")
# VIR_DOMAIN_JOB_OPERATION_… of libvirt-domain.h.
_JOBS = {
    1: "start",
    2: "save",
    3: "restore",
    4: jobs.INCOMING,
    5: jobs.MIGRATION,
    6: "snapshot",
    7: "snapshot",
    8: "dump",
    9: jobs.BACKUP,
    10: "snapshot",
}
# virDomainState and virDomainPausedReason.
_PAUSED_TO_MIGRATE = (3, 2)


class Connection(connection.Connection):
    """A connection, with what domains need of it."""

    def __init__(self, *of: t.Any, **more: t.Any) -> None:
        super().__init__(*of, **more)
        # The instances of guests that this run has restored, with the instance as which each counts.
        self.continued: dict[str, str] = {}

    def continues(self, domain: t.Any, instance: str) -> None:
        """Let the guest that runs now count as ``instance``, of which it was saved."""
        now = guest.instance(domain, domain.ID(), local=self.local)
        if now and now != instance:
            self.continued[now] = instance

    def guest(self, uuid: str) -> t.Any:
        """Return the libvirt domain of this UUID, None if there is none."""
        try:
            return self.handle.lookupByUUIDString(uuid)
        except self.libvirt.libvirtError as exc:
            if exc.get_error_code() != self.libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return None

    def running(self, uuid: str, instance: str) -> t.Any:
        """Return the libvirt domain of this UUID if its guest still is this instance, else None."""
        domain = self.guest(uuid)
        return domain if domain is not None and instance and self.instance(domain) == instance else None

    def instance(self, domain: t.Any) -> str:
        """Return what identifies this start of a guest, "" where it does not run."""
        return self._instance(domain, domain.ID())

    def _instance(self, domain: t.Any, number: int) -> str:
        try:
            found = guest.instance(domain, number, local=self.local)
            return self.continued.get(found, found)
        except OSError as exc:
            raise MacvtapError(f"cannot find the process of domain {domain.name()!r}: {exc}") from exc

    def paused(self, domain: t.Any) -> bool:
        """Whether a running domain is paused."""
        return bool(domain.state()[0] == self.libvirt.VIR_DOMAIN_PAUSED)

    def state(self, domain: t.Any) -> str:
        """Return the state of a running domain, as in Domain.state."""
        return {
            self.libvirt.VIR_DOMAIN_SHUTDOWN: jobs.SHUTTING_DOWN,
            self.libvirt.VIR_DOMAIN_CRASHED: jobs.CRASHED,
        }.get(domain.state()[0], "")

    def job(self, domain: t.Any) -> str:
        """Return the job of a running domain, as in Domain.job; "" if none is known."""
        # First, so that the job is what is known last.
        state = tuple(domain.state()[:2])
        try:
            job = domain.jobStats()
        except self.libvirt.libvirtError:
            # Not every driver has jobs, and QEMU's has no statistics of a migration where the guest arrives.
            job = {}
        if not job.get("type"):
            return jobs.INCOMING if state == _PAUSED_TO_MIGRATE else ""
        return _JOBS.get(job.get("operation"), "unknown")

    def names_of_saved(self) -> frozenset[str] | None:
        """Return the names of the domains with a managed save, None if this driver cannot list them."""
        try:
            listed = self.handle.listAllDomains(self.libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
        except self.libvirt.libvirtError:
            if self.lost:
                raise
            return None
        return frozenset(domain.name() for domain in listed)

    def saved(self, domain: t.Any) -> tuple[Iface, ...] | None:
        """Return the interfaces of a domain's managed save, () if it is unreadable, None without a save."""
        try:
            if not domain.hasManagedSaveImage():
                return None
        except self.libvirt.libvirtError as exc:
            if exc.get_error_code() != self.libvirt.VIR_ERR_NO_SUPPORT:
                raise
            return None
        try:
            return xml.interfaces(domain.managedSaveGetXMLDesc())
        except self.libvirt.libvirtError:
            if self.lost:
                raise
            # It may have been restored or discarded just now.
            return () if domain.hasManagedSaveImage() else None

    def may_be_the_slot(self, exc: t.Any) -> bool:
        """Whether an error in attaching a NIC may be about its PCI slot, so that another slot may work."""
        others = ("OPERATION_TIMEOUT", "OPERATION_INVALID", "OPERATION_DENIED", "NO_DOMAIN", "RPC", "SYSTEM_ERROR")
        return exc.get_error_code() not in {getattr(self.libvirt, f"VIR_ERR_{name}", None) for name in others}

    def stored_xml(self, domain: t.Any) -> str:
        """Return the stored XML of a libvirt domain, as it can be defined again."""
        flags = self.libvirt.VIR_DOMAIN_XML_INACTIVE
        if not self._read_only:
            # Without this flag libvirt omits the passwords of graphics devices, and defining the XML loses them.
            flags |= self.libvirt.VIR_DOMAIN_XML_SECURE
        return str(domain.XMLDesc(flags))

    def live(self, domain: t.Any, mac: str) -> Iface | None:
        """Return the interface of a running libvirt domain with that MAC address, None if there is none."""
        return next((iface for iface in self.interfaces(domain) if iface.mac == mac), None)

    def interfaces(self, domain: t.Any) -> tuple[Iface, ...]:
        """Return the interfaces of a running libvirt domain, () if it does not run."""
        return xml.interfaces(document) if (document := self.live_xml(domain)[0]) else ()

    def live_xml(self, domain: t.Any) -> tuple[str, str]:
        """Return the XML of a running guest and its instance, "" for both where it does not run.

        Both are of the same moment: for a domain that has just stopped, libvirt returns the stored XML, without an
        ``id``.
        """
        document = str(domain.XMLDesc(0))
        number = _ID.match(document)
        return (document, self._instance(domain, int(number[1]))) if number else ("", "")
