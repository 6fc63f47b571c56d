# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From options to guards. Pure."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import ETHERTYPES, Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._values import check_link_name, check_range, check_zone

# What a guest may send.
RULES: dict[str, dict[str, t.Any]] = {
    "policy": {"type": "str", "choices": [model.DROP, model.COUNT]},
    "other_macs": {"type": "bool"},
    "addresses": {"type": "list", "elements": "str"},
    "ethertypes": {"type": "list", "elements": "str"},
    "peers": {"type": "list", "elements": "str"},
    "dhcp_server": {"type": "bool"},
    "router_advertisements": {"type": "bool"},
    "rate": {"type": "int"},
    "mirror_to": {"type": "str"},
}
# Whose guest, and whether.
NIC: dict[str, dict[str, t.Any]] = {
    "domain": {"type": "str"},
    "mac": {"type": "str"},
    "link": {"type": "str", "aliases": ["name"]},
    "state": {"type": "str", "choices": ["present", "absent"]},
}
OPTIONS = {**NIC, **RULES}
# The guard of a NIC or link that another module manages: the option ``guard``.
GUARD: dict[str, t.Any] = {"type": "dict", "options": {"state": NIC["state"], **RULES}}
DEFAULTS: dict[str, t.Any] = {
    "state": "present",
    "policy": model.DROP,
    "other_macs": False,
    "ethertypes": ["ip", "arp", "ip6"],
    "dhcp_server": False,
    "router_advertisements": False,
    "rate": 0,
}
_MOST_RATE = 10_000_000
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,4}|[1-9][0-9]{0,4}")


@dataclass(frozen=True)
class Desired:
    """One declared guard. ``values`` are those of Guard by name, without what is not set: the default applies.

    ``keep`` is the path of the option by which a guard that the host stores already stays as it is, "" if it does not.
    """

    path: str
    mac: str | None
    link: str | None
    domain: str | None
    present: bool
    values: t.Mapping[str, t.Any]
    keep: str = ""

    def guard(self, mac: str, stored: Guard | None = None) -> Guard:
        """Return the guard of the NIC with this address: the one that is ``stored``, if that is to stay.

        :raises MacvtapError: the addresses and EtherTypes exclude each other, or what is to stay is not wholly known.
        """
        if self.keep and stored is not None and stored.policy == model.UNKNOWN:
            raise MacvtapError(
                f"the guard that this host stores for {mac} was edited, or is of another version. Run macvtap_guard "
                "for it on this host first",
                path=self.keep,
            )
        if self.keep and stored is not None:
            return stored
        values = dict(self.values)
        if values.get("addresses"):
            values["addresses"] = with_link_local(values["addresses"], mac)
        guard = Guard(mac, **values)
        if guard.addresses and {*model.TAGS, model.ANY} & {*guard.ethertypes}:
            raise MacvtapError(
                "within VLAN tags no address is checked. Remove 8021q, 8021ad and any from ethertypes, or leave out "
                "addresses",
                path=join_path(self.path, "ethertypes"),
            )
        return guard


def desired(path: str, given: t.Mapping[str, t.Any]) -> Desired:
    """Return what the options of one NIC declare.

    :raises MacvtapError: with the path of the option.
    """
    mac, link, domain = given.get("mac"), given.get("link"), given.get("domain")
    if (mac is None) == (link is None):
        raise MacvtapError("set mac or link, and not both: the NIC is known by one of the two", path=path or "mac")
    if domain is not None and mac is None:
        raise MacvtapError("mac is required with domain", path=join_path(path, "mac"))
    if link is not None:
        check_link_name(link, join_path(path, "link"))
    return Desired(
        path,
        _mac.require(mac, path=join_path(path, "mac")) if mac is not None else None,
        link,
        domain,
        (given.get("state") or "present") == "present",
        rules(path, given),
    )


def declared(path: str, given: t.Mapping[str, t.Any], link: str | None = None) -> Desired:
    """Return what the option ``guard`` of another module's entry declares for its NIC; ``link`` is the NIC's.

    :raises MacvtapError: with the path of the option.
    """
    at, mac, guard = join_path(path, "guard"), given.get("mac"), given["guard"]
    is_there = given.get("state") != "absent"
    if mac is None and (is_there or link is None):
        message = "mac is required with guard: a guard is stored for a MAC address"
        raise MacvtapError(message, path=join_path(path, "mac"))
    if mac is not None:
        mac, link = _mac.require(mac, path=join_path(path, "mac")), None
    present = is_there and guard.get("state") != "absent"
    found = Desired(at, mac, link, given.get("domain"), present, rules(at, guard))
    if mac is not None:
        # Before anything is done.
        found.guard(mac)
    return found


