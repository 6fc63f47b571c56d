# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for libvirt_direct_network: the stages of a run over networks, and its result."""

from __future__ import annotations

import time
import typing as t
import uuid
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _attempts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reach as host_reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import (
    planner,
    report,
    rollback,
    sources,
    validate,
    warnings,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.adapter import Networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import Resolved, resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    ABSENT,
    ACTIVE,
    Desired,
    Host,
    Network,
    User,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import (
    Journal,
    Outcome,
    Plan,
    Step,
    converge,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import ask

# How often to look whether guests have left.
_POLL_SECONDS = 0.5


class Options(t.NamedTuple):
    """How a run is made. The names are those of the module's options, where there is one."""

    force: bool
    auto: str
    check_relay: bool
    allow_host_disconnect: bool
    on_error: str
    timeout: int
    check_mode: bool
    diff: bool


class _Answers(t.NamedTuple):
    """Answers from before the plan: the networks with their uplinks and modes, UUIDs, and how the host is reached."""

    desired: list[Desired]
    uuids: dict[str, str]
    warnings: tuple[str, ...]
    reach: Reach


def run(networks: Networks, declared: t.Sequence[Desired], options: Options) -> dict[str, t.Any]:
    """Bring ``networks`` to what is ``declared``, and return the module's result.

    :raises MacvtapError: as :func:`converge`.
    """
    switches = ask.Switches(auto=options.auto, check=options.check_relay)
    deadline = time.monotonic() + options.timeout
    return _attempts.run(
        lambda: _Attempt(networks, declared, options, switches, deadline),
        keep=options.on_error == "keep",
        diff=options.diff,
    )


class _Attempt:
    """One attempt at a run. ``journal`` is what it began."""

    def __init__(
        self,
        networks: Networks,
        declared: t.Sequence[Desired],
        options: Options,
        switches: ask.Switches,
        deadline: float,
    ) -> None:
        self._networks = networks
        self._declared = declared
        self._options = options
        self._names = {desired.name for desired in declared}
        asked = [one for desired in declared for one in (*(desired.interfaces or ()), desired.pf) if one]
        self._uplinks = {name for one in asked for name in parents.spellings(one)}
        self._deadline = deadline
        self._switches = switches
        self._has_waited = False
        self._resolved: list[Resolved] = []
        # The NICs on the networks as they were first observed.
        self._first: list[User] = []
        self.journal: Journal[Network] = Journal()

    def run(self) -> dict[str, t.Any]:
        """Make the attempt, and return the module's result.

        :raises MacvtapError: as :func:`converge`.
        """
        self._networks.begin()
        outcome = converge(
            self._observe,
            self._plan,
            self._apply,
            rollback.undo,
            inquire=self._inquire,
            revert=self._revert,
            check_mode=self._options.check_mode,
            roll_back=self._options.on_error == "rollback",
        )
        return self._result(outcome)

    def _observe(self) -> Host:
        host = self._networks.observe(self._names, self._uplinks)
        # Before the plan only: the verification and a rollback are about what is there now.
        waits, self._has_waited = not (self._has_waited or self._options.check_mode), True
        while waits and self._leaving(host) and time.monotonic() < self._deadline:
            time.sleep(_POLL_SECONDS)
            host = self._networks.observe(self._names, self._uplinks)
        return host

    def _leaving(self, host: Host) -> bool:
        """Whether only running guests, which do not start on it again, are on networks to be stopped or removed."""
        found = [user for one in self._declared if one.state != ACTIVE for user in host.users_of(one.name)]
        refused = self._options.force or bool(host.unreadable)
        return bool(found) and not refused and all(one.live and not one.stored for one in found)

    def _inquire(self, host: Host) -> _Answers:
        named = sources.named(self._declared, host)
        cases = sources.cases(named, host, check=self._switches.check)
        modes, messages = self._switches.resolve_auto(cases, host.links or {})
        desired = sources.with_modes(named, modes, host)
        uuids = {one.name: str(uuid.uuid4()) for one in desired if one.name not in host.networks}
        resolved = resolve(desired, host, uuids, force=self._options.force)
        self._first = [user for one in resolved for user in one.users]
        # How the host is reached matters only if an uplink is taken from it.
        reach = host_reach.of(host.links) if warnings.disruptions(resolved, host) else Reach()
        return _Answers(desired, uuids, tuple(dict.fromkeys(messages)), reach)

    def _plan(self, host: Host, answers: _Answers) -> Plan[Network]:
        options = self._options
        self._resolved = resolve(answers.desired, host, answers.uuids, force=options.force)
        planned = planner.plan_of(self._resolved, host, force=options.force)
        disconnects = reachability.check_known(
            warnings.disruptions(self._resolved, host),
            answers.reach,
            host.links,
            host.links_unknown,
            allowed=options.allow_host_disconnect,
        )
        return replace(planned, warnings=(*planned.warnings, *answers.warnings, *disconnects))

    def _apply(self, steps: t.Sequence[Step[Network]], journal: Journal[Network]) -> None:
        self.journal = journal
        self._networks.apply(steps, journal, None if self._options.force else self._confirm)

    def _revert(self, steps: t.Sequence[Step[Network]]) -> None:
        self._networks.revert(steps, None if self._options.force else self._confirm_running)

    def _confirm(self, step: Step[Network]) -> None:
        """Refuse to take something from guests that have started on a network, or were defined on it, since the plan.

        :raises StaleError: naming them.
        """
        validate.confirm(step, self._networks.observe({step.target}))

    def _confirm_running(self, step: Step[Network]) -> None:
        """As _confirm(), for guests that run: what this run has made goes although it is in a stored configuration.

        :raises StaleError: naming them.
        """
        validate.confirm(step, self._networks.observe({step.target}), running=True)

    def _result(self, outcome: Outcome[Network, Host]) -> dict[str, t.Any]:
        diff, host = self._options.diff, outcome.host
        present = {desired.name for desired in self._declared if desired.state != ABSENT}
        planned = {one.desired.name: one.after for one in self._resolved}
        final = planned if outcome.remaining.changed else {name: host.networks.get(name) for name in planned}
        there = [network for desired in self._declared if (network := final.get(desired.name)) is not None]
        # The UUID of a new network is another one in each run.
        known = [one if one.name in host.networks else replace(one, uuid="") for one in there]
        users = {one.name: report.remembered(host.users_of(one.name), self._first) for one in self._declared}
        return {
            **outcome.plan.result(diff=diff),
            **self._switches.result(),
            "networks": [report.network(one) for one in known],
            "used_by": [report.user(one) for found in users.values() for one in found],
            "restart_required": [
                entry for one in there if one.name in present for entry in report.due(one, users[one.name])
            ],
            "warnings": list(outcome.plan.warnings),
        }
