# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A module ``libvirt`` whose host is a model of networks: network_model.py. Every call passes the ``seam``."""

from __future__ import annotations

import types
import typing as t

from network_model import DEFINED, Model, Nic, rendered
from network_spec import INTERNAL_ERROR, NO_DOMAIN, NO_NETWORK, OPERATION_INVALID, LibvirtError

_COMMANDS = {3: "add", 2: "remove", 1: "modify"}
_CONSTANTS = {
    "VIR_NETWORK_XML_INACTIVE": 1,
    "VIR_DOMAIN_XML_INACTIVE": 2,
    "VIR_DOMAIN_EVENT_DEFINED": DEFINED,
    "VIR_NETWORK_EVENT_ID_LIFECYCLE": 0,
    "VIR_NETWORK_UPDATE_COMMAND_MODIFY": 1,
    "VIR_NETWORK_UPDATE_COMMAND_DELETE": 2,
    "VIR_NETWORK_UPDATE_COMMAND_ADD_LAST": 3,
    "VIR_NETWORK_SECTION_FORWARD_INTERFACE": 6,
    "VIR_NETWORK_SECTION_PORTGROUP": 9,
    "VIR_NETWORK_UPDATE_AFFECT_LIVE": 1,
    "VIR_ERR_INTERNAL_ERROR": INTERNAL_ERROR,
    "VIR_ERR_NO_SUPPORT": 3,
    "VIR_ERR_SYSTEM_ERROR": 38,
    "VIR_ERR_RPC": 39,
    "VIR_ERR_NO_DOMAIN": NO_DOMAIN,
    "VIR_ERR_NO_NETWORK": NO_NETWORK,
    "VIR_ERR_NO_NETWORK_PORT": 109,
    "VIR_ERR_OPERATION_INVALID": OPERATION_INVALID,
}
# Called with the name of each request before it is made.
Seam = t.Callable[[str], None]


def module(model: Model, seam: Seam = lambda _what: None) -> types.ModuleType:
    """Return the module for the host ``model``."""
    made = types.ModuleType("libvirt")
    readers: list[Connection] = []

    def connect(_uri: str) -> Connection:
        readers.append(Connection(model, seam))
        return readers[-1]

    def dispatch() -> int:
        for one in readers:
            one.dispatch()
        return 0

    vars(made).update(
        _CONSTANTS,
        libvirtError=LibvirtError,
        registerErrorHandler=lambda _handler, _context: None,
        open=connect,
        openReadOnly=connect,
        virEventRegisterDefaultImpl=lambda: 0,
        virEventAddTimeout=lambda *_of: 1,
        virEventRemoveTimeout=lambda _timer: 0,
        virEventRunDefaultImpl=dispatch,
    )
    return made


class Connection:
    """Like virConnect."""

    def __init__(self, model: Model, seam: Seam) -> None:
        self.model = model
        self._seam = seam
        self._callback: t.Callable[..., None] | None = None
        self._seen = self._arrived = 0

    def do(self, what: str, effect: t.Callable[[], t.Any]) -> t.Any:
        self._seam(what)
        return effect()

    def getURI(self) -> str:  # noqa: N802
        return "qemu:///system"

    def isAlive(self) -> int:  # noqa: N802
        return 1

    def close(self) -> int:
        return 0

    def getLibVersion(self) -> int:  # noqa: N802
        self._arrived = len(self.model.events)
        return 9000000

    def networkEventRegisterAny(  # noqa: N802
        self, _network: None, _event: int, callback: t.Callable[..., None], _opaque: t.Any
    ) -> int:
        self._callback = callback
        self._seen = self._arrived = len(self.model.events)
        return 1

    def dispatch(self) -> None:
        while self._callback is not None and self._seen < self._arrived:
            uuid, event = self.model.events[self._seen]
            self._seen += 1
            self._callback(self, Network(self, uuid, ""), event, 0, None)

    def listAllNetworks(self) -> list[Network]:  # noqa: N802
        return t.cast(
            "list[Network]",
            self.do("list", lambda: [Network(self, net.uuid, net.name) for net in self.model.nets.values()]),
        )

    def networkLookupByUUIDString(self, uuid: str) -> Network:  # noqa: N802
        return Network(self, uuid, str(self.do("lookup", lambda: self.model.net(uuid).name)))

    def networkLookupByName(self, name: str) -> Network:  # noqa: N802
        return Network(self, str(self.do("lookup", lambda: self.model.named(name).uuid)), name)

    def networkDefineXML(self, document: str) -> Network:  # noqa: N802
        uuid = self.do("define", lambda: self.model.define(document))
        return Network(self, uuid, self.model.nets[uuid].name)

    def networkCreateXML(self, document: str) -> Network:  # noqa: N802
        uuid = self.do("create", lambda: self.model.create_xml(document))
        return Network(self, uuid, self.model.nets[uuid].name)

    def listAllDomains(self) -> list[Domain]:  # noqa: N802
        return t.cast("list[Domain]", self.do("domains", lambda: [Domain(self, uuid) for uuid in self.model.guests]))


