# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the NICs that are on networks: in domains, stored, running and saved, and by the networks' own ports."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import markup, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Port, User

# A running NIC does not show it (libvirt 9.0); its port does, which is gone once the network was stopped.
_OF_PORT = ("trust_guest_rx_filters",)


class Nic(t.NamedTuple):
    """A NIC on a network, in one of a domain's documents."""

    network: str
    mac: str
    portgroup: str | None
    uplink: str
    mode: str
    values: dict[str, str]


def nics(document: str) -> list[Nic]:
    """Return the NICs of a domain's XML that are on a network.

    :raises MacvtapError: it is not the XML of a domain.
    """
    text = document.encode()
    found = []
    for start, end in spans.slices(text, "devices", "interface")[1]:
        element = spans.locate(text[start:end], markup.DEPTH)
        attributes = markup.attributes(element)
        source = attributes.get(("source",), {})
        if "network" in source:
            values = markup.read(element, attributes, PORTGROUP)
            mac = attributes.get(("mac",), {}).get("address", "").lower()
            where = source.get("dev", ""), source.get("mode", "")
            found.append(Nic(source["network"], mac, source.get("portgroup"), *where, values))
    return found


def users(connection: Connection, active: t.Collection[str]) -> tuple[dict[str, tuple[User, ...]], tuple[str, ...]]:
    """Return the NICs on each network, by its name, and the domains that cannot be read.

    ``active`` are the networks whose ports are asked for.

    :raises MacvtapError: libvirt refuses to list the domains.
    """
    libvirt = connection.libvirt
    found: dict[tuple[str, str, str], User] = {}
    unreadable: list[str] = []
    ports = [port for name in active for port in reader.ports(connection, name)]
    by_nic = {(port.network, port.uuid, port.mac): port for port in ports}
    known = set()
    with connection.translate_errors("cannot list the domains"):
        handles = connection.handle.listAllDomains()
    for handle in handles:
        try:
            stored, live, saved = _documents(connection, handle)
        except (MacvtapError, libvirt.libvirtError) as exc:
            if connection.lost:
                raise
            if isinstance(exc, MacvtapError) or exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                # Only its ports show then what its guest is on.
                unreadable.append(handle.name())
            else:
                known.add(handle.UUIDString())
            continue
        known.add(handle.UUIDString())
        for user in _of_domain(handle.name(), handle.UUIDString(), (stored, live, saved), by_nic):
            found[user.network, user.domain, user.mac] = user
    for port in ports:
        # The owner cannot be read, or is of another driver's. One that has no such NIC has left its port behind.
        if port.uuid not in known:
            found.setdefault((port.network, port.domain, port.mac), _of_port(port))
    by_network: dict[str, list[User]] = {}
    for key in sorted(found):
        by_network.setdefault(key[0], []).append(found[key])
    return {name: tuple(ones) for name, ones in by_network.items()}, tuple(unreadable)


def _documents(connection: Connection, handle: t.Any) -> tuple[list[Nic], list[Nic], list[Nic]]:
    libvirt = connection.libvirt
    stored = nics(handle.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)) if handle.isPersistent() else []
    if handle.isActive():
        # For a domain that has just stopped libvirt returns what is stored: the NIC counts as running then.
        return stored, nics(handle.XMLDesc(0)), []
    try:
        saved = nics(handle.managedSaveGetXMLDesc(0)) if handle.hasManagedSaveImage(0) else []
    except libvirt.libvirtError as exc:
        if exc.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        saved = []
    return stored, [], saved


def _of_domain(
    domain: str, uuid: str, documents: tuple[list[Nic], ...], ports: t.Mapping[tuple[str, str, str], Port]
) -> t.Iterator[User]:
    """Yield the NICs of a domain, by its stored, running and saved NICs."""
    stored, live, saved = ({(nic.network, nic.mac): nic for nic in side} for side in documents)
    for network, mac in dict.fromkeys((*stored, *live, *saved)):
        sides = [side.get((network, mac)) for side in (stored, live, saved)]
        kept, running = sides[:2]
        one = running or kept or saved[network, mac]
        port = ports.get((network, uuid, mac)) if running is not None else None
        yield User(
            network=network,
            domain=domain,
            mac=mac,
            stored=kept is not None,
            live=running is not None,
            saved=(network, mac) in saved,
            portgroup=(kept or one).portgroup,
            chosen={side: nic.portgroup for side, nic in zip(("stored", "live", "saved"), sides) if nic is not None},
            uplink=running.uplink if running is not None else "",
            mode=running.mode if running is not None else "",
            values=port.values if port is not None else (running.values if running is not None else {}),
            own=frozenset((*(kept.values if kept is not None else ()), *([] if port is not None else _OF_PORT))),
        )


def _of_port(port: Port) -> User:
    return User(
        network=port.network,
        domain=port.domain,
        mac=port.mac,
        live=True,
        portgroup=port.portgroup,
        uplink=port.uplink,
        mode=port.mode,
        values=port.values,
    )
