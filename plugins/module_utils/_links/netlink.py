# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links over rtnetlink, with pyroute2 (0.7 as distributions have it, and newer)."""

from __future__ import annotations

import contextlib
import errno
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links

if t.TYPE_CHECKING:
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8


@contextlib.contextmanager
def session() -> t.Iterator[t.Any]:
    """Open a netlink socket in the network namespace of this process.

    :raises MissingLibraryError: pyroute2 is not installed.
    """
    pyroute2 = _deps.load("pyroute2")
    with pyroute2.IPRoute() as ipr:
        yield ipr


def observe(ipr: t.Any, names: t.Collection[str]) -> Links:
    """Return all links of this network namespace by name; those of ``names`` with their taps."""
    found = [_decode(message) for message in ipr.get_links()]
    by_index = {link.index: link.name for link in found}
    links = {}
    for link in found:
        named = replace(
            link,
            parent=by_index.get(link.parent_index),
            master=by_index.get(int(link.master)) if link.master else None,
        )
        if named.kind == "macvtap" and named.name in names:
            named = replace(named, tap=tap.observe(named.name, named.index))
        links[named.name] = named
    return links


def apply(ipr: t.Any, steps: t.Sequence[Step[Link]]) -> None:
    """Carry out ``steps`` in their order.

    :raises MacvtapError: the first that the kernel refuses; those before it are done.
    """
    netlink_error = _deps.load("pyroute2").netlink.exceptions.NetlinkError
    for step in steps:
        try:
            _apply_one(ipr, step)
        except netlink_error as exc:
            raise MacvtapError(f"the kernel refused {_deed(step)}: {_reason(exc)}", path=step.path) from exc


def _apply_one(ipr: t.Any, step: Step[Link]) -> None:
    before, after = step.before, step.after
    if before is not None and (after is None or step.recreates):
        ipr.link("del", index=before.index)
        before = None
    if after is None:
        return
    index = _create(ipr, after) if before is None else before.index
    if before is not None:
        _change(ipr, before, after)
    if after.tap is not None:
        try:
            tap.set_permissions(after.name, index, after.tap)
        except MacvtapError as exc:
            raise MacvtapError(exc.message, path=step.path) from exc


def _create(ipr: t.Any, link: Link) -> int:
    wishes = {
        "macvtap_mode": link.mode,
        "address": link.mac,
        "mtu": link.mtu,
        "group": link.group or None,
        "txqlen": link.txqueuelen,
        "ifalias": link.alias,
        # In the same message, so that an address that is taken on the parent fails here and leaves no link.
        "state": "up" if link.up else None,
    }
    if link.mode == "passthru":
        # The kernel gives the parent's address to the link and ignores ours.
        wishes["address"] = None
    given = {key: value for key, value in wishes.items() if value is not None}
    ipr.link("add", ifname=link.name, kind="macvtap", link=link.parent_index, **given)
    return int(ipr.link_lookup(ifname=link.name)[0])


def _change(ipr: t.Any, before: Link, after: Link) -> None:
    if after.mode != before.mode:
        ipr.link("set", index=before.index, kind="macvtap", macvtap_mode=after.mode)
    given: dict[str, t.Any] = {}
    if after.mac != before.mac:
        given["address"] = after.mac
    if after.mtu != before.mtu:
        given["mtu"] = after.mtu
    if after.up != before.up:
        given["state"] = after.state
    if given:
        ipr.link("set", index=before.index, **given)


def _decode(message: t.Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    kind = (info.get_attr("IFLA_INFO_KIND") if info else None) or ""
    # With IFLA_LINK_NETNSID the index is one of another namespace.
    foreign = message.get_attr("IFLA_LINK_NETNSID") is not None
    master = message.get_attr("IFLA_MASTER")
    return Link(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=kind,
        parent_index=0 if foreign else message.get_attr("IFLA_LINK") or 0,
        mode=data.get_attr("IFLA_MACVTAP_MODE") if kind == "macvtap" and data else None,
        mac=message.get_attr("IFLA_ADDRESS"),
        mtu=message.get_attr("IFLA_MTU"),
        up=bool(message["flags"] & _IFF_UP),
        group=message.get_attr("IFLA_GROUP"),
        alias=message.get_attr("IFLA_IFALIAS"),
        txqueuelen=message.get_attr("IFLA_TXQLEN"),
        # An index until observe() knows the names of all.
        master=str(master) if master else None,
        hardware=message["ifi_type"],
        loopback=bool(message["flags"] & _IFF_LOOPBACK),
    )


def _deed(step: Step[Link]) -> str:
    if step.after is None:
        return f"to remove {step.target}"
    if step.before is None or step.recreates:
        return f"to make {step.target} on {step.after.parent}"
    return f"to change {step.target} ({', '.join(change.field for change in step.changes)})"


def _reason(exc: t.Any) -> str:
    code = errno.errorcode.get(exc.code, str(exc.code))
    said = str(exc.args[1]) if len(exc.args) > 1 else os.strerror(exc.code)
    return f"{said} ({code})"
