# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Current and desired links. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import (
    ROWS,
    Attributes,
    VlanAttributes,
)

MACVLAN_KINDS = ("macvlan", "macvtap")

# include/uapi/linux/if_arp.h: the only hardware type on which macvlan_newlink() creates a usable link.
ARPHRD_ETHER = 1
IPV6_MTU = 1280  # include/uapi/linux/ipv6.h: below it a link has no IPv6, and no addrgenmode
# Settings of IPv6, and the values that a link without IPv6 has in effect.
WITHOUT_IPV6: t.Mapping[str, t.Any] = {"addrgenmode": "none", "accept_ra": False}

# The link group of VLAN links and macvlan shims that are not complete yet. The request that creates a link can set a
# group, but not an alias: so a link that a killed run left without its alias is recognised. The bytes are "mvln".
INCOMPLETE_GROUP = 0x6D766C6E
# Actions in the journal: see netlink.py. A refused one had no effect.
REMOVED, CHANGED, MADE, REFUSED, INDEX = "removed", "changed", "made", "refused", "index "

Device = t.Tuple[int, int]  # major, minor


@dataclass(frozen=True)
class Tap:
    """The character device of a macvtap link.

    ``device`` is the device number of this link's tap in sysfs, ``node`` that of the node at ``path`` (None: no node).
    Interface indexes are per network namespace, but /dev is shared, so the two can differ: then the node is the tap of
    a link in another namespace. ``owner`` and ``group`` are names, or numeric IDs as text; ``mode`` is permission bits.
    """

    path: str
    device: Device | None = None
    node: Device | None = None
    owner: str | None = None
    group: str | None = None
    mode: int | None = None
    # In a desired tap: create the right node at the path if it is missing, or another link's.
    repair: bool = field(default=False, compare=False)

    @property
    def own(self) -> bool:
        """Whether the node at ``path`` is the tap of this link."""
        return self.node is not None and self.node == self.device

    @property
    def fault(self) -> str | None:
        """What is wrong with the node; None if it is this link's own."""
        if self.node is None:
            return "is missing"
        if self.device is None:
            return "may be the tap of another link: the device number of this link's tap is unknown"
        return None if self.own else "is the tap of a link in another network namespace"


class Accounts(t.NamedTuple):
    """Looks up users and groups of the host, by name or number, and returns them as a tap has them.

    Both raise KeyError if there is none, and ValueError if there cannot be one.
    """

    user: t.Callable[[str], str]
    group: t.Callable[[str], str]


@dataclass(frozen=True)
class _Placed:
    """The identity of a link, and its parent."""

    name: str
    index: int = 0
    kind: str = ""
    parent: str | None = None
    parent_index: int = 0


@dataclass(frozen=True)
class Link(VlanAttributes, Attributes, _Placed):
    """A network link of any kind, in this process's network namespace or (``netns``) in another one.

    The attributes are those of attributes.py. In a link to create, ``index`` 0 and None elsewhere mean "chosen by the
    kernel". ``parent`` is the name of the lower link, None if there is none or it is in another network namespace.
    ``mtu`` is in bytes, ``bcqueuelen`` and ``txqueuelen`` in packets. ``pci`` is the address of a physical link's
    device, and ``permanent_mac`` is that device's own MAC address, whatever ``mac`` is now. ``allmulti`` is the
    kernel's reference count, None before Linux 6.0, and ``parent_allmulti`` that of the parent of a link in mode
    passthru. ``lower`` is IFLA_LINK, and ``lower_netns`` is IFLA_LINK_NETNSID, None for the link's own namespace.
    ``under`` is the index of a link whose removal removes this one, if IFLA_LINK does not have it. ``bridge_vlans`` are
    a filtering bridge's own VLANs, None for a bridge that does not filter, and ``bridge_pvid`` is the VLAN whose frames
    the bridge itself receives untagged.
    """

    source_macs: frozenset[str] = frozenset()
    altnames: frozenset[str] = frozenset()
    up: bool = False
    tap: Tap | None = None
    # Facts that users cannot set, for validation.
    master: str | None = None
    hardware: int = ARPHRD_ETHER
    loopback: bool = False
    wireless: bool = False
    carrier: bool = False
    promiscuity: int = 0
    allmulti: int | None = None
    parent_allmulti: int | None = field(default=None, compare=False)
    pci: str | None = None
    permanent_mac: str | None = field(default=None, compare=False)
    netns: str | None = None
    lower: int = field(default=0, compare=False)
    lower_netns: int | None = field(default=None, compare=False)
    under: int = field(default=0, compare=False)
    bridge_vlans: frozenset[int] | None = field(default=None, compare=False)
    bridge_pvid: int | None = field(default=None, compare=False)

    @property
    def elsewhere(self) -> bool:
        """Whether the parent is in another network namespace than ours."""
        return self.parent is None and self.lower != 0

    @property
    def key(self) -> str:
        """The unique key: names are unique in a namespace, and have no slash."""
        return f"{self.netns}/{self.name}" if self.netns else self.name

    @property
    def state(self) -> str:
        return "up" if self.up else "down"


