# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The stages of a run: which guests there are, what the sources say, and until when to look. Glue."""

from __future__ import annotations

import os
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import (
    guests,
    learned,
    merging,
    neighbours,
    options,
    probe,
    questions,
    shims,
    waiting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.agent import Agents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.listener import Listener
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    MOST_ADDRESSES,
    Awaited,
    Findings,
    Found,
    Guest,
    Questions,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hypervisor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import unknown_domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uris

# Between two looks while waiting; agents and the LAN are not asked each time.
_LOOK_SECONDS, _ASK_SECONDS = 0.5, 3.0


@dataclass(frozen=True)
class Request:
    """The module's options."""

    uri: str
    domains: tuple[str, ...] | None = None
    macs: tuple[str, ...] | None = None
    agent: bool = True
    agent_timeout: int = 5
    listen: int = 0
    probe: bool = False
    probe_for: Questions = field(default_factory=Questions)
    probe_uplinks: tuple[str, ...] = ()
    probe_rate: int = 200
    stale_after: int = 600
    wait_for: Awaited | None = None


class Search:
    """A run: what it has found so far."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._agents = Agents(request.uri)
        self._listener = Listener()
        self._by_agent: list[Sighting] = []
        self._by_probe: dict[str, probe.Answers] = {}
        self._asked_at = float("-inf")
        self._warnings: dict[str, None] = {}
        self.host = Host("", {})
        self.guests: list[Guest] = []

    def run(self) -> dict[str, t.Any]:
        """Search, and return the module's result.

        :raises MacvtapError: libvirt refuses, an option does not fit the host, or the time of wait_for is over.
        """
        with hypervisor.connect(self._request.uri, read_only=True) as hv:
            return self.search(hv)

    def search(self, hv: hypervisor.Hypervisor, host: Host | None = None) -> dict[str, t.Any]:
        """Do the same over a connection. ``host`` is what was just observed over it, if it was.

        :raises MacvtapError: as run() does.
        """
        request, awaited = self._request, self._request.wait_for
        try:
            begin = time.monotonic()
            self._use(host or hv.observe(request.domains))
            if request.listen:
                self._listener.listen(request.listen)
            while True:
                findings, found = self._look()
                lacking = self._lacking(findings, found)
                if not lacking or awaited is None:
                    return self._result(findings, found)
                remaining = begin + awaited.timeout - time.monotonic()
                if remaining <= 0:
                    message = waiting.message(lacking, awaited)
                    raise MacvtapError(message, path="wait_for", **self._result(findings, found))
                self._listener.listen(min(_LOOK_SECONDS, remaining))
                self._use(hv.observe(request.domains))
        finally:
            self._listener.close()

    def _lacking(self, findings: Findings, found: waiting.Known) -> list[waiting.Lacking]:
        awaited, named = self._request.wait_for, self._request.domains or ()
        return waiting.missing(self.guests, found, self._others(findings), awaited, named) if awaited else []

    def _others(self, findings: Findings) -> dict[str, list[Found]]:
        return guests.others(self._request.macs or (), self.guests, findings, self._request.stale_after)

    def _use(self, host: Host) -> None:
        request, self.host = self._request, host
        for index, name in enumerate(request.domains or ()):
            if name not in self.host.domains:
                raise MacvtapError(unknown_domain(name, self.host), path=f"domains[{index}]")
        clock = guests.Clock(time.clock_gettime(time.CLOCK_BOOTTIME), os.sysconf("SC_CLK_TCK"))
        self.guests = guests.of_host(self.host, request.macs, clock)
        if self.host.links is None:
            if request.probe or request.listen:
                path = "probe" if request.probe else "listen"
                raise MacvtapError(uris.unknown_links(request.uri), path=path)
            return
        if request.listen or request.probe or request.wait_for:
            try:
                self._listener.add(nic for guest in self.guests if guest.runs for nic in guest.nics)
            except PermissionError as exc:
                self._denied(exc)

    def _denied(self, exc: PermissionError) -> None:
        request = self._request
        why = f"listening on guests' links and asking on the LAN require root ({exc.strerror}). Set become: true"
        if request.probe or request.listen:
            raise MacvtapError(why, path="probe" if request.probe else "listen") from exc
        self._warnings[f"frames of guests were not looked at: {why}"] = None

    def _look(self) -> tuple[Findings, dict[tuple[str, int], list[t.Any]]]:
        """Ask the sources whose turn it is, and return what all have said."""
        local = self.host.links is not None
        seen = [*neighbours.read(self.host.links or {}), *learned.read(self.guests)] if local else []
        now = time.monotonic()
        asks = now - self._asked_at >= _ASK_SECONDS
        if asks and self._request.agent:
            self._by_agent = self._agents.ask(self.guests, self._request.agent_timeout)
        if asks and self._request.probe:
            known = [*seen, *self._by_agent, *self._listener.sightings(), *self._replies()]
            self._by_probe = self._probe(known)
        if asks:
            self._asked_at = time.monotonic()
        sightings = (*self._by_agent, *seen, *self._listener.sightings(), *self._replies())
        separate = questions.separate(self.host.links or {}, self._request.probe_uplinks)
        findings = questions.findings(
            self.guests, sightings, self._by_probe, asked=self._request.probe, separate=separate
        )
        return findings, guests.known(self.guests, findings, self._request.stale_after)

    def _replies(self) -> list[Sighting]:
        return [one for answers in self._by_probe.values() for one in answers.sightings]

    def _probe(self, known: t.Sequence[Sighting]) -> dict[str, probe.Answers]:
        request, links = self._request, self.host.links or {}
        own = {mac for guest in self.guests for nic in guest.nics for mac in nic.macs}
        # Guests of other hosts may be on any LAN of this one.
        among = self.guests if own.issuperset(request.macs or ()) else guests.of_host(self.host, None)
        uplinks = questions.uplinks(among, links, request.probe_uplinks)
        macs = questions.macs_by_uplink(self.guests, uplinks, request.macs or ())
        asked = {
            link.name: options.with_candidates(request.probe_for, merging.candidates(macs[link.name], known))
            for link in uplinks
        }
        try:
            return probe.ask(uplinks, asked, macs, rate=request.probe_rate, listener=self._listener)
        except PermissionError as exc:
            self._denied(exc)
            return {}

    def _result(self, findings: Findings, found: dict[tuple[str, int], list[t.Any]]) -> dict[str, t.Any]:
        request = self._request
        names = {guest.uuid: guest.name for guest in self.guests}
        failures = sorted(answers.failure for answers in self._by_probe.values() if answers.failure)
        if failures:
            self._warnings[f"not asked: {_text.join_names(failures)}"] = None
        if any(len(addresses) >= MOST_ADDRESSES for addresses in found.values()):
            full = sorted({name for (name, _number), addresses in found.items() if len(addresses) >= MOST_ADDRESSES})
            self._warnings[
                f"these guests claim {MOST_ADDRESSES} addresses of a NIC or more; no more of them are returned: "
                f"{_text.join_names(full)}"
            ] = None
        reached_by = shims.reached_by((one.address for nic in found.values() for one in nic), self.host.links or {})
        warnings = [*self._warnings, *(self._agents.warnings(names) if request.agent else ())]
        return {
            "changed": False,
            "guests": guests.report(self.guests, found, findings, reached_by),
            "others": guests.report_others(self._others(findings)),
            "warnings": [*warnings, *merging.conflicts(self.guests, findings)],
        }
