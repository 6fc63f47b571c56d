# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that puts guards on links: at boot, when a link appears, and before libvirt starts a guest.

It is installed on the host as it is here, with the files that it imports beside it, and needs the standard library and
python3-nftables alone. The module itself carries out its plans by the same commands.

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

if t.TYPE_CHECKING or __package__:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
        checksum_program,
        checksums,
        guard_links,
    )
else:
    # Installed on the host, beside the other files. Nothing is to be left there.
    sys.dont_write_bytecode = True
    checksum_program, checksums, guard_links = (
        importlib.import_module(name) for name in ("checksum_program", "checksums", "guard_links")
    )

STORE = "/etc/linuxvirt-macvtap/guards.json"
TABLE, FAMILY = "linuxvirt_macvtap", "netdev"
SYSFS = guard_links.SYSFS
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


@contextlib.contextmanager
def recorded(owners: t.Mapping[tuple[str, int], str | None], warnings: list[str]) -> t.Iterator[None]:
    """Record the guards of links, by name and index, before they are put on. If that fails, nothing is recorded.

    A guard without a record is on its link all the same, and is found by the link's address.
    """
    former: dict[str, str | None] = {}
    try:
        former = guard_links.write(owners) if owners else {}
    except OSError as exc:
        warnings.append(f"cannot record whose links the guarded ones are, in {guard_links.DIRECTORY}: {exc}")
    try:
        yield
    except BaseException:
        guard_links.restore(former)
        raise


class Loader:
    """Puts guards on links."""

    def __init__(self, guards: t.Mapping[str, Object]) -> None:
        self._guards = guards
        # Of what does not keep guards from links.
        self.warnings: list[str] = []
        self._library: t.Any = importlib.import_module("nftables").Nftables()
        self._library.set_json_output(True)

    @functools.cached_property
    def _programs(self) -> checksums.Links:
        # Not before the rules are loaded, for which a guest may be waiting already.
        return programs()

    def load(self) -> None:
        """Load all guards, and put them on the links that there are."""
        # One that is there keeps its counters, and the addresses that it has learned.
        there = self._rules({"table": {"family": FAMILY, "name": TABLE}})
        commands = [one for mac in self._guards if self._guards[mac]["chain"] not in there for one in self._add(mac)]
        links = {link: guard_links.index_of(link) or 0 for link in os.listdir(SYSFS) if guard_links.is_macvtap(link)}
        known = self._known(links)
        owners = {link: self._owner(link, index, known, there) for link, index in links.items()}
        commands += [one for link in known.replaced if chain_of(link) in there for one in remove_link(link)]
        self._put(owners, commands, known)

    def link(self, link: str) -> None:
        """Put the guard of a link on it, whatever address its guest has given it."""
        index = guard_links.index_of(link) or 0
        self.on([(link, self._owner(link, index, self._known({link: index}), self._rules(_chain(chain_of(link)))))])

    def _owner(self, link: str, index: int, known: guard_links.Known, there: t.Mapping[str, list[Object]]) -> str:
        """Return whose link it is: what was recorded, what the kernel has, or else what its address says."""
        bound = "" if link in known.replaced else _bound(there.get(chain_of(link), []), index)
        recorded_mac = known.owners[link].mac if link in known.owners else ""
        # One that is not stored may be on the link until that goes.
        found = [mac for mac in (recorded_mac, bound) if mac and (mac in self._guards or mac == bound)]
        return found[0] if found else guard_links.attribute(link, "address")

    def _known(self, links: t.Mapping[str, int]) -> guard_links.Known:
        known = guard_links.known(links)
        self.warnings += known.warnings
        return known

    def on(self, links: t.Iterable[tuple[str, str]]) -> None:
        """Put the guards of these NICs, link and MAC address, on their links."""
        owners = dict(links)
        commands = []
        for mac in {*owners.values()} & {*self._guards}:
            chain = self._guards[mac]["chain"]
            commands += [] if chain in self._rules(_chain(chain)) else self._add(mac)
        self._put(owners, commands, guard_links.known({link: guard_links.index_of(link) or 0 for link in owners}))

    def _put(self, owners: t.Mapping[str, str], commands: list[Object], known: guard_links.Known) -> None:
        """Carry out commands, and put guards on these links, each with the MAC address of the guard."""
        indexes = {link: guard_links.index_of(link) for link, mac in owners.items() if mac in self._guards}
        present = {link: index for link, index in indexes.items() if index is not None}
        for link, index in present.items():
            former = known.owners[link].link if link in known.owners else link
            if former != link and _bound(self._rules(_chain(chain_of(former))).get(chain_of(former), []), index):
                commands += remove_link(former)
            commands += add_link(link, owners[link], index, self._guards[owners[link]]["chain"])
        with recorded({(link, index): owners[link] for link, index in present.items()}, self.warnings):
            self._run(commands)
        for link, index in present.items():
            self._check(index, self._guards[owners[link]])

    def off(self, links: t.Iterable[str]) -> None:
        """Take whatever guard there is off these links."""
        there = self._rules({"table": {"family": FAMILY, "name": TABLE}})
        indexes = {link: guard_links.index_of(link) or 0 for link in links}
        found = [link for link in indexes if chain_of(link) in there]
        with recorded(dict.fromkeys(indexes.items()), self.warnings):
            self._run([one for link in found for one in remove_link(link)])
        for index in indexes.values():
            # A kernel without such programs has none on a link.
            with contextlib.suppress(OSError, ValueError):
                self._programs.take_off(index)

    def _check(self, index: int, guard: Object) -> None:
        """Put the program on a link with a guard. A kernel that cannot have it is no reason to stop a guest."""
        policy = checksum_program.DROP if guard["required"] else checksum_program.COUNT
        try:
            if self._programs.policy(index) != policy:
                self._programs.put_on(index, policy)
        except (OSError, ValueError) as exc:
            warning = UNCHECKED.format(reason=checksums.why_not(exc))
            self.warnings += [] if warning in self.warnings else [warning]

    def _rules(self, what: Object) -> dict[str, list[Object]]:
        """Return the rules of the chains in what is listed."""
        code, output, _error = self._library.json_cmd({"nftables": [{"list": what}]})
        found: dict[str, list[Object]] = {}
        for one in () if code else output["nftables"]:
            if "rule" in one:
                found.setdefault(one["rule"]["chain"], []).append(one["rule"])
        return found

    def _add(self, mac: str) -> list[Object]:
        guard = self._guards[mac]
        # Others may have removed the chain alone. The kernel refuses to add a set again that rules update.
        missing = [one for one in guard["sets"] if not self._has_set(one["name"])]
        return add_guard(guard["chain"], missing, guard_links.loadable(guard["rules"]))

    def _has_set(self, name: str) -> bool:
        code, _output, _error = self._library.json_cmd({"nftables": [{"list": {"set": {**_OF_TABLE, "name": name}}}]})
        return not code

    def _run(self, commands: t.Sequence[Object]) -> None:
        if not commands:
            return
        table = {"add": {"table": {"family": FAMILY, "name": TABLE}}}
        code, _output, error = self._library.json_cmd({"nftables": [table, *commands]})
        if code:
            raise RuntimeError(" ".join(error.split())[:500])


