# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that reads a table of nftables from the kernel as it is, by netlink (linux/netfilter/nf_tables.h).

libnftables gives rules a readable form, which takes many times as long as reading them. Here a rule is the bytes of
its expressions, which are enough to tell whether it is the one that it was before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import struct
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import decoding
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.attributes import (
    ATTRIBUTE,
    TYPE,
    Attributes,
    attribute,
    attributes,
    number,
    parse,
    text,
)

_NETLINK_NETFILTER, _NETDEV, _NFTABLES = 12, 5, 10
_GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENTS, _GET_GENERATION = 4, 7, 10, 13, 16
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP, _INTERRUPTED = 0x1, 0x300, 0x10
_HEADER = struct.Struct("=IHHIIBBH")
_RECEIVED, _ATTEMPTS = 1 << 17, 100
_JUMPS, _DROP = (-3, -4), 0
# Statements with a state of their own, by the attribute of their name: what follows it changes with each frame.
_NAMES = [ATTRIBUTE.pack(5 + len(name), 1) + name.encode().ljust(8, b"\0") for name in ("counter", "last")]
_STATEFUL = re.compile(b"|".join(map(re.escape, _NAMES)))
_MEMBER_OF_SET = b"lookup\0"

T = t.TypeVar("T")


class Rule(t.NamedTuple):
    """A rule: its expressions, its comment and its handle, as the kernel has them."""

    expressions: bytes
    userdata: bytes
    # The kernel gives none of a table twice.
    handle: bytes = b""


@dataclass(frozen=True)
class Snapshot:
    """A table at one moment: ``generation`` is the number of changes that there were before, of whatever table.

    ``rules`` are those of the chains that were asked for, by chain. ``hooked`` are the chains at a hook, of all.
    """

    generation: int
    chains: frozenset[str]
    hooked: frozenset[str]
    rules: t.Mapping[str, t.Sequence[Rule]]
    sets: frozenset[str]


class _ChangedError(Exception):
    """Others have changed something while it was read."""


class Reader:
    """Reads one table of the family netdev in this network namespace.

    :raises OSError: the kernel refuses it.
    :raises MacvtapError: its answer has a form that is not known.
    """

    def __init__(self, table: str) -> None:
        self._table = attribute(1, table)
        self._name = table.encode() + b"\0"

    def snapshot(self, wanted: t.Callable[[str], bool] | None = None) -> Snapshot:
        """Return the table, empty if there is none, with the rules of the ``wanted`` chains, or of all."""
        with _socket() as sock:
            return _unchanged(lambda: self._snapshot(sock, wanted))

    def generation(self) -> int:
        with _socket() as sock:
            return _unchanged(lambda: _generation(sock))

    def elements(self, name: str) -> list[bytes]:
        """Return the keys of a set, [] without it."""
        with _socket() as sock:
            found = list(self._elements(sock, name))
        with decoding("nftables"):
            return [_key(element) for element in found]

    def ages(self, name: str) -> dict[bytes, float]:
        """Return how many seconds ago each key of a set with a timeout was last added or updated; {} without it."""
        with _socket() as sock:
            try:
                answer = _unchanged(lambda: _ask(sock, _GET_SET, 0, self._table + attribute(2, name)))
            except FileNotFoundError:
                return {}
            return _ages(list(answer), list(self._elements(sock, name)))

    def _elements(self, sock: socket.socket, name: str) -> t.Iterator[Attributes]:
        """Yield the attributes of a set's elements, of those that there are as it is read; nothing without the set."""
        with contextlib.suppress(FileNotFoundError):
            for message in _unchanged(lambda: _dump(sock, _GET_ELEMENTS, self._table + attribute(2, name))):
                for kind, element in attributes(parse(message).get(3, b"")):
                    if kind == 1:
                        yield parse(element)

    def _snapshot(self, sock: socket.socket, wanted: t.Callable[[str], bool] | None) -> Snapshot:
        generation = _generation(sock)
        chains = {name: 4 in found for name, found in self._own(_dump(sock, _GET_CHAIN, self._table, generation), 3)}
        rules: dict[str, list[Rule]] = {name: [] for name in chains if wanted is None or wanted(name)}
        # Of a few chains, each by itself.
        few = wanted is not None and 4 * len(rules) < 3 * len(chains)
        for ask in [attribute(2, name) for name in rules] if few else [b""] if rules else []:
            for message in _dump(sock, _GET_RULE, self._table + ask, generation):
                name, rule = _rule(message)
                if name in rules:
                    rules[name].append(rule)
        sets: set[str] = set()
        with contextlib.suppress(FileNotFoundError):  # no such table
            sets = {name for name, _found in self._own(_dump(sock, _GET_SET, self._table, generation), 2)}
        hooked = frozenset(name for name, is_hooked in chains.items() if is_hooked)
        return Snapshot(generation, frozenset(chains), hooked, rules, frozenset(sets))

    @decoding("nftables")
    def _own(self, messages: t.Iterable[bytes], name: int) -> list[tuple[str, Attributes]]:
        """Return what belongs to the table, by the name that is the attribute of this number."""
        return [(text(found[name]), found) for found in map(parse, messages) if found.get(1) == self._name]


@decoding("nftables")
def digest(rules: t.Iterable[Rule]) -> str | None:
    """Return what tells these rules from all others, whatever they have counted; None if the bytes cannot tell it.

    A rule with a set of its own has but the number of that set.
    """
    found = hashlib.sha256()
    for expressions, userdata, _handle in rules:
        if _MEMBER_OF_SET in expressions:
            return None
        start = 0
        for match in _STATEFUL.finditer(expressions):
            end = match.end()
            found.update(expressions[start:end])
            start = end + ATTRIBUTE.unpack_from(expressions, end)[0]
        found.update(expressions[start:])
        found.update(userdata)
    return found.hexdigest()


