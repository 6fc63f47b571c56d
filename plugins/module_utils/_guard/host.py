# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for guards: the chains in the kernel, the file for the next start, and the links of guests."""

from __future__ import annotations

import ipaddress
import json
import os
import sys
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader, model, parsing, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    Binding,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.programs import Programs
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.dump import Snapshot, digest, outline
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

RULES, STORE = "rules", "store"
# The library is asked for so many chains one by one, and for more of them all at once.
_ONE_BY_ONE = 20
# Of the kernel's expression meta, the link that a frame leaves by.
_OIF = 5
Listed = t.Dict[str, t.List[t.Dict[str, t.Any]]]


class Guards:
    """The guards of this host. The file is below ``root``, which is / except in tests."""

    def __init__(self, table: Table, installer: Installer, root: str = "/", *, known: Known | None = None) -> None:
        self._table, self._installer = table, installer
        self._file = os.path.join(root, loader.STORE.lstrip("/"))
        self._known = known or Known(root)
        # Only these guards are observed, of these NICs and those of these links; None for all.
        self.asked: t.Collection[str] | None = None
        # As last observed.
        self.snapshot = Snapshot(-1, frozenset(), frozenset(), {}, frozenset())
        self._programs = Programs()
        self._warnings: list[str] = []
        self._observed = Host({}, {})
        # What this run has loaded, at the generation before.
        self._loaded: tuple[int, dict[str, Guard]] = (-1, {})

    def observe(self) -> Host:
        """Return the guards that were asked for, all chains on links, and the macvtap links of this namespace."""
        links = _links()
        asked = self._asked_chains(links)
        self.snapshot = self._table.snapshot(asked)
        bindings = tuple(one for name in self.snapshot.rules for one in self._binding(name))
        stored = self._stored_guards()
        self._observed = Host(self._states(links, bindings, stored), links, bindings)
        chains = {rules.mac_of(name) for name in self.snapshot.chains if name.startswith("guard_")}
        self._known.save({mac for mac in chains if mac})
        return self._observed

    def _asked_chains(self, links: t.Mapping[str, GuestLink]) -> t.Callable[[str], bool] | None:
        if self.asked is None:
            return None
        macs = {links[one].mac if one in links else one for one in self.asked}
        # A link that is gone is known by its chain alone.
        if any(one not in links and rules.mac_of(rules.chain_name(one)) is None for one in self.asked):
            return None
        names = {rules.chain_name(mac) for mac in macs}
        return lambda name: name in names or not name.startswith("guard_")

    def _states(
        self, links: t.Mapping[str, GuestLink], bindings: t.Sequence[Binding], stored: t.Mapping[str, Guard]
    ) -> dict[str, State]:
        chains = {
            mac: name for name in self.snapshot.rules if name.startswith("guard_") and (mac := rules.mac_of(name))
        }
        on: dict[str, list[str]] = {}
        for one in bindings:
            if one.intact and one.link in links and one.index in (None, links[one.link].index):
                on.setdefault(one.mac, []).append(one.link)
        active = self._active({mac: name for mac, name in chains.items() if self.snapshot.rules[name]})
        for mac, guard in active.items():
            if guard is not None and mac in on:
                without = self._programs.without([links[one] for one in on[mac]], guard.policy)
                on[mac] = [one for one in on[mac] if one not in without]
        return {
            mac: State(
                mac,
                stored.get(mac),
                active.get(mac),
                tuple(sorted(on.get(mac, ()))),
                mac in active and active[mac] is None,
            )
            for mac in {*stored, *chains, *on}
        }

    def _active(self, chains: t.Mapping[str, str]) -> dict[str, Guard | None]:
        """Return the guards of these chains, which have rules; None for one with rules of others."""
        before, loaded = self._loaded
        # A change of this run's, and no other: what was loaded is what is there.
        mine = loaded if self.snapshot.generation == before + 1 else {}
        digests = {mac: digest(self.snapshot.rules[name]) for mac, name in chains.items()}
        found: dict[str, Guard | None] = {mac: mine.get(mac) or self._known.guard(mac, digests[mac]) for mac in chains}
        unknown = {mac: chains[mac] for mac, guard in found.items() if guard is None}
        listed = self._listed(unknown.values()) if unknown else {}
        for mac, name in unknown.items():
            guard = parsing.parse(mac, listed.get(name, []))
            found[mac] = None if self._known.contradicts(mac, digests[mac], guard) else guard
        # Otherwise what was listed need not be what the digest is of.
        if not unknown or self._table.generation() == self.snapshot.generation:
            for mac, guard in found.items():
                self._known.learn(mac, digests[mac], guard)
        return found

    def _listed(self, names: t.Collection[str]) -> Listed:
        """Return the rules of these chains as the library lists them."""
        several = len(names) > _ONE_BY_ONE
        lists = [self._table.read()] if several else [self._table.read_chain(name) for name in names]
        found: Listed = {}
        for objects in lists:
            for one in objects or ():
                if "rule" in one:
                    found.setdefault(one["rule"]["chain"], []).append(one["rule"])
        return found

    def _binding(self, name: str) -> t.Iterator[Binding]:
        """Yield what the chain on a link says: see loader.add_link."""
        if name.startswith("guard_"):
            return
        listed = [outline(rule) for rule in self.snapshot.rules[name]]
        for rule in listed:
            parts = str(rule.get("comment", "")).split(" ", 2)
            jumps = [one["jump"]["target"] for one in rule["expr"] if "jump" in one]
            if len(parts) == 3 and jumps:
                index = int(parts[1]) if parts[1].isdigit() else None
                of_link = [] if index is None else [{"meta": _OIF}, {"cmp": (0, index.to_bytes(4, sys.byteorder))}]
                expected: list[t.Any] = [*of_link, {"jump": {"target": rules.chain_name(parts[0])}}]
                intact = listed == [rule] and rule["expr"] == expected and name in self.snapshot.hooked
                yield Binding(parts[2], parts[0], index, intact)

    def _stored(self) -> dict[str, t.Any]:
        return self._entries(_files.read(self._file))

    def _entries(self, text: str | None) -> dict[str, t.Any]:
        try:
            return dict(json.loads(text)["guards"]) if text is not None else {}
        except (ValueError, KeyError, TypeError) as exc:
            raise MacvtapError(f"{loader.STORE} is not a file of this collection: move it away ({exc})") from exc

    def _stored_guards(self) -> dict[str, Guard]:
        text = _files.read(self._file)
        if text is None:
            return {}
        found = self._known.stored(text)
        if found is None:
            found = {mac: from_store(mac, entry) for mac, entry in self._entries(text).items()}
            self._known.learn_stored(text, found)
        return found

    def apply(self, steps: t.Sequence[Step[State]], journal: Journal[State]) -> None:
        """Load all rules in one transaction, then write the file.

        :raises MacvtapError: the kernel refuses the rules, and none is loaded; or the file cannot be written.
        """
        # The table is as it was observed: others who change it hold the lock, or put guards on new links.
        host = replace(self._observed, links=_links())
        commands = self._commands([step for step in steps if step.before and step.after], host)
        if commands:
            for step in steps:
                journal.record(step, RULES)
            self._loaded = (-1, {})
            generation = self._table.generation()
            self._table.replace(commands)
            after = {step.target: step.after.active for step in steps if step.after is not None}
            before = {mac: one.active for mac, one in self._observed.guards.items()}
            loaded = {mac: guard for mac, guard in after.items() if guard is not None and guard != before.get(mac)}
            self._loaded = (generation, loaded)
        # Also where others have removed the rules.
        self._programs.follow(steps, self._observed.guards, host.links)
        changed = [step for step in steps if step.before and step.after and step.before.stored != step.after.stored]
        if changed:
            for step in changed:
                journal.record(step, STORE)
            self._write(changed)

    def _commands(self, steps: t.Sequence[Step[State]], host: Host) -> list[dict[str, t.Any]]:
        """Return the commands that carry out ``steps``: first what goes from links, then guards, then links."""
        pairs = [(t.cast("State", step.before), t.cast("State", step.after)) for step in steps]
        bound = {one.link: one.mac for one in host.bindings}
        changed = {one.link for one in host.bindings if not one.intact}
        gone = {link for link, mac in bound.items() for _old, new in pairs if new.mac == mac and link not in new.links}
        commands = [one for link in sorted(gone) for one in loader.remove_link(link)]
        for before, after in pairs:
            commands += self._of_guard(before, after)
        for _before, after in pairs:
            for link in after.links if after.active is not None else ():
                current = host.links.get(link)
                if current is not None and link not in host.state(after.mac).links:
                    commands += loader.remove_link(link) if link in changed - gone else []
                    commands += loader.add_link(link, after.mac, current.index, rules.chain_name(after.mac))
        return commands

    def _of_guard(self, before: State, after: State) -> list[dict[str, t.Any]]:
        name, names = rules.chain_name(after.mac), rules.set_names(after.mac)
        of_table = {"family": self._table.family, "table": self._table.name}
        sets = rules.sets(after.active) if after.active is not None else []
        commands = []
        if after.active is not None and (before.active != after.active or name not in self.snapshot.chains):
            missing = [one for one in sets if one["name"] not in self.snapshot.sets]
            commands = loader.add_guard(name, missing, rules.render(after.active))
        elif after.active is None and name in self.snapshot.chains:
            chain = {"chain": {**of_table, "name": name}}
            commands = [{"flush": chain}, {"delete": chain}]
        unused = {*names} & self.snapshot.sets - {one["name"] for one in sets}
        return [*commands, *({"delete": {"set": {**of_table, "name": one}}} for one in sorted(unused))]

    def _write(self, steps: t.Sequence[Step[State]]) -> None:
        entries = self._stored()
        for step in steps:
            if step.after is not None and step.after.stored is not None:
                entries[step.target] = to_store(step.after.stored)
            else:
                entries.pop(step.target, None)
        text = json.dumps({"guards": entries}, sort_keys=True) + "\n" if entries else None
        if entries:
            # Before the file: a program without guards does nothing.
            self._warnings = self._installer.install(entries)
        _files.write(self._file, text, mode=0o600)
        if entries:
            self._installer.start()
        else:
            self._installer.remove()

    def refresh(self, *, check_mode: bool) -> bool:
        """Write the files that load the guards where they are not as this version writes them.

        Return whether they are not: somebody has removed one, or an older version has written them.
        """
        entries = self._stored_guards()
        if not entries or not self._installer.outdated(entries):
            return False
        if not check_mode:
            self._warnings = self._installer.install(entries)
            self._installer.start()
        return True

    @property
    def warnings(self) -> list[str]:
        return [*self._warnings, *self._programs.warnings]

    def learned(self, mac: str) -> list[str]:
        """Return the addresses that a guest has at this moment by learning."""
        sets = [name for name in rules.set_names(mac) if name in self.snapshot.sets]
        return sorted(str(ipaddress.ip_address(key)) for name in sets for key in self._table.keys(name))

    def counters(self, mac: str) -> dict[str, dict[str, int]]:
        listed = self.snapshot.rules.get(rules.chain_name(mac), ())
        links = [self._observed.links[one] for one in self._observed.state(mac).links]
        return {**parsing.counters([outline(rule) for rule in listed]), **self._programs.counted(links)}


def _links() -> dict[str, GuestLink]:
    with rtnetlink.open_socket() as sock:
        found = decode.links(rtnetlink.dump_links(sock)).values()
    return {one.name: GuestLink(one.name, one.index, one.mac or "") for one in found if one.kind == "macvtap"}


def to_store(guard: Guard) -> dict[str, t.Any]:
    """Return a guard as the file has it: its options, and what the program loads."""
    return {
        "options": guard.options,
        # A guest that is only watched starts in any case.
        "required": guard.policy == model.DROP,
        "chain": rules.chain_name(guard.mac),
        "sets": rules.sets(guard),
        "rules": rules.render(guard),
    }


def from_store(mac: str, entry: t.Any) -> Guard:
    """Return the guard of an entry of the file, with an unknown policy if this version would write another entry."""
    unknown = Guard(mac, policy=model.UNKNOWN)
    try:
        guard = model.from_options(mac, entry["options"])
        return guard if to_store(guard) == dict(entry) else unknown
    except (KeyError, TypeError, ValueError, AttributeError):
        return unknown
