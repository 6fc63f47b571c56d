# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of a companion: their specification, and what a user wrote as what is wanted."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import IPV6_MTU, STATES, Wanted, family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice

COMPANION_OPTIONS: dict[str, t.Any] = {
    "name": {"type": "str"},
    "state": {"type": "str", "choices": list(STATES)},
    "parent": {"type": "str", "aliases": ["link", "lower", "base_iface"]},
    "mac": {"type": "str"},
    "mtu": {"type": "int"},
    "addresses": {"type": "list", "elements": "str"},
    "guests": {"type": "list", "elements": "str"},
    "dhcp4": {"type": "bool"},
}

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]

# What no machine on the LAN is reached by alone, and why.
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


def wanted(path: str, options: t.Mapping[str, t.Any]) -> Wanted:
    """Return what the user declared at ``path``; what is left out or None there is not declared.

    :raises MacvtapError: a value that no kernel and no host would take, or none where one is needed.
    """
    said = {option: options.get(option) for option in COMPANION_OPTIONS}
    if said["name"] is None:
        raise MacvtapError("say what the companion is to be called, such as host0", path=join_path(path, "name"))
    _values.check_link_name(said["name"], join_path(path, "name"))
    if said["parent"] == "" and said["state"] != "absent":
        raise MacvtapError("it is empty. Say the link that the guests are on", path=join_path(path, "parent"))
    ROWS["mtu"].value(said["mtu"], join_path(path, "mtu"))
    want = Wanted(
        name=said["name"],
        path=path,
        state=said["state"] or "present",
        parent=said["parent"],
        mac=None if said["mac"] is None else _mac.require(said["mac"], path=join_path(path, "mac")),
        mtu=said["mtu"],
        addresses=_each(said["addresses"], _address, join_path(path, "addresses")),
        guests=_each(said["guests"], _guests, join_path(path, "guests")),
        dhcp4=bool(said["dhcp4"]),
    )
    if want.state != "absent":
        _check_families(want)
        _check_mtu(want)
    return want


def _each(given: t.Sequence[str] | None, canonical: t.Callable[[str, str], str], path: str) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for index, one in enumerate(given or ()):
        said = f"{path}[{index}]"
        value = canonical(one, said)
        if value in found:
            raise declared_twice(one, said, found[value])
        found[value] = said
    return tuple(found)


def _address(given: str, path: str) -> str:
    _check_zone(given, path)
    text, slash, length = given.partition("/")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise MacvtapError(f"'{given}' is no IP address, such as 192.0.2.250 or 2001:db8::250", path=path) from None
    if slash and not length:
        raise MacvtapError(f"'{given}' ends in a slash, and no prefix length follows. Say {text}", path=path)
    if slash and length != str(address.max_prefixlen):
        raise MacvtapError(
            f"'{given}' has a prefix length, by which the host would send to that whole network over the companion. "
            f"Only guests' addresses are routed over it: say {text}, and the guests in guests",
            path=path,
        )
    _check_ordinary(given, ipaddress.ip_network(address), path)
    return str(address)


def _guests(given: str, path: str) -> str:
    _check_zone(given, path)
    try:
        network = ipaddress.ip_network(given)
    except ValueError:
        raise MacvtapError(f"'{given}' is no IP address or network{_hint(given)}", path=path) from None
    if network.prefixlen == 0:
        raise MacvtapError(
            f"{given} is a default route: all that the host sends would go over the companion, also what is for other "
            "machines. Say the guests' addresses",
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
    return f": {address} lies inside of the network {meant}. Say {meant} for all of it, or {address} for that guest"


def _check_zone(given: str, path: str) -> None:
    if "%" in given:
        raise MacvtapError(
            f"'{given}' names a link, which the companion itself is; leave out what begins with %", path=path
        )


def _check_ordinary(given: str, network: Network, path: str) -> None:
    for special, what in _SPECIAL:
        if network.version == special.version and network.overlaps(special):
            verb = "is" if network.num_addresses == 1 else f"contains {special}, which is"
            raise MacvtapError(f"{given} {verb} {what}, and no guest is reached by that. Say another", path=path)


def _check_families(want: Wanted) -> None:
    having = {family(address) for address in want.addresses}
    if want.dhcp4 and 4 in having:
        raise MacvtapError(
            "there is a static IPv4 address in addresses, and dhcp4 asks for another one. Leave one of them out",
            path=join_path(want.path, "dhcp4"),
        )
    if want.dhcp4:
        having.add(4)
    for index, guests in enumerate(want.guests):
        if family(guests) not in having:
            other = " or say dhcp4: true," if family(guests) == 4 else ""
            raise MacvtapError(
                f"{guests} is IPv{family(guests)}, and the companion has no address of that kind, so that guests could "
                f"not answer. Add one to addresses,{other} or leave these guests out",
                path=f"{join_path(want.path, 'guests')}[{index}]",
            )
    for index, guests in enumerate(want.guests):
        if guests.rpartition("/")[0] in want.addresses and ipaddress.ip_network(guests).num_addresses == 1:
            raise MacvtapError(
                f"{guests} is an address of the companion itself, and no guest's. Leave it out",
                path=f"{join_path(want.path, 'guests')}[{index}]",
            )


def _check_mtu(want: Wanted) -> None:
    if want.mtu is not None and want.mtu < IPV6_MTU and any(family(address) == 6 for address in want.addresses):
        raise MacvtapError(
            f"{want.mtu} is less than the {IPV6_MTU} bytes that IPv6 needs, and there is an IPv6 address in addresses",
            path=join_path(want.path, "mtu"),
        )
