# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Checks what hypervisors report before the controller uses it: a hypervisor is not trusted by the others. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import FAMILIES, STATES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# As the name of a host it may become an argument of ssh, and part of a pattern.
_NAME = re.compile(r"[A-Za-z0-9_][^\s,:{}\[\]!&~*?'\"\\$`|;<>()]*")

Values = t.Mapping[str, t.Any]


def guests(report: t.Any) -> list[Values]:
    """Return the guests of a report.

    :raises MacvtapError: it is not of the form that the module returns.
    """
    try:
        return [_guest(guest) for guest in _list(report)]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _unreadable(exc) from exc


def others(report: t.Any) -> list[Values]:
    """Return what a hypervisor knows of the guests of others.

    :raises MacvtapError: it is not of the form that the module returns.
    """
    try:
        return [_nic(nic) for nic in _list(report)]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise _unreadable(exc) from exc


def is_usable(name: str) -> bool:
    """Whether a guest's name can be that of a host."""
    return _NAME.fullmatch(name) is not None


def _unreadable(exc: Exception) -> MacvtapError:
    return MacvtapError(f"its answer cannot be read: {type(exc).__name__}: {exc}")


def _guest(guest: Values) -> Values:
    for name in ("name", "uuid", "state"):
        _text(guest[name])
    return {**guest, "interfaces": [_nic(nic) for nic in _list(guest["interfaces"])]}


def _nic(nic: Values) -> Values:
    _text(nic["mac"])
    for name in ("uplink", "network", "mode", "not_asked"):
        _text(nic.get(name) or "")
    return {**nic, "addresses": [_address(address) for address in _list(nic["addresses"])]}


def _address(address: Values) -> Values:
    # It may become an argument of ssh.
    ipaddress.ip_address(_text(address["address"]))
    if address["family"] not in FAMILIES or address["state"] not in STATES:
        raise ValueError(f"{address['family']!r}, {address['state']!r}")
    _text(address["scope"])
    _text(address.get("shim") or "")
    for source in _list(address.get("sources", [])):
        _text(source)
    return address


def _list(value: t.Any) -> list[t.Any]:
    if not isinstance(value, list):
        raise TypeError(f"not a list: {value!r}")
    return value


def _text(value: t.Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"not a text: {value!r}")
    return value
