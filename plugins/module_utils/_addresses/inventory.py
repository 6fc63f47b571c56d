# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From what hypervisors report to hosts of an inventory: names, addresses, groups, and the way there. Pure."""

from __future__ import annotations

import ipaddress
import shlex
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import FAMILIES, STALE, STATES, Net
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

GROUPINGS = ("hypervisor", "uplink", "vlan", "network", "mode", "state")
# What is a guest's, not a NIC's.
_OF_GUEST = ("hypervisor", "state")

Values = t.Mapping[str, t.Any]
Preference = t.Union[str, Net]


@dataclass(frozen=True)
class InventoryGuest:
    """A guest as it is in the inventory. ``values`` are what the module returned, with its hypervisor."""

    name: str
    hypervisor: str
    values: Values
    address: str | None
    groups: tuple[str, ...]


def preferences(declared: t.Sequence[str], option: str) -> tuple[Preference, ...]:
    """Return what addresses are preferred, the best first: families and networks.

    :raises MacvtapError: one is neither.
    """
    found: list[Preference] = []
    for index, text in enumerate(declared):
        if str(text) in FAMILIES:
            found.append(str(text))
            continue
        try:
            found.append(ipaddress.ip_network(str(text).strip()))
        except ValueError as exc:
            raise MacvtapError(
                f"{text!r} is not {', '.join(FAMILIES)} or a network such as 192.0.2.0/24: {exc}",
                path=f"{option}[{index}]",
            ) from exc
    return tuple(found)


def choose(guest: Values, prefer: t.Sequence[Preference], *, stale: bool = False) -> str | None:
    """Return the address to connect to: the first preference that any fits, and of those the surest; None without."""
    usable = [
        one
        for interface in guest["interfaces"]
        for one in interface["addresses"]
        if one["scope"] != "link" and (stale or one["state"] != STALE)
    ]
    for preference in prefer:
        fitting = [one for one in usable if _fits(one, preference)]
        if fitting:
            return str(min(fitting, key=lambda one: STATES.index(one["state"]))["address"])
    return None


def _fits(address: Values, preference: Preference) -> bool:
    if isinstance(preference, str):
        return bool(address["family"] == preference)
    return ipaddress.ip_address(address["address"]) in preference


def guests(
    reports: t.Mapping[str, t.Sequence[Values]],
    prefer: t.Sequence[Preference],
    groupings: t.Collection[str],
    *,
    stale: bool = False,
) -> tuple[list[InventoryGuest], list[str]]:
    """Return the guests of all hypervisors, and warnings; ``reports`` are the guests that each has, by its name.

    A guest that several hypervisors have defined is where it runs. Different guests of one name have their hypervisor's
    name added.
    """
    by_uuid: dict[str, list[tuple[str, Values]]] = {}
    for hypervisor in sorted(reports):
        for guest in reports[hypervisor]:
            by_uuid.setdefault(str(guest["uuid"]), []).append((hypervisor, guest))
    chosen = [min(places, key=_runs_last) for places in by_uuid.values()]
    warnings = [_twice(places) for places in by_uuid.values() if sum(_runs(guest) for _hv, guest in places) > 1]
    names: dict[str, list[str]] = {}
    for hypervisor, guest in chosen:
        names.setdefault(str(guest["name"]), []).append(hypervisor)
    found = []
    for hypervisor, guest in sorted(chosen, key=lambda one: (str(one[1]["name"]), one[0])):
        name = str(guest["name"])
        own = name if len(names[name]) == 1 else f"{name}_{hypervisor}"
        values = {**guest, "hypervisor": hypervisor}
        address = choose(guest, prefer, stale=stale)
        found.append(InventoryGuest(own, hypervisor, values, address, groups(values, groupings)))
    warnings += [
        f"{len(hypervisors)} guests are called {name}, on {_text.join_names(hypervisors)}. Their hypervisor's name is "
        f"added, as in {name}_{hypervisors[0]}"
        for name, hypervisors in sorted(names.items())
        if len(hypervisors) > 1
    ]
    return found, warnings


