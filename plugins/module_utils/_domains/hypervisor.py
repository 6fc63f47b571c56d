# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads domains into Hosts, carries out the steps of a Plan."""

from __future__ import annotations

import contextlib
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

_POLL_SECONDS = 0.05


@contextlib.contextmanager
def connect(uri: str, *, timeout: float) -> t.Iterator[Hypervisor]:
    """Connect to libvirt at ``uri``; ``timeout`` is how many seconds a guest has to let go of NICs.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    libvirt = _deps.load("libvirt")
    # libvirt prints every error to stderr otherwise, beside raising it.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = libvirt.open(uri)
    except libvirt.libvirtError as exc:
        raise MacvtapError(
            f"cannot connect to {uri!r}: {_words(exc)}. Is the daemon running? Start libvirtd.socket or, where "
            "libvirt has a daemon for each driver, that of this URI's driver (virtqemud.socket for qemu)",
            path="uri",
        ) from exc
    try:
        yield Hypervisor(libvirt, connection, uri, timeout)
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()


class _Task(t.NamedTuple):
    """A step that has both its ends, as all of this planner's have."""

    path: str
    before: Nic
    after: Nic


class Hypervisor:
    """A connection, and what this run has done over it so far."""

    def __init__(self, libvirt: t.Any, connection: t.Any, uri: str, timeout: float) -> None:
        self._libvirt = libvirt
        self._connection = connection
        self._uri = uri
        self._timeout = timeout
        # What this run made of each domain's stored configuration, to notice another editor.
        self._defined: dict[str, str] = {}
        self.unanswered: set[tuple[str, str]] = set()
        self.warnings: list[str] = []

    def observe(self, names: t.Iterable[str]) -> Host:
        """Read the domains of these ``names``; those that do not exist are left out."""
        domains: dict[str, Domain] = {}
        missing = False
        for name in dict.fromkeys(names):
            with self._said(f"cannot read domain {name!r}"):
                try:
                    domains[name] = self._read(self._connection.lookupByName(name))
                except self._libvirt.libvirtError as exc:
                    if exc.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:
                        raise
                    missing = True
        known: tuple[str, ...] = ()
        if missing:
            with self._said("cannot list the domains"):
                known = tuple(sorted(domain.name() for domain in self._connection.listAllDomains()))
        return Host(self._uri, domains, known)

    def apply(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Store first, then unplug, then plug: a MAC can move from one running guest to another in one run."""
        tasks = [_Task(step.path, step.before, step.after) for step in steps if step.before and step.after]
        for name in dict.fromkeys(task.after.domain for task in tasks):
            self._store([task for task in tasks if task.after.domain == name])
        leaving = [task for task in tasks if task.before.live and not task.after.live]
        for task in leaving:
            self._unplug(task.path, task.before)
        self._wait_until_gone([task.before for task in leaving])
        for task in tasks:
            if task.after.live and not task.before.live:
                self._plug(task.path, task.after)

    def _read(self, handle: t.Any) -> Domain:
        persistent = bool(handle.isPersistent())
        document = self._stored_xml(handle) if persistent else ""
        running = bool(handle.isActive())
        return Domain(
            name=handle.name(),
            running=running,
            persistent=persistent,
            document=document,
            stored=xml.interfaces(document) if document else (),
            live=xml.interfaces(handle.XMLDesc(0)) if running else (),
        )

    def _stored_xml(self, handle: t.Any) -> str:
        # Without SECURE libvirt leaves out the passwords of graphics devices, and defining that loses them.
        flags = self._libvirt.VIR_DOMAIN_XML_INACTIVE | self._libvirt.VIR_DOMAIN_XML_SECURE
        return str(handle.XMLDesc(flags))

    def _store(self, tasks: t.Sequence[_Task]) -> None:
        path, after = tasks[0].path, tasks[0].after
        name = after.domain
        edits = [(task.before.stored, task.after.stored) for task in tasks if task.before.stored != task.after.stored]
        if not edits:
            return
        with self._said(f"libvirt refuses the configuration of domain {name!r}", path):
            document = self._stored_xml(self._connection.lookupByName(name))
            try:
                edited = xml.edit(document, edits)
            except MacvtapError as exc:
                raise MacvtapError(f"domain {name!r}: {exc.message}", path=path) from exc
            if after.document and document == self._defined.get(name):
                # The way back. Undoing the edits alone would leave the controllers that libvirt added for a NIC.
                edited = after.document
            handle = self._connection.defineXML(edited)
            self._defined[name] = self._stored_xml(handle)

    def _unplug(self, path: str, nic: Nic) -> None:
        if nic.live is None:
            return
        with self._said(f"cannot remove {nic.mac} from the running domain {nic.domain!r}", path):
            try:
                # Not detachDeviceFlags: where a guest does not answer, 9.0 blocks for 5 s and then reports success.
                self._connection.lookupByName(nic.domain).detachDeviceAlias(
                    nic.live.alias, self._libvirt.VIR_DOMAIN_AFFECT_LIVE
                )
            except self._libvirt.libvirtError as exc:
                # The guest may have answered an earlier run's request just now, or still be thinking about it:
                # QEMU (acpi_pcihp, pcie_hotplug) then says "already in the process of unplug".
                if "process of unplug" not in _words(exc) and self._is_live(nic):
                    raise

    def _wait_until_gone(self, left: t.Sequence[Nic]) -> None:
        until = time.monotonic() + self._timeout
        while left:
            left = [nic for nic in left if self._is_live(nic)]
            if left and time.monotonic() >= until:
                self.unanswered |= {(nic.domain, nic.mac) for nic in left}
                return
            if left:
                time.sleep(_POLL_SECONDS)

    def _is_live(self, nic: Nic) -> bool:
        with self._said(f"cannot read domain {nic.domain!r}"):
            handle = self._connection.lookupByName(nic.domain)
            return bool(handle.isActive()) and any(i.mac == nic.mac for i in xml.interfaces(handle.XMLDesc(0)))

    def _plug(self, path: str, nic: Nic) -> None:
        with self._said(f"cannot add {nic.mac} to the running domain {nic.domain!r}", path):
            handle = self._connection.lookupByName(nic.domain)
            iface = nic.live
            if iface == nic.stored:
                # With the address that libvirt gave it when it was stored, so that a restart does not move it.
                iface = next((i for i in xml.interfaces(self._stored_xml(handle)) if i.mac == nic.mac), iface)
            if iface is None:
                return
            live = self._libvirt.VIR_DOMAIN_AFFECT_LIVE
            try:
                handle.attachDeviceFlags(xml.pluggable(iface), live)
            except self._libvirt.libvirtError:
                # The running guest has something else in that slot, or lacks the controller that storing it added.
                handle.attachDeviceFlags(xml.pluggable(iface, address=False), live)
                self.warnings.append(
                    f"{nic.domain} {nic.mac}: the slot that is stored for it is not free in the running guest, so it "
                    "is in another one until the domain is stopped and started; the guest may then name it otherwise"
                )

    @contextlib.contextmanager
    def _said(self, what: str, path: str = "") -> t.Iterator[None]:
        """Turn libvirt's errors into ours."""
        try:
            yield
        except self._libvirt.libvirtError as exc:
            said = _words(exc)
            if "No more available PCI slots" in said:
                said += (
                    ". The running machine has no free slot to plug a device into: a q35 machine needs spare "
                    "<controller type='pci' model='pcie-root-port'/>, which it gets at its next start; or stop the "
                    "domain, then run again"
                )
            raise MacvtapError(f"{what}: {said}", path=path) from exc


def _words(exc: t.Any) -> str:
    return str(exc.get_error_message() or exc)
