# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links over rtnetlink: reads them, and carries out the steps of a Plan in batches."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    decode,
    messages,
    netns,
    requests,
    rtnetlink,
    tap,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, Tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# What a kernel needs for links of a kind: its option, and the module that it is otherwise.
_KERNEL_OPTIONS = {
    "macvtap": ("CONFIG_MACVTAP", "macvtap"),
    "macvlan": ("CONFIG_MACVLAN", "macvlan"),
    "vlan": ("CONFIG_VLAN_8021Q", "8021q"),
}


class Session:
    """Netlink sockets: one in this process's network namespace, and one in each other that links are declared in."""

    def __init__(self, stack: contextlib.ExitStack, files: t.Mapping[str, str]) -> None:
        self._stack = stack
        self._files = files
        self._sockets: dict[str | None, socket.socket] = {None: stack.enter_context(rtnetlink.open_socket())}
        self._descriptors: dict[str | None, int] = {}
        for name, file in files.items():
            with netns.entered(file) as descriptor:
                self._sockets[name] = stack.enter_context(rtnetlink.open_socket())
                self._descriptors[name] = os.dup(descriptor)
                stack.callback(os.close, self._descriptors[name])

    def observe(self, taps: t.Collection[str] | None = None, *, parents: t.Collection[str] = ()) -> Links:
        """Return all links of the namespaces by their keys.

        The macvtap links among ``taps`` (None: all) come with their taps, and the links that a user may have meant by
        ``parents`` with what only sysfs tells of them.
        """
        found = decode.links(rtnetlink.dump_links(self._sockets[None]), taps, parents)
        own = {link.index: link.name for link in found.values()}
        for name, file in self._files.items():
            sock = self._sockets[name]
            there = decode.foreign_links(rtnetlink.dump_links(sock), name, own, rtnetlink.nsid_of(sock, os.getpid()))
            macvtaps = {link.name: link.index for link in there if link.kind == "macvtap"}
            devices = netns.tap_devices(file, macvtaps)
            for link in there:
                if link.name in macvtaps:
                    link = replace(link, tap=tap.observe(link.name, link.index, devices.get(link.name)))  # noqa: PLW2901
                found[link.key] = link
        decode.with_parents_counts(found)
        return found

    def observe_counters(self) -> dict[int, dict[str, int]]:
        """Return the counters of all links of this namespace by their index."""
        bodies = rtnetlink.dump_links(self._sockets[None], statistics=True)
        return {decode.index_of(body): decode.counters(body) for body in bodies}

    def observe_addresses(self) -> dict[int, list[str]]:
        """Return the IP addresses of each link of this namespace by its index, those apart that it has by itself."""
        return decode.addresses(rtnetlink.dump_addresses(self._sockets[None]))

    def apply(self, steps: t.Sequence[Step[Link]], journal: Journal[Link] | None = None) -> None:
        """Carry out ``steps``: what goes first, then what changes, then what comes.

        :raises MacvtapError: the first in the steps' order that the kernel refuses. Others may have been done all the
            same.
        :raises MissingLibraryError: pyroute2 is not installed.
        """
        going = [step for step in steps if step.before and (step.after is None or step.recreates)]
        changing = [step for step in steps if step.before and step.after and not step.recreates]
        coming = [step for step in steps if step.after and (step.before is None or step.recreates)]
        if changing or coming:
            messages.require()
        journal = journal or Journal()
        for step in steps:
            # They are asked for in batches, of which the kernel goes on with the rest when it refuses one.
            journal.record(step)
        for name in self._sockets:
            self._remove(name, [step for step in going if step.before and step.before.netns == name])
        self._send(list(requests.make_way(changing)))
        self._send([(step, request) for step in changing for request in requests.change(step)])
        # In this namespace, which is that of the parent, wherever the link is to be.
        self._send(
            [(step, requests.create(step, self._descriptors.get(_netns_of(step)))) for step in coming], at_home=True
        )
        # By index from here on: what has a name of its own may have another link's alternative name as well.
        self._send([(step, request) for step in coming for request in self._finishing(step)])
        settled = [step for step in changing if step.before and step.after and _tap_differs(step.before, step.after)]
        for step in (*settled, *coming):
            if step.after and step.after.tap:
                self._settle_tap(step, step.after.tap)

    def _finishing(self, step: Step[Link]) -> t.Iterable[bytes]:
        link = step.after
        if link and (link.alias or link.altnames or requests.comes_up_later(link) or requests.hears_later(link)):
            return requests.finish(step, self._index_of(step))
        return ()

    def _send(self, asked: t.Sequence[tuple[Step[Link], bytes]], *, at_home: bool = False) -> None:
        refused: dict[int, rtnetlink.Refusal] = {}
        for name, sock in self._sockets.items():
            theirs = [n for n, (step, _request) in enumerate(asked) if name == (None if at_home else _netns_of(step))]
            answers = rtnetlink.transact(sock, [asked[n][1] for n in theirs])
            refused.update((n, answer) for n, answer in zip(theirs, answers) if answer is not None)
        if refused:
            first = min(refused)
            step = asked[first][0]
            said = f"the kernel refused {_deed(step)}: {refused[first]}{_hint(step, refused[first])}"
            raise MacvtapError(said, path=step.path)

    def _remove(self, name: str | None, steps: t.Sequence[Step[Link]]) -> None:
        """Remove links, many at once by a link group of their own.

        The kernel waits out an RCU grace period, some 20 ms, for each removal that it is asked for; for a group just
        once.
        """
        indexes = [step.before.index for step in steps if step.before]
        self._send([(step, request) for step in steps for request in requests.before_removal(step)])
        if len(steps) == 1:
            self._send([(steps[0], messages.delete(indexes[0]))])
        elif steps:
            group = _unused_group(self._sockets[name])
            attrs = (("IFLA_GROUP", group),)
            self._send([(step, messages.change(index, attrs)) for step, index in zip(steps, indexes)])
            self._send([(steps[0], messages.delete_group(group))])
        for step in steps:
            if step.before and step.before.tap:
                tap.forget(step.before.tap)

    def _settle_tap(self, step: Step[Link], wanted: Tap) -> None:
        link = t.cast("Link", step.after)
        index = self._index_of(step)
        device = netns.tap_devices(self._files[link.netns], {link.name: index}) if link.netns else None
        try:
            now = tap.observe(link.name, index) if device is None else tap.observe(link.name, index, *device.values())
            tap.settle(link.name, now, wanted)
        except MacvtapError as exc:
            raise MacvtapError(exc.message, path=step.path) from exc

    def _index_of(self, step: Step[Link]) -> int:
        link = t.cast("Link", step.after)
        try:
            if link.netns is None:
                return socket.if_nametoindex(link.name)
            return decode.index_by_name(rtnetlink.dump_links(self._sockets[link.netns]))[link.name]
        except (OSError, KeyError) as exc:
            raise MacvtapError(f"the link {link.key} has gone while this ran", path=step.path) from exc