@decoding("nftables")
def outline(rule: Rule) -> dict[str, t.Any]:
    """Return a rule as libnftables lists it, but with the kernel's expressions: only counters and verdicts are alike.

    ``{"meta": 5}`` has the key, ``{"cmp": (0, b"...")}`` the operator and the value, ``{"immediate": b"..."}`` a value
    that is not a verdict, ``{"dynset": "..."}`` the set, and others have none.
    """
    listed = [_expression(element) for _kind, element in attributes(rule.expressions)]
    comments = {kind: value for kind, value in _userdata(rule.userdata) if kind == 0}
    return {**({"comment": text(comments[0])} if 0 in comments else {}), "expr": listed}


def _expression(element: bytes) -> dict[str, t.Any]:
    found = parse(element)
    name, inner = text(found[1]), parse(found.get(2, b""))
    if name == "counter":
        return {"counter": {"bytes": number(inner[1]), "packets": number(inner[2])}}
    if name == "meta":
        return {"meta": number(inner.get(2, b""))}
    if name == "cmp":
        return {"cmp": (number(inner.get(2, b"")), parse(inner.get(3, b"")).get(1))}
    if name == "dynset":
        return {"dynset": text(inner[1])}
    return _immediate(parse(inner.get(2, b""))) if name == "immediate" else {name: None}


def _immediate(data: Attributes) -> dict[str, t.Any]:
    verdict = parse(data.get(2, b""))
    code = struct.unpack(">i", verdict[1])[0] if 1 in verdict else None
    if code in _JUMPS:
        return {"jump": {"target": text(verdict[2])}}
    return {"drop": None} if code == _DROP else {"immediate": data.get(1)}


@decoding("nftables")
def _ages(answer: t.Sequence[bytes], elements: t.Sequence[Attributes]) -> dict[bytes, float]:
    """Return the ages of a set's elements in seconds; ``answer`` is the set itself."""
    (found,) = answer
    # An element has its own timeout only if that is another.
    usual = parse(found).get(11, bytes(8))
    times = {_key(one): (number(one.get(4, usual)), number(one.get(5, b""))) for one in elements}
    return {key: max(0, timeout - remaining) / 1000 for key, (timeout, remaining) in times.items()}


def _key(element: Attributes) -> bytes:
    return parse(element[1])[1]


def _userdata(data: bytes) -> t.Iterator[tuple[int, bytes]]:
    at = 0
    while at + 2 <= len(data):
        kind, start = data[at], at + 2
        at = start + data[at + 1]
        yield kind, data[start:at]


def _rule(message: bytes) -> tuple[str, Rule]:
    # Not by _parse: there are tens of thousands of them.
    at, end = 0, len(message)
    # The chain, the handle, the expressions and the comment.
    found = {2: b"", 3: b"", 4: b"", 7: b""}
    while at + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(message, at)
        kind &= TYPE
        if kind in found:
            start, stop = at + 4, at + length
            found[kind] = message[start:stop]
        at += max(length, 4) + 3 & ~3
    return text(found[2]), Rule(found[4], found[7], found[3])


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    sock.bind((0, 0))
    return sock


def _unchanged(read: t.Callable[[], T]) -> T:
    """Return what ``read`` returns, once nobody changes anything meanwhile."""
    for _attempt in range(_ATTEMPTS):
        with contextlib.suppress(_ChangedError):
            return read()
    raise OSError("nftables has changed all the time while it was read")


def _generation(sock: socket.socket) -> int:
    answer = list(_ask(sock, _GET_GENERATION, 0, b""))
    with decoding("nftables"):
        (message,) = answer
        return number(parse(message)[1])


def _dump(sock: socket.socket, kind: int, attributes: bytes, generation: int | None = None) -> t.Iterator[bytes]:
    return _ask(sock, kind, _DUMP, attributes, generation)


def _ask(
    sock: socket.socket, kind: int, flags: int, attributes: bytes, generation: int | None = None
) -> t.Iterator[bytes]:
    """Send a request, and yield the attributes of each message of the answer. All of it is received in any case.

    :raises _ChangedError: it is not one of this generation.
    """
    length = _HEADER.size + len(attributes)
    sock.send(_HEADER.pack(length, _NFTABLES << 8 | kind, _REQUEST | flags, 1, 0, _NETDEV, 0, 0) + attributes)
    found: list[bytes] = []
    changed = False
    while True:
        is_last, differs = _take(sock.recv(_RECEIVED), generation, found)
        changed = changed or differs
        if is_last and changed:
            raise _ChangedError
        if is_last or not flags:
            return iter(found)


@decoding("nftables")
def _take(data: bytes, generation: int | None, found: list[bytes]) -> tuple[bool, bool]:
    """Add the attributes of messages to ``found``. Return whether the answer ends, and whether anything has changed.

    :raises OSError: the kernel refuses the request.
    """
    at, changed = 0, False
    while at < len(data):
        size, answer, marks = struct.unpack_from("=IHH", data, at)
        changed = changed or bool(marks & _INTERRUPTED)
        if answer == _ERROR:
            code = -struct.unpack_from("=i", data, at + 16)[0]
            raise OSError(code, os.strerror(code))
        if answer == _DONE:
            return True, changed
        *_others, marked = _HEADER.unpack_from(data, at)
        changed = changed or (generation is not None and socket.ntohs(marked) != generation & 0xFFFF)
        start, end = at + _HEADER.size, at + size
        found.append(data[start:end])
        at += max(size, 16) + 3 & ~3
    return False, changed
