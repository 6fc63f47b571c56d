# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links over rtnetlink: reads them, and carries out the steps of a plan in batches."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, decoding
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    decode,
    identity,
    netns,
    rtnetlink,
    tap,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.execution import Confirm, Execution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    Device,
    Link,
    Links,
    Lost,
    Tap,
    with_values,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.network import OnLinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step


class Session:
    """Netlink sockets: one in this process's network namespace, and one in each other namespace of desired links."""

    def __init__(self, stack: contextlib.ExitStack, files: t.Mapping[str, str]) -> None:
        self._files = files
        self.sockets: dict[str | None, socket.socket] = {None: stack.enter_context(rtnetlink.open_socket())}
        self.descriptors: dict[str | None, int] = {}
        # What was removed together with links of this session, by namespace and index.
        self.lost: dict[tuple[str | None, int], Lost] = {}
        # What this session has done during a rollback.
        self.brought: Journal[Link] = Journal()
        self.on_links: OnLinks = lambda _links, _new: {}
        self._memory: decode.Memory = {}
        # A tap has its number as long as its link is there.
        self._numbers: dict[tuple[t.Any, ...], Device] = {}
        for name, file in files.items():
            with netns.entered(file) as descriptor:
                self.sockets[name] = stack.enter_context(rtnetlink.open_socket())
                self.descriptors[name] = os.dup(descriptor)
                stack.callback(os.close, self.descriptors[name])

    def observe(self, taps: t.Collection[str] | None = None, *, parents: t.Collection[str] = ()) -> Links:
        """Return all links of the namespaces by their keys.

        The macvtap links among ``taps`` (None: all) have their taps. The links that match ``parents`` have the facts
        that only sysfs has.
        """
        found = decode.links(rtnetlink.dump_links(self.sockets[None]), parents, self._memory)
        if any(link.bridge_vlans is not None for link in found.values()):
            decode.with_bridge_vlans(found, rtnetlink.dump_bridges(self.sockets[None]))
        own = {link.index: link.name for link in found.values()}
        for name in self._files:
            sock = self.sockets[name]
            nsid = rtnetlink.nsid_of(sock, os.getpid())
            found.update((link.key, link) for link in decode.foreign_links(rtnetlink.dump_links(sock), name, own, nsid))
        desired = [link for link in found.values() if link.kind == "macvtap" and (taps is None or link.name in taps)]
        for key, its_tap in self._taps(desired, found).items():
            found[key] = with_values(found[key], tap=its_tap)
        decode.with_parents_counts(found)
        return found

    def taps(self, links: t.Sequence[Link]) -> dict[str, Tap]:
        """Return the taps of ``links`` as they are now, by the links' keys."""
        return self._taps(links, self.observe(())) if links else {}

    def with_taps(self, links: t.Mapping[str, Link]) -> dict[str, Link]:
        """Return ``links`` with the taps that are missing: of those that others have renamed, say."""
        taps = self.taps([link for link in links.values() if link.kind == "macvtap" and link.tap is None])
        return {key: with_values(one, tap=taps[one.key]) if one.key in taps else one for key, one in links.items()}

    def _taps(self, links: t.Sequence[Link], among: Links) -> dict[str, Tap]:
        found: dict[str, Tap] = {}
        for name in {link.netns for link in links}:
            theirs = [(link, identity.fixed(link)) for link in links if link.netns == name]
            new = {link.name: link.index for link, fixed in theirs if fixed not in self._numbers}
            devices = self._devices(name, new, among)
            self._numbers.update((fixed, devices[link.name]) for link, fixed in theirs if link.name in devices)
            found.update((link.key, tap.observe(link.index, self._numbers.get(fixed))) for link, fixed in theirs)
        return found

    def _devices(self, name: str | None, indexes: t.Mapping[str, int], among: Links) -> dict[str, Device]:
        found = netns.tap_devices(netns.OWN if name is None else self._files[name], indexes)
        if found is None and name is None:
            # Without permission to mount a sysfs, use /sys if it belongs to this namespace.
            ours = {link.index: (link.name, link.mac) for link in among.values() if link.netns is None}
            found = tap.in_sysfs(ours, indexes)
        return found or {}

    def write_sysctl(self, link: Link, path: str, value: int) -> None:
        """Write a setting of ``link`` below /proc/sys/net; in ``path``, ``{}`` is the link's name.

        :raises MacvtapError: the system refuses, or the name is another link's meanwhile.
        """
        file = f"/proc/sys/net/{path.format(link.name)}"
        try:
            with contextlib.nullcontext() if link.netns is None else netns.entered(self._files[link.netns]):
                if value or os.path.exists(file):
                    with open(file, "w", encoding="ascii") as setting:
                        # The kernel recreates the file when a link gets or loses the name, and accepts nothing more
                        # through the old one.
                        if socket.if_nametoindex(link.name) != link.index:
                            raise MacvtapError(f"{link.name} was renamed while this task ran")
                        setting.write(str(value))
        except OSError as exc:
            option = f"{os.path.basename(file)}: {'false' if value else 'true'}"
            hint = f". Run the task outside of this container, or set {option}" if exc.errno == errno.EROFS else ""
            raise MacvtapError(f"cannot set {file} to {value}: {exc.strerror}{hint}") from exc

    def observe_counters(self) -> dict[int, dict[str, int]]:
        """Return the counters of all links of this namespace by their index."""
        bodies = rtnetlink.dump_links(self.sockets[None], statistics=True)
        with decoding("counters"):
            return {decode.index_of(body): decode.counters(body) for body in bodies}

    def observe_addresses(self) -> dict[int, list[str]]:
        """Return the IP addresses of each link of this namespace by its index, without link-local ones."""
        return decode.addresses(rtnetlink.dump_addresses(self.sockets[None]))

    def observe_on_links(self) -> dict[int, list[str]]:
        """Return the IP addresses of each link, and the routes over it, as text by its index."""
        found = self.observe_addresses()
        for family in (socket.AF_INET, socket.AF_INET6):
            for index, destination in decode.routes(rtnetlink.dump_routes(self.sockets[None], family)):
                found.setdefault(index, []).append(f"the route to {destination}")
        return found

    def apply(
        self, steps: t.Sequence[Step[Link]], journal: Journal[Link] | None = None, confirm: Confirm | None = None
    ) -> None:
        """Carry out ``steps``: removals first, then changes, then new links.

        ``confirm`` returns which steps must not be carried out, and why. It is called right before links are removed,
        changed or created, with all links as they are then.

        :raises MacvtapError: the first failure in the steps' order. Other steps may have been carried out.
        :raises MissingLibraryError: pyroute2 is not installed.
        """
        Execution(self, journal or Journal(), confirm).carry_out(steps)

    def revert(self, steps: t.Sequence[Step[Link]], confirm: Confirm | None = None) -> None:
        """As :func:`apply`, for a rollback: continues after a failure.

        :raises MacvtapError: with all failures.
        """
        Execution(self, self.brought, confirm, go_on=True).carry_out(steps)


@contextlib.contextmanager
def session(files: t.Mapping[str, str] | None = None) -> t.Iterator[Session]:
    """Open a session; ``files`` are the other network namespaces of desired links: file by name."""
    with contextlib.ExitStack() as stack:
        yield Session(stack, files or {})
