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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, messages, netns, rtnetlink, tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    ADDRGENMODES,
    MODES,
    Link,
    Links,
    Tap,
)

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

    Request = t.Tuple[Step[Link], bytes]

_MACADDR_ADD, _MACADDR_DEL, _MACADDR_SET = 0, 1, 3
_NOPROMISC, _NODST = 1, 2


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
        return found

    def observe_counters(self) -> dict[int, dict[str, int]]:
        """Return the counters of all links of this namespace by their index."""
        bodies = rtnetlink.dump_links(self._sockets[None], statistics=True)
        return {decode.index_of(body): decode.counters(body) for body in bodies}

    def apply(self, steps: t.Sequence[Step[Link]]) -> None:
        """Carry out ``steps``: what goes first, then what changes, then what comes.

        :raises MacvtapError: the first in the steps' order that the kernel refuses. Others may have been done all the
            same.
        :raises MissingLibraryError: pyroute2 is not installed.
        """
        going = [step for step in steps if step.before and (step.after is None or step.recreates)]
        changing = [step for step in steps if step.before and step.after and not step.recreates]
        coming = [step for step in steps if step.after and (step.before is None or step.recreates)]
        for name in self._sockets:
            self._remove(name, [step for step in going if step.before and step.before.netns == name])
        self._send(list(_make_way(changing)))
        self._send([(step, request) for step in changing for request in _change(step)])
        # In this namespace, which is that of the parent, wherever the link is to be.
        self._send([(step, _create(step, self._descriptors.get(_netns_of(step)))) for step in coming], at_home=True)
        # By index from here on: what has a name of its own may have another link's alternative name as well.
        self._send([(step, request) for step in coming for request in self._finishing(step)])
        settled = [step for step in changing if step.before and step.after and _tap_differs(step.before, step.after)]
        for step in (*settled, *coming):
            if step.after and step.after.tap:
                self._settle_tap(step, step.after.tap)

    def _finishing(self, step: Step[Link]) -> t.Iterable[bytes]:
        link = step.after
        if link and (link.alias or link.altnames or _comes_up_later(link)):
            return _finish(step, self._index_of(step))
        return ()

    def _send(self, requests: t.Sequence[Request], *, at_home: bool = False) -> None:
        refused: dict[int, rtnetlink.Refusal] = {}
        for name, sock in self._sockets.items():
            theirs = [
                n for n, (step, _request) in enumerate(requests) if name == (None if at_home else _netns_of(step))
            ]
            answers = rtnetlink.transact(sock, [requests[n][1] for n in theirs])
            refused.update((n, answer) for n, answer in zip(theirs, answers) if answer is not None)
        if refused:
            first = min(refused)
            step = requests[first][0]
            raise MacvtapError(f"the kernel refused {_deed(step)}: {refused[first]}", path=step.path)

    def _remove(self, name: str | None, steps: t.Sequence[Step[Link]]) -> None:
        """Remove links, many at once by a link group of their own.

        The kernel waits out an RCU grace period, some 20 ms, for each removal that it is asked for; for a group just
        once.
        """
        indexes = [step.before.index for step in steps if step.before]
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


def _create(step: Step[Link], descriptor: int | None) -> bytes:
    link = t.cast("Link", step.after)
    data: list[tuple[str, t.Any]] = [("IFLA_MACVTAP_MODE", MODES[link.mode or "vepa"])]
    if link.promiscuous is False or link.nodst:
        data.append(("IFLA_MACVTAP_FLAGS", _macvtap_flags(link)))
    data += _shared(link)
    if link.source_macs:
        listed = tuple(("IFLA_MACVLAN_MACADDR", mac) for mac in sorted(link.source_macs))
        data += [("IFLA_MACVTAP_MACADDR_MODE", _MACADDR_SET), ("IFLA_MACVTAP_MACADDR_DATA", listed)]
    attrs: list[tuple[str, t.Any]] = [
        ("IFLA_IFNAME", link.name),
        ("IFLA_LINK", link.parent_index),
        messages.macvtap(*data),
    ]
    # The kernel gives the parent's address to a link in mode passthru and ignores ours.
    given = {
        "IFLA_ADDRESS": None if link.mode == "passthru" else link.mac,
        "IFLA_MTU": link.mtu,
        "IFLA_TXQLEN": link.txqueuelen,
        "IFLA_GROUP": link.group or None,
        "IFLA_NUM_TX_QUEUES": link.tx_queues,
        "IFLA_NUM_RX_QUEUES": link.rx_queues,
    }
    attrs += [(name, value) for name, value in given.items() if value is not None]
    # Up in the same message, so that an address that is taken on the parent fails here and leaves no link.
    flags, mask = _link_flags(link, None)
    if descriptor is not None:
        attrs.append(("IFLA_NET_NS_FD", descriptor))
    if _comes_up_later(link):
        flags, mask = flags & ~rtnetlink.IFF_UP, mask & ~rtnetlink.IFF_UP
    return messages.create(tuple(attrs), flags, mask)


def _comes_up_later(link: Link) -> bool:
    # It is when it comes up that the kernel gives it an address; and a link that changes its namespace goes down.
    return bool(link.addrgenmode or link.netns)