@contextlib.contextmanager
def session(files: t.Mapping[str, str] | None = None) -> t.Iterator[Session]:
    """Open a session; ``files`` are the other network namespaces that links are declared in: file by name."""
    with contextlib.ExitStack() as stack:
        yield Session(stack, files or {})


def _tap_differs(before: Link, after: Link) -> bool:
    return after.tap is not None and (after.tap.repair or after.tap != before.tap)


def _netns_of(step: Step[Link]) -> str | None:
    link = step.after or step.before
    return link.netns if link else None


def _unused_group(sock: socket.socket) -> int:
    used = {decode.group_of(body) for body in rtnetlink.dump_links(sock)}
    while True:
        # At random, so that two runs do not choose the same.
        group = (1 << 30) | int.from_bytes(os.urandom(4), sys.byteorder) >> 2
        if group not in used:
            return group


def _deed(step: Step[Link]) -> str:
    if step.after is None:
        return f"to remove {step.target}"
    if step.before is None or step.recreates:
        return f"to make {step.target} on {step.after.parent}"
    return f"to change {step.target} ({', '.join(change.field for change in step.changes)})"


def _hint(step: Step[Link], refusal: rtnetlink.Refusal) -> str:
    # rtnl_newlink(), when it has looked for a module as well.
    if step.after is None or refusal.text != "Unknown device type":
        return ""
    option, module = _KERNEL_OPTIONS[step.after.kind]
    return (
        f". It has no links of the kind {step.after.kind}: {option} is neither built in nor a module that it could "
        f"load. `modprobe {module}` says why; the module may be in a package of its own, or the kernel may have been "
        "upgraded and the host not restarted since"
    )
