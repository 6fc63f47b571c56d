# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a link is: as the kernel tells it, and as a user declares it. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import (
    ROWS,
    Attributes,
    VlanAttributes,
)

MACVLAN_KINDS = ("macvlan", "macvtap")

# include/uapi/linux/if_arp.h: the only hardware type that macvlan_newlink() leaves a usable link on.
ARPHRD_ETHER = 1
IPV6_MTU = 1280  # include/uapi/linux/ipv6.h: below it a link has no IPv6, and no addrgenmode

# The link group of what a run makes and has not finished: what is still in it was left by a run that was killed. The
# bytes are "mvln".
INCOMPLETE_GROUP = 0x6D766C6E
# What a journal has of a step that was begun: see netlink.py. One that the kernel refused has had no effect.
REMOVED, CHANGED, MADE, REFUSED, INDEX = "removed", "changed", "made", "refused", "index "

Device = t.Tuple[int, int]  # major, minor


@dataclass(frozen=True)
class Tap:
    """The character device of a macvtap link.

    ``device`` is the number that sysfs gives for this very link, ``node`` that of what lies at ``path``
    (None: nothing). Interface indexes are per network namespace and /dev is one for all, so that the two
    can differ: then the node is the tap of a link in another namespace. ``owner`` and ``group`` are names, or
    numbers as text where there is no name; ``mode`` is permission bits.
    """

    path: str
    device: Device | None = None
    node: Device | None = None
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    # Of a tap that is still to be: put a node of the right number at the path if there is another one, or none.
    repair: bool = field(default=False, compare=False)

    @property
    def own(self) -> bool:
        """Whether the node at ``path`` is the tap of this link."""
        return self.node is not None and self.node == self.device

    @property
    def fault(self) -> str | None:
        """Say what is wrong with the node, or None where it is this link's own."""
        if self.node is None:
            return "is missing"
        if self.device is None:
            return "may be the tap of another link: nobody tells the device number of this one's"
        return None if self.own else "is the tap of a link in another network namespace"


class Accounts(t.NamedTuple):
    """What finds the users and groups of a host, given by name or number: each returns it as a tap has it.

    Both raise KeyError where there is none.
    """

    user: t.Callable[[str], str]
    group: t.Callable[[str], str]


@dataclass(frozen=True)
class _Placed:
    """Which link it is, and what it is on."""

    name: str
    index: int = 0
    kind: str = ""
    parent: str | None = None
    parent_index: int = 0


@dataclass(frozen=True)
class Link(VlanAttributes, Attributes, _Placed):
    """A network link of any kind, in this process's network namespace or (``netns``) in another one.

    Its attributes are those of attributes.py. ``index`` 0 and None elsewhere mean "the kernel chooses" in a link that
    is still to be made. ``parent`` is the name of the lower link, None where there is none or it is in another network
    namespace. ``mtu`` is in bytes, ``bcqueuelen`` and ``txqueuelen`` in packets. ``pci`` is the address of the device
    behind a physical link. ``allmulti`` is how many want all multicast of it, None where the kernel does not tell
    (before 6.0), and ``parent_allmulti`` that of the parent of a link in mode passthru. ``lower`` is the kernel's
    IFLA_LINK as it says it, and ``lower_netns`` what it calls the namespace that this index is of, None for the link's
    own. ``under`` is the index of the link that takes this one along when it goes, where IFLA_LINK does not say so.
    ``bridge_vlans`` are the VLANs of which a bridge that filters them lets its own links have frames, None for one that
    does not, and ``bridge_pvid`` is the one of which it has the frames itself without their tag.
    """

    source_macs: frozenset[str] = frozenset()
    altnames: frozenset[str] = frozenset()
    up: bool = False
    tap: Tap | None = None
    # What is not to be declared, but decides what can be.
    master: str | None = None
    hardware: int = ARPHRD_ETHER
    loopback: bool = False
    wireless: bool = False
    carrier: bool = False
    promiscuity: int = 0
    allmulti: int | None = None
    parent_allmulti: int | None = field(default=None, compare=False)
    pci: str | None = None
    netns: str | None = None
    lower: int = field(default=0, compare=False)
    lower_netns: int | None = field(default=None, compare=False)
    under: int = field(default=0, compare=False)
    bridge_vlans: frozenset[int] | None = field(default=None, compare=False)
    bridge_pvid: int | None = field(default=None, compare=False)

    @property
    def elsewhere(self) -> bool:
        """Whether what it is on is a link of another network namespace than ours."""
        return self.parent is None and self.lower != 0

    @property
    def key(self) -> str:
        """What it is told apart by: names are once in a namespace, and have no slash."""
        return f"{self.netns}/{self.name}" if self.netns else self.name

    @property
    def state(self) -> str:
        return "up" if self.up else "down"


