# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for guards: the chains in the kernel, the file for the next start, and the links of guests."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    appeared,
    chains,
    guard_links,
    guard_recorders,
    guard_table,
    loader,
    model,
    parsing,
    rules,
    store,
    transaction,
)
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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted

RULES, STORE = "rules", "store"
# The library is asked for so many chains one by one, and for more of them all at once.
_ONE_BY_ONE = 20
Listed = t.Dict[str, t.List[t.Dict[str, t.Any]]]


class Guards:
    """The guards of this host. The file is below ``root``, which is / except in tests."""

    def __init__(self, table: Table, installer: Installer, root: str = "/", *, known: Known | None = None) -> None:
        self._table, self._installer = table, installer
        self._file = os.path.join(root, loader.STORE.lstrip("/"))
        self._known = known or Known(root)
        # Only these guards are observed, of these NICs and those of these links; None for all.
        self.asked: t.Collection[str] | None = None
        # Whether what was changed stays if something fails.
        self.keeps = False
        # As last observed.
        self.snapshot = Snapshot(-1, frozenset(), frozenset(), {}, frozenset())
        self._programs, self._ages = Programs(), chains.Ages(table)
        self._warnings: list[str] = []
        self._observed = Host({}, {})
        self._first: t.Mapping[str, GuestLink] | None = None
        self._records = guard_links.known({})
        # Whose rules an earlier version has written.
        self._outdated: frozenset[str] = frozenset()
        # The file as it was before this run has first written it, and its entries.
        self._former: tuple[str, dict[str, t.Any]] | None = None
        # What this run has loaded, at the generation before.
        self._loaded: tuple[int, dict[str, Guard]] = (-1, {})

    def observe(self) -> Host:
        """Return the guards that were asked for, all chains on links, and the macvtap links of this namespace."""
        links = _links()
        self.snapshot = self._table.snapshot(chains.asked(self.asked, links))
        self._records = guard_links.known({one.name: one.index for one in links.values()})
        self._warnings += [one for one in self._records.warnings if one not in self.warnings]
        found = [one for name in self.snapshot.rules for one in chains.bindings(name, self.snapshot)]
        bindings = tuple(one for one in found if one.link not in self._records.replaced)
        stored = self._stored_guards()
        recorded = {link: one.mac for link, one in self._records.owners.items()}
        names = frozenset(name for _index, name in socket.if_nameindex())
        self._first = links if self._first is None else self._first
        new = model.new(self._first, links)
        present = {rules.mac_of(name) for name in self.snapshot.chains if name.startswith("guard_")}
        loaded = frozenset(mac for mac in present if mac)
        asleep = loaded if self.snapshot.dormant else frozenset[str]()
        states = self._states(links, bindings, stored)
        self._observed = Host(states, links, bindings, recorded, names, new, asleep, self._table.woken)
        self._known.save({*loaded})
        return self._observed

    def _states(
        self, links: t.Mapping[str, GuestLink], bindings: t.Sequence[Binding], stored: t.Mapping[str, Guard]
    ) -> dict[str, State]:
        named = {mac: name for name in self.snapshot.rules if name.startswith("guard_") and (mac := rules.mac_of(name))}
        on: dict[str, list[str]] = {}
        for one in bindings:
            if one.intact and one.link in links and one.index in (None, links[one.link].index):
                on.setdefault(one.mac, []).append(one.link)
        active = self._active({mac: name for mac, name in named.items() if self.snapshot.rules[name]})
        unchecked = {
            mac: self._programs.without([links[one] for one in on[mac]], guard.policy)
            for mac, guard in active.items()
            if guard is not None and mac in on
        }
        return {
            mac: State(
                mac,
                stored.get(mac),
                active.get(mac),
                tuple(sorted(on.get(mac, ()))),
                mac in active and active[mac] is None,
                tuple(sorted(unchecked.get(mac, ()))),
                mac in self._outdated,
            )
            for mac in {*stored, *named, *on}
        }

    def _active(self, named: t.Mapping[str, str]) -> dict[str, Guard | None]:
        """Return the guards of these chains, which have rules; None for one with rules of others."""
        before, loaded = self._loaded
        # A change of this run's, and no other: what was loaded is what is there.
        mine = loaded if self.snapshot.generation == before + 1 else {}
        split = {mac: chains.mirror(self.snapshot.rules[name]) for mac, name in named.items()}
        digests = {mac: digest(others) for mac, (_link, others) in split.items()}
        found: dict[str, Guard | None] = {mac: mine.get(mac) or self._known.guard(mac, digests[mac]) for mac in named}
        unknown = {mac: named[mac] for mac, guard in found.items() if guard is None}
        listed = self._listed(unknown.values()) if unknown else {}
        outdated: dict[str, Guard] = {}
        for mac, name in unknown.items():
            guard = chains.with_mirror(parsing.parse(mac, listed.get(name, [])), "")
            earlier = None if guard else chains.with_mirror(parsing.parse(mac, listed.get(name, []), former=True), "")
            outdated.update({} if earlier is None else {mac: earlier})
            found[mac] = None if self._known.contradicts(mac, digests[mac], guard) else guard
        # Otherwise what was listed need not be what the digest is of.
        if not unknown or self._table.generation() == self.snapshot.generation:
            for mac, guard in found.items():
                self._known.learn(mac, digests[mac], chains.with_mirror(guard, ""))
        # What is not dropped where it was handed to is no guard's.
        whole = {one for one in (model.DROP, model.COUNT) if not chains.has_changed_recorder(one, self.snapshot)}
        kept = {mac: guard if guard and guard.policy in whole else None for mac, guard in found.items()}
        kept.update(outdated)
        self._outdated = frozenset(outdated)
        return {mac: chains.with_mirror(guard, split[mac][0]) for mac, guard in kept.items()}

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

    def _stored(self) -> dict[str, t.Any]:
        return store.entries(_files.read(self._file))

    def _stored_guards(self) -> dict[str, Guard]:
        text = _files.read(self._file)
        if text is None:
            return {}
        found = self._known.stored(text)
        if found is None:
            found = {mac: store.guard_of(mac, entry) for mac, entry in store.entries(text).items()}
            self._known.learn_stored(text, found)
        return found

    def apply(self, steps: t.Sequence[Step[State]], journal: Journal[State]) -> None:
        """Load all rules in one transaction, then write the file. Links that have come meanwhile get their guards, too.

        A link that is gone has none, and another one of its name gets none for it.

        :raises MacvtapError: the kernel refuses the rules, and none is loaded; or the file cannot be written; or a link
            that has come has no guard.
        """
        # What the plan is of. The table is as it was observed, or the kernel refuses the commands.
        planned = self._observed.links
        complete = [step for step in steps if step.before and step.after]
        commands = self._commands(complete, planned)

        def load(again: bool) -> None:
            if again:
                self.observe()
            self._table.replace(self._commands(complete, planned) if again else commands)

        if commands:
            for step in steps:
                journal.record(step, RULES)
            self._loaded = (-1, {})
            generation = self._table.generation()
            owners = chains.owners([step.after for step in steps if step.after], self._still(planned))
            with guard_links.recorded(owners, self._warnings):
                guard_recorders.afresh(load, MacvtapError)
            chains.remove_recorders(self._table, self.snapshot, [step.after for step in steps])
            active = {step.target: step.after.active for step in steps if step.after is not None}
            before = {mac: one.active for mac, one in self._observed.guards.items()}
            loaded = {mac: guard for mac, guard in active.items() if guard is not None and guard != before.get(mac)}
            self._loaded = (generation, loaded)

        def begin(step: Step[State]) -> None:
            if not journal.contains(step, RULES):
                journal.record(step, RULES)

        # Also where others have removed the rules.
        self._programs.follow(steps, self._still(planned), begin)
        changed = [step for step in steps if step.before and step.after and step.before.stored != step.after.stored]
        if changed:
            for step in changed:
                journal.record(step, STORE)
            self._write(changed)
        # Last, so that each is put back whose guard is.
        self._programs.follow(steps, self._still(planned), begin, gone=True)
        if commands or changed:
            appeared.put_on([step.after for step in steps if step.after], planned, _links(), self._stored())

    def _commands(self, steps: t.Sequence[Step[State]], planned: t.Mapping[str, GuestLink]) -> list[dict[str, t.Any]]:
        return transaction.commands(steps, self._still(planned), self.snapshot, self._table)

    def _still(self, planned: t.Mapping[str, GuestLink]) -> Host:
        """Return what was observed without the links whose names others had when a plan was made; new since then."""
        links = _links()
        return replace(self._observed, links=model.still(planned, links), new=model.new(planned, links))

    def _write(self, steps: t.Sequence[Step[State]]) -> None:
        former = _files.read(self._file)
        entries = store.entries(former)
        if self._former is None and former is not None:
            self._former = (former, {**entries})
        for step in steps:
            if step.after is not None and step.after.stored is not None:
                entries[step.target] = store.entry_of(step.after.stored)
            else:
                entries.pop(step.target, None)
        if self._former is not None and entries == self._former[1]:
            # Also what others have written in their own way.
            text: str | None = self._former[0]
        else:
            text = json.dumps({"guards": entries}, sort_keys=True) + "\n" if entries else None
        try:
            with self._installer.storing(entries, self._warnings, self._stored):
                _files.write(self._file, text, mode=0o600)
        except (MacvtapError, Interrupted) as exc:
            after = {step.target: step.after.stored for step in steps if step.after and self.keeps}
            exc.state = store.not_stored(after, self._stored_guards())
            raise

    def refresh(self, *, check_mode: bool, absent: t.Collection[str] = ()) -> bool:
        """Write the files that load the guards where they are not as this version writes them.

        Return whether they are not: somebody has removed one, an older version has written them, or a run was killed.
        No record is left of guards that are declared ``absent``, and are: declared again, the guard may have another
        link by then, and this link another guest.
        """
        entries = self._stored_guards()
        if not check_mode:
            if orphans := sorted(chains.orphans(self.snapshot, self._observed.names, time.time())):
                guard_table.GuardTable().remove_orphans(orphans)
            # Links without a record are of an older version, or of a run that was killed.
            missing = chains.unrecorded(self._observed, self._records)
            with guard_links.recorded({**missing, **model.outlived(self._observed, absent)}, self._warnings):
                pass
        if not (self._installer.outdated(entries) if entries else self._installer.installed()):
            return False
        if not check_mode and entries:
            # What was stored right before has been warned of.
            found = [*self._installer.install(entries), *self._installer.start()]
            self._warnings += [one for one in found if one not in self._warnings]
        elif not check_mode:
            self._installer.remove()
        return True

    @property
    def warnings(self) -> list[str]:
        return [*self._warnings, *self._programs.warnings]

    def learned(self, mac: str) -> list[str]:
        """Return the addresses that a guest has at this moment by learning."""
        sets = [name for name in rules.set_names(mac) if name in self.snapshot.sets]
        return sorted(str(ipaddress.ip_address(key)) for name in sets for key in self._table.keys(name))

    def counters(self, mac: str) -> dict[str, dict[str, int]]:
        state = self._observed.state(mac)
        links = [self._observed.links[one] for one in state.links]
        counted = parsing.counters([outline(rule) for rule in self.snapshot.rules.get(rules.chain_name(mac), ())])
        policy = (state.active or state.stored or Guard(mac)).policy
        return {**self._ages.add_to(counted, policy, links), **self._programs.counted(links)}


def _links() -> dict[str, GuestLink]:
    with rtnetlink.open_socket() as sock:
        found = decode.links(rtnetlink.dump_links(sock)).values()
    return {one.name: GuestLink(one.name, one.index, one.mac or "") for one in found if one.kind == "macvtap"}
