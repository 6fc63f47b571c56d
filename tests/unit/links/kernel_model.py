# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A model of what the kernel does with links, by what was measured on Linux 6.18 and read in drivers/net/macvlan.c."""

from __future__ import annotations

import itertools
import typing as t
from dataclasses import replace
from functools import partial

from loopback import LO

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import requests as adapter
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    CHANGED,
    INDEX,
    MACVLAN_KINDS,
    MADE,
    REFUSED,
    REMOVED,
    Link,
    Links,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact, Journal, Step

# What the kernel gives a new link that says nothing of it; of plain numbers it could be any.
DEFAULTS: dict[str, t.Any] = {
    **{row.field: row.range[0] for row in ROWS.values() if row.range and row.field not in ("mtu", "bclim")},
    "mode": "vepa",
    "txqueuelen": 500,
    "promiscuous": True,
    "nodst": False,
    "bcqueuelen": 1000,
    "group": 0,
    "alias": "",
    "tx_queues": 1,
    "rx_queues": 1,
    "addrgenmode": "eui64",
    "allmulticast": False,
}
LOWERS = (
    LO,
    Link("eth0", 2, mac="02:00:00:00:00:02", mtu=1500, up=True, allmulti=0),
    Link("eth1", 3, mac="02:00:00:00:00:03", mtu=9000, up=True, altnames=frozenset({"uplink1"}), allmulti=0),
    Link("br0", 4, "bridge", mac="02:00:00:00:00:04", mtu=1500, allmulti=0),
    Link("port0", 5, "veth", mac="02:00:00:00:00:05", mtu=1500, master="br0"),
)
USUAL = LOWERS[1:3]
MACS = tuple(f"02:00:00:00:01:{n:02x}" for n in range(6))
MT0 = Link("mt0", 10, "macvtap", "eth0", 2, mac=MACS[0], mtu=1500, up=True, bclim=1, **{**DEFAULTS, "mode": "bridge"})
# What changes on a link that exists, with nothing to heed.
_HEEDED = ("mtu", "promiscuous", "bclim", "altnames", "allmulticast")
FREE = tuple(
    row.field for row in ROWS.values() if row.impact is Impact.IN_PLACE and not row.derived and row.field not in _HEEDED
)


class RefusedError(Exception):
    """The kernel said no."""


class CutShortError(Exception):
    """As many requests as were allowed have been done."""