Links = t.Mapping[str, Link]  # by their keys


# What a link is to have as it was declared, whatever else is.
AS_DECLARED = tuple(row.field for row in ROWS.values() if not row.derived)


@dataclass(frozen=True)
class _Named:
    """Which link is meant, and where the user wrote it (``links[3]``, or "" for the module's own options)."""

    name: str
    path: str = ""
    state: str = "up"
    parent: str | None = None


@dataclass(frozen=True)
class Wanted(Attributes, _Named):
    """One link as a user declared it; None means "leave it as it is" (a new link: the kernel's default).

    ``kind`` is macvtap or macvlan: in the kernel, the one is the other with a tap.
    """

    tap_owner: str | None = None
    tap_group: str | None = None
    tap_mode: int | None = None
    tap_repair: bool = False
    netns: str | None = None
    kind: str = "macvtap"

    @property
    def key(self) -> str:
        return f"{self.netns}/{self.name}" if self.netns else self.name


@dataclass(frozen=True)
class Holder:
    """A process that holds a tap open; ``domain`` is the libvirt domain that it runs, if it is one."""

    pid: int
    command: str
    domain: str | None = None

    def __str__(self) -> str:
        domain = f", libvirt domain {self.domain}" if self.domain else ""
        return f"pid {self.pid} ({self.command}{domain})"


@dataclass(frozen=True)
class Held:
    """Who holds a link's tap open: those that were found, and why there may be more, "" where there are none."""

    by: tuple[Holder, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class Lost:
    """What goes with a link that is removed and does not come back with it: IP addresses and routes, links on it."""

    addresses: tuple[str, ...] = ()
    on_it: tuple[Link, ...] = ()


def link_of(name: str | None, links: Links) -> Link | None:
    """Return the link of this name or alternative name."""
    return links.get(name or "") or next((link for link in links.values() if name in link.altnames), None)


def fields(link: Link) -> dict[str, t.Any]:
    """Return what can be declared of a link, by the options' names, as plain values that JSON has."""
    tap = link.tap or Tap("")
    return {
        **_reported(link),
        **{row.option: row.shown(link) for row in ROWS.values() if not row.reported},
        "tap.owner": tap.owner,
        "tap.group": tap.group,
        "tap.mode": permissions(tap.mode),
    }


def _reported(link: Link) -> dict[str, t.Any]:
    shown = {row.option: row.shown(link) for row in ROWS.values() if row.reported}
    return {"parent": link.parent, **shown, "state": link.state}


def report(link: Link) -> dict[str, t.Any]:
    """Return the link as modules return it."""
    tap = link.tap or Tap("")
    major, minor = tap.device or (None, None)
    return {
        "name": link.name,
        "netns": link.netns,
        "ifindex": link.index or None,
        **_reported(link),
        "tap": {
            "path": tap.path or None,
            "major": major,
            "minor": minor,
            "own": tap.own,
            "owner": tap.owner,
            "group": tap.group,
            "mode": permissions(tap.mode),
        },
    }


def attributes(link: Link) -> dict[str, t.Any]:
    """Return what can be declared of a link and is not in its report, by the options' names."""
    found: dict[str, t.Any] = {}
    for row in ROWS.values():
        if not row.reported:
            outer, _dot, last = row.option.rpartition(".")
            (found.setdefault(outer, {}) if outer else found)[last] = row.shown(link)
    return found


def permissions(mode: int | None) -> str | None:
    """Return permission bits as users write them: 0o660 gives ``0660``."""
    return None if mode is None else f"{mode:04o}"
