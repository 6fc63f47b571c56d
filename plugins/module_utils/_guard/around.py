# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for modules whose NICs or links have guards: a guard comes before its NIC, and goes after it."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._diff import describe
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guests, planner, selinux
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.host import Guards
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer, Run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.options import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Outcome, Plan, Step, converge
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

Result = t.Dict[str, t.Any]


@dataclass(frozen=True)
class Declared:
    """The guards of a task's NICs. ``going`` are those that are removed together with their NICs.

    ``uri`` is libvirt's, for the links of running guests, and for other domains with the address of a NIC that goes; ""
    where the NICs are not libvirt's.
    """

    desired: tuple[Desired, ...]
    going: frozenset[str] = frozenset()
    uri: str = ""


@dataclass(frozen=True)
class How:
    """How a run is made, by the names of modules' options."""

    check_mode: bool
    diff: bool
    roll_back: bool
    command: Run


def declared(found: t.Iterable[Desired], *, going: t.Collection[str | None] = (), uri: str = "") -> Declared:
    """Return what a task declares. A NIC that moves is there twice, and one guard may be declared for two NICs."""
    once = {(one.mac, one.link, one.present, repr(one.values)): one for one in found}
    staying = {one.mac for one in once.values() if one.present}
    kept = tuple(one for one in once.values() if one.present or one.mac not in staying)
    return Declared(kept, frozenset(one for one in going if one is not None) - staying, uri)


def run(guards: Declared, body: t.Callable[[], Result], how: How, lock: t.ContextManager[None]) -> Result:
    """Load the guards that are declared, run ``body``, and remove those that are declared absent.

    If ``body`` fails, the guards are what they were. If a guard cannot be loaded, ``body`` does not run. A guard that
    something else has removed meanwhile is loaded once more. The result of ``body`` gets the changes of guards.

    :raises MacvtapError: as ``body`` and :func:`converge`.
    """
    if not guards.desired:
        return body()
    with lock, contextlib.closing(Table()) as table:
        host = Guards(table, Installer(how.command), known=Known(keeps=not how.check_mode))
        host.keeps = not how.roll_back

        def check() -> list[str]:
            if not any(one.present for one in guards.desired):
                return []
            table.require_egress(host.snapshot)
            return selinux.check()

        return _Run(guards, body, how, host, check).run()


