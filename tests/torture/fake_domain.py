# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The domains of the module ``libvirt`` whose host is the model."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET

from torture import guests, nics
from torture.guests import Guest, RefusedError
from torture.world import World


class LibvirtError(Exception):
    """Like libvirt.libvirtError: an error with a code."""

    def __init__(self, message: str, code: int = guests.INTERNAL_ERROR) -> None:
        super().__init__(message)
        self._code = code

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)


class Stage(t.Protocol):
    """The observer of all calls: see torture.stage."""

    @property
    def world(self) -> World:
        pass

    def call(self, name: str, about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        pass

    def looks(self, guest: Guest, what: str) -> None:
        pass

    def defines(self, document: nics.Document) -> None:
        pass

    def asks(self, guest: Guest, alias: str) -> None:
        pass

    def attaches(self, guest: Guest, nic: nics.Nic) -> None:
        pass

    def updates(self, guest: Guest, nic: nics.Nic) -> None:
        pass

    def saves(self, guest: Guest) -> None:
        pass

    def restores(self, guest: Guest) -> None:
        pass

    def discards(self, guest: Guest) -> None:
        pass

    def restarted(self) -> int:
        pass

    # Whether libvirt reports events, and how often each domain was defined.
    reports: bool
    defined: t.Counter[str]


class Connection(t.Protocol):
    """What a domain is on: see torture.fake_libvirt."""

    def do(self, name: str, about: str, effect: t.Callable[[], t.Any]) -> t.Any:
        pass


class Domain:
    """Like virDomain: a domain by its UUID, even if it no longer exists."""

    def __init__(self, connection: Connection, stage: Stage, uuid: str, name: str) -> None:
        self._connection = connection
        self._stage = stage
        self._uuid = uuid
        self._name = name
        # It changes at each start.
        guest = stage.world.guests.get(uuid)
        self._id = guest.boot if guest is not None and guest.running else -1
        if guest is not None and not guest.running:
            # A domain that is off has no job.
            stage.looks(guest, "job")

    def connect(self) -> Connection:
        return self._connection

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return self._uuid

    def _do(self, name: str, effect: t.Callable[[Guest], t.Any]) -> t.Any:
        def done() -> t.Any:
            guest = self._stage.world.guests.get(self._uuid)
            if guest is None:
                raise LibvirtError(
                    f"Domain not found: no domain with matching uuid '{self._uuid}' ({self._name})", guests.NO_DOMAIN
                )
            return effect(guest)

        return self._connection.do(name, self._name, done)

    def _looked(self, guest: Guest, what: str) -> Guest:
        self._stage.looks(guest, what)
        return guest

    def isActive(self) -> int:  # noqa: N802
        return int(self._do("state", lambda guest: guest.running))

    def isPersistent(self) -> int:  # noqa: N802
        return int(self._do("state", lambda guest: self._looked(guest, "persistent").stored is not None))

    def ID(self) -> int:  # noqa: N802
        # As of the call that has returned this domain.
        return self._id

    def state(self, _flags: int = 0) -> list[int]:
        return t.cast("list[int]", self._do("state", _state))

    def info(self) -> list[int]:
        return t.cast("list[int]", self._do("state", lambda guest: [_state(guest)[0], 1024, 1024, 1, 0]))

    def jobStats(self, _flags: int = 0) -> dict[str, int]:  # noqa: N802
        return t.cast("dict[str, int]", self._do("job", lambda guest: _job_stats(self._looked(guest, "job"))))

    def hasManagedSaveImage(self, _flags: int = 0) -> int:  # noqa: N802
        return int(self._do("saved", lambda guest: guest.saved is not None))

    def managedSaveGetXMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        def described(guest: Guest) -> str:
            if guest.saved is None:
                raise LibvirtError("domain does not have managed save image", guests.OPERATION_INVALID)
            text = nics.render_domain(nics.Document(guest.name, guest.uuid, guest.memory, tuple(guest.saved)))
            return text.replace("  <devices>", f"  <metadata>{guest.saved_mark}</metadata>\n  <devices>")

        return str(self._do("saved", described))

    def managedSave(self, _flags: int = 0) -> int:  # noqa: N802
        self._do("save", self._stage.saves)
        return 0

    def managedSaveDefineXML(self, text: str, _flags: int = 0) -> int:  # noqa: N802
        mark = next((ET.tostring(one, encoding="unicode") for one in ET.fromstring(text).iterfind("metadata/*")), "")  # noqa: S314
        document = nics.parse_domain(text)
        self._do("image", lambda guest: self._stage.world.change_image(guest, document, mark))
        return 0

    def managedSaveRemove(self, _flags: int = 0) -> int:  # noqa: N802
        self._do("image", self._stage.discards)
        return 0

    def create(self) -> int:
        self._do("restore", self._stage.restores)
        return 0

    def setMetadata(self, _kind: int, text: str | None, *_more: t.Any) -> int:  # noqa: N802
        def marked(guest: Guest) -> None:
            if not guest.running:
                raise RefusedError(guests.OPERATION_INVALID, "domain is not running")
            guest.mark = text or ""

        self._do("mark", marked)
        return 0

    def memoryStats(self) -> dict[str, int]:  # noqa: N802
        return {"actual": 1024, "rss": 1024}

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        def described(guest: Guest) -> str:
            stored = bool(flags & 2) or guest.live is None
            self._stage.looks(guest, "stored" if stored else "live")
            live = tuple(one.nic for one in guest.live or ())
            # A transient domain has only a live configuration.
            shown = tuple(guest.stored) if stored and guest.stored is not None else live
            document = nics.Document(guest.name, guest.uuid, guest.memory, shown)
            return nics.render_domain(document, None if stored else guest.boot)

        return str(self._do("read", described))

    def attachDeviceFlags(self, text: str, flags: int = 0) -> int:  # noqa: N802
        nic = _nic(text)

        def attached(guest: Guest) -> int:
            if flags & 2:
                self._edit(guest, [*_stored(guest), nic])
            if flags & 1:
                self._stage.attaches(guest, nic)
            return 0

        return int(self._do("attach", attached))

    def detachDeviceAlias(self, alias: str, flags: int = 0) -> int:  # noqa: N802
        assert flags == 1, flags
        if alias is None:
            raise TypeError("alias must not be None")

        def asked(guest: Guest) -> int:
            self._stage.asks(guest, alias)
            return 0

        return int(self._do("detach", asked))

    def updateDeviceFlags(self, text: str, flags: int = 0) -> int:  # noqa: N802
        nic = _nic(text)

        def updated(guest: Guest) -> int:
            if flags & 2:
                self._edit(guest, [nic if one.mac == nic.mac else one for one in _stored(guest)])
            if flags & 1:
                self._stage.updates(guest, nic)
            return 0

        return int(self._do("update", updated))

    def _edit(self, guest: Guest, edited: t.Sequence[nics.Nic]) -> None:
        self._stage.defines(nics.Document(guest.name, guest.uuid, guest.memory, tuple(edited)))


def _nic(text: str) -> nics.Nic:
    return nics.parse(ET.fromstring(text))  # noqa: S314  # what the module wrote


def _stored(guest: Guest) -> list[nics.Nic]:
    if guest.stored is None:
        raise LibvirtError("transient domains do not have any persistent config", guests.OPERATION_INVALID)
    return guest.stored


def _state(guest: Guest) -> list[int]:
    if not guest.running:
        return [5, 5 if guest.saved is not None else 2]
    return [3, 1] if guest.paused else [1, guest.reason]


def _job_stats(guest: Guest) -> dict[str, int]:
    return {"type": 2, "operation": 5} if guest.job else {"type": 0}
