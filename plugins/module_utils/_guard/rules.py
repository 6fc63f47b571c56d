# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From a guard to rules of nftables and back, as libnftables has them in JSON. Pure.

Each protocol is handled the same way: first what is known to be forbidden, then what is known to be allowed, which
returns, then all the rest of it. So what cannot be read, because a frame is truncated or a header is in another
fragment, is forbidden. Each rule has its kind as its comment.
"""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import ETHERTYPES, Guard

Object = t.Dict[str, t.Any]
# A rule's kind, its matches, and its verdict: None is that of the policy.
Rule = t.Tuple[str, t.List[Object], t.Optional[str]]
ALLOW = "return"
UNSPECIFIED4, UNSPECIFIED6 = "0.0.0.0", "::"  # noqa: S104  # a source address
# Ethernet and IPv4, with addresses of 6 and 4 bytes: how each ARP packet begins.
_ARP_HEADER = 0x000108000604
# Options of neighbour discovery, type and length: source and target link-layer address, nonce.
_SOURCE, _TARGET, _NONCE = 0x0101, 0x0201, 0x0E01
_SOLICIT, _ADVERT, _ROUTER_SOLICIT = "nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit"
_LISTENER = ["mld-listener-report", "mld-listener-done", "mld2-listener-report"]
# Whom each guest may send to: DHCP, neighbour discovery and multicast listeners need it.
BROADCAST, MULTICAST = "255.255.255.255", "ff02::/16"
# No protocol has this number: a test that only a readable header passes.
_RESERVED = 255


def chain_name(mac: str) -> str:
    return f"guard_{mac.replace(':', '')}"


def set_names(mac: str) -> tuple[str, str]:
    """Return the names of the sets of learned IPv4 and IPv6 addresses."""
    digits = mac.replace(":", "")
    return f"learned4_{digits}", f"learned6_{digits}"


def mac_of(name: str) -> str | None:
    """Return the MAC address that the name of a guard's chain or set has, None for another name."""
    prefix, _underscore, digits = name.partition("_")
    if prefix not in ("guard", "learned4", "learned6") or len(digits) != 12 or digits.strip("0123456789abcdef"):
        return None
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def render(guard: Guard) -> list[Object]:
    """Return the rules of a guard's chain: their comments and expressions."""
    forbid: list[Object] = [{"counter": None}, *([{"drop": None}] if guard.policy == model.DROP else [])]
    return [
        {"comment": kind, "expr": [*matches, *(forbid if verdict is None else [{verdict: None}])]}
        for kind, matches, verdict in _rules(guard)
    ]


def sets(guard: Guard) -> list[Object]:
    """Return the sets that the rules use."""
    if guard.addresses != (model.LEARNED,):
        return []
    kinds = zip(set_names(guard.mac), ("ipv4_addr", "ipv6_addr"), (model.LEARNED_V4, model.LEARNED_V6))
    return [
        {"name": name, "type": kind, "size": size, "flags": ["timeout"], "timeout": model.LEARNED_SECONDS}
        for name, kind, size in kinds
    ]


def _rules(guard: Guard) -> t.Iterator[Rule]:
    if guard.rate:
        yield model.RATE, [{"limit": {"rate": guard.rate, "burst": 5, "per": "second", "inv": True}}], None
    if not guard.other_macs:
        yield model.MAC, [_match(header("ether", "saddr"), guard.mac, "!=")], None
    if guard.ethertypes != (model.ANY,):
        yield model.ETHERTYPE, [_match(header("ether", "type"), _any_of(_ethertypes(guard.ethertypes)), "!=")], None
    macs, peers4, peers6 = model.by_family(guard.peers)
    if macs:
        group = {"&": [header("ether", "daddr"), "01:00:00:00:00:00"]}
        unicast = _match(group, "00:00:00:00:00:00")
        yield model.PEER, [unicast, _match(header("ether", "daddr"), _any_of(macs), "!=")], None
    if not guard.dhcp_server:
        yield model.DHCP, [_match(header("udp", "sport"), {"set": [67, 547]})], None
        yield model.DHCP, [_match(header("udp", "dport"), {"set": [68, 546]})], None
    yield from _arp(guard)
    yield from _ip4(guard, _with_all(peers4, BROADCAST) if peers4 or peers6 else [])
    yield from _ip6(guard, _with_all(peers6, MULTICAST) if peers4 or peers6 else [])


