# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that puts guards on links: at boot, when a link appears, and before libvirt starts a guest.

It is installed on the host as it is here, with the two files that it imports beside it, and needs the standard library
and python3-nftables alone. The module itself carries out its plans by the same commands.

    guard load              all guards, on all links that there are
    guard link NAME         the guard of one link
    guard qemu DOMAIN OPERATION SUBOPERATION EXTRA
                            libvirt's hook: the guards of a domain whose XML is on standard input
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import re
import sys
import typing as t
from xml.parsers import expat

if t.TYPE_CHECKING or __name__ != "__main__":
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import checksum_program, checksums
else:
    # Where nothing is to be left beside it.
    sys.dont_write_bytecode = True
    checksum_program, checksums = (importlib.import_module(name) for name in ("checksum_program", "checksums"))

STORE = "/etc/linuxvirt-macvtap/guards.json"
TABLE, FAMILY = "linuxvirt_macvtap", "netdev"
SYSFS = "/sys/class/net"
# Before the chains of others on the same link.
PRIORITY = -10
UNCHECKED = (
    "this host cannot check where guests have checksums written, so a guest can have bytes changed after its guard has "
    "seen them: {reason}"
)
Object = t.Dict[str, t.Any]
_OF_TABLE = {"family": FAMILY, "table": TABLE}
_PLAIN = re.compile(r"[A-Za-z0-9.-]")


def chain_of(link: str) -> str:
    """Return the name of the chain on a link: words of nftables, whatever the link's name has."""
    return "link_" + "".join(one if _PLAIN.match(one) else f"_{ord(one):x}_" for one in link)


def add_guard(name: str, sets: t.Sequence[Object], rules: t.Sequence[Object]) -> list[Object]:
    """Return the commands that give the chain ``name`` these rules, whatever it has."""
    of_chain = {**_OF_TABLE, "chain": name}
    return [
        {"add": {"chain": {**_OF_TABLE, "name": name}}},
        {"flush": {"chain": {**_OF_TABLE, "name": name}}},
        *({"add": {"set": {**_OF_TABLE, **one}}} for one in sets),
        *({"add": {"rule": {**of_chain, **one}}} for one in rules),
    ]


def add_link(link: str, mac: str, index: int | None, guard: str) -> list[Object]:
    """Return the commands that hand all that a link sends to the chain ``guard``.

    With an ``index``, only that very link's: kernels may keep the chain when the link is gone, and the name may be
    given to the link of another guest.
    """
    chain = {**_OF_TABLE, "name": chain_of(link)}
    hook = {"type": "filter", "hook": "egress", "prio": PRIORITY, "dev": link, "policy": "accept"}
    left = {"meta": {"key": "oif"}}
    same = [] if index is None else [{"match": {"op": "==", "left": left, "right": str(index)}}]
    comment = f"{mac} {'-' if index is None else index} {link}"
    rule = {**_OF_TABLE, "chain": chain["name"], "comment": comment, "expr": [*same, {"jump": {"target": guard}}]}
    return [{"add": {"chain": {**chain, **hook}}}, {"flush": {"chain": chain}}, {"add": {"rule": rule}}]


def remove_link(link: str) -> list[Object]:
    """Return the commands that take away the chain on a link, which is there."""
    chain = {"chain": {**_OF_TABLE, "name": chain_of(link)}}
    return [{"flush": chain}, {"delete": chain}]


def programs() -> checksums.Links:
    """Return what puts the programs on links that check where checksums are written."""
    names = {policy: checksum_program.name(policy) for policy in (checksum_program.DROP, checksum_program.COUNT)}
    return checksums.Links(checksum_program.PREFIX, names, checksum_program.compiler)


def stored(path: str = STORE) -> dict[str, Object]:
    """Return the guards that are to be there at each start, by MAC address."""
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, Object] = json.load(file)["guards"]
            return found
    except FileNotFoundError:
        return {}


