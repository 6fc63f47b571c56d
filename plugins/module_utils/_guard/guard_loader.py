# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that puts stored guards on links, and takes them off: what the program of loader.py does.

It is a part of that program, and needs the standard library and python3-nftables alone.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import typing as t
from dataclasses import dataclass

# Not __package__: before Python 3.10 it is None while a file is imported from an archive, as Ansible sends it.
if t.TYPE_CHECKING or "." in __name__:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
        checksum_program,
        checksums,
        guard_links,
        guard_parts,
        guard_recorders,
        guard_table,
    )
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
else:
    # In the program on the host. Nothing that Python compiles is to be left anywhere.
    sys.dont_write_bytecode = True
    checksum_program, checksums, nft, guard_links, guard_parts, guard_recorders, guard_table = map(
        importlib.import_module,
        (
            "checksum_program",
            "checksums",
            "guard_commands",
            "guard_links",
            "guard_parts",
            "guard_recorders",
            "guard_table",
        ),
    )

SYSFS = guard_links.SYSFS
UNCHECKED = (
    "this host cannot check where guests have checksums written, so a guest can have bytes changed after its guard has "
    "seen them: {reason}"
)
Object = t.Dict[str, t.Any]


def programs() -> checksums.Links:
    """Return what puts the programs on links that check where checksums are written."""
    names = {policy: checksum_program.name(policy) for policy in (checksum_program.DROP, checksum_program.COUNT)}
    return checksums.Links(checksum_program.PREFIX, names, checksum_program.compiler)


@dataclass(frozen=True)
class Listed:
    """A link by its index, and the rules that its chain had before: None without a chain."""

    index: int
    rules: t.Sequence[Object] | None


@dataclass
class _Look:
    """The host at one moment: the rules of all chains, all macvtap links, whose they are, and what was recorded.

    ``replaced`` are links with the guard of another link, which is still to be taken off.
    """

    there: dict[str, list[Object]]
    links: dict[str, Listed]
    owners: dict[str, str]
    known: guard_links.Known
    replaced: set[str]


