# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_direct_iface: the stages of a run over domains, and its result."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _attempts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    auto,
    disruptions,
    identity,
    impact,
    inspection,
    pausing,
    planner,
    report,
    resolution,
    rollback,
    selection,
    sources,
    states,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.adapter import Domains
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    HELD,
    Desired,
    Host,
    Nic,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reach as host_reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import (
    Impact,
    Journal,
    Outcome,
    Plan,
    Step,
    converge,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import ask

# Values of the option on_missing.
FAIL, SKIP = "fail", "skip"


class Options(t.NamedTuple):
    """How a run is made. The names are those of the module's options, where there is one."""

    live: t.Sequence[str]
    pause_max: float | None
    purge: bool
    auto: str
    check_relay: bool
    allow_host_disconnect: bool
    on_error: str
    on_missing: str
    check_mode: bool
    diff: bool


def run(domains: Domains, declared: t.Sequence[Desired], options: Options) -> dict[str, t.Any]:
    """Bring ``domains`` to what is ``declared``, and return the module's result.

    :raises MacvtapError: as :func:`converge`.
    """
    switches = ask.Switches(auto=options.auto, check=options.check_relay)
    return _attempts.run(
        lambda: _Attempt(domains, declared, options, switches), keep=options.on_error == "keep", diff=options.diff
    )


class _Answers(t.NamedTuple):
    """Answers from before the plan: what the domains lack as they were first observed, and how the host is reached."""

    first: Plan[Nic]
    warnings: tuple[str, ...]
    reach: Reach


class _Attempt:
    """One attempt at a run. ``journal`` is what it began."""

    def __init__(
        self,
        domains: Domains,
        declared: t.Sequence[Desired],
        options: Options,
        switches: ask.Switches,
    ) -> None:
        self._domains = domains
        self._declared = declared
        self._options = options
        self._switches = switches
        given = (desired.given.get("source") for desired in declared)
        self._uplinks = {name for source in given if source for name in parents.spellings(source)}
        self._networks = {name for desired in declared if (name := desired.given.get("network"))}
        self._first: Host | None = None
        # The domains that are left out because this host does not have them.
        self._missing: tuple[str, ...] = ()
        # The declarations compared with the domains: as these were first observed, and as they were last observed.
        self._resolved: t.Sequence[resolution.Resolved] = ()
        self._final: t.Sequence[resolution.Resolved] = ()
        # How each guest is changed that more than one way is allowed for, or that is paused.
        self._choices: tuple[pausing.Choice, ...] = ()
        self.journal: Journal[Nic] = Journal()

    def run(self) -> dict[str, t.Any]:
        """Make the attempt, and return the module's result.

        :raises MacvtapError: as :func:`converge`.
        """
        self._domains.begin()
        return self._result(self._converge())

    def _converge(self) -> Outcome[Nic, Host]:
        try:
            outcome = converge(
                self._observe,
                self._plan,
                self._apply,
                rollback.undo,
                inquire=self._inquire,
                verify=self._verify,
                revert=self._domains.revert,
                check_mode=self._options.check_mode,
                roll_back=self._options.on_error == "rollback",
            )
            self._domains.require(outcome.remaining.steps)
            self._settle_requests(self._removed())
        except MacvtapError as exc:
            with contextlib.suppress(MacvtapError):
                exc.details["pending"] = report.requests(self._domains.outstanding(self._observe()))
            with contextlib.suppress(MacvtapError):
                # A kept change may leave requests outstanding.
                self._settle_requests()
            raise
        return outcome

    def _result(self, outcome: Outcome[Nic, Host]) -> dict[str, t.Any]:
        domains, host, final = self._domains, outcome.host, self._final
        ours = {(one.before.domain, one.before.mac) for one in final}
        outstanding = [one for one in domains.outstanding(host) if (one["domain"], one["mac"]) in ours]
        due = _due(final, host, {(one["domain"], one["mac"]) for one in outstanding if one["state"] == HELD})
        done = identity.with_actual_impacts(
            outcome.plan, host, identity.restarted(self._before, host), due, self.journal.steps
        )
        return {
            **done.result(diff=self._options.diff),
            **({"backup_file": domains.backup_file} if domains.backup_file else {}),
            **self._switches.result(),
            "interfaces": [report.interface(one) for one in final[: len(self._declared)]],
            "restart_required": [
                {"domain": name, "mac": mac, "fields": changed} for (name, mac), changed in due.items()
            ],
            "pending": report.requests(outstanding),
            "missing": list(self._missing),
            "pauses": report.pauses(self._choices, done, domains.pauses),
            "warnings": [
                *(["purge: this task names no domain, so nothing is removed"] if self._names_none else []),
                *done.warnings,
                *report.conversion_warnings(outcome.plan),
                *domains.warnings,
                *(inspection.pending_warning(one, host, outlives_boot=domains.outlives_boot) for one in outstanding),
            ],
        }

    def _observe(self) -> Host:
        names = (desired.domain for desired in self._declared)
        host = self._domains.observe(names, self._uplinks, self._networks)
        if self._first is None and self._options.on_missing == SKIP:
            # One that arrives later is the next run's.
            self._declared, self._missing = selection.without_missing(self._declared, host)
        named = sources.named(self._declared, host)
        if host.macs is None and resolution.needs_all_macs(named, host, purge=self._options.purge):
            host = self._domains.with_macs(host)
        self._first = self._first or host
        return host

    @property
    def _names_none(self) -> bool:
        return self._options.purge and not self._declared and not self._missing

    @property
    def _before(self) -> Host:
        """The domains as they were first observed."""
        if self._first is None:
            raise ValueError("nothing was observed yet")
        return self._first

    def _inquire(self, host: Host) -> _Answers:
        named = sources.validated(self._declared, host)
        cases = auto.cases(named, host, check=self._switches.check)
        modes, warnings = self._switches.resolve_auto(cases, host.links or {})
        self._resolved = self._final = self._resolve(auto.resolve_modes(named, modes), host)
        first = planner.plan_of(self._resolved, host)
        # How the host is reached matters only if a source is taken from it.
        reach = host_reach.of(host.links) if disruptions.of_steps(first.steps, host) else Reach()
        return _Answers(first, warnings, reach)

    def _resolve(self, declared: t.Sequence[Desired], host: Host) -> t.Sequence[resolution.Resolved]:
        """Compare the declarations with the host; of several ways to change a guest, the one that costs less."""
        untouched, level = identity.Untouched(frozenset(), states.ending(host)), self._options.live

        def resolve(ways: t.Mapping[str, Impact]) -> t.Sequence[resolution.Resolved]:
            purge = self._options.purge
            return resolution.resolve(declared, host, untouched, level=level, ways=ways, purge=purge)

        resolved = resolve({})
        names = pausing.candidates(resolved)
        if not names:
            return resolved
        facts = self._domains.pause_facts(host, names)
        self._choices = pausing.choose(resolved, facts, level, self._options.pause_max)
        self._domains.save_limits = {one.domain: one.limit for one in self._choices if one.limit is not None}
        return resolve(self._ways)

    @property
    def _ways(self) -> dict[str, Impact]:
        return {choice.domain: choice.way for choice in self._choices}

    def _plan(self, host: Host, answers: _Answers) -> Plan[Nic]:
        planned = answers.first
        states.validate(planned, host)
        links = host.links or {}
        disconnects = reachability.check(
            disruptions.of_steps(planned.steps, host),
            answers.reach,
            links,
            allowed=self._options.allow_host_disconnect,
        )
        warnings = (*planned.warnings, *answers.warnings, *disconnects)
        planned = states.with_state_warnings(replace(planned, warnings=warnings), host)
        return report.with_views(planned) if self._options.diff else planned

    def _apply(self, steps: t.Sequence[Step[Nic]], journal: Journal[Nic]) -> None:
        self.journal = journal
        self._domains.removed = self._removed()
        self._domains.apply(steps, journal)

    def _verify(self, _planned: Plan[Nic], host: Host, _answers: _Answers) -> Plan[Nic]:
        identity.validate_defined(self._resolved, self._before, host)
        # A guest that stopped or started meanwhile is excluded: only its stored configuration was changed.
        self._final = resolution.resolve(
            identity.pinned(self._resolved), host, self._untouched(host), level=self._options.live, ways=self._ways
        )
        return planner.plan_of(self._final, host)

    def _untouched(self, host: Host) -> identity.Untouched:
        restarted = identity.restarted(self._before, host)
        return identity.Untouched(frozenset(self._domains.unanswered), restarted | states.ending(self._before))

    def _removed(self) -> list[Nic]:
        """Return the NICs that are declared absent, and that no running guest has any more."""
        if not impact.allowed(self._options.live):
            return []
        return [one.before for one in self._final if not one.desired.present and one.after.live is None]

    def _settle_requests(self, removed: t.Sequence[Nic] = ()) -> None:
        if not self._options.check_mode:
            self._domains.settle_requests(removed)


def _due(
    final: t.Sequence[resolution.Resolved], host: Host, held: t.Collection[tuple[str, str]]
) -> dict[tuple[str, str], list[str]]:
    """Return the fields in which running guests will differ until they restart, by domain and MAC address.

    The guests keep the NICs ``held`` only until they release them.
    """
    found = {(one.desired.domain, one.before.mac): states.restart_fields(one, host) for one in final}
    return {nic: changed for nic, changed in found.items() if changed and nic not in held}
