# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The libvirt adapter: reads domains into Hosts, carries out the steps of a Plan."""

from __future__ import annotations

import contextlib
import re
import time
import typing as t
from concurrent import futures
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, hostlinks, uris, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    Domain,
    Host,
    Iface,
    Nic,
    StaleError,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Step

_T = t.TypeVar("_T")
_R = t.TypeVar("_R")
# libvirtd works on five requests of a client at once (max_client_requests); fewer domains are not worth the threads.
_AT_ONCE = 4
_WORTH_THREADS = 8
_POLL_SECONDS = (0.005, 0.05)
# What to do about errors of libvirt's, by words of theirs.
_HINTS = (
    (
        "No more available PCI slots",
        "The running machine has no free slot to plug a device into: a q35 machine needs spare <controller type='pci' "
        "model='pcie-root-port'/>, which it gets at its next start; or stop the domain, then run again",
    ),
    (
        "creating macvtap interface .*: Operation not permitted",
        "Only root can make macvtap links: a user's own libvirt (qemu:///session) stores such an interface, but has no "
        "running guest with one. That takes qemu:///system",
    ),
    (
        "boot elements cannot be used together",
        "libvirt gives <boot dev='hd'/> to a domain none of whose devices has a place in the boot order; take the "
        "<boot dev=…/> out of the domain's <os> first (virsh edit), giving its disk a place",
    ),
)


@contextlib.contextmanager
def connect(uri: str, *, timeout: float = 0, read_only: bool = False) -> t.Iterator[Hypervisor]:
    """Connect to libvirt at ``uri``; ``timeout`` is how many seconds a guest has to let go of NICs.

    :raises MacvtapError: there is no daemon, or it refuses.
    """
    libvirt = _deps.load("libvirt")
    # libvirt prints every error to stderr otherwise, beside raising it.
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    try:
        connection = (libvirt.openReadOnly if read_only else libvirt.open)(uri)
    except libvirt.libvirtError as exc:
        said = _words(exc)
        what = [f"cannot connect to {uri!r}: {said}", uris.advice(uri, said)]
        raise MacvtapError(". ".join(filter(None, what)), path="uri") from exc
    try:
        yield Hypervisor(libvirt, connection, uri, timeout, read_only=read_only)
    finally:
        with contextlib.suppress(libvirt.libvirtError):
            connection.close()


class _Task(t.NamedTuple):
    """A step that has both its ends, as all of this planner's have."""

    path: str
    before: Nic
    after: Nic
    replugs: bool

    @property
    def leaves(self) -> bool:
        return bool(self.before.live) and (self.replugs or not self.after.live)

    @property
    def comes(self) -> bool:
        return bool(self.after.live) and (self.replugs or not self.before.live)

    def updates(self) -> dict[str, str | None]:
        """What changes of an interface that stays in the running guest."""
        before, after = self.before.live, self.after.live
        if before is None or after is None or self.replugs:
            return {}
        names = {*before.values, *after.values}
        return {name: after.get(name) for name in names if before.get(name) != after.get(name)}


class _Listed(t.NamedTuple):
    """A domain as libvirt lists it."""

    handle: t.Any
    active: bool
    persistent: bool


