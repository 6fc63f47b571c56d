# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A model of libvirt's direct networks and of the guests on them, as docs/dev/notes.md has them measured (9.0).

``fake_networks.py`` has the bindings to it.
"""

from __future__ import annotations

import collections
import copy
import typing as t
import uuid as uuids
from dataclasses import dataclass, field, replace
from xml.etree import ElementTree

from network_spec import (
    NO_NETWORK,
    OPERATION_FAILED,
    OPERATION_INVALID,
    LibvirtError,
    Spec,
    element_of,
    parsed,
    with_group,
    with_uplink,
)

# Events: virNetworkEventLifecycleType.
DEFINED, UNDEFINED, STARTED, STOPPED = 0, 1, 2, 3


@dataclass
class Net:
    """A network: stored, active (``live``), or both. ``connections`` is libvirt's count of guests on each uplink."""

    name: str
    uuid: str
    stored: Spec | None
    live: Spec | None = None
    autostart: bool = False
    ports: dict[str, Nic] = field(default_factory=dict)
    connections: t.Counter[str] = field(default_factory=collections.Counter)


@dataclass(frozen=True)
class Nic:
    """A guest's NIC on a network. One that runs has ``port``, ``uplink``, ``mode`` and ``trusted`` (its port's)."""

    guest: str
    mac: str
    network: str
    portgroup: str = ""
    port: str = ""
    uplink: str = ""
    mode: str = ""
    trusted: str = ""


@dataclass
class Guest:
    """A domain with one NIC; ``live`` is None if it does not run."""

    name: str
    uuid: str
    stored: Nic | None
    live: Nic | None = None