class FakeKernel:
    """A host's links, changed as the kernel changes them by the requests that carry out the steps of a plan."""

    def __init__(self, links: Links) -> None:
        self.links = dict(links)
        self._numbers = itertools.count(1000)

    def apply(
        self, steps: t.Sequence[Step[Link]], requests: int | None = None, journal: Journal[Link] | None = None
    ) -> None:
        """Do ``steps`` as the adapter does, or only its first ``requests`` requests.

        :raises RefusedError: the kernel would refuse one.
        :raises CutShortError: there would have been more.
        """
        journal = journal or Journal()
        fulfilled: set[tuple[str, str]] = set()
        for done, (step, action, request) in enumerate(self._requests(steps)):
            if done == requests:
                raise CutShortError
            journal.record(step, action)
            try:
                request()
            except RefusedError:
                if (step.target, action) not in fulfilled:
                    journal.record(step, action + REFUSED)
                raise
            fulfilled.add((step.target, action))
            if action == MADE and step.after and not journal.contains(step, f"{INDEX}{self.links[step.target].index}"):
                journal.record(step, f"{INDEX}{self.links[step.target].index}")

    def _requests(self, steps: t.Sequence[Step[Link]]) -> t.Iterator[tuple[Step[Link], str, t.Callable[[], None]]]:
        going = [step for step in steps if step.before and (step.after is None or step.recreates)]
        changing = [step for step in steps if step.before and step.after and not step.recreates]
        coming = [adapter.with_address(s) for s in steps if s.after and (s.before is None or s.recreates)]
        for step in going:
            link = step.before
            if link and link.mode == "passthru" and link.up and link.allmulticast and link.parent_allmulti:
                yield step, REMOVED, partial(self._set_allmulticast, step.target, on=False)
            yield step, REMOVED, partial(self._delete, step.target)
        pairs = [(step, t.cast("Link", step.before), t.cast("Link", step.after)) for step in changing]
        taken = {(after.parent_index, after.mac) for _step, _before, after in pairs}
        for step, before, after in pairs:
            yield step, CHANGED, partial(self._remove_altnames, before.name, before.altnames - after.altnames)
            if after.mac not in (None, before.mac) and (before.parent_index, before.mac) in taken:
                yield step, CHANGED, partial(self._set_mac, before.name, self._new_mac())
        for step, before, after in pairs:
            yield step, CHANGED, partial(self._change, before, after)
            yield step, CHANGED, partial(self._set_source_macs, before, after)
            yield step, CHANGED, partial(self._add_altnames, before.name, after.altnames - before.altnames)
        made = [(step, t.cast("Link", step.after)) for step in coming]
        yield from ((step, MADE, partial(self._create, link)) for step, link in made)
        for step, link in made:
            if adapter.allmulticast_after_up(link):
                yield step, MADE, partial(self._set_allmulticast, link.name, on=True)
            yield step, MADE, partial(self._add_altnames, link.name, link.altnames)

    def _set(self, name: str, **fields: t.Any) -> None:
        self.links[name] = replace(self.links[name], **fields)

    def _delete(self, name: str) -> None:
        link = self.links[name]
        if link.up and link.mode == "passthru" and link.promiscuous:
            self._promiscuity(link, -1)
        if link.up and link.mode != "passthru" and link.allmulticast:
            self._allmulti(link, -1)
        del self.links[name]

    def _parent_of(self, wanted: Link) -> Link:
        """Return the parent of a link that is to be created."""
        if wanted.name in self._names():
            raise RefusedError("EEXIST")
        parent = next((link for link in self.links.values() if link.index == wanted.parent_index), None)
        if parent is None:
            raise RefusedError("ENODEV")
        if parent.kind in MACVLAN_KINDS:  # silently the link below it
            parent = self.links[str(parent.parent)]
        if parent.loopback or parent.hardware != 1:
            raise RefusedError("EINVAL")
        if parent.master:
            raise RefusedError("EBUSY")
        return parent

    def _create(self, wanted: Link) -> None:
        parent = self._parent_of(wanted)
        siblings = self._on(parent)
        if siblings and "passthru" in (wanted.mode, *(link.mode for link in siblings)):
            raise RefusedError("EINVAL")
        if wanted.source_macs and wanted.mode != "source":
            raise RefusedError("EINVAL")
        fields = {name: value for name, value in DEFAULTS.items() if getattr(wanted, name) is None}
        # A link in mode passthru has its parent's address, whatever the request says.
        fields["mac"] = parent.mac if wanted.mode == "passthru" else wanted.mac or self._new_mac()
        fields["mtu"] = parent.mtu if wanted.mtu is None else wanted.mtu
        fields["bclim"] = siblings[0].bclim if siblings else 1
        if adapter.allmulticast_after_up(wanted):
            fields["allmulticast"] = False
        link = replace(
            wanted,
            index=next(self._numbers),
            parent=parent.name,
            parent_index=parent.index,
            up=False,
            altnames=frozenset(),
            parent_allmulti=parent.allmulti if wanted.mode == "passthru" else None,
            **fields,
        )
        self._check_mtu(link)
        if wanted.up:
            self._check_address(link, str(link.mac))
        self.links[link.name] = link
        if wanted.bclim is not None:
            self._set_limit(link, wanted.bclim)
        if wanted.up:
            self._set_up(link.name, up=True)

    def _change(self, before: Link, after: Link) -> None:
        name = before.name
        if after.mode != before.mode and "passthru" in (before.mode, after.mode):
            raise RefusedError("EINVAL")
        passing = before.mode == "passthru"
        first, last = adapter.passthru_allmulticast(before, after) if passing else (False, after.allmulticast)
        if first:
            self._set_allmulticast(name, on=False)
        if before.up:
            self._set_promiscuous(name, after)
        self._set_mode(before, after.mode)
        if after.bclim is not None and after.bclim != before.bclim:
            self._set_limit(self.links[name], after.bclim)
        if after.mac is not None and after.mac != before.mac:
            self._set_mac(name, after.mac)
        if after.mtu is not None and after.mtu != before.mtu:
            self._check_mtu(replace(self.links[name], mtu=after.mtu))
            self._set(name, mtu=after.mtu)
        self._set(name, **{field: value for field in FREE if (value := getattr(after, field)) is not None})
        # Another parent and other queues: "success", and nothing.
        if after.up != before.up:
            self._set_up(name, up=after.up)
        if last is not None:
            self._set_allmulticast(name, on=last)
        if not before.up:
            self._set_promiscuous(name, after)

    def _set_mode(self, before: Link, mode: str | None) -> None:
        if mode is not None and mode != before.mode:
            emptied = frozenset[str]() if before.mode == "source" else before.source_macs
            self._set(before.name, mode=mode, source_macs=emptied)

    def _set_source_macs(self, before: Link, after: Link) -> None:
        if after.mode == "source":
            self._set(before.name, source_macs=after.source_macs)

    def _set_promiscuous(self, name: str, after: Link) -> None:
        link = self.links[name]
        if after.promiscuous is None or after.promiscuous == link.promiscuous:
            return
        if link.mode == "passthru":  # up or down: the bug that drives it below zero
            self._promiscuity(link, 1 if after.promiscuous else -1)
        self._set(name, promiscuous=after.promiscuous)

    def _set_up(self, name: str, *, up: bool) -> None:
        link = self.links[name]
        if up:
            self._check_address(link, str(link.mac))
        if link.mode == "passthru" and link.promiscuous:
            self._promiscuity(link, 1 if up else -1)
        if link.mode != "passthru" and link.allmulticast:
            self._allmulti(link, 1 if up else -1)
        self._set(name, up=up)

    def _set_allmulticast(self, name: str, *, on: bool) -> None:
        link = self.links[name]
        self._set(name, allmulticast=on)
        # macvlan_change_rx_flags(): of one that is down the parent hears nothing, and macvlan_open() makes up for it
        # in every mode but passthru.
        if link.up and link.allmulticast != on:
            self._allmulti(link, 1 if on else -1)

    def _allmulti(self, link: Link, by: int) -> None:
        parent = self.links[str(link.parent)]
        count = ((parent.allmulti or 0) + by) % (1 << 32)
        self._set(parent.name, allmulti=count)
        for sibling in self._on(parent):
            if sibling.mode == "passthru":
                self._set(sibling.name, parent_allmulti=count)

    def _promiscuity(self, link: Link, by: int) -> None:
        parent = self.links[str(link.parent)]
        if parent.promiscuity >= 1 << 31:
            raise RefusedError("EOVERFLOW")
        self._set(parent.name, promiscuity=(parent.promiscuity + by) % (1 << 32))

    def _set_mac(self, name: str, mac: str) -> None:
        link = self.links[name]
        if link.mode == "passthru":
            self._set(str(link.parent), mac=mac)
        elif mac != link.mac:
            self._check_address(link, mac)
        self._set(name, mac=mac)

    def _check_address(self, link: Link, mac: str) -> None:
        """macvlan_addr_busy(): the links that are down are not among those that it looks at."""
        if link.mode == "passthru":
            return
        others = [other for other in self._on(self.links[str(link.parent)]) if other.up and other.name != link.name]
        if mac in (self.links[str(link.parent)].mac, *(other.mac for other in others)):
            raise RefusedError("EADDRINUSE")

    def _check_mtu(self, link: Link) -> None:
        if not 68 <= (link.mtu or 0) <= (self.links[str(link.parent)].mtu or 0):
            raise RefusedError("EINVAL")

    def _set_limit(self, link: Link, limit: int) -> None:
        for sibling in self._on(self.links[str(link.parent)]):
            self._set(sibling.name, bclim=limit)

    def _add_altnames(self, name: str, altnames: frozenset[str]) -> None:
        if altnames & self._names():
            raise RefusedError("EEXIST")
        self._set(name, altnames=self.links[name].altnames | altnames)

    def _remove_altnames(self, name: str, altnames: frozenset[str]) -> None:
        self._set(name, altnames=self.links[name].altnames - altnames)

    def _names(self) -> set[str]:
        return {name for link in self.links.values() for name in (link.name, *link.altnames)}

    def _on(self, parent: Link) -> list[Link]:
        return [link for link in self.links.values() if link.kind in MACVLAN_KINDS and link.parent == parent.name]

    def _new_mac(self) -> str:
        return f"02:ff:00:00:{next(self._numbers) >> 8:02x}:{next(self._numbers) & 0xFF:02x}"
