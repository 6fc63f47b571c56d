# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validates values of the fields that several kinds of elements have, whatever the host is like. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import uuid

_BYTE, _U24, _U32 = 255, (1 << 24) - 1, (1 << 32) - 1
# XML cannot represent most of them, and reads a line break in an attribute as a space.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# Minimum and maximum; bandwidth is in KiB/s and KiB.
RANGES: t.Mapping[str, tuple[int, int]] = {
    "virtualport.managerid": (0, _BYTE),
    "virtualport.typeid": (0, _U24),
    "virtualport.typeidversion": (0, _BYTE),
    "vlan": (0, 4094),
    **{
        f"bandwidth.{direction}.{what}": (0 if what == "average" else 1, _U32)
        for direction in ("inbound", "outbound")
        for what in ("average", "peak", "burst")
    },
}
# What libvirt 9.0 does not escape in some places, so that it could not read its own XML any more.
_UNESCAPED = re.compile("[&<>'\"]")
# LIBVIRT_IFLA_VF_PORT_PROFILE_MAX minus the final NUL.
_PROFILE_BYTES = 39
_QBG, _QBH = "802.1Qbg", "802.1Qbh"
# libvirt generates the instance.
_REQUIRED = {_QBG: ("managerid", "typeid", "typeidversion"), _QBH: ("profileid",)}
_PARAMETERS = {_QBG: ("managerid", "typeid", "typeidversion", "instanceid"), _QBH: ("profileid",)}


def text(value: t.Any, path: str) -> None:
    """Refuse a text that XML does not allow."""
    if isinstance(value, str) and _UNWRITABLE.search(value):
        raise MacvtapError(f"{value!r} has a control character, which XML does not allow", path=path)


def unescaped(value: str, what: str, path: str) -> None:
    """Refuse a text that libvirt writes into its XML as it is."""
    if _UNESCAPED.search(value):
        raise MacvtapError(
            f"{value!r} has one of & < > ' \". libvirt writes {what} as it is, and could not read its own XML any more",
            path=path,
        )


def value(name: str, value: t.Any, path: str, ranges: t.Mapping[str, tuple[int, int]] = RANGES) -> None:
    """Refuse a value that the field ``name`` cannot have; ``ranges`` are the minimum and maximum of numbers.

    :raises MacvtapError: with the ``path`` of the option.
    """
    text(value, path)
    if name in ranges:
        _values.check_range(value, *ranges[name], path)
    elif name == "virtualport.instanceid" and uuid(value) is None:
        raise MacvtapError(f"{value!r} is not a UUID", path=path)
    elif name == "virtualport.profileid":
        if not value:
            raise MacvtapError("the name of a port profile must not be empty", path=path)
        unescaped(value, "a port profile", path)
        if len(value.encode()) > _PROFILE_BYTES:
            raise MacvtapError(f"a port profile has up to {_PROFILE_BYTES} bytes, and {value!r} has more", path=path)


def virtualport(flat: t.Mapping[str, t.Any], path: str) -> None:
    """Refuse declared parameters that a declared virtual port type does not have."""
    kind = flat.get("virtualport.type")
    parameters = [name.split(".")[1] for name in flat if name.startswith("virtualport.") and name != "virtualport.type"]
    if kind == "none" or not parameters or kind is None:
        return
    for parameter in parameters:
        if parameter not in _PARAMETERS[kind]:
            raise MacvtapError(
                f"{kind} has no such parameter; it has {', '.join(_PARAMETERS[kind])}",
                path=join_path(path, f"virtualport.{parameter}"),
            )


def has_virtualport_type(values: t.Mapping[str, str], changed: t.Collection[str], path: str) -> None:
    """Refuse ``changed`` parameters of a virtual port that has no type among its ``values``."""
    parameters = [name for name in changed if name.startswith("virtualport.") and name != "virtualport.type"]
    if parameters and values.get("virtualport.type") is None:
        raise MacvtapError(
            "a virtual port with parameters needs a type. Set 802.1Qbg or 802.1Qbh",
            path=join_path(path, "virtualport.type"),
        )


def missing_parameters(values: t.Mapping[str, str]) -> list[str]:
    """Return the fields that the virtual port among ``values`` lacks: libvirt starts no guest on it."""
    required = _REQUIRED.get(values.get("virtualport.type", ""), ())
    return [name for name in (f"virtualport.{one}" for one in required) if not values.get(name)]


def has_virtualport_parameters(values: t.Mapping[str, str], changed: t.Collection[str], path: str) -> None:
    """Refuse a ``changed`` virtual port of a NIC that lacks parameters; ``values`` include its network's."""
    missing = missing_parameters(values) if any(name.startswith("virtualport.") for name in changed) else []
    if missing:
        raise MacvtapError(
            f"is required, since the virtual port is of type {values['virtualport.type']} and its network, if it is on "
            "one, does not have it. libvirt would not start the guest",
            path=join_path(path, missing[0]),
        )