def _chain(name: str) -> Object:
    return {"chain": {**_OF_TABLE, "name": name}}


def _bound(rules: t.Sequence[Object], index: int) -> str:
    """Return whose guard the rules of the chain on a link hand its frames to, "" if not those of this index."""
    parts = [str(rule.get("comment", "")).split(" ", 2) for rule in rules]
    return parts[0][0] if len(parts) == 1 and len(parts[0]) == 3 and parts[0][1] == str(index) else ""


def mentions(nics_of_guest: t.Iterable[tuple[str, str]], path: str = STORE) -> list[str]:
    """Return which of these NICs a file that is damaged has guards for, by its text."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().lower()
        return [mac for _link, mac in nics_of_guest if mac in text]
    return []


def main(words: t.Sequence[str]) -> int:
    desired = None
    if words[0] == "link":
        recorded_mac = guard_links.known({words[1]: guard_links.index_of(words[1]) or 0}).owners.get(words[1])
        desired = [
            (words[1], one)
            for one in (recorded_mac and recorded_mac.mac, guard_links.attribute(words[1], "address"))
            if one
        ]
    elif words[0] == "qemu":
        if tuple(words[2:4]) not in (("start", "begin"), ("started", "begin"), ("reconnect", "begin")):
            return 0
        desired = guard_links.nics(sys.stdin.read())
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
        elif words[0] == "link":
            loader.link(words[1])
        else:
            loader.on(desired)
        sys.stderr.write("".join(f"linuxvirt.macvtap: {one}\n" for one in loader.warnings))
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is: the guest must not be let out unseen
        sys.stderr.write(f"linuxvirt.macvtap: no guard for {', '.join(macs)}: {exc}\n")
        return int(any(guards[mac]["required"] for mac in macs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