def rules(path: str, given: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return the canonical values of the options that are set, by the names of Guard's fields."""
    if given.get("mirror_to"):
        check_link_name(given["mirror_to"], join_path(path, "mirror_to"))
    check_range(given.get("rate"), 0, _MOST_RATE, join_path(path, "rate"))
    values = {name: given[name] for name in RULES if given.get(name) is not None}
    for name, canonical in (("addresses", addresses), ("ethertypes", ethertypes), ("peers", peers)):
        if name in values:
            values[name] = canonical(values[name], join_path(path, name))
    return values


def addresses(texts: t.Sequence[str], path: str) -> tuple[str, ...]:
    """Return the canonical list of addresses and prefixes, without the link-local address that follows from the MAC."""
    if model.LEARNED in texts:
        if len(texts) > 1:
            raise MacvtapError("learned cannot be combined with addresses. Use one of the two", path=path)
        return (model.LEARNED,)
    found = [_network(text, f"{path}[{index}]") for index, text in enumerate(texts)]
    for index, one in enumerate(found):
        if one.is_multicast or (one.num_addresses == 1 and one.network_address.is_unspecified):
            raise MacvtapError(f"{texts[index]} is not an address that a guest can have", path=f"{path}[{index}]")
    return _collapsed(found)


def with_link_local(canonical: tuple[str, ...], mac: str) -> tuple[str, ...]:
    """Return addresses with the link-local one that follows from the MAC address, unless they have one of their own."""
    if canonical == (model.LEARNED,):
        return canonical
    scope = ipaddress.IPv6Network("fe80::/10")
    if any(scope.overlaps(ipaddress.IPv6Network(text)) for text in model.by_family(canonical)[2]):
        return canonical
    return model.sort_addresses([*canonical, model.link_local(mac)])


def ethertypes(texts: t.Sequence[str], path: str) -> tuple[str, ...]:
    """Return the canonical list: words of nftables and hexadecimal numbers."""
    found = set()
    for index, text in enumerate(texts):
        word = {"ipv4": "ip", "ipv6": "ip6", "vlan": "8021q", "qinq": "8021ad"}.get(
            text.strip().lower(), text.strip().lower()
        )
        if word in ETHERTYPES or word == model.ANY:
            found.add(word)
            continue
        number = _ethertype(word)
        if number is None:
            known, hexadecimal = ", ".join([*ETHERTYPES, model.ANY]), _ethertype(f"0x{word}")
            hint = "" if hexadecimal is None else f". Did you mean 0x{hexadecimal:04x}?"
            raise MacvtapError(
                f"{text!r} is not an EtherType: use {known}, or a number from 0x0600 to 0xffff{hint}",
                path=f"{path}[{index}]",
            )
        found.add(next((name for name, one in ETHERTYPES.items() if one == number), f"0x{number:04x}"))
    if model.ANY in found:
        return (model.ANY,)
    if not found:
        raise MacvtapError(
            "the guest could send nothing at all. Set the EtherTypes that it may send, or any", path=path
        )
    return tuple(sorted(found))


def _ethertype(word: str) -> int | None:
    """Return a number as an EtherType, None if it is none. One with a leading zero may be meant in either base."""
    if not _NUMBER.fullmatch(word):
        return None
    number = int(word, 16 if word.startswith("0x") else 10)
    return number if 0x600 <= number <= 0xFFFF else None


def peers(texts: t.Sequence[str], path: str) -> tuple[str, ...]:
    """Return the canonical list of MAC addresses, IP addresses and prefixes."""
    macs, networks = set(), []
    for index, text in enumerate(texts):
        mac = _mac.canonical(text)
        if mac is not None:
            macs.add(_mac.require(mac, path=f"{path}[{index}]"))
            continue
        network = _network(text, f"{path}[{index}]")
        if network.subnet_of(_everyone(network.version)):
            raise MacvtapError(f"{text} is always allowed. Remove it", path=f"{path}[{index}]")
        networks.append(network)
    return (*sorted(macs), *_collapsed(networks))


def _everyone(version: int) -> t.Any:
    return ipaddress.ip_network("240.0.0.0/4" if version == 4 else "ff02::/15")


def _collapsed(networks: t.Sequence[t.Any]) -> tuple[str, ...]:
    """Return networks without those that are within others, in order."""
    families = [[one for one in networks if one.version == version] for version in (4, 6)]
    return tuple(model.short(one) for family in families for one in sorted(ipaddress.collapse_addresses(family)))


def _network(text: str, path: str) -> t.Any:
    check_zone(text, path)
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as exc:
        hint = ""
        if "host bits" in str(exc):
            hint = f"; did you mean {ipaddress.ip_network(text.strip(), strict=False)} or {text.partition('/')[0]}?"
        message = f"{text!r} is not an IP address or a prefix such as 192.0.2.0/24{hint}"
        raise MacvtapError(message, path=path) from exc