class Hypervisor:
    """A connection, and what this run has done over it so far."""

    def __init__(self, libvirt: t.Any, connection: t.Any, uri: str, timeout: float, *, read_only: bool = False) -> None:
        self._libvirt = libvirt
        self._connection = connection
        self._uri = uri
        self._timeout = timeout
        self._read_only = read_only
        self._handles: dict[str, t.Any] = {}
        # What this run found of each domain's stored configuration, and made of it, to notice another editor.
        self._defined: dict[str, tuple[str, str]] = {}
        # What libvirt has made of it in the last apply, read back at once: it shows whether that is what was meant.
        self._read_back: dict[str, str] = {}
        self.unanswered: set[tuple[str, str]] = set()
        self.warnings: list[str] = []
        with self._said("cannot ask libvirt what it is"):
            self._version = int(connection.getLibVersion())
            self._local = uris.is_local(connection.getURI())

    def observe(self, names: t.Iterable[str] | None, sources: t.Collection[str] = ()) -> Host:
        """Read the domains of these ``names`` (None: all); those that do not exist are left out.

        ``sources`` are the links of the host of which all must be known that decides what can use them. What has just
        been stored and read back is not read once more.
        """
        documents, self._read_back = self._read_back, {}
        return self._host(names, sources, documents)

    def _host(self, names: t.Iterable[str] | None, sources: t.Collection[str], documents: t.Mapping[str, str]) -> Host:
        there = self._list()
        wanted = sorted(there) if names is None else list(dict.fromkeys(names))
        found = {name: self._read(there[name], documents.get(name)) for name in wanted if name in there}
        domains = {name: domain for name, domain in found.items() if domain is not None}
        known = () if len(domains) == len(wanted) else tuple(sorted(there))
        host = Host(self._uri, domains, known, self._version)
        return _with_links(host, sources) if self._local else host

    def with_macs(self, host: Host) -> Host:
        """Return ``host`` with the addresses and the links' names that its other domains have."""
        if host.macs is not None:
            return host
        macs: dict[str, list[str]] = {}
        targets: dict[str, list[str]] = {}
        for name, listed in self._list().items():
            domain = self._read(listed) if name not in host.domains else None
            if domain is None:
                continue
            for mac in {iface.mac for iface in (*domain.stored, *domain.live)}:
                macs.setdefault(mac, []).append(name)
            for target in {iface.get("target") for iface in domain.stored} - {None}:
                targets.setdefault(target or "", []).append(name)
        return replace(
            host,
            macs={mac: tuple(names) for mac, names in macs.items()},
            targets={target: tuple(names) for target, names in targets.items()},
        )

    def apply(self, steps: t.Sequence[Step[Nic]]) -> None:
        """Store first, then unplug, then plug: a MAC can move from one running guest to another in one run."""
        tasks = [
            _Task(step.path, step.before, step.after, any(c.impact is Impact.REPLUG for c in step.changes))
            for step in steps
            if step.before and step.after
        ]
        by_domain: dict[str, list[_Task]] = {}
        for task in tasks:
            by_domain.setdefault(task.after.domain, []).append(task)
        stored = _side_by_side(self._store, list(by_domain.values()))
        self._bring_live(tasks)
        self._read_back = {name: made for name, made in zip(by_domain, stored) if made is not None}

    def _bring_live(self, tasks: t.Sequence[_Task]) -> None:
        for task in tasks:
            self._update(task)
        leaving = [task for task in tasks if task.leaves]
        for task in leaving:
            self._unplug(task.path, task.before)
        self._wait_until_gone([task.before for task in leaving])
        for task in tasks:
            if task.comes and (task.after.domain, task.after.mac) not in self.unanswered:
                self._plug(task.path, task.after)
        self._check_links([task for task in tasks if task.comes or "mode" in task.updates()])

    def _list(self) -> dict[str, _Listed]:
        """Return all domains by name: three calls, where asking each domain costs three for each."""
        with self._said("cannot list the domains"):
            handles = self._connection.listAllDomains()
            active, persistent = (
                {handle.name() for handle in self._connection.listAllDomains(flag)}
                for flag in (
                    self._libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE,
                    self._libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT,
                )
            )
        listed = {(name := h.name()): _Listed(h, name in active, name in persistent) for h in handles}
        self._handles = {name: one.handle for name, one in listed.items()}
        return listed

    def _read(self, listed: _Listed, document: str | None = None) -> Domain | None:
        """Return a domain, None if it has gone since it was listed; ``document`` is its stored XML if that is known."""
        handle = listed.handle
        with self._said(f"cannot read domain {handle.name()!r}"):
            try:
                if document is None:
                    document = self._stored_xml(handle) if listed.persistent else ""
                live = handle.XMLDesc(0) if listed.active else ""
            except self._libvirt.libvirtError as exc:
                if exc.get_error_code() != self._libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
        return Domain(
            name=handle.name(),
            uuid=handle.UUIDString(),
            running=listed.active,
            persistent=listed.persistent,
            document=document,
            stored=xml.interfaces(document) if document else (),
            live=xml.interfaces(live) if live else (),
        )

    def _stored_xml(self, handle: t.Any) -> str:
        flags = self._libvirt.VIR_DOMAIN_XML_INACTIVE
        if not self._read_only:
            # Without it libvirt leaves out the passwords of graphics devices, and defining that loses them.
            flags |= self._libvirt.VIR_DOMAIN_XML_SECURE
        return str(handle.XMLDesc(flags))

    def _store(self, tasks: t.Sequence[_Task]) -> str | None:
        """Store what changes of one domain, and return what libvirt has made of that, None if nothing changes."""
        path, after = tasks[0].path, tasks[0].after
        name = after.domain
        changing = [task for task in tasks if task.before.stored != task.after.stored]
        if not changing:
            return None
        if after.document and name not in self._defined:
            # On the way back, of a domain that this run has not stored: what differs there, somebody else has changed.
            return None
        with self._said(f"libvirt refuses the configuration of domain {name!r}", path):
            document = self._stored_xml(self._handles[name])
            if document != tasks[0].before.document:
                _refuse_stale(document, changing)
            edited = xml.edit(document, [(task.before.stored, task.after.stored) for task in changing])
            was, made = self._defined.get(name, ("", ""))
            if after.document and document == made:
                # The way back. Undoing the edits alone would leave the controllers that libvirt added for a NIC.
                edited = was
            handle = self._connection.defineXML(edited)
            made = self._stored_xml(handle)
        self._defined[name] = document, made
        return made

    def _update(self, task: _Task) -> None:
        updates = task.updates()
        mode = updates.pop("mode", None)
        if mode is not None and task.before.live is not None:
            hostlinks.set_mode(task.before.live.get("target") or "", mode, task.path)
        if not updates:
            return
        nic = task.after
        with self._said(f"cannot change {nic.mac} of the running domain {nic.domain!r}", task.path):
            handle = self._connection.lookupByName(nic.domain)
            # As libvirt itself has it, which refuses an update with another mode than it believes in.
            iface = self._live(handle, nic.mac)
            if iface is None:
                raise StaleError(
                    f"{nic.domain} {nic.mac} has gone from the running guest while this ran", path=task.path
                )
            values = {n: v for n, v in {**iface.values, **updates}.items() if v is not None}
            handle.updateDeviceFlags(
                element.render(replace(iface, values=values)), self._libvirt.VIR_DOMAIN_AFFECT_LIVE
            )

    def _unplug(self, path: str, nic: Nic) -> None:
        if nic.live is None:
            return
        with self._said(f"cannot remove {nic.mac} from the running domain {nic.domain!r}", path):
            try:
                # Not detachDeviceFlags: where a guest does not answer, 9.0 blocks for 5 s and then reports success.
                self._connection.lookupByName(nic.domain).detachDeviceAlias(
                    nic.live.get("alias"), self._libvirt.VIR_DOMAIN_AFFECT_LIVE
                )
            except self._libvirt.libvirtError as exc:
                # The guest may have answered an earlier run's request just now, or still be thinking about it:
                # QEMU (acpi_pcihp, pcie_hotplug) then says "already in the process of unplug".
                if "process of unplug" not in _words(exc) and self._is_live(nic):
                    raise

    def _wait_until_gone(self, left: t.Sequence[Nic]) -> None:
        until = time.monotonic() + self._timeout
        pause, longest = _POLL_SECONDS
        while left:
            left = [nic for nic in left if self._is_live(nic)]
            if left and time.monotonic() >= until:
                self.unanswered |= {(nic.domain, nic.mac) for nic in left}
                return
            if left:
                time.sleep(pause)
                pause = min(2 * pause, longest)

    def _is_live(self, nic: Nic) -> bool:
        with self._said(f"cannot read domain {nic.domain!r}"):
            return self._live(self._connection.lookupByName(nic.domain), nic.mac) is not None

    def _live(self, handle: t.Any, mac: str) -> Iface | None:
        if not handle.isActive():
            return None
        return next((iface for iface in xml.interfaces(handle.XMLDesc(0)) if iface.mac == mac), None)

    def _check_links(self, tasks: t.Sequence[_Task]) -> None:
        """Look whether the kernel has what libvirt says to have done."""
        asked = [task for task in tasks if (task.after.domain, task.after.mac) not in self.unanswered]
        if not asked or not self._local:
            return
        host = self._host({task.after.domain for task in asked}, (), {})
        for task in asked:
            name = task.after.domain
            iface = next((i for i in host.domains[name].live if i.mac == task.after.mac), None)
            if iface is not None and iface.type == "direct" and host.links is not None:
                said = hostlinks.fault(iface, name, host.links, host.holders)
                if said:
                    raise MacvtapError(f"{name} {iface.mac}: {said}", path=task.path)

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
                handle.attachDeviceFlags(element.pluggable(iface), live)
            except self._libvirt.libvirtError:
                # The running guest has something else in that slot, or lacks the controller that storing it added.
                handle.attachDeviceFlags(element.pluggable(iface, address=False), live)
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
            hints = (hint for words, hint in _HINTS if re.search(words, said))
            raise MacvtapError(". ".join([f"{what}: {said}", *hints]), path=path) from exc