Links = t.Mapping[str, Link]  # by their keys

# Why a kernel may have no IPv6, for messages: from here it looks the same.
WHY_NO_IPV6 = "ipv6.disable=1, or the module ipv6 is not loaded"
# Why it is not known which device a tap is.
WHY_NO_NUMBER = (
    "the device number of its tap is unknown: no sysfs of its network namespace could be mounted, and /sys is missing "
    "or belongs to another namespace"
)


def has_ipv6(links: Links) -> bool:
    """Whether the kernel has IPv6: without it no link has it, the loopback link neither."""
    return not any(
        link.loopback and link.addrgenmode is None and (link.mtu or 0) >= IPV6_MTU for link in links.values()
    )


ThingT = t.TypeVar("ThingT")


def with_values(thing: ThingT, **values: t.Any) -> ThingT:
    """As dataclasses.replace(), which takes ten times as long: it sets all fields, one by one."""
    changed = object.__new__(type(thing))
    vars(changed).update(vars(thing), **values)
    return changed


# Attributes whose desired value is the option's, whatever the rest is.
AS_DECLARED = tuple(row.field for row in ROWS.values() if not row.derived)


@dataclass(frozen=True)
class _Named:
    """The desired link's name, and its option path (``links[3]``, or "" for the module's own options)."""

    name: str
    path: str = ""
    state: str = "up"
    parent: str | None = None


@dataclass(frozen=True)
class DesiredLink(Attributes, _Named):
    """One desired link; None means "keep" (for a new link: the kernel's default, and DEFAULT_MODE).

    ``kind`` is macvtap or macvlan: in the kernel, macvtap is macvlan with a tap.
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
    """A process that holds a tap open; ``domain`` is the libvirt domain that it runs, if any."""

    pid: int
    command: str
    domain: str | None = None

    def __str__(self) -> str:
        domain = f", libvirt domain {self.domain}" if self.domain else ""
        return f"pid {self.pid} ({self.command}{domain})"


@dataclass(frozen=True)
class Holders:
    """The processes that hold a link's tap open; ``doubt`` is why there may be more, "" if the list is complete."""

    by: tuple[Holder, ...] = ()
    doubt: str = ""


@dataclass(frozen=True)
class Lost:
    """What the removal of a link removes and recreating it does not restore: addresses, routes, links on it."""

    addresses: tuple[str, ...] = ()
    on_it: tuple[Link, ...] = ()


def link_of(name: str | None, links: Links) -> Link | None:
    """Return the link of this name or alternative name."""
    return links.get(name or "") or next((link for link in links.values() if name in link.altnames), None)


_REPORTED = tuple((row.option, row.field, bool(row.elements)) for row in ROWS.values() if row.reported)
_UNREPORTED = tuple((row.option, row.field, bool(row.elements)) for row in ROWS.values() if not row.reported)


def fields(link: Link) -> dict[str, t.Any]:
    """Return the settings of a link, by option name, as JSON values."""
    tap = link.tap or Tap("")
    return {
        **_reported(link),
        **_shown(link, _UNREPORTED),
        "tap.owner": tap.owner,
        "tap.group": tap.group,
        "tap.mode": permissions(tap.mode),
    }


def _reported(link: Link) -> dict[str, t.Any]:
    return {"parent": link.parent, **_shown(link, _REPORTED), "state": link.state}


def _shown(link: Link, of: t.Iterable[tuple[str, str, bool]]) -> dict[str, t.Any]:
    """Return values as modules return them, by option, as JSON values; lists are sorted."""
    values = vars(link)
    return {
        option: sorted(values[field]) if is_list and values[field] is not None else values[field]
        for option, field, is_list in of
    }


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
    """Return the settings of a link that are not in its report, by option name."""
    found: dict[str, t.Any] = {}
    for option, value in _shown(link, _UNREPORTED).items():
        outer, _dot, last = option.rpartition(".")
        (found.setdefault(outer, {}) if outer else found)[last] = value
    return found


def permissions(mode: int | None) -> str | None:
    """Return permission bits as users write them: 0o660 gives ``0660``."""
    return None if mode is None else f"{mode:04o}"
