# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What nftables is asked for: the chains of guards and links, as commands of libnftables' JSON. Pure.

It is a part of the program of loader.py, so it imports the standard library alone.
"""

from __future__ import annotations

import re
import time
import typing as t
from dataclasses import dataclass

TABLE, FAMILY = "linuxvirt_macvtap", "netdev"
# Before the chains of others on the same link.
PRIORITY = -10
Object = t.Dict[str, t.Any]
OF_TABLE = {"family": FAMILY, "table": TABLE}
# How long a link stays closed that nobody opens: those who should are killed, or fail. Its guest may not be silent for
# ever. It is more than libvirt takes to attach a NIC.
CLOSED_SECONDS = 60
ANYTHING = "the guest may send anything"
# In the comment of a rule, in place of the index of a link that has one; and before the time.
_ANY, _CLOSED = "-", "closed"
# The comment of a rule that is in a guard's chain for as long as that is being filled.
_CLAIM = "being filled"
# So many: an index has 32 bits, and the time has as many until 2106.
_NUMBERS = 1 << 32
# How the names begin that libvirt generates itself. It drops such names, whoever has given them.
BY_LIBVIRT = ("macvtap", "vnet", "macvlan")
# 15 characters with the random ones, the most that a link's name has.
_PREFIX = "mvg"
_PLAIN = re.compile(r"[A-Za-z0-9.-]")


@dataclass(frozen=True)
class OfLink:
    """What the rule on a link says of itself: whose guard it is, and of which link.

    ``index`` is that of the link, None for whatever link has the name. ``closed`` is until when nothing gets out, in
    seconds since 1970, None if what the link sends is handed to the guard.
    """

    mac: str
    link: str
    index: int | None = None
    closed: int | None = None


def of_link(rule: Object) -> OfLink | None:
    """Return what a rule says, None if it is not one of a link."""
    parts = str(rule.get("comment", "")).split(" ", 2)
    if len(parts) != 3:
        return None
    mac, what, link = parts
    kind, _at, until = what.partition("@")
    if kind == _CLOSED:
        return OfLink(mac, link, closed=_number(until) or 0)
    return OfLink(mac, link, _number(what))


def _number(text: str) -> int | None:
    """Return an index or a time; None for text that is neither, and for a number that the kernel has none of."""
    # int() refuses thousands of digits.
    number = int(text) if text.isdecimal() and len(text) < 20 else _NUMBERS
    return number if number < _NUMBERS else None


def name_from(random: bytes) -> str:
    """Return the name of the link that a guest's NIC gets, where it must be known before there is the link.

    It is from six ``random`` bytes, and stays with the guest: it is in saved images, and where it migrates to. libvirt
    9.0 deletes a link that has the name which another NIC is to get. So it is not from the MAC address, which guests on
    other VLANs may have too.
    """
    return _PREFIX + random.hex()


def is_named_for_nic(link: str) -> bool:
    """Whether a name is one of :func:`name_from`."""
    return re.fullmatch(_PREFIX + "[0-9a-f]{12}", link) is not None


def may_be_declared(link: str) -> bool:
    """Whether a name may be one that a user has given to a NIC, and later to another."""
    return link.rstrip("0123456789") not in BY_LIBVIRT and not is_named_for_nic(link)


def chain_of(link: str) -> str:
    """Return the name of the chain on a link: words of nftables, whatever the link's name has."""
    return "link_" + "".join(one if _PLAIN.match(one) else f"_{ord(one):x}_" for one in link)


def add_guard(name: str, sets: t.Sequence[Object], rules: t.Sequence[Object]) -> list[Object]:
    """Return the commands that give the chain ``name`` these rules, whatever it has."""
    chain = {"chain": {**OF_TABLE, "name": name}}
    return [{"add": chain}, {"flush": chain}, *_fill(name, sets, rules)]


def replace_guard(
    name: str, sets: t.Sequence[Object], rules: t.Sequence[Object], former: t.Sequence[Object] | None
) -> list[Object]:
    """Return the commands that give the chain ``name`` these rules if it has the ``former`` ones still.

    They are as they were listed, None without the chain. Whoever has given it others since makes the kernel refuse.
    Only an empty chain is no reason for that: see :func:`claim`.
    """
    begin: list[Object] = [{"create": {"chain": {**OF_TABLE, "name": name}}}] if former is None else []
    return [*begin, *without(name, former or ()), *_fill(name, sets, rules)]


def claim(name: str) -> list[Object]:
    """Return the commands that give an empty chain a rule that does nothing, so that it can be told from a full one.

    The rule may be found beside those of another, who has filled the chain before.
    """
    return [{"add": {"rule": {**OF_TABLE, "chain": name, "comment": _CLAIM, "expr": [{"counter": None}]}}}]


def is_claim(rule: Object) -> bool:
    """Whether a rule that was listed is one of :func:`claim`."""
    return rule.get("comment") == _CLAIM


