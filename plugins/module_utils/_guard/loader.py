# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program that puts guards on links: at boot, when a link appears, and before libvirt starts a guest.

It is installed on the host as it is here, with the files that it imports beside it, and needs the standard library and
python3-nftables alone. The module itself carries out its plans by the same commands.

    guard load              all guards, on all links that there are
    guard link NAME         the guard of one link
    guard close MAC [NAME]  nothing out of the link that a NIC is about to get, until its guard is on it; prints the
                            name that the link must have, and nothing if the link would not be closed
    guard open MAC NAME     the guard of a NIC on its link, or the name free again if there is no such link
    guard qemu DOMAIN OPERATION SUBOPERATION EXTRA
                            libvirt's hook: the guards of a domain whose XML is on standard input
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import sys
import time
import typing as t

# Not __package__: before Python 3.10 it is None while a file is imported from an archive, as Ansible sends it.
if t.TYPE_CHECKING or "." in __name__:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
        checksum_program,
        checksums,
        guard_links,
        guard_recorders,
        guard_table,
    )
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
else:
    # Installed on the host, beside the other files. Nothing is to be left there.
    sys.dont_write_bytecode = True
    checksum_program, checksums, nft, guard_links, guard_recorders, guard_table = map(
        importlib.import_module,
        ("checksum_program", "checksums", "guard_commands", "guard_links", "guard_recorders", "guard_table"),
    )

STORE = "/etc/linuxvirt-macvtap/guards.json"
SYSFS = guard_links.SYSFS
UNCHECKED = (
    "this host cannot check where guests have checksums written, so a guest can have bytes changed after its guard has "
    "seen them: {reason}"
)
_DAMAGED = STORE + " is damaged ({}). Move it away, and run macvtap_guard for all guards of this host"
Object = t.Dict[str, t.Any]


def programs() -> checksums.Links:
    """Return what puts the programs on links that check where checksums are written."""
    names = {policy: checksum_program.name(policy) for policy in (checksum_program.DROP, checksum_program.COUNT)}
    return checksums.Links(checksum_program.PREFIX, names, checksum_program.compiler)


