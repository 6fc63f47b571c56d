# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""DHCP reservations from declared MAC addresses and addresses, for several servers. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _text, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
# What all of these servers accept in a file without quotes (RFC 1123).
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*")
_HOSTNAME_LENGTH = 253
# What dnsmasq takes for something else than a host name in a dhcp-host: the length of a lease, or to give none.
_NOT_DNSMASQS = re.compile(r"ignore|infinite|[0-9]+[smhdwSMHDW]?")


@dataclass(frozen=True)
class Reservation:
    """The addresses that a server gives to a MAC address; ``hostname`` is "" without one.

    ``hostname_path`` is the path of the option that it is from.
    """

    mac: str
    ipv4: str | None
    ipv6: tuple[str, ...]
    hostname: str
    hostname_path: str = ""


def parse(declared: t.Any) -> list[Reservation]:
    """Return the reservations that are declared, in their order.

    :raises MacvtapError: one is incomplete, or says what another says otherwise.
    """
    if isinstance(declared, (str, bytes, t.Mapping)) or not isinstance(declared, t.Iterable):
        raise MacvtapError(f"the input must be a list of NICs with mac and address, not {declared!r}")
    found = [_reservation(entry, f"[{index}]") for index, entry in enumerate(declared)]
    for what, values in (("mac", _macs), ("address", _addresses)):
        seen: dict[str, int] = {}
        for index, reservation in enumerate(found):
            for value in values(reservation):
                if value in seen:
                    raise _text.declared_twice(value, f"[{index}].{what}", f"[{seen[value]}]")
                seen[value] = index
    return found


def _macs(reservation: Reservation) -> tuple[str, ...]:
    return (reservation.mac,)


def _addresses(reservation: Reservation) -> tuple[str, ...]:
    return (*([reservation.ipv4] if reservation.ipv4 else []), *reservation.ipv6)


def _reservation(entry: t.Any, path: str) -> Reservation:
    if not isinstance(entry, t.Mapping):
        raise MacvtapError(f"must be a dictionary with mac and address, not {entry!r}", path=path)
    if not entry.get("mac"):
        raise MacvtapError("mac is required", path=path)
    mac = _mac.require(str(entry["mac"]), path=join_path(path, "mac"))
    several = entry.get("addresses") or []
    if isinstance(several, (str, bytes, t.Mapping)) or not isinstance(several, t.Iterable):
        raise MacvtapError(f"must be a list of addresses, not {several!r}", path=join_path(path, "addresses"))
    several = list(several)
    if entry.get("address") and several:
        raise MacvtapError("address is set too; use one of them", path=join_path(path, "addresses"))
    if not entry.get("address") and not several:
        raise MacvtapError("address or addresses is required", path=path)
    addresses = [_address(one, join_path(path, f"addresses[{index}]")) for index, one in enumerate(several)]
    addresses = addresses or [_address(entry["address"], join_path(path, "address"))]
    ipv4 = [str(one) for one in addresses if one.version == 4]
    if len(ipv4) > 1:
        raise MacvtapError(
            f"a DHCP server gives a NIC one IPv4 address, and here are {_text.join_names(ipv4)}",
            path=join_path(path, "addresses"),
        )
    ipv6 = tuple(str(one) for one in addresses if one.version == 6)
    return Reservation(mac, ipv4[0] if ipv4 else None, ipv6, *_hostname(entry, path))


def _address(text: t.Any, path: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    _values.check_zone(str(text), path)
    try:
        # With the length of its network, as in a guest's own configuration.
        address = ipaddress.ip_interface(str(text)).ip
    except ValueError as exc:
        raise MacvtapError(f"{text!r} is not an IP address", path=path) from exc
    special = address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local
    if special or address == _BROADCAST or getattr(address, "ipv4_mapped", None):
        raise MacvtapError(f"{text} is no address that a DHCP server gives", path=path)
    return address


def _hostname(entry: t.Mapping[str, t.Any], path: str) -> tuple[str, str]:
    """Return the host name, and the path of the option that it is from."""
    option = "hostname" if entry.get("hostname") else "name"
    name, path = str(entry.get(option) or ""), join_path(path, option)
    if name and not _HOSTNAME.fullmatch(name):
        raise MacvtapError(f"{name!r} is not a host name: letters, digits and hyphens, and dots between", path=path)
    if len(name) > _HOSTNAME_LENGTH:
        raise MacvtapError(
            f"the host name has {len(name)} characters, and at most {_HOSTNAME_LENGTH} are valid", path=path
        )
    if _is_ipv4(name):
        raise MacvtapError(f"{name!r} is an IP address and not a host name", path=path)
    return name, path


def _is_ipv4(name: str) -> bool:
    try:
        return bool(ipaddress.IPv4Address(name))
    except ValueError:
        return False


def dnsmasq(reservations: t.Iterable[Reservation]) -> str:
    """Return lines for a file of dnsmasq's configuration (dhcp-host).

    :raises MacvtapError: dnsmasq would not take a host name for one.
    """
    lines = []
    for one in reservations:
        if _NOT_DNSMASQS.fullmatch(one.hostname):
            meaning = "that the NIC gets no address" if one.hostname == "ignore" else "the length of a lease"
            message = f"for dnsmasq {one.hostname!r} is not a host name, but {meaning}. Use another one"
            raise MacvtapError(message, path=one.hostname_path)
        addresses = [*([one.ipv4] if one.ipv4 else []), *(f"[{address}]" for address in one.ipv6)]
        lines.append(",".join(filter(None, (f"dhcp-host={one.mac}", *addresses, one.hostname))))
    return "".join(f"{line}\n" for line in lines)


def kea(reservations: t.Iterable[Reservation], family: str) -> list[dict[str, t.Any]]:
    """Return the list ``reservations`` of a subnet4 or subnet6 of Kea; those without an address of it are left out."""
    found: list[dict[str, t.Any]] = []
    for one in reservations:
        name = {"hostname": one.hostname} if one.hostname else {}
        if family == "ipv4" and one.ipv4:
            found.append({"hw-address": one.mac, "ip-address": one.ipv4, **name})
        elif family == "ipv6" and one.ipv6:
            found.append({"hw-address": one.mac, "ip-addresses": list(one.ipv6), **name})
    return found


def isc(reservations: t.Iterable[Reservation], family: str) -> str:
    """Return host declarations for ISC's dhcpd; those without an address of the family are left out."""
    blocks = []
    for one in reservations:
        addresses = ([one.ipv4] if one.ipv4 else []) if family == "ipv4" else list(one.ipv6)
        if not addresses:
            continue
        option = "fixed-address" if family == "ipv4" else "fixed-address6"
        # The name of a declaration, which may not be declared twice, is not the option.
        lines = [f"hardware ethernet {one.mac};", f"{option} {', '.join(addresses)};"]
        lines += [f'option host-name "{one.hostname}";'] if one.hostname else []
        body = "".join(f"  {line}\n" for line in lines)
        blocks.append(f"host {one.mac.replace(':', '-')} {{\n{body}}}\n")
    return "".join(blocks)
