# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for guards: the chains in the kernel, the file for the next start, and the links of guests."""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader, model, parsing, rules
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import (
    Binding,
    Guard,
    GuestLink,
    Host,
    State,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Element, Table, element
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

RULES, STORE = "rules", "store"
Listed = t.Dict[str, t.List[t.Dict[str, t.Any]]]


class Guards:
    """The guards of this host. The file is below ``root``, which is / except in tests."""

    def __init__(self, table: Table, installer: Installer, root: str = "/") -> None:
        self._table, self._installer = table, installer
        self._file = os.path.join(root, loader.STORE.lstrip("/"))
        # As last observed: the rules by the name of their chain, and the elements of sets by name.
        self.listed: Listed = {}
        self.elements: dict[str, tuple[Element, ...]] = {}
        self.warnings: list[str] = []
        self._observed = Host({}, {})

    def observe(self) -> Host:
        """Return all guards, and the macvtap links of this network namespace."""
        links = _links()
        objects = self._table.read() or []
        self.listed = {one["chain"]["name"]: [] for one in objects if "chain" in one}
        for one in objects:
            if "rule" in one:
                self.listed[one["rule"]["chain"]].append(one["rule"])
        self.elements = {
            one["set"]["name"]: tuple(element(each) for each in one["set"].get("elem", ()))
            for one in objects
            if "set" in one
        }
        bindings = tuple(one for name in self.listed for one in _binding(self.listed[name]))
        self._observed = Host(self._states(links, bindings), links, bindings)
        return self._observed

    def _states(self, links: t.Mapping[str, GuestLink], bindings: t.Sequence[Binding]) -> dict[str, State]:
        stored = {mac: from_store(mac, entry) for mac, entry in self._stored().items()}
        chains = {mac: name for name in self.listed if name.startswith("guard_") and (mac := rules.mac_of(name))}
        on: dict[str, list[str]] = {}
        for one in bindings:
            if one.link in links and one.index in (None, links[one.link].index):
                on.setdefault(one.mac, []).append(one.link)
        states = {}
        for mac in {*stored, *chains, *on}:
            listed = self.listed.get(chains.get(mac, ""), [])
            active = parsing.parse(mac, listed) if listed else None
            modified = bool(listed) and active is None
            states[mac] = State(mac, stored.get(mac), active, tuple(sorted(on.get(mac, ()))), modified)
        return states

    def _stored(self) -> dict[str, t.Any]:
        text = _files.read(self._file)
        try:
            return dict(json.loads(text)["guards"]) if text is not None else {}
        except (ValueError, KeyError, TypeError) as exc:
            raise MacvtapError(f"{loader.STORE} is not a file of this collection: move it away ({exc})") from exc

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
            self._table.replace(commands)
        changed = [step for step in steps if step.before and step.after and step.before.stored != step.after.stored]
        if changed:
            for step in changed:
                journal.record(step, STORE)
            self._write(changed)

    def _commands(self, steps: t.Sequence[Step[State]], host: Host) -> list[dict[str, t.Any]]:
        """Return the commands that carry out ``steps``: first what goes from links, then guards, then links."""
        pairs = [(t.cast("State", step.before), t.cast("State", step.after)) for step in steps]
        bound = {one.link: one.mac for one in host.bindings}
        gone = {link for link, mac in bound.items() for _old, new in pairs if new.mac == mac and link not in new.links}
        commands = [one for link in sorted(gone) for one in loader.remove_link(link)]
        for before, after in pairs:
            commands += self._of_guard(before, after)
        for _before, after in pairs:
            for link in after.links if after.active is not None else ():
                current = host.links.get(link)
                if current is not None and link not in host.state(after.mac).links:
                    commands += loader.add_link(link, after.mac, current.index, rules.chain_name(after.mac))
        return commands

    def _of_guard(self, before: State, after: State) -> list[dict[str, t.Any]]:
        name, names = rules.chain_name(after.mac), rules.set_names(after.mac)
        of_table = {"family": self._table.family, "table": self._table.name}
        sets = rules.sets(after.active) if after.active is not None else []
        commands = []
        if after.active is not None and (before.active != after.active or name not in self.listed):
            missing = [one for one in sets if one["name"] not in self.elements]
            commands = loader.add_guard(name, missing, rules.render(after.active))
        elif after.active is None and name in self.listed:
            chain = {"chain": {**of_table, "name": name}}
            commands = [{"flush": chain}, {"delete": chain}]
        unused = {*names} & {*self.elements} - {one["name"] for one in sets}
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
            self.warnings = self._installer.install(entries)
        _files.write(self._file, text, mode=0o600)
        if entries:
            self._installer.start()
        else:
            self._installer.remove()

    def refresh(self, *, check_mode: bool) -> bool:
        """Write the files that load the guards where they are not as this version writes them.

        Return whether they are not: somebody has removed one, or an older version has written them.
        """
        entries = self._stored()
        if not entries or not self._installer.outdated(entries):
            return False
        if not check_mode:
            self.warnings = self._installer.install(entries)
            self._installer.start()
        return True

    def learned(self, mac: str) -> list[str]:
        """Return the addresses that a guest has at this moment by learning."""
        return sorted(one.value[0] for name in rules.set_names(mac) for one in self.elements.get(name, ()))

    def counters(self, mac: str) -> dict[str, dict[str, int]]:
        return parsing.counters(self.listed.get(rules.chain_name(mac), []))


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


def _binding(listed: t.Sequence[t.Mapping[str, t.Any]]) -> t.Iterator[Binding]:
    """Yield what the chain on a link says: see loader.add_link."""
    for rule in listed:
        parts = str(rule.get("comment", "")).split(" ", 2)
        if len(parts) == 3 and {"jump"} in [set(one) for one in rule["expr"]]:
            yield Binding(parts[2], parts[0], int(parts[1]) if parts[1].isdigit() else None)
