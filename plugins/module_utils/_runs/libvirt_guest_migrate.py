# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_guest_migrate: from options to a migration."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields, segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import Segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import adapter, nics, run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    ABORT,
    ON_TIMEOUT,
    SHARED,
    STORAGE,
    TRANSPORTS,
    TUNNEL,
    Desired,
    NicThere,
)

_MOST = (1 << 31) - 1


def body(module: _glue.Module) -> dict[str, t.Any]:
    params = module.params
    for option in ("bandwidth", "downtime"):
        _values.check_range(params[option], 1, _MOST, option)
    _values.check_range(params["timeout"], 0, _MOST, "timeout")
    interfaces = tuple(_nic(f"interfaces[{n}]", given) for n, given in enumerate(params["interfaces"]))
    names = [name for name in Desired.__dataclass_fields__ if name in params]
    given = {name: params[name] for name in names}
    read = {"uplinks": _uplinks(params["uplinks"]), "rules": _rules(params["rules"])}
    desired = Desired(**{**given, **read}, nics=interfaces, segments=_segments(params))
    # One guest at a time, and any number of guests.
    lock = "migrate-" + hashlib.sha256(desired.domain.encode()).hexdigest()[:16]
    held = _glue.locked(module, lock, per_user=True, doing=f"migrating {desired.domain}")
    with held, adapter.connected(params["uri"], params["destination_uri"]) as migration:
        return run.run(migration, desired, check_mode=module.check_mode, diff=module._diff)


def _uplinks(given: t.Mapping[t.Any, t.Any]) -> dict[str, str]:
    found = {str(name): str(there) for name, there in given.items()}
    for name, there in found.items():
        for link in (name, there):
            uplinks.validate_name(link, join_path("uplinks", name))
    return found


def _rules(given: t.Sequence[t.Mapping[str, t.Any]] | None) -> tuple[t.Mapping[str, t.Any], ...] | None:
    if given is None:
        return None
    paths = {f"rules[{n}]": one for n, one in enumerate(given)}
    return tuple(
        {**one, "mac": _mac.require(str(one.get("mac")), path=join_path(path, "mac"))} for path, one in paths.items()
    )


def _segments(params: t.Mapping[str, t.Any]) -> tuple[Segments, Segments] | None:
    if params["segment"] is None and params["destination_segment"] is None:
        return None
    found = []
    for option in ("segment", "destination_segment"):
        try:
            found.append(Segments(*segments.read(params[option])))
        except MacvtapError as exc:
            exc.path = option
            raise
    return found[0], found[1]


def _nic(path: str, given: t.Mapping[str, t.Any]) -> NicThere:
    mac = _mac.parse(given["mac"], path=join_path(path, "mac"))
    values = {name: given[name] for name in fields.CONNECTION if given[name] is not None}
    if "network" in values and {"source", "mode"} & values.keys():
        raise MacvtapError(
            "a network has its own uplinks and mode. Set network, or source and mode", path=join_path(path, "network")
        )
    if "portgroup" in values and "network" not in values:
        raise MacvtapError("a portgroup belongs to a network. Set network as well", path=join_path(path, "portgroup"))
    if "source" in values:
        uplinks.validate_name(values["source"], join_path(path, "source"))
    return NicThere(path, mac, nics.spelt(values))


SPECIFICATION: _glue.Specification = {
    "argument_spec": {
        "domain": {"type": "str", "required": True, "aliases": ["name", "guest"]},
        "destination": {"type": "str"},
        "destination_uri": {"type": "str"},
        "interfaces": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "mac": {"type": "str", "required": True},
                "source": {"type": "str", "aliases": ["parent", "dev"]},
                "mode": {"type": "str", "choices": list(fields.MODES)},
                "network": {"type": "str"},
                "portgroup": {"type": "str"},
            },
        },
        "uplinks": {"type": "dict", "default": {}},
        "destination_host": {"type": "dict"},
        "segment": {"type": "raw"},
        "destination_segment": {"type": "raw"},
        "apply_stored": {"type": "bool", "default": False},
        "prepared": {"type": "bool", "default": False},
        "rules": {"type": "list", "elements": "dict"},
        "live": {"type": "bool", "default": True},
        "persistent": {"type": "bool"},
        "transport": {"type": "str", "choices": list(TRANSPORTS), "default": TUNNEL},
        "storage": {"type": "str", "choices": list(STORAGE), "default": SHARED},
        "bandwidth": {"type": "int"},
        "downtime": {"type": "int"},
        "timeout": {"type": "int", "default": 0},
        "on_timeout": {"type": "str", "choices": list(ON_TIMEOUT), "default": ABORT},
        **_glue.shared("uri", "lock_timeout"),
    },
    "required_one_of": [("destination", "destination_uri")],
}