def _fill(name: str, sets: t.Sequence[Object], rules: t.Sequence[Object]) -> list[Object]:
    return [
        *({"add": {"set": {**OF_TABLE, **one}}} for one in sets),
        *({"add": {"rule": {**OF_TABLE, "chain": name, **one}}} for one in rules),
    ]


def add_link(link: str, mac: str, index: int | None, guard: str, former: t.Sequence[Object] | None) -> list[Object]:
    """Return the commands that hand all that a link sends to the chain ``guard``.

    With an ``index``, only that very link's: kernels may keep the chain when the link is gone, and the name may be
    given to the link of another guest. ``former`` are the rules that were listed of the chain on the link, None without
    such a chain. If something else has changed it since, the kernel refuses the commands: the name may have been given
    to another link, whose guard is not to be replaced.
    """
    # The library looks for a link with this name first, and a name may be digits, but has never a space.
    right = f" {index}"
    same = [] if index is None else [{"match": {"op": "==", "left": {"meta": {"key": "oif"}}, "right": right}}]
    return _only_rule(link, mac, _ANY if index is None else str(index), [*same, {"jump": {"target": guard}}], former)


def close_link(link: str, mac: str, now: float, former: t.Sequence[Object] | None) -> list[Object]:
    """Return the commands that let nothing out of the link that will have this name, for a NIC with a guard.

    Those of :func:`add_link` open it, and otherwise the time: ``now`` is in seconds since 1970. ``former`` is as there.
    """
    until = int(now) + CLOSED_SECONDS
    early = {"match": {"op": "<", "left": {"meta": {"key": "time"}}, "right": until}}
    return _only_rule(link, mac, f"{_CLOSED}@{until}", [early, {"drop": None}], former)


def _only_rule(
    link: str, mac: str, what: str, expressions: t.Sequence[Object], former: t.Sequence[Object] | None
) -> list[Object]:
    chain = {**OF_TABLE, "name": chain_of(link)}
    hook = {"type": "filter", "hook": "egress", "prio": PRIORITY, "dev": link, "policy": "accept"}
    rule = {**OF_TABLE, "chain": chain["name"], "comment": f"{mac} {what} {link}", "expr": [*expressions]}
    # Whatever else is there by now makes one of these fail: a rule that is gone, one that has come, or a chain.
    begin: list[Object] = [{"delete": {"chain": chain}}] if former is not None and not former else []
    begin.append({"add" if former else "create": {"chain": {**chain, **hook}}})
    return [*begin, *without(chain["name"], former or ()), {"add": {"rule": rule}}]


def without(chain: str, rules: t.Sequence[Object]) -> list[Object]:
    """Return the commands that delete these rules of a chain by their handles."""
    return [{"delete": {"rule": {**OF_TABLE, "chain": chain, "handle": rule["handle"]}}} for rule in rules]


def remove_rules(link: str, rules: t.Sequence[Object]) -> list[Object]:
    """Return the commands that take away the chain on a link if it still has the rules that were listed, and no others.

    Whoever puts a guard on, or closes the name, replaces these rules, and the kernel then refuses the commands. Without
    any there are none: what deletes a chain deletes all the rules that it has by then.
    """
    if not rules:
        return []
    name = chain_of(link)
    return [*without(name, rules), {"delete": {"chain": {**OF_TABLE, "name": name}}}]


def bound(rules: t.Sequence[Object], index: int) -> str:
    """Return whose guard the rules of the chain on a link hand its frames to, "" if not those of this index.

    Of a link that is closed, it is the NIC that the name was made for.
    """
    found = _only(rules)
    closed = found is not None and found.closed is not None and is_named_for_nic(found.link)
    return found.mac if found is not None and (closed or found.index == index) else ""


def is_closed(rules: t.Sequence[Object]) -> bool:
    """Whether the rules of the chain on a link are those of :func:`close_link`."""
    found = _only(rules)
    return found is not None and found.closed is not None


def lets_out(rules: t.Sequence[Object], now: float) -> str:
    """Return in words what a link lets out whose guard is not on it, but on which the chain has these rules."""
    found = _only(rules)
    if found is None or found.closed is None or found.closed <= now:
        return ANYTHING
    return f"nothing that the guest sends gets out before {time.strftime('%H:%M:%S', time.gmtime(found.closed))} UTC"


def is_orphan(one: OfLink, now: float) -> bool:
    """Whether a chain does nothing any more if there is no link of its name.

    A closed one does until its time is over: its NIC may be about to come. One that handed frames of another link of
    that name to a guard does not, and a random name is never used again.
    """
    return one.closed <= now if one.closed is not None else one.index is not None and is_named_for_nic(one.link)


def _only(rules: t.Sequence[Object]) -> OfLink | None:
    return of_link(rules[0]) if len(rules) == 1 else None