def _side_by_side(do: t.Callable[[_T], _R], items: t.Sequence[_T]) -> list[_R]:
    """Return what ``do`` makes of each item: libvirt stores several domains at once, each of them written to the disk.

    When one fails, those that have not begun are left.
    """
    if len(items) < _WORTH_THREADS:
        return [do(item) for item in items]
    with futures.ThreadPoolExecutor(_AT_ONCE) as pool:
        running = [pool.submit(do, item) for item in items]
        try:
            return [one.result() for one in running]
        except BaseException:
            for one in running:
                one.cancel()
            raise


def _refuse_stale(document: str, tasks: t.Sequence[_Task]) -> None:
    """Refuse to edit a configuration in which somebody else has just changed the same interface."""
    now = {iface.mac: iface.xml for iface in xml.interfaces(document)}
    for task in tasks:
        was = task.before.stored.xml if task.before.stored else None
        if now.get(task.before.mac) != was:
            raise StaleError(
                f"domain {task.after.domain!r}: the stored configuration of interface {task.before.mac} changed while "
                "this ran, again and again. Find out who else is editing it",
                path=task.path,
            )


def _with_links(host: Host, sources: t.Collection[str]) -> Host:
    live = [iface for domain in host.domains.values() for iface in domain.live if iface.type == "direct"]
    stored = {source for d in host.domains.values() for iface in d.stored if (source := iface.get("source"))}
    targets = {name for iface in live if (name := iface.get("target"))}
    links, held, complete = hostlinks.observe(targets, {*sources, *stored})
    domains = {
        name: replace(domain, live=tuple(hostlinks.with_effective_mode(iface, links) for iface in domain.live))
        if domain.live
        else domain
        for name, domain in host.domains.items()
    }
    return replace(host, domains=domains, links=links, holders=held, all_holders=complete)


def _words(exc: t.Any) -> str:
    return str(exc.get_error_message() or exc).strip()
