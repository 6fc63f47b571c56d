# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Lists the domains of a connection, and reads what is stored and what runs of each."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.definitions import Definitions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Port

_Ifaces = t.Tuple[Iface, ...]


class Listed(t.NamedTuple):
    """A domain as libvirt lists it. ``may_be_saved`` is false if it has no managed save."""

    handle: t.Any
    active: bool
    persistent: bool
    paused: bool
    may_be_saved: bool = True


class DomainReader:
    """Reads the domains of a connection; ``definitions`` has what this run has stored of them."""

    def __init__(self, connection: Connection, definitions: Definitions) -> None:
        self._connection = connection
        self._definitions = definitions

    def list_all(self) -> dict[str, Listed]:
        """Return all domains by name. Five calls in all, where asking each domain takes four each."""
        with self._connection.translate_errors("cannot list the domains"):
            handles = self._connection.handle.listAllDomains()
            active, persistent, executing = (
                {handle.name() for handle in self._connection.handle.listAllDomains(flag)}
                for flag in (
                    self._connection.libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE,
                    self._connection.libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT,
                    self._connection.libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING,
                )
            )
            saved = self._connection.names_of_saved()
        # A domain that is neither disappeared between the calls. It is not a transient domain.
        return {
            name: Listed(
                h,
                name in active,
                name in persistent,
                name in active - executing,
                # A guest that ran a moment ago may have been saved since then.
                saved is None or name in saved or name in active,
            )
            for h in handles
            if (name := h.name()) in active | persistent
        }

    def read(self, listed: Listed, pending: t.Mapping[str, t.Any]) -> Domain | None:
        """Return a domain, None if it disappeared since; ``pending`` are the outstanding requests, by UUID."""
        handle = listed.handle
        connection = self._connection
        with connection.translate_errors(f"cannot read domain {handle.name()!r}"):
            try:
                document = connection.stored_xml(handle) if listed.persistent else ""
                live, instance = connection.live_xml(handle) if listed.active else ("", "")
                saved = self._saved(listed) if listed.persistent and not live else None
                paused = listed.paused
                if not live and saved is None and listed.may_be_saved:
                    # It may have been restored, or started, between the two looks.
                    live, instance = connection.live_xml(handle)
                    paused = bool(live) and connection.paused(handle)
                state, job = (connection.state(handle), connection.job(handle)) if live else ("", "")
            except connection.libvirt.libvirtError as exc:
                if exc.get_error_code() != connection.libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return None
        uuid = handle.UUIDString()
        live_ifaces = xml.interfaces(live) if live else ()
        defined = self._definitions.defined_xml(handle.name())
        stored = xml.interfaces(document) if document else ()
        return Domain(
            name=handle.name(),
            uuid=uuid,
            running=bool(live),
            persistent=listed.persistent,
            paused=paused,
            document=document,
            stored=stored,
            live=live_ifaces,
            instance=instance,
            state=state,
            job=job,
            saved=saved,
            defined=(stored if defined == document else xml.interfaces(defined)) if defined else None,
            overwritten=handle.name() in self._definitions.overwritten,
            is_restored_later=bool(pending.get(uuid, {}).get("pause")),
            pending=_pending(pending.get(uuid), instance, live_ifaces),
        )

    def with_networks(self, host: Host, declared: t.Collection[str] = (), *, needed: bool = False) -> Host:
        """Return ``host`` with its libvirt networks, if a task has ``declared`` any or an interface is on one.

        :raises MacvtapError: a task has declared one, and they cannot be read.
        """
        ifaces = (i for d in host.domains.values() for i in (*d.stored, *d.live, *(d.saved or ())))
        if not (declared or needed or networks.any_of(ifaces)):
            return host
        try:
            host = replace(host, networks=reader.networks(self._connection))
        except MacvtapError:
            if declared or self._connection.lost:
                raise
            return host
        return replace(host, ports=self._ports(host))

    def _ports(self, host: Host) -> dict[str, Port]:
        """Return the ports of running interfaces on networks, by id, without those that cannot be read."""
        ids: dict[str, set[str]] = {}
        for iface in (iface for domain in host.domains.values() for iface in domain.live if iface.port):
            ids.setdefault(iface.get("network") or "", set()).add(iface.port)
        found = {}
        for name in sorted(filter(None, ids)):
            try:
                found.update({port.id: port for port in reader.ports(self._connection, name, ids[name])})
            except MacvtapError:
                if self._connection.lost:
                    raise
        return found

    def with_macs(self, host: Host) -> Host:
        """Return ``host`` with the MAC addresses and link names of its other domains."""
        others, unreadable = self._others(host)
        if host.networks is None:
            host = self.with_networks(
                host, needed=any(networks.any_of(stored) for _one, _name, stored, _live in others)
            )
        direct = networks.direct(host)
        macs: dict[str, list[str]] = {}
        targets: dict[str, list[str]] = {}
        stored_by_source: dict[str, list[tuple[str, str, str | None]]] = {}
        for listed, name, stored, live in others:
            for mac in {iface.mac for iface in (*stored, *live)}:
                macs.setdefault(mac, []).append(name)
            for target in {iface.get("target") for iface in stored} - {None}:
                targets.setdefault(target or "", []).append(name)
            # The NICs of a running guest show as links of the host.
            for iface in () if listed.active else networks.as_stored(stored, direct):
                mode = networks.mode(iface, host.networks)
                for source in networks.certain_uplinks(iface, host.networks):
                    stored_by_source.setdefault(source, []).append((name, iface.mac, mode))
        return replace(
            host,
            macs={mac: tuple(names) for mac, names in macs.items()},
            targets={target: tuple(names) for target, names in targets.items()},
            stored_by_source={source: tuple(nics) for source, nics in stored_by_source.items()},
            unreadable=tuple(unreadable),
        )

    def _others(self, host: Host) -> tuple[list[tuple[Listed, str, _Ifaces, _Ifaces]], list[str]]:
        """Return the domains that ``host`` lacks, with their interfaces, and the names of those that are unreadable."""
        others, unreadable = [], []
        for name, listed in self.list_all().items():
            if name in host.domains:
                continue
            try:
                others.append((listed, name, *self._interfaces(listed)))
            except MacvtapError:
                if self._connection.lost:
                    raise
                unreadable.append(name)
        return others, unreadable

    def _interfaces(self, listed: Listed) -> tuple[_Ifaces, _Ifaces]:
        """Return a domain's interfaces, stored and live, without reading its passwords."""
        with self._connection.translate_errors(f"cannot read domain {listed.handle.name()!r}"):
            try:
                inactive = self._connection.libvirt.VIR_DOMAIN_XML_INACTIVE
                stored = xml.interfaces(listed.handle.XMLDesc(inactive)) if listed.persistent else ()
                if listed.active:
                    return stored, xml.interfaces(listed.handle.XMLDesc(0))
                # A saved guest is restored with these.
                return stored, self._saved(listed) or ()
            except self._connection.libvirt.libvirtError as exc:
                if exc.get_error_code() != self._connection.libvirt.VIR_ERR_NO_DOMAIN:
                    raise
                return (), ()

    def _saved(self, listed: Listed) -> _Ifaces | None:
        """As Connection.saved(), which is not asked for a domain that has no managed save."""
        return self._connection.saved(listed.handle) if listed.may_be_saved else None


def _pending(requested: t.Mapping[str, t.Any] | None, instance: str, live: _Ifaces) -> frozenset[str]:
    """Return the MAC addresses of ``live`` that this instance of the guest was asked to release."""
    if not requested or requested["instance"] != instance:
        return frozenset()
    asked = {mac for mac, nic in requested["nics"].items() if records.is_asked(nic)}
    return frozenset(asked & {iface.mac for iface in live})
