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
import re
import sys
import time
import typing as t

# Not __package__: before Python 3.10 it is None while a file is imported from an archive, as Ansible sends it.
if t.TYPE_CHECKING or "." in __name__:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands as nft
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
        guard_library,
        guard_links,
        guard_parts,
        guard_recorders,
    )
else:
    # In the program on the host. Nothing that Python compiles is to be left anywhere.
    sys.dont_write_bytecode = True
    nft, guard_library, guard_links, guard_parts, guard_recorders = map(
        importlib.import_module,
        ("guard_commands", "guard_library", "guard_links", "guard_parts", "guard_recorders"),
    )

Object = t.Dict[str, t.Any]
# By the chain's name.
Rules = t.Mapping[str, t.Sequence[Object]]
# Returns the guards that are stored at this moment, by MAC address.
Stored = t.Callable[[], t.Mapping[str, Object]]
# Which tasks hold that change guards: see _lock.py.
LOCK = "/run/linuxvirt.macvtap.guards.lock"
# In the library's error if the kernel refuses a chain at a hook of a table that is being woken.
_REFUSED = "Invalid argument"
# Without flags: a table that is dormant is woken by it.
_TABLE = {"table": {"family": nft.FAMILY, "name": nft.TABLE}}
_DORMANT = re.compile(r"[^{]*\{[^{]*\bflags\s[^{\n]*\bdormant\b")


class GuardTable:
    """The table of guards in the kernel.

    :raises ImportError: the library of nftables is missing.
    """

    def __init__(self) -> None:
        self._library: t.Any = importlib.import_module("nftables").Nftables()
        self._library.set_json_output(True)
        # The chains of guards that have other rules than they should, and keep them.
        self.left: set[str] = set()

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

    def add(
        self,
        guards: t.Iterable[Object],
        there: Rules | None = None,
        stored: Stored | None = None,
        later: set[str] | None = None,
    ) -> list[Object]:
        """Return the commands after which these guards do what they should, given as they are stored.

        ``there`` are the rules of all chains, if they are known. A chain that has its rules keeps its counters. A task
        may have loaded others since the guards were read. So they are replaced only if ``stored`` returns the same
        guard still, and no task is running that may be about to store another. Without ``stored`` they stay. The chains
        that have to wait for such a task are noted in ``later``, if it is given.

        :raises ChangedError: ``stored`` returns another guard by now, or a task is running and there is no ``later``.
        """
        commands: list[Object] = []
        used = guard_recorders.names(there or ())
        check = _Check(stored, later)
        for guard in guards:
            rules = guard_links.loadable(guard["rules"])
            used |= guard_recorders.used(rules)
            former = (self.rules(guard["chain"]) if there is None else there).get(guard["chain"])
            commands += self._fill(guard, rules, former, check)
        # Before the guards that hand frames to them.
        return [
            *guard_recorders.missing(
                lambda name: (self.rules(name) if there is None else there).get(name, ()),
                self._has_set,
                nft.OF_TABLE,
                used,
            ),
            *commands,
        ]

    def _fill(
        self, guard: Object, rules: t.Sequence[Object], former: t.Sequence[Object] | None, check: _Check
    ) -> list[Object]:
        """Return the commands that give the chain of a guard its rules, unless it has them. ``former`` was listed."""
        chain = guard["chain"]
        claims = [one for one in former or () if nft.is_claim(one)]
        others = [one for one in former or () if not nft.is_claim(one)]
        # Copies to a link that is gone are no reason to begin anew.
        listed = guard_links.loadable(guard_library.in_our_words(others))
        if rules and guard_library.is_listed(rules, listed) and guard_library.has_addresses(rules, listed):
            return nft.without(chain, claims)
        if not check.may_fill(guard, has_rules=bool(others)):
            self.left.add(chain)
            return nft.without(chain, claims)
        # Others may have removed the chain alone. The kernel refuses to add a set again that rules update.
        missing = [one for one in guard["sets"] if not self._has_set(one["name"])]
        if former is not None and not former:
            former = self._claimed(chain)
        return nft.replace_guard(chain, missing, guard_library.in_its_words(self._library, rules), former)

    def _claimed(self, chain: str) -> t.Sequence[Object]:
        """Return the rules of a chain that was empty, and has one now by which the kernel knows whether it still is.

        :raises RuntimeError: it is not, or it is gone.
        """
        self.run(nft.claim(chain))
        found = self.rules(chain).get(chain, [])
        if not all(map(nft.is_claim, found)):
            # For whoever looks again, too.
            with contextlib.suppress(RuntimeError):
                self.run(nft.without(chain, [one for one in found if nft.is_claim(one)]))
            raise RuntimeError(f"{chain} was changed meanwhile")
        return found

    def _has_set(self, name: str) -> bool:
        return bool(self._listed(_of_table("set", name)))

    def run(self, commands: t.Sequence[Object]) -> None:
        """Carry out commands in one transaction.

        :raises RuntimeError: the kernel refuses them.
        """
        error = self._error(commands) if commands else ""
        if _REFUSED in error and self._is_dormant() and not self._error([]):
            # The kernel carries out nothing that the table has. It is awake now, and takes no chain at a hook in the
            # transaction that wakes it. It stays awake whatever follows: another guest may rely on that already.
            error = self._error(commands)
        if error:
            raise RuntimeError(" ".join(error.split())[:500])

    def _is_dormant(self) -> bool:
        self._library.set_json_output(False)
        # The JSON of 1.0.6 has the name of its release there.
        _code, text, _error = self._library.cmd(f"list table {nft.FAMILY} {nft.TABLE}")
        self._library.set_json_output(True)
        # Before the sets and chains, which are in braces of their own.
        return _DORMANT.match(str(text)) is not None

    def _error(self, commands: t.Sequence[Object]) -> str:
        """Carry out commands, and wake the table unless they only take something away.

        Return the library's error, "" if there is none.
        """
        only_takes = commands and all("delete" in one or "flush" in one for one in commands)
        table = [] if only_takes else [{"add": _TABLE}]
        code, _output, error = self._library.json_cmd({"nftables": [*table, *commands]})
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