def _arp(guard: Guard) -> t.Iterator[Rule]:
    if guard.other_macs and not guard.addresses:
        return
    arp = [_protocol("arp"), _match(_raw("nh", 0, 48), _ARP_HEADER)]
    arp += [] if guard.other_macs else [_match(header("arp", "saddr ether"), guard.mac)]
    sender = header("arp", "saddr ip")
    if guard.addresses:
        # A probe, before the guest has the address.
        yield model.ARP, [*arp, _match(sender, UNSPECIFIED4)], ALLOW
    for source in _sources(guard, 4, sender):
        yield model.ARP, [*arp, *source], ALLOW
    yield model.ARP, [_protocol("arp")], None


def _ip4(guard: Guard, peers: list[str]) -> t.Iterator[Rule]:
    ip4, source = _protocol("ip"), header("ip", "saddr")
    kind = model.ADDRESS if guard.addresses else model.MALFORMED
    if peers:
        yield model.PEER, [ip4, _match(header("ip", "daddr"), _any_of(_elements(peers)), "!=")], None
    if guard.addresses:
        ports = [_match(header("udp", "sport"), 68), _match(header("udp", "dport"), 67)]
        yield model.ADDRESS, [ip4, _match(source, UNSPECIFIED4), *ports], ALLOW
    readable = [ip4, _match({"meta": {"key": "l4proto"}}, _RESERVED, "!=")]
    for allowed in _sources(guard, 4, source):
        yield kind, [*readable, *allowed], ALLOW
    yield kind, [ip4], None


def _ip6(guard: Guard, peers: list[str]) -> t.Iterator[Rule]:
    ip6, source, icmp = _protocol("ip6"), header("ip6", "saddr"), header("icmpv6", "type")
    kind = model.ADDRESS if guard.addresses else model.MALFORMED
    if not guard.router_advertisements:
        yield model.ROUTER, [_match(icmp, {"set": ["nd-router-advert", "nd-redirect"]})], None
    discovery = _match(icmp, {"set": [_ROUTER_SOLICIT, _SOLICIT, _ADVERT]})
    if not guard.other_macs or guard.addresses:
        for matches in _discovery(guard):
            yield model.ND, sorted(matches, key=lambda one: "set" in one), ALLOW
        yield model.ND, [discovery], None
    elif peers:
        yield model.ND, [discovery], ALLOW
    if peers:
        yield model.PEER, [ip6, _match(header("ip6", "daddr"), _any_of(_elements(peers)), "!=")], None
    if guard.addresses:
        # Before the guest has its first address.
        yield model.ADDRESS, [_match(source, UNSPECIFIED6), _match(icmp, {"set": _LISTENER})], ALLOW
    # The first byte after all headers, which a length beyond the packet would hide; and fragments but the first.
    readable = [ip6, _match(_raw("th", 0, 8), 0, ">=")]
    later = [_match({"exthdr": {"name": "frag", "field": "frag-off"}}, 0, "!=")]
    for allowed in _sources(guard, 6, source):
        yield kind, [*readable, *allowed], ALLOW
        yield kind, [*later, *allowed], ALLOW
    yield kind, [ip6], None