class Loader:
    """Puts guards on links.

    Chains of guards that others have changed get their rules again if ``stored`` is given, as GuardTable.add() has it.
    Otherwise they keep what they have, and only those that are missing or empty are filled.
    """

    def __init__(self, guards: t.Mapping[str, Object], stored: guard_table.Stored | None = None) -> None:
        self._guards, self._stored = guards, stored
        # Of what does not keep guards from links.
        self.warnings: list[str] = []
        self._table = guard_table.GuardTable()
        # The chains of guards of which it is not known yet whether they get other rules.
        self._later: set[str] = set()

    @functools.cached_property
    def _programs(self) -> checksums.Links:
        # Not before the rules are loaded, for which a guest may be waiting already.
        return programs()

    def load(self) -> None:
        """Load all guards, and put them on the links that there are.

        :raises PartError: that failed for some of them. Any other error is of all.
        :raises ChangedError: of GuardTable.add().
        """
        try:
            guard_parts.load(self._guards, self._guards, self._look, self._load)
        finally:
            if self._later:
                # All others are on their links, and do not wait for these.
                raise guard_parts.ChangedError("a task is changing guards")

    @property
    def left(self) -> list[str]:
        """The MAC addresses whose guards have other rules than they should, and keep them."""
        # An entry that is not asked for may have anything there.
        return [mac for mac, guard in self._guards.items() if str(guard.get("chain")) in self._table.left]

    def _look(self) -> _Look:
        # Before the links: whatever is on one that has come since, the kernel does not let these commands replace it.
        there = self._table.rules()
        names = [link for link in os.listdir(SYSFS) if guard_links.is_macvtap(link)]
        links = {link: Listed(guard_links.index_of(link) or 0, there.get(nft.chain_of(link))) for link in names}
        known = self._known({link: one.index for link, one in links.items()})
        found = {link: self._owner(link, one.index, known, one.rules or ()) for link, one in links.items()}
        owners = {link: mac for link, mac in found.items() if mac in self._guards}
        return _Look(there, links, owners, known, known.replaced - owners.keys())

    def _load(self, macs: t.Collection[str], look: _Look) -> None:
        guards = [self._guards[mac] for mac in macs]
        commands = self._table.add(guards, look.there, self._stored, self._later)
        owners = {link: mac for link, mac in look.owners.items() if mac in {*macs}}
        commands += [one for link in look.replaced for one in nft.remove_rules(link, look.links[link].rules or ())]
        closed = {link for link in owners if nft.is_closed(look.links[link].rules or ())}
        self._put(owners, look.links, commands, look.known, closed)
        # For the others, of which this was one part.
        look.replaced.clear()
        names = guard_recorders.used(rule for guard in guards for rule in guard["rules"])
        look.there.update({name: guard_recorders.rules(name) for name in names})

    def link(self, link: str, only: t.Collection[str] | None = None) -> None:
        """Put the guard of a link on it, whatever address its guest has given it; if ``only``, one of these guards."""
        index = guard_links.index_of(link) or 0
        chain = self._table.chain_on(link)
        owner = self._owner(link, index, self._known({link: index}), chain)
        if only is not None and owner not in only:
            return
        self.on([(link, owner)], closed=[link] if nft.is_closed(chain) else (), indexes={link: index})

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

    def on(
        self,
        links: t.Iterable[tuple[str, str]],
        *,
        closed: t.Collection[str] = (),
        indexes: t.Mapping[str, int] | None = None,
    ) -> None:
        """Put the guards of these NICs, link and MAC address, on their links, and open those that are ``closed``.

        A link that has not the index of ``indexes``, if it is there, is another one by now, and is not touched.

        :raises PartError: that failed for some of several guards. Any other error is of all.
        :raises ChangedError: of GuardTable.add().
        """
        owners = {link: mac for link, mac in links if mac in self._guards}
        expected = indexes or {}

        def put(macs: t.Collection[str], _look: None) -> None:
            self._on({link: mac for link, mac in owners.items() if mac in macs}, closed, expected)

        guard_parts.load(self._guards, {*owners.values()}, lambda: None, put)

    def _on(self, owners: t.Mapping[str, str], closed: t.Collection[str], expected: t.Mapping[str, int]) -> None:
        commands = self._table.add([self._guards[mac] for mac in {*owners.values()}], stored=self._stored)
        names = {link: nft.chain_of(link) for link in owners}
        chains = {link: self._table.rules(name).get(name) for link, name in names.items()}
        indexes = {link: expected.get(link, guard_links.index_of(link) or 0) for link in owners}
        links = {link: Listed(index, chains[link]) for link, index in indexes.items()}
        self._put(owners, links, commands, guard_links.known(indexes), closed)

    def _put(
        self,
        owners: t.Mapping[str, str],
        links: t.Mapping[str, Listed],
        commands: list[Object],
        known: guard_links.Known,
        closed: t.Collection[str],
    ) -> None:
        """Carry out commands, and put guards on these links, each with the MAC address of the guard.

        Those that have other indexes than in ``links`` are other links by now.
        """
        present = {link: links[link].index for link in owners if guard_links.index_of(link) == links[link].index}
        for link, index in present.items():
            former = known.owners[link].link if link in known.owners else link
            rules = self._table.chain_on(former) if former != link else []
            commands += nft.remove_rules(former, rules) if nft.bound(rules, index) else []
            chain = self._guards[owners[link]]["chain"]
            commands += nft.add_link(link, owners[link], index, chain, links[link].rules)
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

    def off(self, links: t.Mapping[str, int]) -> None:
        """Take whatever guard there is off these links, which are given with their indexes.

        One that has another index is another link by now, and is not touched.
        """
        guard_recorders.afresh(lambda _again: self._off(links), RuntimeError)
        for index in links.values():
            # A kernel without such programs has none on a link.
            with contextlib.suppress(OSError, ValueError):
                self._programs.take_off(index)

    def _off(self, links: t.Mapping[str, int]) -> None:
        there = self._table.rules()
        present = {link: index for link, index in links.items() if guard_links.index_of(link) == index}
        rules = {link: there.get(nft.chain_of(link), []) for link in present}
        with guard_links.recorded(dict.fromkeys(present.items()), self.warnings):
            self._table.run([one for link in present for one in nft.remove_rules(link, rules[link])])

    def _check(self, index: int, guard: Object) -> None:
        """Put the program on a link with a guard. A kernel that cannot have it is no reason to stop a guest."""
        policy = checksum_program.DROP if guard.get("required", True) else checksum_program.COUNT
        try:
            if self._programs.policy(index) != policy:
                self._programs.put_on(index, policy)
        except (OSError, ValueError) as exc:
            warning = UNCHECKED.format(reason=checksums.why_not(exc))
            self.warnings += [] if warning in self.warnings else [warning]