def stored(path: str = STORE) -> dict[str, Object]:
    """Return the guards that are to be there at each start, by MAC address.

    :raises OSError, ValueError, KeyError, TypeError: the file cannot be read, or is damaged.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found: dict[str, Object] = json.load(file)["guards"]
    except FileNotFoundError:
        return {}
    except RecursionError as exc:
        raise ValueError("it is nested too deep") from exc
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise ValueError("it has no guards by MAC address")
    return found


class Loader:
    """Puts guards on links."""

    def __init__(self, guards: t.Mapping[str, Object]) -> None:
        self._guards = guards
        # Of what does not keep guards from links.
        self.warnings: list[str] = []
        self._table = guard_table.GuardTable()

    @functools.cached_property
    def _programs(self) -> checksums.Links:
        # Not before the rules are loaded, for which a guest may be waiting already.
        return programs()

    def load(self) -> None:
        """Load all guards, and put them on the links that there are."""
        guard_recorders.afresh(lambda _again: self._load(), RuntimeError)

    def _load(self) -> None:
        # One that is there keeps its counters, and the addresses that it has learned.
        there = self._table.rules()
        commands = [
            one for guard in self._guards.values() if guard["chain"] not in there for one in self._table.add(guard)
        ]
        links = {link: guard_links.index_of(link) or 0 for link in os.listdir(SYSFS) if guard_links.is_macvtap(link)}
        known = self._known(links)
        chains = {link: there.get(nft.chain_of(link), []) for link in links}
        owners = {link: self._owner(link, index, known, chains[link]) for link, index in links.items()}
        commands += [one for link in known.replaced if chains[link] for one in nft.remove_link(link)]
        self._put(owners, commands, known, {link for link in links if nft.is_closed(chains[link])})

    def link(self, link: str) -> None:
        """Put the guard of a link on it, whatever address its guest has given it."""
        index = guard_links.index_of(link) or 0
        chain = self._table.chain_on(link)
        owner = self._owner(link, index, self._known({link: index}), chain)
        self.on([(link, owner)], closed=[link] if nft.is_closed(chain) else ())

    def _owner(self, link: str, index: int, known: guard_links.Known, chain: t.Sequence[Object]) -> str:
        """Return whose link it is: what was recorded, what the kernel has, or else what its address says."""
        bound = "" if link in known.replaced else nft.bound(chain, index)
        recorded_mac = known.owners[link].mac if link in known.owners else ""
        # One that is not stored may be on the link until that goes.
        found = [mac for mac in (recorded_mac, bound) if mac and (mac in self._guards or mac == bound)]
        return found[0] if found else guard_links.attribute(link, "address")

    def _known(self, links: t.Mapping[str, int]) -> guard_links.Known:
        known = guard_links.known(links)
        self.warnings += [one for one in known.warnings if one not in self.warnings]
        return known

    def on(self, links: t.Iterable[tuple[str, str]], *, closed: t.Collection[str] = ()) -> None:
        """Put the guards of these NICs, link and MAC address, on their links, and open those that are ``closed``."""
        owners = dict(links)
        guard_recorders.afresh(lambda _again: self._on(owners, closed), RuntimeError)

    def _on(self, owners: t.Mapping[str, str], closed: t.Collection[str]) -> None:
        commands = []
        for mac in {*owners.values()} & {*self._guards}:
            chain = self._guards[mac]["chain"]
            commands += [] if chain in self._table.rules(chain) else self._table.add(self._guards[mac])
        known = guard_links.known({link: guard_links.index_of(link) or 0 for link in owners})
        self._put(owners, commands, known, closed)

    def _put(
        self,
        owners: t.Mapping[str, str],
        commands: list[Object],
        known: guard_links.Known,
        closed: t.Collection[str],
    ) -> None:
        """Carry out commands, and put guards on these links, each with the MAC address of the guard."""
        indexes = {link: guard_links.index_of(link) for link, mac in owners.items() if mac in self._guards}
        present = {link: index for link, index in indexes.items() if index is not None}
        for link, index in present.items():
            former = known.owners[link].link if link in known.owners else link
            if former != link and nft.bound(self._table.chain_on(former), index):
                commands += nft.remove_link(former)
            commands += nft.add_link(link, owners[link], index, self._guards[owners[link]]["chain"])
        # Nothing gets out of a closed link, which these commands open. Of others it does until then.
        for link in present.keys() & {*closed}:
            self._check(present[link], self._guards[owners[link]])
        with guard_links.recorded({(link, index): owners[link] for link, index in present.items()}, self.warnings):
            self._table.run(commands)
        for link in present.keys() - {*closed}:
            self._check(present[link], self._guards[owners[link]])

    def close(self, mac: str, name: str = "") -> str:
        """Let nothing out of the link that a NIC is about to get, until its guard is put on it, or a minute.

        Return the name that the link must have: ``name``, or one that is free. It is "" if nothing is closed: not for a
        guard that only counts.
        """
        return self._table.close(mac, name) if self._guards.get(mac, {}).get("required") else ""

    def open(self, link: str, mac: str) -> None:
        """Put the guard of a NIC on its link. If there is no such link, or no guard, close the name no longer."""
        closed = self.is_closed(link)
        if mac in self._guards and guard_links.is_macvtap(link):
            self.on([(link, mac)], closed=[link] if closed else ())
        else:
            self.free([link])

    def is_closed(self, link: str) -> bool:
        """Whether :meth:`close` has closed a link, and nobody has opened it."""
        return self._table.is_closed(link)

    def free(self, links: t.Iterable[str]) -> None:
        """Close these names no longer: their NICs have not come, or have no guard, or other NICs have the names."""
        self._table.free(links)

    def off(self, links: t.Iterable[str]) -> None:
        """Take whatever guard there is off these links."""
        there = self._table.rules()
        indexes = {link: guard_links.index_of(link) or 0 for link in links}
        found = [link for link in indexes if nft.chain_of(link) in there]
        with guard_links.recorded(dict.fromkeys(indexes.items()), self.warnings):
            self._table.run([one for link in found for one in nft.remove_link(link)])
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


def mentions(nics_of_guest: t.Iterable[tuple[str, str]], path: str = STORE) -> list[str]:
    """Return which of these NICs a file that is damaged has guards for, by its text."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
        text = file.read().lower()
        return [mac for _link, mac in nics_of_guest if mac in text]
    return []


