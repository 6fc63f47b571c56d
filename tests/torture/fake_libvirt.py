# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A module ``libvirt`` whose host is the model. It has only the calls that the collection makes."""

from __future__ import annotations

import types
import typing as t

from torture import guests, nics, world
from torture.fake_domain import Domain, LibvirtError, Stage
from torture.guests import Guest, RefusedError

VERSION = 9_000_000
_DEFINED, _STARTED = 0, 2
URI = "qemu:///system"
_FLAGS = {
    "VIR_CONNECT_LIST_DOMAINS_ACTIVE": 1,
    "VIR_CONNECT_LIST_DOMAINS_INACTIVE": 2,
    "VIR_CONNECT_LIST_DOMAINS_PERSISTENT": 4,
    "VIR_CONNECT_LIST_DOMAINS_TRANSIENT": 8,
    "VIR_CONNECT_LIST_DOMAINS_RUNNING": 16,
    "VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE": 1024,
    "VIR_DOMAIN_EVENT_ID_LIFECYCLE": 0,
    "VIR_DOMAIN_EVENT_DEFINED": _DEFINED,
    "VIR_DOMAIN_XML_SECURE": 1,
    "VIR_DOMAIN_XML_INACTIVE": 2,
    "VIR_DOMAIN_AFFECT_CURRENT": 0,
    "VIR_DOMAIN_AFFECT_LIVE": 1,
    "VIR_DOMAIN_AFFECT_CONFIG": 2,
    "VIR_DOMAIN_DEFINE_VALIDATE": 1,
    "VIR_DOMAIN_METADATA_ELEMENT": 2,
    "VIR_DOMAIN_SAVE_IMAGE_XML_SECURE": 1,
    "VIR_DOMAIN_NOSTATE": 0,
    "VIR_DOMAIN_RUNNING": 1,
    "VIR_DOMAIN_BLOCKED": 2,
    "VIR_DOMAIN_PAUSED": 3,
    "VIR_DOMAIN_SHUTDOWN": 4,
    "VIR_DOMAIN_SHUTOFF": 5,
    "VIR_DOMAIN_CRASHED": 6,
    "VIR_DOMAIN_PMSUSPENDED": 7,
    "VIR_DOMAIN_JOB_NONE": 0,
    "VIR_DOMAIN_JOB_BOUNDED": 1,
    "VIR_DOMAIN_JOB_UNBOUNDED": 2,
    "VIR_DOMAIN_JOB_COMPLETED": 3,
    "VIR_DOMAIN_JOB_OPERATION_UNKNOWN": 0,
    "VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT": 5,
    "VIR_DOMAIN_JOB_OPERATION_DUMP": 8,
    "VIR_DOMAIN_JOB_OPERATION_STR": 0,
    "VIR_ERR_INTERNAL_ERROR": guests.INTERNAL_ERROR,
    "VIR_ERR_NO_SUPPORT": 3,
    "VIR_ERR_OPERATION_FAILED": guests.OPERATION_FAILED,
    "VIR_ERR_SYSTEM_ERROR": 38,
    "VIR_ERR_RPC": guests.RPC,
    "VIR_ERR_NO_DOMAIN": guests.NO_DOMAIN,
    "VIR_ERR_OPERATION_INVALID": guests.OPERATION_INVALID,
    "VIR_ERR_CONFIG_UNSUPPORTED": guests.CONFIG_UNSUPPORTED,
    "VIR_ERR_OPERATION_TIMEOUT": guests.OPERATION_TIMEOUT,
    "VIR_ERR_OPERATION_UNSUPPORTED": guests.OPERATION_UNSUPPORTED,
    "VIR_ERR_DEVICE_MISSING": guests.DEVICE_MISSING,
    "VIR_ERR_INVALID_CONN": 6,
    "VIR_DOMAIN_JOB_OPERATION": 0,
    "VIR_NETWORK_XML_INACTIVE": 1,
    "VIR_ERR_NO_NETWORK": 43,
    "VIR_ERR_NO_NETWORK_PORT": 109,
}


