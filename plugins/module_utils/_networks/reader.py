# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads networks and their ports over a connection to libvirt."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network, Port


def networks(connection: Connection, names: t.Collection[str] | None = None) -> dict[str, Network]:
    """Return the networks ``names`` (None: all) by name, of every kind, without those that do not exist.

    :raises MacvtapError: libvirt refuses, or this driver has no networks.
    """
    with connection.translate_errors("cannot list the networks"):
        handles = {handle.name(): handle for handle in connection.handle.listAllNetworks()}
    found = (read(connection, handle) for name, handle in handles.items() if names is None or name in names)
    return {network.name: network for network in found if network is not None}


def read(connection: Connection, handle: t.Any) -> Network | None:
    """Return one network, None if it has gone since it was listed.

    :raises MacvtapError: libvirt refuses.
    """
    libvirt = connection.libvirt
    with connection.translate_errors(f"cannot read network {handle.name()!r}"):
        try:
            persistent = bool(handle.isPersistent())
            # The XML of an inactive network is the stored one.
            active = bool(handle.isActive())
            live_xml = handle.XMLDesc(0) if active else ""
            stored_xml = handle.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE) if persistent else ""
            autostart = bool(handle.autostart()) if persistent else False
        except libvirt.libvirtError as exc:
            if exc.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
            return None
    return network_of(handle.name(), handle.UUIDString(), stored_xml, live_xml, autostart=autostart)


def network_of(name: str, uuid: str, stored_xml: str, live_xml: str, *, autostart: bool = False) -> Network:
    """Return the network of these texts, each "" if there is none: see Network."""
    live = _definition(live_xml) if live_xml else None
    shown = _definition(stored_xml or live_xml)
    return Network(
        mode=shown.mode,
        interfaces=shown.interfaces,
        pf=shown.pf,
        values=shown.values,
        portgroups=shown.portgroups,
        forward=shown.forward,
        name=name,
        uuid=uuid,
        active=bool(live_xml),
        persistent=bool(stored_xml),
        autostart=autostart,
        live=live,
        xml=stored_xml,
        live_xml=live_xml,
    )


def _definition(document: str) -> Definition:
    """Return what the XML says; one that cannot be read is no direct network, and hides no other one."""
    try:
        return xml.read(document)
    except MacvtapError as exc:
        # libvirt 9.0 writes some names as they are, such as that of a portgroup with a quote in it.
        return Definition(forward=f"unreadable, {exc}")


def ports(connection: Connection, network: str, ids: t.Collection[str] | None = None) -> tuple[Port, ...]:
    """Return the ports of a network, () where this libvirt keeps none, and of a network that is not active or is gone.

    With ``ids`` only those: each takes a call.

    :raises MacvtapError: libvirt refuses.
    """
    libvirt = connection.libvirt
    found = []
    with connection.translate_errors(f"cannot list the ports of network {network!r}"):
        try:
            for port in connection.handle.networkLookupByName(network).listAllPorts():
                if ids is not None and port.UUIDString() not in ids:
                    continue
                try:
                    found.append(xml.read_port(port.XMLDesc(0), network))
                except libvirt.libvirtError as exc:
                    # It has gone since it was listed.
                    if exc.get_error_code() != getattr(libvirt, "VIR_ERR_NO_NETWORK_PORT", None):
                        raise
        except libvirt.libvirtError as exc:
            # That it is not active is an invalid operation.
            nothing = (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_OPERATION_INVALID)
            if exc.get_error_code() not in nothing:
                raise
            return ()
    return tuple(found)