def _discovery(guard: Guard) -> t.Iterator[list[Object]]:
    """Yield what a guest may send of neighbour discovery: each packet whole, with one option of its own at most.

    Without other headers: an option or a header that is not looked at could claim another address.
    """
    bare, length = _match(header("ip6", "nexthdr"), "ipv6-icmp"), header("ip6", "length")
    sources, targets = (_sources(guard, 6, one) for one in (header("ip6", "saddr"), _raw("th", 64, 128)))
    unspecified = _match(header("ip6", "saddr"), UNSPECIFIED6)
    for kind, size, option in ((_SOLICIT, 24, _SOURCE), (_ADVERT, 24, _TARGET), (_ROUTER_SOLICIT, 8, _SOURCE)):
        start = [bare, _match(header("icmpv6", "type"), kind)]
        own = [] if guard.other_macs else [_match(_raw("th", size * 8, 64), option << 48 | _number(guard.mac))]
        for source in sources:
            for target in targets if kind == _ADVERT else [[]]:
                yield [*start, *source, *target, _match(length, size)]
                yield [*start, *source, *target, _match(length, size + 8), *own]
        if kind == _SOLICIT:
            # Duplicate address detection, with the nonce of RFC 7527 or without.
            for target in targets:
                yield [*start, unspecified, *target, _match(length, size)]
                nonce = _match(_raw("th", size * 8, 16), _NONCE)
                yield [*start, unspecified, *target, _match(length, size + 8), nonce]
        if kind == _ROUTER_SOLICIT and guard.addresses:
            yield [*start, unspecified, _match(length, size)]


def _sources(guard: Guard, family: int, field: Object) -> list[list[Object]]:
    """Return the alternatives in which ``field`` is an address that the guest may use."""
    if not guard.addresses:
        return [[]]
    is_raw = "base" in field["payload"]
    if guard.addresses == (model.LEARNED,):
        name = set_names(guard.mac)[family == 6]
        # The unspecified address is no address to learn.
        unspecified = {4: UNSPECIFIED4, 6: f"0x{0:032x}" if is_raw else UNSPECIFIED6}[family]
        learn = {"set": {"op": "update", "elem": field, "set": f"@{name}"}}
        return [[_match(field, unspecified, "!="), learn]]
    allowed = model.by_family(guard.addresses)[1 if family == 4 else 2]
    if not allowed:
        return []
    return [[_match(field, _any_of(_raw_elements(allowed) if is_raw else _elements(allowed)))]]


def _elements(texts: t.Iterable[str]) -> list[t.Any]:
    return [
        {"prefix": {"addr": text.partition("/")[0], "len": int(text.partition("/")[2])}} if "/" in text else text
        for text in texts
    ]


def _raw_elements(texts: t.Iterable[str]) -> list[t.Any]:
    """Return IPv6 addresses and prefixes as numbers and ranges: what is compared with bytes that have no type."""
    found: list[t.Any] = []
    for text in texts:
        network = ipaddress.ip_network(text)
        first, last = (f"0x{int(one):032x}" for one in (network.network_address, network.broadcast_address))
        found.append(first if first == last else {"range": [first, last]})
    return found


def _with_all(peers: list[str], everyone: str) -> list[str]:
    """Return ``peers`` with an address that they need not name. A set must not have an address twice."""
    network = ipaddress.ip_network(everyone)
    covered = any(network.subnet_of(t.cast("t.Any", ipaddress.ip_network(one))) for one in peers)
    return peers if covered else [*peers, everyone]


def _ethertypes(names: t.Iterable[str]) -> list[t.Any]:
    return [name if name in ETHERTYPES else int(name, 16) for name in names]


def _number(mac: str) -> int:
    return int(mac.replace(":", ""), 16)


def _any_of(elements: t.Sequence[t.Any]) -> t.Any:
    """Return the right side of a match. The library makes of a set of one element that element."""
    return elements[0] if len(elements) == 1 else {"set": list(elements)}


def _protocol(name: str) -> Object:
    return _match({"meta": {"key": "protocol"}}, name)


def header(protocol: str, field: str) -> Object:
    return {"payload": {"protocol": protocol, "field": field}}


def _raw(base: str, offset: int, length: int) -> Object:
    """Return so many bits at an offset, from the network header (nh) or the transport header (th)."""
    return {"payload": {"base": base, "offset": offset, "len": length}}


def _match(left: Object, right: t.Any, operator: str = "==") -> Object:
    return {"match": {"op": operator, "left": left, "right": right}}