class _Run:
    def __init__(
        self, guards: Declared, body: t.Callable[[], Result], how: How, host: Guards, check: t.Callable[[], list[str]]
    ) -> None:
        self._guards, self._body, self._how, self._host, self._check = guards, body, how, host, check
        self._result: Result | None = None
        self._links: t.Mapping[str, str] = {}
        self._first: Host | None = None
        self._warnings: list[str] = []
        self._absent: set[str] = set()
        self._again: Plan[State] = Plan()

    def run(self) -> Result:
        before = self._converge(
            self._plan,
            self._apply,
            lambda journal, host: planner.undo_around(journal, host, completed=self._completed),
            # The guards were verified before the body: see _apply(), and _load_again() for what came after that.
            verify=lambda _planned, _host, _links: Plan(),
        )
        looked = self._completed
        result = self._body() if self._result is None else self._result
        with self._remaining():
            if not self._how.check_mode:
                self._load_again(before.host if looked else self._host.observe())
            # What a running guest still has: in check mode as it is predicted, else as it is.
            present = {one["mac"] for name in ("restart_required", "pending") for one in result.get(name, ())}
            after = self._remove(present)
        # Whatever has changed: what loads the guards may lack something all the same, as after a run that was killed.
        changed = self._host.refresh(check_mode=self._how.check_mode, absent=self._absent)
        changed = before.plan.changed or result["changed"] or self._again.changed or after.plan.changed or changed
        return {**self._joined(before, result, after), "changed": changed}

    @contextlib.contextmanager
    def _remaining(self) -> t.Iterator[None]:
        """Have an error, or a signal, after the NICs were changed also say which guards were not removed yet."""
        try:
            yield
        except (MacvtapError, Interrupted) as exc:
            host = self._first or Host({}, {})
            absent = [found for one in self._guards.desired if not one.present for found in self._known(one)]
            macs = sorted({one.mac or "" for one in absent})
            names = [f"the guard of {mac}" for mac in macs if host.state(mac).exists]
            # Otherwise it says already what is left.
            if names and not exc.state:
                exc.state = f"Not removed: {join_names(names)}. Run this task again"
            raise

    def _remove(self, present: t.Collection[str]) -> Outcome[State, Host]:
        """Remove the guards that are declared absent, but for those whose NICs are ``present`` or in other domains."""
        staying = {one.mac for one in self._guards.desired if one.present}
        known = [(one, found) for one in self._guards.desired if not one.present for found in self._known(one)]
        absent = [found for _one, found in known if found.mac not in staying]
        self._absent = {found.mac or "" for found in absent}
        # What is declared by its link alone goes with it.
        going = {*self._guards.going, *(found.mac or "" for one, found in known if one.link is not None)}

        def owners(host: Host) -> t.Mapping[str, t.Sequence[str]]:
            macs = {one.mac for one in absent if one.mac is not None and host.state(one.mac).exists} & going
            found = guests.owners(macs, self._guards.uri)
            # In check mode a domain still has the NIC that this task removes.
            leaving = {(one.domain, one.mac) for one in absent} if self._how.check_mode else set()
            return {mac: [name for name in names if (name, mac) not in leaving] for mac, names in found.items()}

        def removal(host: Host, names: t.Mapping[str, t.Sequence[str]]) -> Plan[State]:
            seen = Host(host.guards, {}, ()) if self._how.check_mode else host
            return planner.removal(absent, seen, present, going=going, owners=names)

        return self._converge(removal, self._host.apply, planner.undo, inquire=owners)

    @property
    def _completed(self) -> bool:
        return self._result is not None

    def _converge(
        self,
        plan: t.Callable[[Host, t.Any], Plan[State]],
        apply: t.Callable[[t.Sequence[Step[State]], Journal[State]], None],
        undo: t.Callable[[Journal[State], Host], Plan[State]],
        verify: t.Callable[[Plan[State], Host, t.Any], Plan[State]] | None = None,
        inquire: t.Callable[[Host], t.Any] | None = None,
    ) -> Outcome[State, Host]:
        return converge(
            observe=self._host.observe,
            inquire=inquire or (lambda _host: self._asked()),
            plan=plan,
            apply=apply,
            verify=verify or (lambda _planned, host, known: planner.without_new_links(plan(host, known))),
            undo=undo,
            revert=lambda steps: self._host.apply(steps, Journal()),
            check_mode=self._how.check_mode,
            roll_back=self._how.roll_back,
        )

    def _known(self, absent: Desired) -> t.Iterator[Desired]:
        """Yield a guard to remove by its address. Its link may be gone now."""
        with contextlib.suppress(MacvtapError):
            yield planner.resolved(absent, self._first or Host({}, {}))

    def _asked(self) -> t.Mapping[str, str]:
        self._warnings = self._check()
        if not self._guards.uri:
            return {}
        nics = [one for one in self._guards.desired if one.present and one.domain and one.mac]
        return guests.links(
            [guests.Asked(one.path, one.domain or "", one.mac or "", expected=False) for one in nics], self._guards.uri
        )

    def _plan(self, host: Host, links: t.Mapping[str, str]) -> Plan[State]:
        self._links = links
        self._first = self._first or host
        return planner.plan([one for one in self._guards.desired if one.present], host, links)

    def _left(self, host: Host) -> Plan[State]:
        return planner.without_new_links(self._plan(host, self._links))

    def _apply(self, steps: t.Sequence[Step[State]], journal: Journal[State]) -> None:
        self._host.apply(steps, journal)
        left = self._left(self._host.observe())
        if left.changed:
            raise MacvtapError(f"the guards were loaded, but are not as they were declared: {left.changes[0].target}")
        self._result = self._body()

    def _load_again(self, host: Host) -> None:
        """Load what something else has removed or changed since the guards were verified, as by a flush of nftables.

        :raises MacvtapError: that failed.
        """
        self._again = self._left(host)
        if not self._again.changed:
            return
        try:
            self._host.apply(self._again.steps, Journal())
            left = self._left(self._host.observe())
            why = f"something else changed it once more: {describe(left.changes)}" if left.changed else ""
        except MacvtapError as exc:
            why = str(exc)
        if why:
            raise MacvtapError(
                f"{planner.names_of(self._again)}: changed by something else while this task ran, and could not be "
                f"loaded once more: {why}. Without it the guest may send what it likes. Run the task again"
            )

    def _joined(self, before: Outcome[State, Host], result: Result, after: Outcome[State, Host]) -> Result:
        first, again, last = (one.result(diff=self._how.diff) for one in (before.plan, self._again, after.plan))
        lists = {
            name: [*first[name], *result.get(name, ()), *again[name], *last[name]]
            for name in first
            if name != "changed"
        }
        warnings = (*before.plan.warnings, *result.get("warnings", ()), *after.plan.warnings, *self._host.warnings)
        warnings += tuple(self._warnings)
        if self._again.changed:
            warnings += (
                f"{planner.names_of(self._again)}: changed by something else while this task ran, and loaded once "
                "more. Until then the guest may have sent what it liked",
            )
        states = planner.predicted(after.remaining, after.host)
        states = {**states, **{step.target: step.after for step in before.remaining.steps if step.after}}
        macs = [planner.mac_of(one, before.host) for one in self._guards.desired if one.present]
        return {
            **result,
            **lists,
            "guards": [planner.report(states[mac]) for mac in macs],
            "warnings": warnings,
        }
