# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Converts module options to Desired networks, and validates all that does not depend on the host. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK, PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Desired, DesiredPortgroup
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice

# libvirt stores a network in a file of its name with ".xml", next to one with ".xml.new".
_NAME_BYTES = 255 - len(".xml.new")
_PF_MODES = (None, "passthrough")


def declare(entries: t.Iterable[tuple[str, t.Mapping[str, t.Any]]]) -> tuple[Desired, ...]:
    """Return the desired networks of ``entries``, which are pairs of option path and options.

    :raises MacvtapError: with the path of the invalid option.
    """
    declared = tuple(_declare_one(path, options) for path, options in entries)
    _unique(declared, "the network")
    return declared


def _declare_one(path: str, options: t.Mapping[str, t.Any]) -> Desired:
    name = options.get("name") or ""
    _validate_name(name, join_path(path, "name"))
    flat = NETWORK.flat({**options, "pf": None})
    mode = flat.pop("mode", None)
    mode = NETWORK.by_name["mode"].normalize(mode) if mode is not None else None
    interfaces = options.get("interfaces")
    pf = options.get("pf") or None
    if pf is not None and interfaces is not None:
        raise MacvtapError("set either pf or interfaces, not both", path=join_path(path, "pf"))
    if pf is not None:
        uplinks.validate_name(pf, join_path(path, "pf"))
        if mode not in _PF_MODES:
            raise MacvtapError(
                f"a pool of virtual functions (pf) is for mode passthrough, and this is {mode}. Set mode: passthrough, "
                "or leave it out",
                path=join_path(path, "mode"),
            )
    if interfaces is not None:
        _validate_interfaces(interfaces, join_path(path, "interfaces"))
    portgroups = tuple(
        _declare_portgroup(f"{join_path(path, 'portgroups')}[{index}]", one)
        for index, one in enumerate(options.get("portgroups") or ())
    )
    _unique(portgroups, "the portgroup")
    _validate_defaults(portgroups)
    return Desired(
        path=path,
        name=name,
        state=options.get("state") or "active",
        mode="passthrough" if pf is not None else mode,
        interfaces=tuple(interfaces) if interfaces is not None else None,
        pf=pf,
        given=_values(flat, NETWORK, path),
        portgroups=portgroups,
        autostart=options.get("autostart"),
    )


def _declare_portgroup(path: str, options: t.Mapping[str, t.Any]) -> DesiredPortgroup:
    name = options.get("name") or ""
    validate.text(name, join_path(path, "name"))
    if not name:
        raise MacvtapError("the name of a portgroup must not be empty", path=join_path(path, "name"))
    validate.unescaped(name, "the name of a portgroup", join_path(path, "name"))
    present = options.get("state") != "absent"
    flat = PORTGROUP.flat({**options, "default": None})
    if any(field.startswith("bandwidth.") for field in flat):
        raise MacvtapError(
            "libvirt refuses bandwidth in a portgroup of a direct network. Set it on the interfaces, with bandwidth of "
            "libvirt_direct_iface",
            path=join_path(path, "bandwidth"),
        )
    return DesiredPortgroup(path, name, present, options.get("default"), _values(flat, PORTGROUP, path))


def _values(flat: t.Mapping[str, t.Any], table: Table, path: str) -> dict[str, str | None]:
    for name, value in flat.items():
        validate.value(name, value, join_path(path, name))
    validate.virtualport(flat, path)
    return table.without_cleared({name: table.by_name[name].text(value) for name, value in flat.items()})


def _validate_name(name: str, path: str) -> None:
    validate.text(name, path)
    if not name.strip():
        raise MacvtapError("the name of a network is required", path=path)
    if "/" in name or name != name.strip() or name in {".", ".."}:
        raise MacvtapError(
            f"{name!r} cannot be the name of a network: no /, no white space at its ends, not . or ..", path=path
        )
    if len(name.encode()) > _NAME_BYTES:
        raise MacvtapError(f"the name of a network has up to {_NAME_BYTES} bytes, and {name!r} has more", path=path)


def _validate_interfaces(interfaces: t.Sequence[str], path: str) -> None:
    if not interfaces:
        raise MacvtapError("a direct network needs an uplink. Without interfaces it keeps those that it has", path=path)
    for index, one in enumerate(interfaces):
        uplinks.validate_name(one, f"{path}[{index}]")
        if one in interfaces[:index]:
            raise declared_twice(f"the uplink {one}", f"{path}[{index}]", f"{path}[{interfaces.index(one)}]")


def _validate_defaults(portgroups: t.Sequence[DesiredPortgroup]) -> None:
    defaults = [one for one in portgroups if one.default and one.present]
    if len(defaults) > 1:
        raise MacvtapError(
            f"only one portgroup can be the default, and {defaults[0].name} is too",
            path=join_path(defaults[1].path, "default"),
        )


def _unique(declared: t.Sequence[Desired] | t.Sequence[DesiredPortgroup], what: str) -> None:
    seen: dict[str, str] = {}
    for one in declared:
        if one.name in seen:
            raise declared_twice(f"{what} {one.name}", join_path(one.path, "name"), seen[one.name])
        seen[one.name] = one.path