def lets_out(link: str) -> str:
    """Return in words what a link lets out whose guard cannot be put on it."""
    # What has no guard may not be known for the same reason.
    with contextlib.suppress(Exception):
        return nft.lets_out(guard_table.GuardTable().chain_on(link), time.time())
    return nft.ANYTHING


def _desired(words: t.Sequence[str]) -> list[tuple[str, str]] | None:
    """Return the NICs that a command is about, link and MAC address; None for all."""
    operation, *arguments = words
    if operation == "link":
        (link,) = arguments
        record = guard_links.known({link: guard_links.index_of(link) or 0}).owners.get(link)
        macs = (record.mac if record is not None else "", guard_links.attribute(link, "address"))
        return [(link, mac) for mac in macs if mac]
    if operation in ("close", "open"):
        mac, *names = arguments
        return [(names[0] if names else "", mac)]
    if operation == "qemu":
        moments = (("start", "begin"), ("started", "begin"), ("reconnect", "begin"))
        return guard_links.nics(sys.stdin.read()) if tuple(arguments[1:3]) in moments else []
    return None


def _carry_out(loader: Loader, operation: str, desired: t.Sequence[tuple[str, str]] | None) -> None:
    if desired is None:
        loader.load()
    elif operation == "link":
        loader.link(desired[0][0])
    elif operation == "open":
        loader.open(*desired[0])
    elif operation == "close":
        link = loader.close(desired[0][1], desired[0][0])
        sys.stdout.write(link + "\n" if link else "")
    else:
        loader.on(desired)


def main(words: t.Sequence[str]) -> int:
    desired = _desired(words)
    if desired == []:
        return 0
    try:
        guards = stored()
    except (OSError, ValueError, KeyError, TypeError) as exc:
        # Guests that have no guard must start.
        why = f"cannot read {STORE}: {exc}" if isinstance(exc, OSError) else _DAMAGED.format(exc)
        what = f"{lets_out(desired[0][0])}: " if desired and words[0] == "open" else ""
        sys.stderr.write(f"linuxvirt.macvtap: {what}{why}\n")
        return int(desired is None or bool(mentions(desired)))
    macs = [mac for _link, mac in desired if mac in guards] if desired is not None else list(guards)
    unguarded = [link for link, mac in desired or () if mac not in guards]
    named = [link for link in unguarded if link and (words[0] == "open" or nft.may_be_declared(link))]
    if named and words[0] != "link":
        with contextlib.suppress(Exception):
            Loader(guards).free(named)
    if not macs:
        return 0
    try:
        loader = Loader(guards)
        _carry_out(loader, words[0], desired)
        sys.stderr.write("".join(f"linuxvirt.macvtap: {one}\n" for one in loader.warnings))
    except Exception as exc:  # pylint: disable=broad-except  # whatever it is: the guest must not be let out unseen
        why = _DAMAGED.format(f"{exc} is missing") if isinstance(exc, KeyError) else str(exc)
        what = f", and {lets_out(desired[0][0])}" if desired and words[0] == "open" else ""
        sys.stderr.write(f"linuxvirt.macvtap: no guard for {', '.join(dict.fromkeys(macs))}{what}: {why}\n")
        return int(any(guards[mac].get("required", True) for mac in macs))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
