# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The collection's own state files, of whatever version, and what libnftables lists."""

from __future__ import annotations

import contextlib
import json
import pathlib
import tempfile
import typing as t
from dataclasses import replace
from unittest import mock

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import outstanding, pending
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    guard_commands,
    guard_links,
    host,
    known,
    loader,
    model,
    parsing,
    rules,
    store,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records
from torture.parsers import Parser

_MAC, _UUID = "52:54:00:00:00:0a", "6f3d5b1c-0c4e-4a58-9d2b-3f0c6f6f0a01"
_GUARDS = (
    Guard(_MAC, model.DROP, addresses=("192.0.2.7", "2001:db8::/64"), ethertypes=("arp", "ip"), rate=1000),
    Guard(_MAC, model.COUNT, addresses=(model.LEARNED,), peers=("52:54:00:00:00:0b", "192.0.2.0/24")),
)
_STORES = tuple({"guards": {_MAC: store.entry_of(guard)}} for guard in _GUARDS)
_NIC = {
    "xml": "<interface type='direct'/>",
    "since": "2026-11-28T08:00:00Z",
    "asked": True,
    "returns": True,
    "element": "<interface type='direct'><mac address='52:54:00:00:00:0a'/></interface>",
}
_PAUSE = {"token": "a", "running": True, "local": True, "run": "7 12345", "since": "2026-11-28T08:00:00Z", "has": "old"}
_STATE = {
    "uri": "qemu:///system",
    "local": True,
    "domain": "web1",
    "uuid": _UUID,
    "instance": "7 7 12345",
    "boot": "b",
    "nics": {_MAC: _NIC},
    "pause": {**_PAUSE, "interfaces": {"old": {_MAC: "<a/>"}, "new": {_MAC: "<b/>"}}},
}
_DOMAIN = Domain("web1", _UUID, True, instance="7 7 12345")
_HOST = Host(uri="qemu:///system", domains={"web1": _DOMAIN}, known=("web1",))


@contextlib.contextmanager
def _file(data: bytes, name: str) -> t.Iterator[pathlib.Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, name)
        path.write_bytes(data)
        yield path
        assert {one.name for one in path.parent.iterdir()} <= {name}, "something else was written"


@contextlib.contextmanager
def _root(data: bytes, path: str) -> t.Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        file = pathlib.Path(directory, path.lstrip("/"))
        file.parent.mkdir(parents=True)
        file.write_bytes(data)
        yield directory
        assert [*file.parent.iterdir()] == [file], "something else was written"


def _stored(data: bytes) -> None:
    with _file(data, "guards.json") as path:
        guards = loader.stored(str(path))
        loader.mentions([("macvtap0", _MAC)], str(path))
        for mac, entry in guards.items():
            store.guard_of(mac, entry)


def _stored_for_modules(data: bytes) -> None:
    with _root(data, loader.STORE) as root:
        found = host.Guards(mock.Mock(), mock.Mock(), root, known=known.Known(root, keeps=False))
        vars(type(found))["_stored_guards"](found)


def _known(data: bytes) -> None:
    with _root(data, known.FILE) as root, mock.patch.object(known, "_version", return_value="1"):
        known.Known(root).stored("")


def _requests(data: bytes) -> None:
    with _file(data, f"{_UUID}.json") as path:
        for uuid in records.uuids(str(path.parent)):
            state = records.load(str(path.parent), uuid)
            if state is not None:
                outstanding.listed({_UUID: state}, _HOST, 7)
                outstanding.listed(
                    {_UUID: state}, replace(_HOST, domains={"web1": replace(_DOMAIN, running=False)}), None
                )
        requests = pending.Requests("qemu:///system", local=True)
        with mock.patch.object(requests, "_directory", str(path.parent)):
            requests.outstanding()
            requests.paused(_HOST) if hasattr(requests, "paused") else None


def _listed(value: t.Any) -> None:
    listed = value if isinstance(value, list) else [value]
    parsing.parse(_MAC, listed)
    parsing.parse(_MAC, listed, former=True)


def _comment(data: bytes) -> None:
    text = data.decode(errors="replace")
    guard_commands.of_link({"comment": text})
    rules.mac_of(text)
    with mock.patch.object(guard_links, "_target", return_value=text):
        guard_links.known({"lo": 1})


def _json(value: t.Any) -> bytes:
    return json.dumps(value).encode()


PARSERS: t.Sequence[Parser] = (
    # libvirt's hook and udev's program say what is wrong with it themselves.
    Parser("stored guards", tuple(map(_json, _STORES)), _stored, (OSError, ValueError, KeyError, TypeError)),
    Parser("stored guards, for modules", tuple(map(_json, _STORES)), _stored_for_modules),
    Parser(
        "known guards",
        (_json({"version": "1", "chains": {_MAC: ["d", _GUARDS[0].options]}, "store": ["", {}]}),),
        _known,
    ),
    Parser("requests and pauses", (_json(_STATE), _json({**_STATE, "nics": {}})), _requests),
    Parser("listed rules of guards", tuple(rules.render(guard) for guard in _GUARDS), _listed),
    Parser(
        "comments and records of guards",
        (f"{_MAC} 7 eth0".encode(), f"{_MAC} closed@170 a b".encode(), b"guard_52540000000a"),
        _comment,
    ),
)
