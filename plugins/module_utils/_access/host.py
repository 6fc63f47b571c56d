# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Companions with their addresses and routes: reads them, and carries out the steps of a Plan."""

from __future__ import annotations

import errno
import socket
import time
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import (
    arp,
    decode,
    leases,
    reach,
    settings,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import (
    HALF_MADE,
    MAIN,
    Address,
    Companion,
    Done,
    Host,
    Route,
    family,
    is_ours,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, netlink, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Journal, Step

_GONE = (errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV)
# Duplicate address detection: up to a second before it begins, and as a rule one more.
_DETECTION_SECONDS = 15.0
_POLL_SECONDS = 0.05

# A step, what is asked for in words, and the request.
Asked = t.Tuple[Step[Companion], str, bytes]


class Access:
    """Over a session of links, which does the links' part; ``parents`` are what a user may mean by one.

    ``allowed``: the connection that Ansible runs over may be cut off.
    """

    def __init__(
        self, session: netlink.Session, sock: socket.socket, parents: t.Collection[str], *, allowed: bool = False
    ) -> None:
        self._session = session
        self._socket = sock
        self._parents = parents
        self._ways = reach.Ways(sock)
        self._allowed = allowed
        self._made: set[int] = set()

    def observe(self) -> Host:
        links = self._session.observe((), parents=self._parents)
        addresses = self.addresses(links)
        found = self._ways.observe(addresses)
        routes = found.routes
        ours = [name for name, link in links.items() if is_ours(link)]
        return Host(
            links,
            addresses,
            tuple(route for route in routes if route.table == MAIN),
            {name: settings.of(name) for name in ours},
            found.connections,
            found.neighbours,
            ipv6=settings.has_ipv6(),
            elsewhere=tuple(route for route in routes if route.table != MAIN),
            without_ipv6=frozenset(name for name in ("default", *ours) if settings.read(name, "ipv6/disable_ipv6")),
            made=frozenset(self._made),
        )

    def addresses(self, links: Links | None = None) -> tuple[Address, ...]:
        """Return the IP addresses of all links."""
        links = self._session.observe(()) if links is None else links
        ours = {link.index: name for name, link in links.items() if is_ours(link)}
        return leases.marked(decode.addresses(rtnetlink.dump_addresses(self._socket)), ours)

    def apply(self, steps: t.Sequence[Step[Companion]], journal: Journal[Companion]) -> None:
        """Carry out ``steps``: links first, what is set on them before they come up, then addresses and routes.

        :raises MacvtapError: the kernel refuses something, or somebody has an address.
        :raises MissingLibraryError: pyroute2 is not installed.
        """
        self._carry_out(steps, journal)
        if not self._allowed:
            self._ways.check_unchanged()

    def revert(self, steps: t.Sequence[Step[Companion]]) -> None:
        """Carry out ``steps``, which put back, one by one, and go on where one cannot be.

        :raises MacvtapError: at the end, what could not be put back.
        """
        failed = []
        for step in steps:
            try:
                # Nobody is asked who has an address: it was this host's a moment ago.
                self._carry_out([step], Journal(), asking=False)
            except MacvtapError as exc:
                failed.append(str(exc))
        if failed:
            raise MacvtapError(". ".join(failed))
        if not self._allowed:
            self._ways.check_unchanged()

    def _carry_out(
        self, steps: t.Sequence[Step[Companion]], journal: Journal[Companion], *, asking: bool = True
    ) -> None:
        messages.require()
        staying = [step for step in steps if step.after is not None]
        self._make(steps, journal)
        for step in staying:
            settings.apply(step, journal, there=True)
        made = self._session.observe(())
        whole = [(step, _whole(step, self._own(step, made))) for step in staying]
        for step, of_link in whole:
            if not _comes(step) and of_link.changes:
                journal.record(step, Done.IN_PLACE)
        self._session.apply([of_link for _step, of_link in whole])
        # Those of IPv6 come with its MTU, as the kernel has them for all links.
        for step in staying:
            settings.apply(step, journal)
        links = self._session.observe(())
        # Before anything leaves, as it takes a second. What moves from one companion to another nobody else has.
        own = {one.address for step in staying if step.before and not _comes(step) for one in step.before.addresses}
        for step in staying if asking else ():
            _probe(step, self._own(step, links), own)
        lasting = [step for step in staying if not _comes(step)]
        for step in lasting:
            for part in _parts(step.before, but=step.after):
                journal.record(step, Done.takes(part))
        self._ask([asked for step in lasting for asked in _leaving(step)], gone=_GONE)
        for step in lasting:
            for part in _parts(step.after, but=step.before):
                journal.record(step, Done.gives(part))
        self._ask([asked for step in staying for asked in _arriving(step, self._own(step, links).index)])
        self._settle(staying, links)

    def _make(self, steps: t.Sequence[Step[Companion]], journal: Journal[Companion]) -> None:
        """Remove the links that go, and make those that come, down and not yet as ones of ours."""
        concerned = [step for step in steps if step.after is None or _comes(step)]
        for step in concerned:
            journal.record(step, Done.LINK)
        self._session.apply([_half(step) for step in concerned])
        coming = {step.target for step in concerned if step.after is not None}
        if coming:
            there = self._session.observe(())
            self._made.update(there[name].index for name in coming if name in there and there[name].group == HALF_MADE)

    def _own(self, step: Step[Companion], links: Links) -> Link:
        """Return the link that ``step`` is about, which is that of its index, and not whichever has its name now."""
        link = links.get(step.target)
        if link is None:
            raise MacvtapError(f"the link {step.target} has gone while this ran", path=step.path)
        known = step.before.link.index if step.before is not None and not _comes(step) else None
        if link.index != known if known is not None else link.index not in self._made:
            raise MacvtapError(
                f"{step.target} has been recreated by something else while this ran, and is left as it is. Run it "
                "again",
                path=step.path,
            )
        return link

    def _ask(self, asked: t.Sequence[Asked], *, gone: t.Collection[int] = ()) -> None:
        answers = rtnetlink.transact(self._socket, [request for _step, _words, request in asked])
        for (step, words, _request), answer in zip(asked, answers):
            if answer is not None and answer.code not in gone:
                raise MacvtapError(f"the kernel refused to {words}: {answer}", path=step.path)

    def _settle(self, steps: t.Sequence[Step[Companion]], links: Links) -> None:
        """Wait until the kernel knows of each new IPv6 address whether somebody else has it."""
        new = {
            (self._own(step, links).index, address.address): step
            for step in steps
            for address in _new(step)
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
                    f"the kernel has not come to know in {_DETECTION_SECONDS:.0f} seconds whether somebody else has "
                    f"{waiting}. See that the parent keeps its carrier, and run this again",
                    path=join_path(next(iter(new.values())).path, "addresses"),
                )
            time.sleep(_POLL_SECONDS if new else 0)


_TAKEN = "somebody else on the LAN has {0} already{2}, so that {1} cannot have it; choose another address"


def _comes(step: Step[Companion]) -> bool:
    return step.before is None or step.recreates


def _half(step: Step[Companion]) -> Step[Link]:
    """Return the step that removes the link, or makes it down and not yet as one of ours."""
    before, after = step.before, step.after
    half = None if after is None else replace(after.link, up=False, alias=None, group=HALF_MADE)
    return _link_step(step, before.link if before else None, half, step.changes)


def _whole(step: Step[Companion], now: Link) -> Step[Link]:
    """Return the step that makes the link, which is there as ``now``, what it is to be."""
    link = t.cast("Companion", step.after).link
    whole = replace(link, index=now.index, altnames=now.altnames, group=link.group or 0)
    return _link_step(step, now, whole, [one for one in step.changes if one.impact is not Impact.RECREATE])


def _link_step(
    step: Step[Companion], before: Link | None, after: Link | None, changes: t.Sequence[Change]
) -> Step[Link]:
    return Step(step.target, before, after, tuple(changes), path=step.path)


def _new(step: Step[Companion]) -> list[t.Any]:
    had = () if _comes(step) else t.cast("Companion", step.before).addresses
    return [address for address in t.cast("Companion", step.after).addresses if address not in had]


def _probe(step: Step[Companion], link: Link, own: t.Collection[str]) -> None:
    new = [one.address for one in _new(step) if family(one.address) == 4 and one.address not in own]
    if not new or not link.carrier:
        return
    try:
        found = arp.holder(link.name, link.mac or "", new)
    except OSError as exc:
        said = f"cannot ask on {link.name} who has {', '.join(new)}: {exc.strerror}"
        raise MacvtapError(said, path=step.path) from exc
    if found is not None:
        raise MacvtapError(_TAKEN.format(found[0], link.name, f" (at {found[1]})"), path=step.path)


def _parts(companion: Companion | None, *, but: Companion | None) -> t.Iterator[Address | Route]:
    """Yield the addresses and routes of a companion that it does not have as ``but``."""
    if companion is not None and but is not None:
        yield from (address for address in companion.addresses if address not in but.addresses)
        yield from (route for route in companion.routes if route not in but.routes)


def _leaving(step: Step[Companion]) -> t.Iterator[Asked]:
    before, after = t.cast("Companion", step.before), t.cast("Companion", step.after)
    index = before.link.index
    # Routes first: some would go with the address that they say as a source.
    for route in before.routes:
        if route not in after.routes:
            yield step, f"take the route to {route} from {step.target}", _route(route, index, add=False)
    for address in before.addresses:
        if address not in after.addresses:
            request = messages.address(index, address.address, address.prefix, add=False)
            yield step, f"take {address} from {step.target}", request


def _arriving(step: Step[Companion], index: int) -> t.Iterator[Asked]:
    for address in _new(step):
        request = messages.address(index, address.address, address.prefix, add=True)
        yield step, f"give {address} to {step.target}", request
    had = () if _comes(step) else t.cast("Companion", step.before).routes
    for route in t.cast("Companion", step.after).routes:
        if route not in had:
            yield step, f"route {route} over {step.target}", _route(route, index, add=True)


def _route(route: Route, index: int, *, add: bool) -> bytes:
    destination, _slash, length = route.destination.partition("/")
    number = socket.AF_INET if family(destination) == 4 else socket.AF_INET6
    attrs = [("RTA_DST", destination), ("RTA_OIF", index)]
    given = {"RTA_PREFSRC": route.source, "RTA_GATEWAY": route.gateway, "RTA_PRIORITY": route.metric}
    attrs += [(name, value) for name, value in given.items() if value]
    head = {
        "family": number,
        "dst_len": int(length),
        "table": MAIN,
        "proto": route.protocol,
        "scope": route.scope,
        "type": route.kind,
    }
    return messages.route(head, tuple(attrs), add=add)
