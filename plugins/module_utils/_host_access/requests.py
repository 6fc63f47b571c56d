# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The requests that add and remove addresses and routes of host interfaces, and what the kernel's answers mean.

Something else may add or remove the same ones while this run waits for ARP probes. What the kernel says is there
already, or gone already, was not done by this run: it leaves the journal, so that no rollback touches it.
"""

from __future__ import annotations

import errno
import socket
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    MAIN,
    Address,
    Done,
    Route,
    Shim,
    family,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# Of an addition and of a removal that are fulfilled already, if not as declared: the verification looks at all of it.
_THERE = (errno.EEXIST,)
_GONE = (errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV)


class Asked(t.NamedTuple):
    """A request of a step, in words for messages; ``action`` is for the journal, "" if the link goes as a whole."""

    step: Step[Shim]
    words: str
    request: bytes
    action: str
    fulfilled: t.Collection[int]


def is_created(step: Step[Shim]) -> bool:
    return step.before is None or step.recreates


def new_addresses(step: Step[Shim]) -> list[Address]:
    had = () if is_created(step) else t.cast("Shim", step.before).addresses
    return [address for address in t.cast("Shim", step.after).addresses if address not in had]


def removals(step: Step[Shim]) -> t.Iterator[Asked]:
    """Yield the requests that remove addresses and routes of a link that stays."""
    before, after = t.cast("Shim", step.before), t.cast("Shim", step.after)
    index = before.link.index
    # Routes first: the kernel removes some together with their source address.
    for route in before.routes:
        if route not in after.routes:
            words = f"remove the route to {route} from {step.target}"
            yield Asked(step, words, _route(route, index, add=False), Done.takes(route), _GONE)
    # The last one first: the kernel lists secondary addresses last, and removes them together with their primary one.
    for address in reversed(before.addresses):
        if address not in after.addresses:
            request = messages.address(index, address.address, address.prefix, add=False)
            yield Asked(step, f"remove {address} from {step.target}", request, Done.takes(address), _GONE)


def additions(step: Step[Shim], index: int) -> t.Iterator[Asked]:
    """Yield the requests that add addresses and routes to the link ``index``."""
    created = is_created(step)
    for address in new_addresses(step):
        request = messages.address(index, address.address, address.prefix, add=True)
        action = "" if created else Done.gives(address)
        yield Asked(step, f"add {address} to {step.target}", request, action, _THERE)
    had = () if created else t.cast("Shim", step.before).routes
    for route in t.cast("Shim", step.after).routes:
        if route not in had:
            action = "" if created else Done.gives(route)
            words = f"add the route {route} over {step.target}"
            yield Asked(step, words, _route(route, index, add=True), action, _THERE)


def send(sock: socket.socket, asked: t.Sequence[Asked], journal: Journal[Shim]) -> None:
    """Send the requests, and record each in the journal right before it is sent.

    :raises MacvtapError: the kernel refused one. The others were sent nevertheless.
    """
    errors = []
    waiting = list(asked)
    for batch in rtnetlink.batches([one.request for one in asked]):
        count = len(batch)
        sent, waiting = waiting[:count], waiting[count:]
        for one in sent:
            if one.action:
                journal.record(one.step, one.action)
        for one, answer in zip(sent, rtnetlink.transact_at_once(sock, batch)):
            if answer is None:
                continue
            if one.action:
                journal.withdraw(one.step, one.action)
            if answer.code not in one.fulfilled:
                errors.append(MacvtapError(f"the kernel refused to {one.words}: {answer}", path=one.step.path))
    if errors:
        raise errors[0]


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
