# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links over rtnetlink: reads them, and carries out the steps of a Plan in batches."""

from __future__ import annotations

import contextlib
import os
import socket
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, netns, rtnetlink, tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.execution import Confirm, Execution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device, Link, Links, Lost, Tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


class Session:
    """Netlink sockets: one in this process's network namespace, and one in each other that links are declared in."""

    def __init__(self, stack: contextlib.ExitStack, files: t.Mapping[str, str]) -> None:
        self._files = files
        self.sockets: dict[str | None, socket.socket] = {None: stack.enter_context(rtnetlink.open_socket())}
        self.descriptors: dict[str | None, int] = {}
        # What went with links that this session has removed, by their namespaces and indexes.
        self.lost: dict[tuple[str | None, int], Lost] = {}
        # What this session has begun on the way back.
        self.brought: Journal[Link] = Journal()
        for name, file in files.items():
            with netns.entered(file) as descriptor:
                self.sockets[name] = stack.enter_context(rtnetlink.open_socket())
                self.descriptors[name] = os.dup(descriptor)
                stack.callback(os.close, self.descriptors[name])

    def observe(self, taps: t.Collection[str] | None = None, *, parents: t.Collection[str] = ()) -> Links:
        """Return all links of the namespaces by their keys.

        The macvtap links among ``taps`` (None: all) come with their taps, and the links that a user may have meant by
        ``parents`` with what only sysfs tells of them.
        """
        found = decode.links(rtnetlink.dump_links(self.sockets[None]), parents)
        if any(link.bridge_vlans is not None for link in found.values()):
            decode.with_bridge_vlans(found, rtnetlink.dump_bridges(self.sockets[None]))
        own = {link.index: link.name for link in found.values()}
        for name in self._files:
            sock = self.sockets[name]
            nsid = rtnetlink.nsid_of(sock, os.getpid())
            found.update((link.key, link) for link in decode.foreign_links(rtnetlink.dump_links(sock), name, own, nsid))
        wanted = [link for link in found.values() if link.kind == "macvtap" and (taps is None or link.name in taps)]
        for key, its_tap in self._taps(wanted, found).items():
            found[key] = replace(found[key], tap=its_tap)
        decode.with_parents_counts(found)
        return found

    def taps(self, links: t.Sequence[Link]) -> dict[str, Tap]:
        """Return the taps of ``links`` as they are now, by the links' keys."""
        return self._taps(links, self.observe(()))

    def _taps(self, links: t.Sequence[Link], among: Links) -> dict[str, Tap]:
        found: dict[str, Tap] = {}
        for name in {link.netns for link in links}:
            theirs = [link for link in links if link.netns == name]
            devices = self._devices(name, {link.name: link.index for link in theirs}, among)
            found.update((link.key, tap.observe(link.index, devices.get(link.name))) for link in theirs)
        return found

    def _devices(self, name: str | None, indexes: t.Mapping[str, int], among: Links) -> dict[str, Device]:
        found = netns.tap_devices(netns.OWN if name is None else self._files[name], indexes)
        if found is None and name is None:
            # Who may not mount a sysfs of his own has /sys, if that is of this namespace.
            ours = {link.index: (link.name, link.mac) for link in among.values() if link.netns is None}
            found = tap.in_sysfs(ours, indexes)
        return found or {}

    def observe_counters(self) -> dict[int, dict[str, int]]:
        """Return the counters of all links of this namespace by their index."""
        bodies = rtnetlink.dump_links(self.sockets[None], statistics=True)
        return {decode.index_of(body): decode.counters(body) for body in bodies}

    def observe_addresses(self) -> dict[int, list[str]]:
        """Return the IP addresses of each link of this namespace by its index, those apart that it has by itself."""
        return decode.addresses(rtnetlink.dump_addresses(self.sockets[None]))

    def observe_on_links(self) -> dict[int, list[str]]:
        """Return in words the IP addresses of each link, and the routes over it that were made, by its index."""
        found = self.observe_addresses()
        for family in (socket.AF_INET, socket.AF_INET6):
            for index, destination in decode.routes(rtnetlink.dump_routes(self.sockets[None], family)):
                found.setdefault(index, []).append(f"the route to {destination}")
        return found

    def apply(
        self, steps: t.Sequence[Step[Link]], journal: Journal[Link] | None = None, confirm: Confirm | None = None
    ) -> None:
        """Carry out ``steps``: what goes first, then what changes, then what comes.

        ``confirm`` says right before links are removed or changed which steps may not be, and why.

        :raises MacvtapError: the first in the steps' order that the kernel refuses, or that is about another link now.
            Others may have been done all the same.
        :raises MissingLibraryError: pyroute2 is not installed.
        """
        Execution(self, journal or Journal(), confirm).carry_out(steps)

    def revert(self, steps: t.Sequence[Step[Link]], confirm: Confirm | None = None) -> None:
        """As :func:`apply`, for the way back: goes on where one thing cannot be put back.

        :raises MacvtapError: all that could not be.
        """
        Execution(self, self.brought, confirm, go_on=True).carry_out(steps)


@contextlib.contextmanager
def session(files: t.Mapping[str, str] | None = None) -> t.Iterator[Session]:
    """Open a session; ``files`` are the other network namespaces that links are declared in: file by name."""
    with contextlib.ExitStack() as stack:
        yield Session(stack, files or {})
