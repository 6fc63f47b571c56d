# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Checks what hypervisors report before the controller uses it: a hypervisor is not trusted by the others. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import FAMILIES, STATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# As the name of a host it may become an argument of ssh, and part of a pattern.
# A slash or a percent sign could make the path of another file of variables or a token of ssh of it.
_NAME = re.compile(r"[A-Za-z0-9_][^\s,:{}\[\]!&~*?'\"\\$`|;<>()/%]*")
# What Ansible's own JSON has for a vault or a template.
_OF_ANSIBLE = "__ansible"

Values = t.Mapping[str, t.Any]
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, RecursionError, MacvtapError)


def guests(report: t.Any) -> list[Values]:
    """Return the guests of a report.

    :raises MacvtapError: it is not of the form that the module returns.
    """
    try:
        found = [_guest(guest) for guest in _list(_plain(report))]
        names = [guest["name"] for guest in found]
        if len({*names}) < len(names):
            raise ValueError("it has two guests of one name")
        return found
    except _MALFORMED as exc:
        raise _unreadable(exc) from exc


def others(report: t.Any) -> list[Values]:
    """Return what a hypervisor knows of the guests of others.

    :raises MacvtapError: it is not of the form that the module returns.
    """
    try:
        return [_nic(nic) for nic in _list(_plain(report))]
    except _MALFORMED as exc:
        raise _unreadable(exc) from exc


def is_usable(name: str) -> bool:
    """Whether a guest's name can be that of a host."""
    return _NAME.fullmatch(name) is not None and name.isprintable()


def _unreadable(exc: Exception) -> MacvtapError:
    kind = "" if isinstance(exc, MacvtapError) else f"{type(exc).__name__}: "
    return MacvtapError(f"its answer cannot be read: {kind}{exc}")


def _guest(guest: Values) -> Values:
    for name in ("name", "uuid", "state"):
        _text(guest[name])
    return {**guest, "interfaces": [_nic(nic) for nic in _list(guest["interfaces"])]}


def _nic(nic: Values) -> Values:
    # Other hypervisors are asked for it.
    mac = _mac.parse(_text(nic["mac"]))
    for name in ("uplink", "network", "mode", "not_asked"):
        _text(nic.get(name) or "")
    if not isinstance(nic.get("vlan") or 0, int):
        raise TypeError(f"not a number: {nic['vlan']!r}")
    # Its segment is what the inventory says.
    own = {name: value for name, value in nic.items() if name != "segment"}
    return {**own, "mac": mac, "addresses": [_address(address) for address in _list(nic["addresses"])]}


def _address(address: Values) -> Values:
    # It may become an argument of ssh, and part of a command of a shell.
    ipaddress.ip_address(_text(address["address"]))
    if "%" in address["address"]:
        # What follows may be any text.
        raise ValueError(f"an address with a zone: {address['address']!r}")
    if address["family"] not in FAMILIES or address["state"] not in STATES:
        raise ValueError(f"{address['family']!r}, {address['state']!r}")
    _text(address["scope"])
    _text(address.get("shim") or "")
    for source in _list(address.get("sources", [])):
        _text(source)
    return address


def _plain(value: t.Any) -> t.Any:
    """Return ``value`` if nothing in it is more than text when Ansible reads it from a cache."""
    if isinstance(value, dict):
        for name, one in value.items():
            if _text(name).startswith(_OF_ANSIBLE):
                raise ValueError(f"{name} is not for a hypervisor to report")
            _plain(one)
    elif isinstance(value, list):
        for one in value:
            _plain(one)
    return value


def _list(value: t.Any) -> list[t.Any]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return value


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    return value