class Model:
    """All networks and guests of a host. Every method is a request that libvirt completes or refuses."""

    def __init__(self) -> None:
        self.nets: dict[str, Net] = {}
        self.guests: dict[str, Guest] = {}
        self.events: list[tuple[str, int]] = []

    def copy(self) -> Model:
        return copy.deepcopy(self)

    def looked(self, uuid: str) -> None:
        """The XML of a network was read. For those who derive from this."""

    def net(self, uuid: str) -> Net:
        if uuid not in self.nets:
            raise LibvirtError(f"Network not found: no network with matching uuid '{uuid}'", NO_NETWORK)
        return self.nets[uuid]

    def named(self, name: str) -> Net:
        found = next((net for net in self.nets.values() if net.name == name), None)
        if found is None:
            raise LibvirtError(f"Network not found: no network with matching name '{name}'", NO_NETWORK)
        return found

    def define(self, document: str) -> str:
        name, uuid, spec = parsed(document)
        net = self._known(name, uuid)
        if net is None:
            net = self.nets[uuid] = Net(name, uuid, None)
        net.stored = spec
        self.events.append((uuid, DEFINED))
        return net.uuid

    def create_xml(self, document: str) -> str:
        name, uuid, spec = parsed(document)
        net = self._known(name, uuid)
        if net is not None and net.live is not None:
            raise LibvirtError(f"operation failed: network is already active as '{name}'", OPERATION_FAILED)
        if net is None:
            net = self.nets[uuid] = Net(name, uuid, None)
        self._start(net, spec)
        return net.uuid

    def _known(self, name: str, uuid: str) -> Net | None:
        other = next((net for net in self.nets.values() if net.name == name and net.uuid != uuid), None)
        net = self.nets.get(uuid)
        if other is not None or (net is not None and net.name != name):
            raise LibvirtError(f"operation failed: network '{name}' already exists with uuid …", OPERATION_FAILED)
        return net

    def create(self, uuid: str) -> None:
        net = self.net(uuid)
        if net.live is not None:
            raise LibvirtError("Requested operation is not valid: network is already active", OPERATION_INVALID)
        if net.stored is not None:
            self._start(net, net.stored)

    def _start(self, net: Net, spec: Spec) -> None:
        if spec.pf:
            raise LibvirtError(f"internal error: No usable Vf's present on SRIOV PF {spec.pf}")
        net.live, net.ports, net.connections = spec, {}, collections.Counter()
        self.events.append((net.uuid, STARTED))

    def destroy(self, uuid: str) -> None:
        net = self.net(uuid)
        if net.live is None:
            raise LibvirtError(
                f"Requested operation is not valid: network '{net.name}' is not active", OPERATION_INVALID
            )
        net.live, net.ports, net.connections = None, {}, collections.Counter()
        self.events.append((uuid, STOPPED))
        if net.stored is None:
            del self.nets[uuid]

    def undefine(self, uuid: str) -> None:
        net = self.net(uuid)
        if net.stored is None:
            raise LibvirtError("Requested operation is not valid: can't undefine transient network", OPERATION_INVALID)
        net.stored, net.autostart = None, False
        self.events.append((uuid, UNDEFINED))
        if net.live is None:
            del self.nets[uuid]

    def set_autostart(self, uuid: str, autostart: bool) -> None:
        net = self.net(uuid)
        if net.stored is None:
            raise LibvirtError("Requested operation is not valid: cannot set autostart for transient network", 55)
        net.autostart = autostart

    def update(self, uuid: str, command: str, element: str, *, stored: bool = False) -> None:
        """Update the active network, or with ``stored`` the configuration. ``command`` is add, remove or modify."""
        net = self.net(uuid)
        spec = net.stored if stored else net.live
        if spec is None:
            raise LibvirtError(
                f"Requested operation is not valid: network '{net.name}' is not active", OPERATION_INVALID
            )
        root = element_of(element)
        element = ElementTree.tostring(root, encoding="unicode")
        spec = with_group(spec, command, root, element) if root.tag == "portgroup" else with_uplink(spec, command, root)
        if stored:
            net.stored = spec
        else:
            # It forgets how many guests are on each uplink.
            net.live, net.connections = spec, collections.Counter()

    # Guests.

    def start(self, uuid: str) -> None:
        guest = self.guests[uuid]
        if guest.live is not None or guest.stored is None:
            raise LibvirtError("Requested operation is not valid: domain is already running", OPERATION_INVALID)
        nic = guest.stored
        net = self.named(nic.network)
        if net.live is None:
            raise LibvirtError(
                f"Requested operation is not valid: network '{net.name}' is not active", OPERATION_INVALID
            )
        if not net.live.interfaces:
            raise LibvirtError(f"internal error: network '{net.name}' has no uplink")
        uplink = min(net.live.interfaces, key=lambda one: net.connections[one])
        taken = {one.uplink for one in self.running() if one.mode == "passthrough"}
        if net.live.mode == "passthrough" and (net.connections[uplink] or uplink in taken):
            raise LibvirtError(f"internal error: network '{net.name}' requires exclusive access to interfaces")
        net.connections[uplink] += 1
        port = str(uuids.UUID(int=len(self.events) + 1000 * len(net.ports) + int(uuid[-1], 16)))
        guest.live = replace(nic, port=port, uplink=uplink, mode=net.live.mode, trusted=net.live.trusted(nic.portgroup))
        net.ports[port] = guest.live

    def stop(self, uuid: str) -> None:
        guest = self.guests[uuid]
        nic, guest.live = guest.live, None
        for net in self.nets.values():
            if nic is not None and net.ports.pop(nic.port, None) is not None:
                net.connections[nic.uplink] = max(0, net.connections[nic.uplink] - 1)

    def running(self) -> list[Nic]:
        return [guest.live for guest in self.guests.values() if guest.live is not None]


def rendered(net: Net, spec: Spec, *, live: bool) -> str:
    """Return the XML as libvirt writes it."""
    count = {one: net.connections[one] for one in spec.interfaces} if live else {}
    inside = f"<pf dev='{spec.pf}'/>" if spec.pf else ""
    for one in spec.interfaces:
        inside += f"\n    <interface dev='{one}'" + (f" connections='{count[one]}'" if count.get(one) else "") + "/>"
    dev = f" dev='{spec.interfaces[0]}'" if spec.interfaces else ""
    groups = "".join(f"\n  {one}" for one in spec.portgroups)
    rest = f"\n  {spec.rest}" if spec.rest else ""
    return (
        f"<network>\n  <name>{net.name}</name>\n  <uuid>{net.uuid}</uuid>{rest}\n  <forward{dev} mode='{spec.mode}'>"
        f"{inside}\n  </forward>{groups}\n</network>\n"
    )
