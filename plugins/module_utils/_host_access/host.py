# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Host interfaces with their addresses and routes: reads them, and carries out the steps of a plan."""

from __future__ import annotations

import socket
import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import (
    arp,
    decode,
    leases,
    reach,
    requests,
    settings,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    MAIN,
    Address,
    Done,
    Host,
    Reach,
    Shim,
    family,
    is_managed,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.requests import is_created, new_addresses
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.tree import names_on
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, netlink, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    INCOMPLETE_GROUP,
    Link,
    Links,
    has_ipv6,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Step

# Duplicate address detection: up to a second before it begins, and as a rule one more.
_DETECTION_SECONDS = 15.0
_POLL_SECONDS = 0.05


class Access:
    """Works over a session of links, which handles the links; ``parents`` are spellings of parents.

    ``allowed``: Ansible's connection may be cut off. ``confirm`` returns which links must not be removed, and why.
    """

    def __init__(
        self,
        session: netlink.Session,
        sock: socket.socket,
        parents: t.Collection[str],
        *,
        allowed: bool = False,
        confirm: netlink.Confirm | None = None,
    ) -> None:
        self._confirm = confirm
        self._session = session
        self._socket = sock
        self._parents = parents
        self._ways = reach.RouteMonitor(sock)
        self._allowed = allowed
        self._made: set[int] = set()
        self._lost: dict[int, tuple[Reach, tuple[str, ...]]] = {}

    def observe(self) -> Host:
        links = self._session.observe((), parents=self._parents)
        addresses = self.addresses(links)
        found = self._ways.observe(addresses)
        routes = found.routes
        ours = [name for name, link in links.items() if is_managed(link)]
        return Host(
            links,
            addresses,
            tuple(route for route in routes if route.table == MAIN),
            {name: settings.of(name) for name in ours},
            found.connections,
            found.neighbours,
            ipv6=has_ipv6(links),
            elsewhere=tuple(route for route in routes if route.table != MAIN),
            without_ipv6=frozenset(name for name in ("default", *ours) if settings.read(name, "ipv6/disable_ipv6")),
            made=frozenset(self._made),
            lost=dict(self._lost),
        )

    def addresses(self, links: Links | None = None) -> tuple[Address, ...]:
        """Return the IP addresses of all links."""
        links = self._session.observe(()) if links is None else links
        ours = {link.index: name for name, link in links.items() if is_managed(link)}
        return leases.marked(decode.addresses(rtnetlink.dump_addresses(self._socket)), ours)

    def apply(self, steps: t.Sequence[Step[Shim]], journal: Journal[Shim]) -> None:
        """Carry out ``steps``: first links, with their settings before they come up, then addresses and routes.

        :raises MacvtapError: the kernel refuses a request, or an address is already in use.
        :raises MissingLibraryError: pyroute2 is not installed.
        """
        self._carry_out(steps, journal)
        if not self._allowed:
            self._ways.check_unchanged()

    def revert(self, steps: t.Sequence[Step[Shim]]) -> None:
        """Carry out the ``steps`` of a rollback one by one, and continue after a failure.

        :raises MacvtapError: at the end, for all that failed.
        """
        failed = []
        for step in steps:
            try:
                # No ARP probes: the address was this host's a moment ago.
                self._carry_out([step], Journal(), asking=False)
            except MacvtapError as exc:
                failed.append(str(exc))
        if failed:
            raise MacvtapError(". ".join(failed))
        if not self._allowed:
            self._ways.check_unchanged()

    def _carry_out(self, steps: t.Sequence[Step[Shim]], journal: Journal[Shim], *, asking: bool = True) -> None:
        messages.require()
        staying = [step for step in steps if step.after is not None]
        self._create(steps, journal, self._confirm if asking else None)
        for step in staying:
            settings.apply(step, journal, there=True)
        made = self._session.observe(())
        whole = [(step, _complete(step, self._own(step, made))) for step in staying]
        for step, of_link in whole:
            if not is_created(step) and of_link.changes:
                journal.record(step, Done.IN_PLACE)
        self._session.apply([of_link for _step, of_link in whole])
        # IPv6 settings appear together with an MTU that allows IPv6.
        for step in staying:
            settings.apply(step, journal)
        links = self._session.observe(())
        # Before any removal, as it takes a second. An address that moves between host interfaces needs no probe.
        own = {one.address for step in staying if step.before and not is_created(step) for one in step.before.addresses}
        for step in staying if asking else ():
            _probe(step, self._own(step, links), own)
        removals = [one for step in staying if not is_created(step) for one in requests.removals(step)]
        requests.send(self._socket, removals, journal)
        additions = [one for step in staying for one in requests.additions(step, self._own(step, links).index)]
        requests.send(self._socket, additions, journal)
        self._await_detection(staying, links)

    def _create(self, steps: t.Sequence[Step[Shim]], journal: Journal[Shim], confirm: netlink.Confirm | None) -> None:
        """Remove links, and create the new ones: down, and not yet marked as ours."""
        concerned = [step for step in steps if step.after is None or is_created(step)]
        for step in concerned:
            journal.record(step, Done.LINK)
        self._record_losses(concerned)
        self._session.apply([_incomplete(step) for step in concerned], confirm=confirm)
        coming = {step.target for step in concerned if step.after is not None}
        if coming:
            there = self._session.observe(())
            self._made.update(
                there[name].index for name in coming if name in there and there[name].group == INCOMPLETE_GROUP
            )

    def _record_losses(self, steps: t.Sequence[Step[Shim]]) -> None:
        going = {step.before.link.index: step.before.link for step in steps if step.before is not None}
        host = self.observe() if going else Host({})
        for index, link in going.items():
            there = Reach(tuple(host.reach.addresses_on(index)), tuple(host.reach.routes_over(index)))
            self._lost.setdefault(index, (there, names_on(link, host.links)))

    def _own(self, step: Step[Shim], links: Links) -> Link:
        """Return the link of ``step`` by its index, not any link that now has its name."""
        link = links.get(step.target)
        if link is None:
            raise MacvtapError(f"the link {step.target} was removed while this task ran", path=step.path)
        known = step.before.link.index if step.before is not None and not is_created(step) else None
        if link.index != known if known is not None else link.index not in self._made:
            raise MacvtapError(
                f"something else recreated {step.target} while this task ran; it is left alone. Run the task again",
                path=step.path,
            )
        return link

    def _await_detection(self, steps: t.Sequence[Step[Shim]], links: Links) -> None:
        """Wait for the end of duplicate address detection of each new IPv6 address."""
        new = {
            (self._own(step, links).index, address.address): step
            for step in steps
            for address in new_addresses(step)
            if family(address.address) == 6 and self._own(step, links).carrier
        }
        deadline = time.monotonic() + _DETECTION_SECONDS
        while new:
            found = {(a.index, a.address): a for a in decode.addresses(rtnetlink.dump_addresses(self._socket))}
            for key, step in list(new.items()):
                state = found.get(key)
                if state is None or state.failed:
                    raise MacvtapError(_TAKEN.format(key[1], step.target, ""), path=step.path)
                if not state.tentative:
                    del new[key]
            if new and time.monotonic() > deadline:
                waiting = ", ".join(address for _index, address in new)
                raise MacvtapError(
                    f"duplicate address detection of {waiting} did not finish within {_DETECTION_SECONDS:.0f} seconds. "
                    "Check that the parent keeps its carrier, and run the task again",
                    path=join_path(next(iter(new.values())).path, "addresses"),
                )
            time.sleep(_POLL_SECONDS if new else 0)


_TAKEN = "{0} is already in use on the LAN{2}, so {1} cannot have it. Use another address"


def _incomplete(step: Step[Shim]) -> Step[Link]:
    """Return the step that removes the link, or creates it down and not yet marked as ours."""
    before, after = step.before, step.after
    half = None if after is None else replace(after.link, up=False, alias=None, group=INCOMPLETE_GROUP)
    return _link_step(step, before.link if before else None, half, step.changes)


def _complete(step: Step[Shim], now: Link) -> Step[Link]:
    """Return the step that completes the link, which exists as ``now``."""
    link = t.cast("Shim", step.after).link
    whole = replace(link, index=now.index, altnames=now.altnames, group=link.group or 0)
    return _link_step(step, now, whole, [one for one in step.changes if one.impact is not Impact.RECREATE])


def _link_step(step: Step[Shim], before: Link | None, after: Link | None, changes: t.Sequence[Change]) -> Step[Link]:
    return Step(step.target, before, after, tuple(changes), path=step.path)


def _probe(step: Step[Shim], link: Link, own: t.Collection[str]) -> None:
    new = [one.address for one in new_addresses(step) if family(one.address) == 4 and one.address not in own]
    if not new or not link.carrier:
        return
    try:
        found = arp.holder(link.name, link.mac or "", new)
    except OSError as exc:
        message = f"cannot send ARP probes for {', '.join(new)} on {link.name}: {exc.strerror}"
        raise MacvtapError(message, path=step.path) from exc
    if found is not None:
        raise MacvtapError(_TAKEN.format(found[0], link.name, f" (at {found[1]})"), path=step.path)
