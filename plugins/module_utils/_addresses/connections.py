# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which address of a guest is connected to, and which way: directly, or through its hypervisor. Pure."""

from __future__ import annotations

import ipaddress
import shlex
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    FAMILIES,
    STALE,
    STATES,
    Net,
    is_formed_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

GROUPINGS = ("hypervisor", "uplink", "vlan", "segment", "network", "mode", "state")
# When to connect through the hypervisor.
NEVER, ALWAYS, SHIM = ("never", "always", "shim")

# The variables that say how Ansible connects to a host by ssh. Of several that are set, it uses the last one.
_HOST = ("ansible_host", "ansible_ssh_host")
_PORT = ("ansible_port", "ansible_ssh_port")
_USER = ("ansible_user", "ansible_ssh_user")
_KEY = ("ansible_private_key_file", "ansible_ssh_private_key_file")
_ARGUMENTS = ("ansible_ssh_common_args", "ansible_ssh_extra_args")
CONNECTION = (*_HOST, *_PORT, *_USER, *_KEY, *_ARGUMENTS)

Values = t.Mapping[str, t.Any]
Preference = t.Union[str, Net]


@dataclass(frozen=True)
class InventoryGuest:
    """A guest as it is in the inventory. ``values`` are what the module returned, with its hypervisor.

    ``jumps`` is whether it is reached through its hypervisor.
    """

    name: str
    hypervisor: str
    values: Values
    address: str | None = None
    jumps: bool = False
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rules:
    """The plugin's options: which address is connected to, which way, and what guests are grouped by.

    ``direct`` are networks that the controller reaches by itself.
    """

    prefer: tuple[Preference, ...]
    groupings: tuple[str, ...] = GROUPINGS
    stale: bool = False
    jump: str = NEVER
    direct: tuple[Preference, ...] = ()


def preferences(declared: t.Sequence[str], option: str) -> tuple[Preference, ...]:
    """Return what addresses are preferred, the best first: families and networks.

    :raises MacvtapError: one is neither.
    """
    found: list[Preference] = []
    for index, text in enumerate(declared):
        if str(text) in FAMILIES:
            found.append(str(text))
        else:
            found.append(_network(str(text), f"{option}[{index}]", f"{', '.join(FAMILIES)} or "))
    return tuple(found)


def networks(declared: t.Sequence[str], option: str) -> tuple[Net, ...]:
    """Return declared networks.

    :raises MacvtapError: one is none.
    """
    return tuple(_network(str(text), f"{option}[{index}]", "") for index, text in enumerate(declared))


def _network(text: str, path: str, besides: str) -> Net:
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as exc:
        raise MacvtapError(f"{text!r} is not {besides}a network such as 192.0.2.0/24: {exc}", path=path) from exc


def usable(guest: Values, rules: Rules) -> list[Values]:
    """Return the addresses that can be connected to, the best first.

    That is the first preference that any fits, of those the surest, and of these one that is no temporary address.
    """
    found = [
        (rank, STATES.index(one["state"]), not is_formed_of(str(nic["mac"]), one["address"]), one)
        for nic in guest["interfaces"]
        for one in nic["addresses"]
        if one["scope"] != "link" and (rules.stale or one["state"] != STALE)
        for rank in (next((n for n, preference in enumerate(rules.prefer) if _fits(one, preference)), None),)
        if rank is not None
    ]
    return [one for *_order, one in sorted(found, key=lambda each: each[:3])]


def _fits(address: Values, preference: Preference) -> bool:
    if isinstance(preference, str):
        return bool(address["family"] == preference)
    return ipaddress.ip_address(address["address"]) in preference


def _jumps(address: Values, rules: Rules) -> bool:
    """Whether the way to an address leads through the guest's hypervisor."""
    if rules.jump != SHIM:
        return rules.jump == ALWAYS
    return bool(address.get("shim")) and not any(_fits(address, network) for network in rules.direct)


def addressed(found: t.Sequence[InventoryGuest], rules: Rules) -> tuple[list[InventoryGuest], list[str]]:
    """Return the guests with the addresses to connect to, and warnings.

    An address that several guests have, in different VLANs maybe, is not used where both would be reached the same way:
    it could lead to the wrong one. Through different hypervisors it is as good as two.
    """
    addresses = {guest.name: usable(guest.values, rules) for guest in found}
    having: dict[tuple[str, str], list[str]] = {}
    for guest in found:
        for way in dict.fromkeys(_way(guest, one, rules) for one in addresses[guest.name]):
            having.setdefault(way, []).append(guest.name)
    result, avoided = [], {}
    for guest in found:
        unique = (one for one in addresses[guest.name] if len(having[_way(guest, one, rules)]) == 1)
        best = next(unique, None)
        if best is None and addresses[guest.name]:
            first = addresses[guest.name][0]
            avoided[first["address"]] = having[_way(guest, first, rules)]
        address = None if best is None else str(best["address"])
        jumps = rules.jump == ALWAYS if best is None else _jumps(best, rules)
        result.append(replace(guest, address=address, jumps=jumps))
    return result, [
        f"{_text.join_names(names)} have the address {address}, so that connecting to it could lead to the wrong one; "
        "it is not used. Set prefer to a network that tells them apart, or jump"
        for address, names in avoided.items()
    ]


def _way(guest: InventoryGuest, address: Values, rules: Rules) -> tuple[str, str]:
    return (guest.hypervisor if _jumps(address, rules) else ""), str(address["address"])


def jump(connection: Values) -> str:
    """Return the options of ssh by which it reaches a guest through its hypervisor, of which these are the variables.

    All values are quoted, twice: ssh passes the command to a shell. A percent sign of theirs must not be read by the
    outer ssh.
    """
    words = ["ssh", *(word for name in _ARGUMENTS for word in _arguments(connection, name))]
    for option, names in (("-i", _KEY), ("-p", _PORT), ("-l", _USER)):
        value = _last(connection, names)
        words += [option, str(value)] if value else []
    host = str(_last(connection, _HOST) or connection["inventory_hostname"])
    # A zone of IPv6 has one.
    command, host = (text.replace("%", "%%") for text in (shlex.join(words), shlex.quote(host)))
    return "-o " + shlex.quote(f"ProxyCommand={command} -W [%h]:%p -- {host}")


def _last(connection: Values, names: t.Sequence[str]) -> t.Any:
    """Return the value of the last of these variables that is set, None if none is."""
    return next((connection[name] for name in reversed(names) if connection.get(name) is not None), None)


def _arguments(connection: Values, name: str) -> list[str]:
    try:
        return shlex.split(str(connection.get(name) or ""))
    except ValueError as exc:
        raise MacvtapError(f"{name} of {connection['inventory_hostname']} cannot be read: {exc}", path="jump") from exc