class Network:
    """Like virNetwork."""

    def __init__(self, connection: Connection, uuid: str, name: str) -> None:
        self._connection = connection
        self._uuid = uuid
        self._name = name

    def _do(self, what: str, effect: t.Callable[[Model], t.Any]) -> t.Any:
        return self._connection.do(what, lambda: effect(self._connection.model))

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return self._uuid

    def isPersistent(self) -> int:  # noqa: N802
        return int(self._do("read", lambda model: model.net(self._uuid).stored is not None))

    def isActive(self) -> int:  # noqa: N802
        return int(self._do("read", lambda model: model.net(self._uuid).live is not None))

    def autostart(self) -> int:
        return int(self._do("read", lambda model: model.net(self._uuid).autostart))

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        def document(model: Model) -> str:
            net = model.net(self._uuid)
            model.looked(self._uuid)
            live = net.live if not flags or net.stored is None else None
            return rendered(net, live or net.stored or t.cast("t.Any", net.live), live=live is not None)

        return str(self._do("read", document))

    def create(self) -> None:
        self._do("create", lambda model: model.create(self._uuid))

    def destroy(self) -> None:
        self._do("destroy", lambda model: model.destroy(self._uuid))

    def undefine(self) -> None:
        self._do("undefine", lambda model: model.undefine(self._uuid))

    def setAutostart(self, autostart: int) -> None:  # noqa: N802
        self._do("autostart", lambda model: model.set_autostart(self._uuid, bool(autostart)))

    def update(self, command: int, _section: int, _index: int, element: str, _flags: int) -> None:
        self._do("update", lambda model: model.update(self._uuid, _COMMANDS[command], element))

    def listAllPorts(self) -> list[Port]:  # noqa: N802
        def ports(model: Model) -> list[Port]:
            net = model.net(self._uuid)
            if net.live is None:
                raise LibvirtError(f"network '{net.name}' is not active", OPERATION_INVALID)
            return [Port(model, nic) for nic in net.ports.values()]

        return t.cast("list[Port]", self._do("read", ports))


class Port:
    """Like virNetworkPort."""

    def __init__(self, model: Model, nic: Nic) -> None:
        self._model = model
        self._nic = nic

    def UUIDString(self) -> str:  # noqa: N802
        return self._nic.port

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        nic, guest = self._nic, self._model.guests[self._nic.guest]
        group = f"<group>{nic.portgroup}</group>" if nic.portgroup else ""
        trusted = f"<rxfilters trustGuest='{nic.trusted}'/>" if nic.trusted else ""
        return (
            f"<networkport><uuid>{nic.port}</uuid><owner><name>{guest.name}</name><uuid>{guest.uuid}</uuid></owner>"
            f"{group}<mac address='{nic.mac}'/><plug type='direct' dev='{nic.uplink}' mode='{nic.mode}'/>{trusted}"
            "</networkport>"
        )


class Domain:
    """Like virDomain."""

    def __init__(self, connection: Connection, uuid: str) -> None:
        self._connection = connection
        self._uuid = uuid

    def _do(self, effect: t.Callable[[], t.Any]) -> t.Any:
        return self._connection.do("read", effect)

    @property
    def _guest(self) -> t.Any:
        return self._connection.model.guests[self._uuid]

    def name(self) -> str:
        return str(self._guest.name)

    def UUIDString(self) -> str:  # noqa: N802
        return self._uuid

    def isPersistent(self) -> int:  # noqa: N802
        return int(self._do(lambda: self._guest.stored is not None))

    def isActive(self) -> int:  # noqa: N802
        return int(self._do(lambda: self._guest.live is not None))

    def hasManagedSaveImage(self, _flags: int = 0) -> int:  # noqa: N802
        return 0

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        def document() -> str:
            nic = self._guest.stored if flags else self._guest.live or self._guest.stored
            return f"<domain><devices>{_element(nic) if nic is not None else ''}</devices></domain>"

        return str(self._do(document))


def _element(nic: Nic) -> str:
    group = f" portgroup='{nic.portgroup}'" if nic.portgroup else ""
    live = f" portid='{nic.port}' dev='{nic.uplink}' mode='{nic.mode}'" if nic.port else ""
    return (
        f"<interface type='{'direct' if nic.port else 'network'}'><mac address='{nic.mac}'/>"
        f"<source network='{nic.network}'{group}{live}/></interface>"
    )