class _Check:
    """Whether guards are still what is to be loaded, which is asked after what is there was listed."""

    def __init__(self, stored: Stored | None, later: set[str] | None) -> None:
        self._read, self._stored = stored, t.cast("t.Mapping[str, Object] | None", None)
        self._later = later

    def may_fill(self, guard: Object, *, has_rules: bool) -> bool:
        """Return whether the chain of a guard may get its rules in place of others, if it ``has_rules``.

        A task loads rules, stores them, and ends. So whatever it had loaded when the chain was listed is stored by the
        time that no task is running, which is looked at before the file therefore.

        :raises ChangedError: another guard is stored by now, or a task is running and it cannot be noted for later.
        """
        if self._read is None:
            return not has_rules
        if has_rules and _is_task_running():
            if self._later is None:
                raise guard_parts.ChangedError("a task is changing guards")
            self._later.add(guard["chain"])
            return False
        if self._stored is None:
            try:
                self._stored = {str(one.get("chain")): one for one in self._read().values()}
            except (OSError, ValueError, KeyError, TypeError) as exc:
                raise guard_parts.ChangedError(str(exc)) from exc
        if self._stored.get(guard["chain"]) != guard:
            raise guard_parts.ChangedError("another guard is stored by now")
        return True


def _is_task_running() -> bool:
    """Whether a task holds the lock of guards, or may: a policy of SELinux may deny to look.

    The lock is not touched for that: a task might be just asking for it.
    """
    try:
        status = os.stat(LOCK)
        file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
        with open("/proc/locks", encoding="ascii") as locks:
            return any(file in line.split() for line in locks)
    except FileNotFoundError as exc:
        # No task has changed guards since the host has booted. Unless /proc is another one.
        return exc.filename != LOCK
    except OSError:
        return True


def _of_table(kind: str, name: str) -> Object:
    return {kind: {**nft.OF_TABLE, "name": name}}


def _free_name() -> str:
    """Return a name for the link of a NIC that no link has here. By chance, none has it elsewhere."""
    found = nft.name_from(os.urandom(6))
    return found if guard_links.index_of(found) is None else _free_name()
