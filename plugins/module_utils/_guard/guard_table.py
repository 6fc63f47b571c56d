# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for the table of guards, by the library of nftables: what it has, and what is to be there.

It is a part of the program of loader.py, so it imports the standard library and python3-nftables
alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
import typing as t

# Not __package__: before Python 3.10 it is None while a file is imported from an archive, as Ansible sends it.
if t.TYPE_CHECKING or "." in __name__:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
        guard_library,
        guard_links,
        guard_recorders,
    )
else:
    # In the program on the host. Nothing that Python compiles is to be left anywhere.
    sys.dont_write_bytecode = True
    nft, guard_library, guard_links, guard_recorders = map(
        importlib.import_module, ("guard_commands", "guard_library", "guard_links", "guard_recorders")
    )

Object = t.Dict[str, t.Any]
# By the chain's name.
Rules = t.Mapping[str, t.Sequence[Object]]
# Which tasks hold that change guards: see _lock.py.
LOCK = "/run/linuxvirt.macvtap.guards.lock"
# In the library's error if the kernel refuses a chain at a hook of a table that is being woken.
_REFUSED = "Invalid argument"
# Without flags: a table that is dormant is woken by it.
_TABLE = {"table": {"family": nft.FAMILY, "name": nft.TABLE}}


class GuardTable:
    """The table of guards in the kernel.

    :raises ImportError: the library of nftables is missing.
    """

    def __init__(self) -> None:
        self._library: t.Any = importlib.import_module("nftables").Nftables()
        self._library.set_json_output(True)

    def rules(self, chain: str = "") -> dict[str, list[Object]]:
        """Return the rules of all chains by the chain's name, or those of one ``chain``; [] of an empty chain.

        :raises RuntimeError: they cannot be listed. Those that are missing are {}.
        """
        found: dict[str, list[Object]] = {}
        for one in self._listed(_of_table("chain", chain) if chain else _TABLE):
            if "chain" in one:
                found.setdefault(one["chain"]["name"], [])
            elif "rule" in one:
                found.setdefault(one["rule"]["chain"], []).append(one["rule"])
        return found

    def chain_on(self, link: str) -> list[Object]:
        """Return the rules of the chain on a link, [] without any.

        :raises RuntimeError: they cannot be listed.
        """
        name = nft.chain_of(link)
        return self.rules(name).get(name, [])

    def is_closed(self, link: str) -> bool:
        """Whether :meth:`close` has closed a link, and nobody has opened it."""
        return nft.is_closed(self.chain_on(link))

    def add(self, guards: t.Iterable[Object], there: Rules | None = None) -> list[Object]:
        """Return the commands after which these guards do what they should, given as they are stored.

        ``there`` are the rules of all chains, if they are known. One that has its rules keeps its counters. So does one
        that has any while a task changes guards: they may be the task's, and not stored yet.
        """
        commands: list[Object] = []
        used = guard_recorders.names(there or ())
        for guard in guards:
            chain, rules = guard["chain"], guard_links.loadable(guard["rules"])
            used |= guard_recorders.used(rules)
            listed = guard_library.in_our_words(list(self._of(chain, there)))
            # Copies to a link that is gone are no reason to begin anew.
            is_whole = bool(rules) and guard_library.is_listed(rules, guard_links.loadable(listed))
            if not is_whole and not (listed and _is_task_running()):
                # Others may have removed the chain alone. The kernel refuses to add a set again that rules update.
                missing = [one for one in guard["sets"] if not self._has_set(one["name"])]
                commands += nft.add_guard(chain, missing, guard_library.in_its_words(self._library, rules))
        # Before the guards that hand frames to them.
        return [
            *guard_recorders.missing(lambda name: self._of(name, there), self._has_set, nft.OF_TABLE, used),
            *commands,
        ]

    def _of(self, chain: str, there: Rules | None) -> t.Sequence[Object]:
        return (self.rules(chain) if there is None else there).get(chain, ())

    def _has_set(self, name: str) -> bool:
        return bool(self._listed(_of_table("set", name)))

    def run(self, commands: t.Sequence[Object]) -> None:
        """Carry out commands in one transaction.

        :raises RuntimeError: the kernel refuses them.
        """
        error = self._error(commands) if commands else ""
        if _REFUSED in error and not self._error([]):
            # Somebody may have made the table dormant: the kernel carries out nothing that it has. It is awake now, and
            # takes no chain at a hook in the transaction that wakes it.
            error = self._error(commands)
        if error:
            raise RuntimeError(" ".join(error.split())[:500])

    def _error(self, commands: t.Sequence[Object]) -> str:
        """Carry out commands, and wake the table. Return the library's error, "" if there is none."""
        code, _output, error = self._library.json_cmd({"nftables": [{"add": _TABLE}, *commands]})
        return error or "unknown error" if code else ""

    def close(self, mac: str, name: str = "") -> str:
        """Let nothing out of the link that a NIC is about to get, until its guard is put on it, or a minute.

        Return the name that the link must have: ``name``, or one that is free. It is "" if nothing is closed: a link
        has that name. Linux before 6.16 has no chains for links that do not exist.
        """
        link = name or _free_name()
        chain = nft.chain_of(link)
        with contextlib.suppress(RuntimeError):
            # Before it is known that there is no such link: the kernel refuses what is late.
            former = self.rules(chain).get(chain)
            if guard_links.index_of(link) is None:
                self.run(nft.close_link(link, mac, time.time(), former))
                return link
        return ""

    def free(self, links: t.Iterable[str]) -> None:
        """Close these names no longer: their NICs have not come, or have no guard, or other NICs have the names."""
        for link in links:
            # Another run may be doing the same.
            with contextlib.suppress(RuntimeError):
                rules = self.chain_on(link)
                self.run(nft.remove_rules(link, rules) if nft.is_closed(rules) else ())

    def remove_orphans(self, links: t.Iterable[str]) -> None:
        """Remove the chains of these names that do nothing any more: there is no link of the name."""
        for link in links:
            # A NIC may be getting the name. Or it is not known what there is.
            with contextlib.suppress(RuntimeError):
                rules = self.chain_on(link)
                found = [nft.of_link(rule) for rule in rules]
                if guard_links.index_of(link) is None and all(one and nft.is_orphan(one, time.time()) for one in found):
                    self.run(nft.remove_rules(link, rules))

    def _listed(self, what: Object) -> list[Object]:
        return guard_recorders.listed(self._library, what)


def _is_task_running() -> bool:
    """Whether a task holds the lock of guards, which is not touched for that: it might be just asking for it."""
    with contextlib.suppress(OSError):
        status = os.stat(LOCK)
        file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        with open("/proc/locks", encoding="ascii") as locks:
            return any(file in line.split() for line in locks)
    return False


def _of_table(kind: str, name: str) -> Object:
    return {kind: {**nft.OF_TABLE, "name": name}}


def _free_name() -> str:
    """Return a name for the link of a NIC that no link has here. By chance, none has it elsewhere."""
    found = nft.name_from(os.urandom(6))
    return found if guard_links.index_of(found) is None else _free_name()
