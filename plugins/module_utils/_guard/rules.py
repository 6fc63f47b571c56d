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

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_library, model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_recorders as names
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import ETHERTYPES, Guard

Object = t.Dict[str, t.Any]
# A rule's kind, its matches, and its verdict: None is that of the policy.
Rule = t.Tuple[str, t.List[Object], t.Optional[str]]
ALLOW = "return"
# The verdict of a rule that has none, and goes on.
NONE = ""
UNSPECIFIED4, UNSPECIFIED6 = "0.0.0.0", "::"  # noqa: S104  # a source address
# Ethernet and IPv4, with addresses of 6 and 4 bytes: how each ARP packet begins.
_ARP_HEADER = 0x000108000604
# Options of neighbour discovery, type and length: source and target link-layer address, nonce.
_SOURCE, _TARGET, _NONCE = 0x0101, 0x0201, 0x0E01
_SOLICIT, _ADVERT, _ROUTER_SOLICIT = "nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-solicit"
_LISTENER = ["mld-listener-report", "mld-listener-done", "mld2-listener-report"]
# Whom each guest may send to: DHCP, neighbour discovery and multicast listeners need it.
BROADCAST, MULTICAST = "255.255.255.255", "ff02::/16"
# A rule of the kernel has room for 128 expressions, and a match takes up to three.
_MOST_MATCHES = 30
# What is behind the headers of IPv6, but for ICMPv6: IPv4, TCP, UDP, IPv6, GRE, ESP, OSPF, PIM, VRRP, L2TP, SCTP and
# UDP-Lite.
_ICMP6 = 58
_PROTOCOLS = [4, 6, 17, 41, 47, 50, 89, 103, 112, 115, 132, 136]
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
    return _mac.with_colons(digits)


def recorder(policy: str, kind: str) -> str:
    """Return the name of the chain that a guard hands its forbidden frames of a kind to: see guard_recorders.py."""
    return (names.DROPPED if policy == model.DROP else names.COUNTED) + kind


def recorders(policy: str) -> frozenset[str]:
    """Return the names of all such chains of a policy."""
    return frozenset(recorder(policy, kind) for kind in model.KINDS)