class Loader:
    """Puts guards on links."""

    def __init__(self, guards: t.Mapping[str, Object]) -> None:
        self._guards = guards
        self._library: t.Any = importlib.import_module("nftables").Nftables()
        self._library.set_json_output(True)
        # Why places of checksums are not checked, "" if they are.
        self.unchecked = ""

    @functools.cached_property
    def _programs(self) -> checksums.Links:
        # Not before the rules are loaded, for which a guest may be waiting already.
        return programs()

    def load(self) -> None:
        """Load all guards, and put them on the links that there are."""
        # One that is there keeps its counters, and the addresses that it has learned.
        there = self._chains({"table": {"family": FAMILY, "name": TABLE}})
        commands = [one for mac in self._guards if self._guards[mac]["chain"] not in there for one in self._add(mac)]
        found = [(link, _read(link, "address")) for link in os.listdir(SYSFS)]
        links = [(link, mac) for link, mac in found if mac in self._guards and _is_macvtap(link)]
        self._run([*commands, *(one for link, mac in links for one in self._on_link(link, mac))])
        self._check(links)

    def on(self, links: t.Iterable[tuple[str, str]]) -> None:
        """Put the guards of these NICs, link and MAC address, on their links."""
        commands = []
        guarded = [(link, mac) for link, mac in links if mac in self._guards]
        for link, mac in guarded:
            chain = self._guards[mac]["chain"]
            there = self._chains({"chain": {**_OF_TABLE, "name": chain}})
            commands += [] if chain in there else self._add(mac)
            commands += self._on_link(link, mac)
        self._run(commands)
        self._check(guarded)

    def off(self, links: t.Iterable[str]) -> None:
        """Take whatever guard there is off these links."""
        there = self._chains({"table": {"family": FAMILY, "name": TABLE}})
        names = list(links)
        self._run([one for link in names if chain_of(link) in there for one in remove_link(link)])
        for link in names:
            # A kernel without such programs has none on a link.
            with contextlib.suppress(OSError, ValueError):
                self._programs.take_off(int(_read(link, "ifindex")))

    def _check(self, links: t.Iterable[tuple[str, str]]) -> None:
        """Put programs on links with guards. A kernel that cannot have them is no reason to stop a guest."""
        for link, mac in links:
            policy = checksum_program.DROP if self._guards[mac]["required"] else checksum_program.COUNT
            index = _read(link, "ifindex")
            try:
                if index and self._programs.policy(int(index)) != policy:
                    self._programs.put_on(int(index), policy)
            except (OSError, ValueError) as exc:
                self.unchecked = UNCHECKED.format(reason=checksums.why_not(exc))

    def _chains(self, what: Object) -> set[str]:
        """Return the names of the chains with rules in what is listed."""
        code, output, _error = self._library.json_cmd({"nftables": [{"list": what}]})
        return set() if code else {one["rule"]["chain"] for one in output["nftables"] if "rule" in one}

    def _add(self, mac: str) -> list[Object]:
        guard = self._guards[mac]
        # Others may have removed the chain alone. The kernel refuses to add a set again that rules update.
        missing = [one for one in guard["sets"] if not self._has_set(one["name"])]
        return add_guard(guard["chain"], missing, guard["rules"])

    def _has_set(self, name: str) -> bool:
        code, _output, _error = self._library.json_cmd({"nftables": [{"list": {"set": {**_OF_TABLE, "name": name}}}]})
        return not code

    def _on_link(self, link: str, mac: str) -> list[Object]:
        index = _read(link, "ifindex")
        return add_link(link, mac, int(index), self._guards[mac]["chain"]) if index else []

    def _run(self, commands: t.Sequence[Object]) -> None:
        if not commands:
            return
        table = {"add": {"table": {"family": FAMILY, "name": TABLE}}}
        code, _output, error = self._library.json_cmd({"nftables": [table, *commands]})
        if code:
            raise RuntimeError(" ".join(error.split())[:500])


def nics(document: str) -> list[tuple[str, str]]:
    """Return the links and MAC addresses of the direct interfaces in a domain's XML."""
    found: list[tuple[str, str]] = []
    path: list[str] = []
    current: dict[str, str] = {}

    def started(name: str, attributes: dict[str, str]) -> None:
        path.append(name)
        if path == ["domain", "devices", "interface"]:
            current.clear()
        if path[:-1] == ["domain", "devices", "interface"]:
            current.update({f"{name}.{key}": value for key, value in attributes.items()})

    def ended(_name: str) -> None:
        if path == ["domain", "devices", "interface"] and "target.dev" in current and "mac.address" in current:
            found.append((current["target.dev"], current["mac.address"].lower()))
        path.pop()

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = started, ended
    parser.Parse(document, True)
    return [(link, mac) for link, mac in found if _is_macvtap(link)]


def _is_macvtap(link: str) -> bool:
    with contextlib.suppress(OSError):
        return any(re.fullmatch(r"tap[0-9]+", name) for name in os.listdir(f"{SYSFS}/{link}"))
    return False


def _read(link: str, name: str) -> str:
    with contextlib.suppress(OSError), open(f"{SYSFS}/{link}/{name}", encoding="ascii") as file:
        return file.read().strip()
    return ""


def mentions(nics_of_guest: t.Iterable[tuple[str, str]], path: str = STORE) -> list[str]:
    """Return which of these NICs a file that is damaged has guards for, by its text."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().lower()
        return [mac for _link, mac in nics_of_guest if mac in text]
    return []


def main(words: t.Sequence[str]) -> int:
    desired = None
    if words[0] == "link":
        desired = [(words[1], _read(words[1], "address"))]
    elif words[0] == "qemu":
        if tuple(words[2:4]) not in (("start", "begin"), ("started", "begin"), ("reconnect", "begin")):
            return 0
        desired = nics(sys.stdin.read())
    try:
        guards = stored()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        # Guests that have no guard must start.
        sys.stderr.write(f"linuxvirt.macvtap: cannot read {STORE}: {exc}\n")
        return int(desired is None or bool(mentions(desired)))
    macs = [mac for _link, mac in desired if mac in guards] if desired is not None else list(guards)
    if not macs:
        return 0
    try:
        loader = Loader(guards)
        if desired is None:
            loader.load()
        else:
            loader.on(desired)
        if loader.unchecked:
            sys.stderr.write(f"linuxvirt.macvtap: {loader.unchecked}\n")
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is: the guest must not be let out unseen
        sys.stderr.write(f"linuxvirt.macvtap: no guard for {', '.join(macs)}: {exc}\n")
        return int(any(guards[mac]["required"] for mac in macs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