def _runs(guest: Values) -> bool:
    return guest["state"] in ("running", "paused")


def _runs_last(place: tuple[str, Values]) -> tuple[bool, bool, str]:
    hypervisor, guest = place
    return not _runs(guest), guest["state"] != "saved", hypervisor


def _twice(places: t.Sequence[tuple[str, Values]]) -> str:
    names = [hypervisor for hypervisor, guest in places if _runs(guest)]
    return f"{places[0][1]['name']} runs on {_text.join_names(names)} at the same time; {names[0]} is used"


def macs_for_others(reports: t.Mapping[str, t.Sequence[Values]]) -> tuple[str, ...]:
    """Return the MAC addresses of running NICs that their own host could not ask, or of which it knows no address.

    An address that several NICs have is left out: the answers would not say whose they are.
    """
    nics = [nic for guests_of in reports.values() for guest in guests_of if _runs(guest) for nic in guest["interfaces"]]
    macs = [nic["mac"] for nic in nics]
    return tuple(
        nic["mac"]
        for nic in nics
        if macs.count(nic["mac"]) == 1 and (nic.get("not_asked") or not any(map(_is_sure, nic["addresses"])))
    )


def _is_sure(address: Values) -> bool:
    return address["scope"] != "link" and address["state"] != STALE


def with_others(
    reports: t.Mapping[str, t.Sequence[Values]], others: t.Mapping[str, t.Sequence[Values]]
) -> dict[str, list[Values]]:
    """Return ``reports`` with what other hypervisors have found; ``others`` is that of each.

    Those addresses have ``asked_by``, the hypervisor that has found them. They replace what the guest's own host knows.
    """
    found: dict[str, dict[str, Values]] = {}
    for hypervisor in sorted(others):
        for one in others[hypervisor]:
            for address in one["addresses"]:
                if address["state"] != STALE:
                    found.setdefault(one["mac"], {}).setdefault(address["address"], {**address, "asked_by": hypervisor})
    return {
        name: [{**guest, "interfaces": [_asked(nic, found) for nic in guest["interfaces"]]} for guest in guests_of]
        for name, guests_of in reports.items()
    }


def _asked(nic: Values, found: t.Mapping[str, t.Mapping[str, Values]]) -> Values:
    by_others = found.get(nic["mac"], {})
    own = [one for one in nic["addresses"] if one["address"] not in by_others]
    return {**nic, "addresses": [*by_others.values(), *own]}


def groups(guest: Values, groupings: t.Collection[str]) -> tuple[str, ...]:
    """Return the names of the groups that a guest is in, such as ``uplink_eth0``."""
    found = []
    for grouping in GROUPINGS:
        if grouping in groupings:
            sources = [guest] if grouping in _OF_GUEST else guest["interfaces"]
            found += [f"{grouping}_{value}" for one in sources if (value := one.get(grouping)) not in (None, "")]
    return tuple(dict.fromkeys(found))


def jump(connection: Values) -> str:
    """Return the options of ssh by which it reaches a guest through its hypervisor, of which these are the variables.

    All values are quoted, twice: ssh passes the command to a shell. A percent sign of theirs must not be read by the
    outer ssh.
    """
    given = [_arguments(connection, f"ansible_ssh_{name}_args") for name in ("common", "extra")]
    words = ["ssh", *given[0], *given[1]]
    key, port, user = (
        connection.get(name) for name in ("ansible_ssh_private_key_file", "ansible_port", "ansible_user")
    )
    words += ["-i", str(key)] if key else []
    words += ["-p", str(port)] if port else []
    words += ["-l", str(user)] if user else []
    host = str(connection.get("ansible_host") or connection["inventory_hostname"])
    command = shlex.join(words).replace("%", "%%")
    return "-o " + shlex.quote(f"ProxyCommand={command} -W [%h]:%p -- {shlex.quote(host)}")


def _arguments(connection: Values, name: str) -> list[str]:
    try:
        return shlex.split(str(connection.get(name) or ""))
    except ValueError as exc:
        raise MacvtapError(f"{name} of {connection['inventory_hostname']} cannot be read: {exc}", path="jump") from exc
