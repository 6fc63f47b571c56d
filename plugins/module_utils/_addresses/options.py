# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From options to what is asked and waited for. Pure."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    FAMILIES,
    IPV4,
    Awaited,
    Questions,
    family_of,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# An ARP request each.
MOST_ADDRESSES = 4096
# Questions a second, on one uplink.
RATES = (1, 10_000)


def macs(declared: t.Sequence[str] | None, option: str) -> tuple[str, ...] | None:
    """Return MAC addresses in their canonical form, each once; None if the option is not set.

    :raises MacvtapError: one is no MAC address.
    """
    if declared is None:
        return None
    return tuple(dict.fromkeys(_mac.require(mac, path=f"{option}[{index}]") for index, mac in enumerate(declared)))


def questions(declared: t.Sequence[str], option: str) -> Questions:
    """Return what networks and addresses to ask for.

    :raises MacvtapError: one is neither, or there are too many addresses to ask for each.
    """
    ipv4: list[str] = []
    ipv6: list[str] = []
    prefixes: list[ipaddress.IPv6Network] = []
    for index, text in enumerate(declared):
        path = f"{option}[{index}]"
        network = _network(text, path)
        if isinstance(network, ipaddress.IPv6Network):
            if network.prefixlen == 128:
                ipv6.append(str(network.network_address))
            elif network.prefixlen == 64:
                prefixes.append(network)
            else:
                raise MacvtapError(f"{text} is neither a network of /64 nor a single address", path=path)
            continue
        if len(ipv4) + network.num_addresses > MOST_ADDRESSES:
            raise MacvtapError(
                f"{text} has {network.num_addresses} addresses, each of which is asked for; {MOST_ADDRESSES} in all "
                "are allowed. Use a smaller network, or the addresses that guests may have",
                path=path,
            )
        # All of them: it may be a part of the network that guests are in.
        ipv4 += map(str, network)
    return Questions(tuple(dict.fromkeys(ipv4)), tuple(dict.fromkeys(ipv6)), tuple(dict.fromkeys(prefixes)))


def _network(text: str, path: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    _values.check_zone(text, path)
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as exc:
        raise MacvtapError(
            f"{text!r} is neither an IP address nor a network such as 192.0.2.0/24: {exc}", path=path
        ) from exc
    if network.is_multicast or network.is_loopback or network.is_unspecified:
        raise MacvtapError(f"{text} is no address or network of guests", path=path)
    return network


def awaited(
    declared: t.Mapping[str, t.Any] | None, selected: t.Mapping[str, t.Sequence[str] | None] | None = None
) -> Awaited | None:
    """Return what to wait for, None for nothing. ``selected`` are the options that select guests, None if not set.

    :raises MacvtapError: a number is out of its range, or no guest is selected.
    """
    if declared is None:
        return None
    for option, values in (selected or {}).items():
        if values is not None and not values:
            raise MacvtapError(
                f"is empty, so wait_for would wait for nothing; leave {option} or wait_for out", path=option
            )
    for name, least, most in (("count", 1, 64), ("timeout", 0, 86_400)):
        _values.check_range(declared[name], least, most, f"wait_for.{name}")
    family = declared["family"]
    return Awaited(
        declared["count"], family if family in FAMILIES else None, declared["state"], float(declared["timeout"])
    )


def of_family(addresses: t.Iterable[str], family: str) -> tuple[str, ...]:
    return tuple(address for address in addresses if family_of(address) == family)


def with_candidates(asked: Questions, candidates: t.Iterable[str]) -> Questions:
    """Return ``asked`` with addresses that guests may have."""
    known = tuple(candidates)
    return Questions(
        tuple(dict.fromkeys((*of_family(known, IPV4), *asked.ipv4))),
        tuple(dict.fromkeys((*(one for one in known if family_of(one) != IPV4), *asked.ipv6))),
        asked.prefixes,
    )