def _finish(step: Step[Link], index: int) -> t.Iterator[bytes]:
    """What a link can be told only when it exists."""
    link = t.cast("Link", step.after)
    if link.alias:
        yield messages.change(index, (("IFLA_IFALIAS", link.alias),))
    for name in sorted(link.altnames):
        yield messages.altname(index, name, add=True)
    if link.addrgenmode:
        yield messages.change(index, (messages.addrgenmode(ADDRGENMODES[link.addrgenmode]),))
    if link.up and _comes_up_later(link):
        yield messages.change(index, (), rtnetlink.IFF_UP, rtnetlink.IFF_UP)


def _make_way(steps: t.Sequence[Step[Link]]) -> t.Iterator[Request]:
    """What one of the links gives up and another one takes, as when two change their addresses with each other."""
    changing = [(step, step.before, step.after) for step in steps if step.before and step.after]
    taken = {(after.parent_index, after.mac) for _step, _before, after in changing}
    for step, before, after in changing:
        for name in sorted(before.altnames - after.altnames):
            yield step, messages.altname(before.index, name, add=False)
        if after.mac not in (None, before.mac) and (before.parent_index, before.mac) in taken:
            yield step, messages.change(before.index, (("IFLA_ADDRESS", _passing_address()),))


def _passing_address() -> str:
    # Of those that are for local use: 02 is the bit that says so.
    return "02:" + os.urandom(5).hex(":")


def _change(step: Step[Link]) -> t.Iterator[bytes]:
    before, after = t.cast("Link", step.before), t.cast("Link", step.after)
    index = before.index
    # The promiscuity of the parent changes with this flag only while the link is up: see planner._impact.
    flags = messages.macvtap(("IFLA_MACVTAP_FLAGS", _macvtap_flags(after)))
    new_flags = _macvtap_flags(before) != _macvtap_flags(after)
    if new_flags and before.up:
        yield messages.change(index, (flags,))
    if after.addrgenmode and after.addrgenmode != before.addrgenmode:
        yield messages.change(index, (messages.addrgenmode(ADDRGENMODES[after.addrgenmode]),))
    data = [("IFLA_MACVTAP_MODE", MODES[after.mode])] if after.mode and after.mode != before.mode else []
    data += _shared(after, before)
    attrs: list[tuple[str, t.Any]] = [messages.macvtap(*data)] if data else []
    given = (
        ("IFLA_ADDRESS", before.mac, after.mac),
        ("IFLA_MTU", before.mtu, after.mtu),
        ("IFLA_TXQLEN", before.txqueuelen, after.txqueuelen),
        ("IFLA_GROUP", before.group, after.group),
        ("IFLA_IFALIAS", before.alias, after.alias),
    )
    attrs += [(name, new) for name, old, new in given if new is not None and new != old]
    bits, mask = _link_flags(after, before)
    if attrs or mask:
        yield messages.change(index, tuple(attrs), bits, mask)
    if new_flags and not before.up:
        yield messages.change(index, (flags,))
    if after.mode == "source":
        had = before.source_macs if before.mode == "source" else frozenset()
        yield from _source_macs(index, had, after.source_macs)
    for name in sorted(after.altnames - before.altnames):
        yield messages.altname(index, name, add=True)


def _source_macs(index: int, had: frozenset[str], wanted: frozenset[str]) -> t.Iterator[bytes]:
    # One by one, and what is new first: who is allowed before and after is allowed all the time.
    for how, macs in ((_MACADDR_ADD, wanted - had), (_MACADDR_DEL, had - wanted)):
        for mac in sorted(macs):
            data = (("IFLA_MACVTAP_MACADDR_MODE", how), ("IFLA_MACVTAP_MACADDR", mac))
            yield messages.change(index, (messages.macvtap(*data),))


def _shared(after: Link, before: Link | None = None) -> list[tuple[str, t.Any]]:
    pairs = (("IFLA_MACVTAP_BC_QUEUE_LEN", "bcqueuelen"), ("IFLA_MACVTAP_BC_CUTOFF", "bclim"))
    values = ((name, getattr(after, field), getattr(before, field, None)) for name, field in pairs)
    return [(name, new) for name, new, old in values if new is not None and new != old]


def _macvtap_flags(link: Link) -> int:
    return (_NOPROMISC if link.promiscuous is False else 0) | (_NODST if link.nodst else 0)


def _link_flags(after: Link, before: Link | None) -> tuple[int, int]:
    flags = mask = 0
    bits = (
        (rtnetlink.IFF_UP, before.up if before else False, after.up),
        (rtnetlink.IFF_ALLMULTI, before.allmulticast if before else False, after.allmulticast),
    )
    for bit, old, new in bits:
        if new is not None and new != old:
            mask |= bit
            flags |= bit if new else 0
    return flags, mask


def _deed(step: Step[Link]) -> str:
    if step.after is None:
        return f"to remove {step.target}"
    if step.before is None or step.recreates:
        return f"to make {step.target} on {step.after.parent}"
    return f"to change {step.target} ({', '.join(change.field for change in step.changes)})"