def render(guard: Guard) -> list[Object]:
    """Return the rules of a guard's chain: their comments and expressions."""
    ends: dict[str, list[Object]] = {
        kind: [{"counter": None}, {"jump": {"target": recorder(guard.policy, kind)}}] for kind in model.KINDS
    }
    return [
        {
            "comment": kind,
            "expr": [*matches, *(ends[kind] if verdict is None else [{verdict: None}] if verdict else [])],
        }
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
    if guard.mirror_to:
        # First, so that what is dropped is seen as well.
        yield model.MIRROR, [{"dup": {"addr": guard.mirror_to}}], NONE
    if guard.rate:
        yield model.RATE, [{"limit": {"rate": guard.rate, "burst": 5, "per": "second", "inv": True}}], None
    if not guard.other_macs:
        yield model.MAC, [_match(header("ether", "saddr"), guard.mac, "!=")], None
    if guard.ethertypes != (model.ANY,):
        yield model.ETHERTYPE, _none_of(header("ether", "type"), _ethertypes(guard.ethertypes)), None
    macs, peers4, peers6 = model.by_family(guard.peers)
    if macs:
        group = {"&": [header("ether", "daddr"), "01:00:00:00:00:00"]}
        yield model.PEER, [_match(group, "00:00:00:00:00:00"), *_none_of(header("ether", "daddr"), macs)], None
    if not guard.dhcp_server:
        for field, ports in (("sport", (67, 547)), ("dport", (68, 546))):
            for port in ports:
                yield model.DHCP, [_match(header("udp", field), port)], None
    yield from _arp(guard)
    yield from _ip4(guard, _with_all(peers4, BROADCAST) if peers4 or peers6 else [])
    yield from _ip6(guard, _with_all(peers6, MULTICAST) if peers4 or peers6 else [])


def _arp(guard: Guard) -> t.Iterator[Rule]:
    if guard.other_macs and not guard.addresses:
        return
    arp, sender = _protocol("arp"), header("arp", "saddr ip")
    # The last byte, so that nothing is missing.
    whole = [arp, _match(_raw("nh", 0, 48), _ARP_HEADER), _match(_raw("nh", 216, 8), 0, ">=")]
    whole += [] if guard.other_macs else [_match(header("arp", "saddr ether"), guard.mac)]
    if _is_declared(guard):
        # The guest probes before it has an address.
        yield model.ARP, [arp, *_none_of(sender, [UNSPECIFIED4, *_allowed(guard, 4)])], None
    elif guard.addresses:
        yield model.ARP, [*whole, _match(sender, UNSPECIFIED4)], ALLOW
    yield model.ARP, [*whole, *_learn(guard, 4, sender)], ALLOW
    yield model.ARP, [arp], None


def _ip4(guard: Guard, peers: list[str]) -> t.Iterator[Rule]:
    ip4, source = _protocol("ip"), header("ip", "saddr")
    if peers:
        yield model.PEER, [ip4, *_none_of(header("ip", "daddr"), _elements(peers))], None
    if guard.addresses:
        ports = [_match(header("udp", "sport"), 68), _match(header("udp", "dport"), 67)]
        yield model.ADDRESS, [ip4, _match(source, UNSPECIFIED4), *ports], ALLOW
    if _is_declared(guard):
        yield model.ADDRESS, [ip4, *_none_of(source, _allowed(guard, 4))], None
    learn = _learn(guard, 4, source)
    yield model.MALFORMED, [ip4, _match({"meta": {"key": "l4proto"}}, _RESERVED, "!="), *learn], ALLOW
    yield (model.ADDRESS if learn else model.MALFORMED), [ip4], None


def _ip6(guard: Guard, peers: list[str]) -> t.Iterator[Rule]:
    ip6, source, icmp = _protocol("ip6"), header("ip6", "saddr"), header("icmpv6", "type")
    if not guard.router_advertisements:
        for kind in ("nd-router-advert", "nd-redirect"):
            yield model.ROUTER, [_match(icmp, kind)], None
        # nftables does not look behind it: neither ICMPv6, nor another header that may have it behind itself.
        yield model.ROUTER, [ip6, *_none_of(header("ah", "nexthdr"), _PROTOCOLS)], None
    if _is_declared(guard):
        yield model.ADDRESS, [ip6, *_none_of(source, [UNSPECIFIED6, *_allowed(guard, 6)])], None
    if not guard.other_macs or guard.addresses:
        yield from _discovery(guard)
    for kind in (_ROUTER_SOLICIT, _SOLICIT, _ADVERT):
        if not guard.other_macs or guard.addresses:
            yield model.ND, [_match(icmp, kind)], None
        elif peers:
            yield model.ND, [_match(icmp, kind)], ALLOW
    if peers:
        yield model.PEER, [ip6, *_none_of(header("ip6", "daddr"), _elements(peers))], None
    yield from _rest_of_ip6(guard)


def _rest_of_ip6(guard: Guard) -> t.Iterator[Rule]:
    ip6, source, icmp = _protocol("ip6"), header("ip6", "saddr"), header("icmpv6", "type")
    if guard.addresses:
        # Before the guest has its first address.
        for kind in _LISTENER:
            yield model.ADDRESS, [_match(source, UNSPECIFIED6), _match(icmp, kind)], ALLOW
        yield model.ADDRESS, [_match(source, UNSPECIFIED6)], None
    learn = _learn(guard, 6, source)
    # The first byte after all headers, which a length beyond the packet would hide; and fragments but the first.
    yield model.MALFORMED, [ip6, _match(_raw("th", 0, 8), 0, ">="), *learn], ALLOW
    later = _match(_fragment("frag-off"), 0, "!=")
    # It could overlap what follows the headers in the first fragment.
    yield model.MALFORMED, [later, *_none_of(_fragment("nexthdr"), [_ICMP6, *_PROTOCOLS])], None
    yield model.MALFORMED, [later, *learn], ALLOW
    yield (model.ADDRESS if learn else model.MALFORMED), [ip6], None


def _discovery(guard: Guard) -> t.Iterator[Rule]:
    """Yield what a guest may send of neighbour discovery: each packet whole, with one option of its own at most.

    Without other headers: an option or a header that is not looked at could claim another address.
    """
    source, target, length = header("ip6", "saddr"), guard_library.TARGET, header("ip6", "length")
    icmp, bare = header("icmpv6", "type"), _match(header("ip6", "nexthdr"), "ipv6-icmp")
    unspecified, learn = _match(source, UNSPECIFIED6), _learn(guard, 6, source)
    if _is_declared(guard):
        foreign = _none_of(target, _raw_elements(model.by_family(guard.addresses)[2]))
        yield model.ND, [_match(icmp, _ADVERT), *foreign], None
        # Duplicate address detection claims its target.
        yield model.ND, [unspecified, _match(icmp, _SOLICIT), *foreign], None
    claim = _learn(guard, 6, target)
    for kind, size, option in ((_SOLICIT, 24, _SOURCE), (_ADVERT, 24, _TARGET), (_ROUTER_SOLICIT, 8, _SOURCE)):
        start = [bare, _match(icmp, kind)]
        own = [] if guard.other_macs else [_match(_raw("th", size * 8, 64), option << 48 | _number(guard.mac))]
        learns = [*learn, *(claim if kind == _ADVERT else [])]
        yield model.ND, [*start, _match(length, size), *_matches_first(learns)], ALLOW
        yield model.ND, [*start, _match(length, size + 8), *own, *_matches_first(learns)], ALLOW
        if kind == _SOLICIT:
            # With the nonce of RFC 7527 or without.
            nonce = _match(_raw("th", size * 8, 16), _NONCE)
            yield model.ND, [*start, unspecified, _match(length, size + 8), nonce, *claim], ALLOW
        if learn and kind != _ADVERT:
            yield model.ND, [*start, unspecified, _match(length, size), *(claim if kind == _SOLICIT else [])], ALLOW


def _matches_first(parts: t.Iterable[Object]) -> list[Object]:
    return sorted(parts, key=lambda one: "set" in one)


def _is_declared(guard: Guard) -> bool:
    return guard.addresses not in ((), (model.LEARNED,))


def _allowed(guard: Guard, family: int) -> list[t.Any]:
    return _elements(model.by_family(guard.addresses)[1 if family == 4 else 2])


def _learn(guard: Guard, family: int, field: Object) -> list[Object]:
    """Return what makes ``field`` an address of the guest, and fails if it has too many; nothing if it need not be."""
    if guard.addresses != (model.LEARNED,):
        return []
    # The unspecified address is no address to learn.
    is_raw = "base" in field["payload"]
    unspecified = UNSPECIFIED4 if family == 4 else f"0x{0:032x}" if is_raw else UNSPECIFIED6
    name = set_names(guard.mac)[family == 6]
    return [_match(field, unspecified, "!="), {"set": {"op": "update", "elem": field, "set": f"@{name}"}}]


def _none_of(field: Object, elements: t.Sequence[t.Any]) -> list[Object]:
    """Return matches of a field that has none of these values.

    Not as a set: the kernel takes time by the square of the number of sets in a table. A rule has room for so many.
    """
    if len(elements) > _MOST_MATCHES:
        return [_match(field, {"set": list(elements)}, "!=")]
    return [_match(field, one, "!=") for one in elements]


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


def _protocol(name: str) -> Object:
    return _match({"meta": {"key": "protocol"}}, name)


def header(protocol: str, field: str) -> Object:
    return {"payload": {"protocol": protocol, "field": field}}


def _fragment(field: str) -> Object:
    return {"exthdr": {"name": "frag", "field": field}}


def _raw(base: str, offset: int, length: int) -> Object:
    """Return so many bits at an offset, from the network header (nh) or the transport header (th)."""
    return {"payload": {"base": base, "offset": offset, "len": length}}


def _match(left: Object, right: t.Any, operator: str = "==") -> Object:
    return {"match": {"op": operator, "left": left, "right": right}}