def module(stage: Stage) -> types.ModuleType:
    """Return the module for a run that ``stage`` observes."""
    made = types.ModuleType("libvirt")
    vars(made).update(_FLAGS, libvirtError=LibvirtError, registerErrorHandler=lambda _handler, _context: None)

    def connect(_uri: str, *_more: t.Any) -> Connection:
        return t.cast("Connection", stage.call("open", "", lambda: Connection(stage)))

    def without_events() -> t.NoReturn:
        # So an edit between a read and the define that follows it stays undetected: see stage.
        raise LibvirtError("this model has no events", 3)

    reports: list[Reports] = []

    def report(_uri: str, *_more: t.Any) -> Connection:
        reports.append(t.cast("Reports", stage.call("open", "", lambda: Reports(stage))))
        return reports[-1]

    def dispatch() -> int:
        for one in reports:
            one.dispatch()
        return 0

    vars(made).update(open=connect, openReadOnly=connect, openAuth=connect, getVersion=lambda *_of: VERSION)
    if stage.reports:
        vars(made).update(
            openReadOnly=report,
            virEventRegisterDefaultImpl=lambda: 0,
            virEventAddTimeout=lambda *_of: 1,
            virEventRemoveTimeout=lambda _timer: 0,
            virEventRunDefaultImpl=dispatch,
        )
    else:
        vars(made).update(virEventRegisterDefaultImpl=without_events)
    return made


