# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of a host interface: their specification, and turning them into desired ones."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import STATES, DesiredShim, family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import IPV6_MTU
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import specification
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice

SHIM_OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "state": {"type": "str", "choices": list(STATES)},
    **specification("parent"),
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "addresses": {"type": "list", "elements": "str"},
    "guests": {"type": "list", "elements": "str"},
    "dhcp4": {"type": "bool"},
}

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# Networks that contain no address of a single machine on the LAN, and why.
_SPECIAL: tuple[tuple[Network, str], ...] = (
    (ipaddress.ip_network("0.0.0.0/8"), "unspecified"),
    (ipaddress.ip_network("127.0.0.0/8"), "loopback"),
    (ipaddress.ip_network("169.254.0.0/16"), "link-local"),
    (ipaddress.ip_network("224.0.0.0/4"), "multicast"),
    (ipaddress.ip_network("255.255.255.255/32"), "broadcast"),
    (ipaddress.ip_network("::/128"), "unspecified"),
    (ipaddress.ip_network("::1/128"), "loopback"),
    (ipaddress.ip_network("::ffff:0:0/96"), "IPv4-mapped"),
    (ipaddress.ip_network("fe80::/10"), "link-local"),
    (ipaddress.ip_network("ff00::/8"), "multicast"),
)


def desired(path: str, options: t.Mapping[str, t.Any]) -> DesiredShim:
    """Return the desired host interface of the options at ``path``; omitted and None mean "not set".

    :raises MacvtapError: a value is invalid, or a required one is missing.
    """
    values = {option: options.get(option) for option in SHIM_OPTIONS}
    if values["name"] is None:
        raise MacvtapError(
            "is required; set it to a name for the host interface, such as host0", path=join_path(path, "name")
        )
    _values.check_link_name(values["name"], join_path(path, "name"))
    if values["parent"] == "" and values["state"] != "absent":
        raise MacvtapError("is empty. Set it to the uplink of the guests, such as eth0", path=join_path(path, "parent"))
    ROWS["mtu"].value(values["mtu"], join_path(path, "mtu"))
    entry = DesiredShim(
        name=values["name"],
        path=path,
        state=values["state"] or "present",
        parent=values["parent"],
        mac=None if values["mac"] is None else _mac.require(values["mac"], path=join_path(path, "mac")),
        mtu=values["mtu"],
        addresses=_each(values["addresses"], _address, join_path(path, "addresses")),
        guests=_each(values["guests"], _guests, join_path(path, "guests")),
        dhcp4=bool(values["dhcp4"]),
    )
    if entry.state != "absent":
        _check_families(entry)
        _check_mtu(entry)
    return entry


def _each(given: t.Sequence[str] | None, canonical: t.Callable[[str, str], str], path: str) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for index, one in enumerate(given or ()):
        option = f"{path}[{index}]"
        value = canonical(one, option)
        if value in found:
            raise declared_twice(one, option, found[value])
        found[value] = option
    return tuple(found)


def _address(given: str, path: str) -> str:
    _values.check_zone(given, path)
    text, slash, length = given.partition("/")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise MacvtapError(f"'{given}' is not an IP address such as 192.0.2.250 or 2001:db8::250", path=path) from None
    if slash and not length:
        raise MacvtapError(f"'{given}' has a slash without a prefix length. Use {text} instead", path=path)
    if slash and length != str(address.max_prefixlen):
        raise MacvtapError(
            f"'{given}' has a prefix length, so the host would send to the whole network over this interface. "
            f"Use {text} instead, and list the guests in guests",
            path=path,
        )
    _check_ordinary(given, ipaddress.ip_network(address), path)
    return str(address)


def _guests(given: str, path: str) -> str:
    _values.check_zone(given, path)
    try:
        network = ipaddress.ip_network(given)
    except ValueError:
        raise MacvtapError(f"'{given}' is not an IP address or network{_hint(given)}", path=path) from None
    if network.prefixlen == 0:
        raise MacvtapError(
            f"{given} is a default route: the host would send all its traffic over this interface. "
            "List the guests' addresses instead",
            path=path,
        )
    _check_ordinary(given, network, path)
    return str(network)


def _hint(given: str) -> str:
    try:
        meant = ipaddress.ip_network(given, strict=False)
    except ValueError:
        return ", such as 192.0.2.77, 192.0.2.16/28 or 2001:db8::77"
    address = given.partition("/")[0]
    return f": {address} is inside of the network {meant}. Use {meant} for the network, or {address} for that guest"


def _check_ordinary(given: str, network: Network, path: str) -> None:
    for special, what in _SPECIAL:
        if network.version == special.version and network.overlaps(special):
            verb = "is" if network.num_addresses == 1 else f"contains {special}, which is"
            raise MacvtapError(f"{given} {verb} {what}, so no guest can have it. Use another", path=path)


def _check_families(entry: DesiredShim) -> None:
    having = {family(address) for address in entry.addresses}
    if entry.dhcp4 and 4 in having:
        raise MacvtapError(
            "conflicts with the static IPv4 address in addresses. Remove one of them",
            path=join_path(entry.path, "dhcp4"),
        )
    if entry.dhcp4:
        having.add(4)
    for index, guests in enumerate(entry.guests):
        if family(guests) not in having:
            other = " set dhcp4: true," if family(guests) == 4 else ""
            raise MacvtapError(
                f"{guests} is IPv{family(guests)}, but the host interface has no IPv{family(guests)} address, so "
                f"guests could not reply. Add one to addresses,{other} or remove these guests",
                path=f"{join_path(entry.path, 'guests')}[{index}]",
            )
    for index, guests in enumerate(entry.guests):
        if guests.rpartition("/")[0] in entry.addresses and ipaddress.ip_network(guests).num_addresses == 1:
            raise MacvtapError(
                f"{guests} is an address of the host interface itself, not a guest's. Remove it",
                path=f"{join_path(entry.path, 'guests')}[{index}]",
            )


def _check_mtu(entry: DesiredShim) -> None:
    if entry.mtu is not None and entry.mtu < IPV6_MTU and any(family(address) == 6 for address in entry.addresses):
        raise MacvtapError(
            f"{entry.mtu} is below {IPV6_MTU}, the minimum for IPv6 addresses. Raise it, or remove the IPv6 address",
            path=join_path(entry.path, "mtu"),
        )