class Connection:
    """Like virConnect. It is lost when the daemon is restarted."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._since = stage.restarted()

    def do(self, name: str, about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        def checked() -> t.Any:
            self.check()
            try:
                return effect()
            except RefusedError as exc:
                raise LibvirtError(str(exc), exc.code) from exc

        result = self._stage.call(name, about, checked)
        # The request may have been carried out before the daemon was gone.
        self.check()
        return result

    def check(self) -> None:
        if self._since != self._stage.restarted():
            raise LibvirtError("internal error: client socket is closed", guests.INTERNAL_ERROR)

    def isAlive(self) -> int:  # noqa: N802
        return int(self._since == self._stage.restarted())

    def close(self) -> int:
        return 0

    def getLibVersion(self) -> int:  # noqa: N802
        return int(self.do("version", "", lambda: VERSION))

    def getVersion(self) -> int:  # noqa: N802
        return int(self.do("version", "", lambda: 7_002_000))

    def getURI(self) -> str:  # noqa: N802
        return str(self.do("uri", "", lambda: URI))

    def getHostname(self) -> str:  # noqa: N802
        return str(self.do("hostname", "", lambda: "hv1"))

    def listAllDomains(self, flags: int = 0) -> list[Domain]:  # noqa: N802
        def chosen() -> list[Domain]:
            return [
                Domain(self, self._stage, guest.uuid, guest.name)
                for guest in self._stage.world.guests.values()
                if not flags & 1 or guest.running
                if not flags & 2 or not guest.running
                if not flags & 4 or guest.stored is not None
                if not flags & 8 or guest.stored is None
                if not flags & 16 or (guest.running and not guest.paused)
                if not flags & 1024 or guest.saved is not None
            ]

        return t.cast("list[Domain]", self.do("list", "", chosen))

    def listAllNetworks(self, _flags: int = 0) -> list[Network]:  # noqa: N802
        return t.cast(
            "list[Network]",
            self.do("networks", "", lambda: [Network(self, self._stage, name) for name in world.NETWORKS]),
        )

    def networkLookupByName(self, name: str) -> Network:  # noqa: N802
        return t.cast("Network", self.do("networks", name, lambda: Network(self, self._stage, name)))

    def _lookup(self, about: str, found: t.Callable[[], Guest | None]) -> Domain:
        def looked_up() -> Domain:
            guest = found()
            if guest is None:
                raise LibvirtError(f"Domain not found: no domain with matching name '{about}'", guests.NO_DOMAIN)
            return Domain(self, self._stage, guest.uuid, guest.name)

        return t.cast("Domain", self.do("lookup", about, looked_up))

    def lookupByName(self, name: str) -> Domain:  # noqa: N802
        return self._lookup(name, lambda: self._stage.world.named(name))

    def lookupByUUIDString(self, uuid: str) -> Domain:  # noqa: N802
        return self._lookup(uuid, lambda: self._stage.world.guests.get(uuid))

    def defineXML(self, text: str) -> Domain:  # noqa: N802
        return self.defineXMLFlags(text, 0)

    def defineXMLFlags(self, text: str, _flags: int = 0) -> Domain:  # noqa: N802
        document = nics.parse_domain(text)

        def defined() -> Domain:
            self._stage.defines(document)
            self._stage.defined[document.uuid] += 1
            return Domain(self, self._stage, document.uuid, document.name)

        return t.cast("Domain", self.do("define", document.name, defined))

    def domainXMLToNative(self, _format: str, _text: str, _flags: int = 0) -> str:  # noqa: N802
        # The model validates only the document as a whole.
        return ""


class Network:
    """Like virNetwork."""

    def __init__(self, connection: Connection, stage: Stage, name: str) -> None:
        self._connection = connection
        self._stage = stage
        self._name = name

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return f"00000000-0000-4000-9000-{len(self._name):012d}"

    def isPersistent(self) -> int:  # noqa: N802
        return 1

    def autostart(self) -> int:
        return 1

    def isActive(self) -> int:  # noqa: N802
        return int(self._connection.do("networks", self._name, lambda: self._name not in self._stage.world.inactive))

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        source, mode = world.NETWORKS[self._name]
        return (
            f"<network><name>{self._name}</name><forward mode='{mode}'><interface dev='{source}'/></forward></network>"
        )

    def listAllPorts(self, _flags: int = 0) -> list[Port]:  # noqa: N802
        def ports() -> list[Port]:
            if self._name in self._stage.world.inactive:
                raise LibvirtError(f"network '{self._name}' is not active", guests.OPERATION_INVALID)
            return [Port()]

        return t.cast("list[Port]", self._connection.do("networks", self._name, ports))


class Port:
    """Like virNetworkPort. The model has one for all NICs, which trusts no guest."""

    def UUIDString(self) -> str:  # noqa: N802
        return nics.PORT

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        return f"<networkport><uuid>{nics.PORT}</uuid></networkport>"


class Reports(Connection):
    """A connection on which libvirt reports what happens to domains: it shows with the reply to the next call.

    An edit by others has no event, as attach-device --config has none.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._seen: dict[str, tuple[t.Any, ...]] = {}
        self._queued: list[tuple[str, int]] = []
        self._callback: t.Callable[..., None] = lambda *_of: None

    def domainEventRegisterAny(  # noqa: N802
        self, _domain: None, _event: int, callback: t.Callable[..., None], _opaque: t.Any
    ) -> int:
        self._callback = callback
        self._seen = self._now()
        return 1

    def getLibVersion(self) -> int:  # noqa: N802
        def version() -> int:
            now = self._now()
            for uuid in {*now, *self._seen}:
                was, has = self._seen.get(uuid, (None, 0)), now.get(uuid, (None, 0))
                self._queued += [(uuid, _DEFINED)] * (self._stage.defined[uuid] - was[1])
                if was[0] != has[0]:
                    self._queued.append((uuid, _STARTED))
            self._seen = now
            for guest in self._stage.world.guests.values():
                self._stage.looks(guest, "persistent")
                if not guest.running:
                    self._stage.looks(guest, "job")
            return VERSION

        return int(self.do("version", "", version))

    def dispatch(self) -> None:
        queued, self._queued = self._queued, []
        for uuid, event in queued:
            self._callback(self, Domain(self, self._stage, uuid, ""), event, 0, None)

    def _now(self) -> dict[str, tuple[t.Any, ...]]:
        return {
            uuid: ((guest.boot, guest.running, guest.stored is None), self._stage.defined[uuid])
            for uuid, guest in self._stage.world.guests.items()
        }
