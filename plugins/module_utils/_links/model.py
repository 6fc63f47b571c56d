# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a link is: as the kernel tells it, and as a user declares it. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

MODES = ("vepa", "bridge", "private", "passthru")
STATES = ("up", "present", "down", "absent")

# include/uapi/linux/if_arp.h: the only hardware type that macvlan_newlink() leaves a usable link on.
ARPHRD_ETHER = 1

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

    @property
    def own(self) -> bool:
        """Whether the node at ``path`` is the tap of this link."""
        return self.node is not None and self.node == self.device


@dataclass(frozen=True)
class Link:
    """A network link of any kind.

    ``index`` 0 and None elsewhere mean "the kernel chooses" in a link that is still to be made.
    ``parent`` is the name of the lower link, None where there is none or it is in another network namespace.
    """

    name: str
    index: int = 0
    kind: str = ""
    parent: str | None = None
    parent_index: int = 0
    mode: str | None = None
    mac: str | None = None
    mtu: int | None = None
    up: bool = False
    group: int | None = None
    alias: str | None = None
    txqueuelen: int | None = None
    master: str | None = None
    hardware: int = ARPHRD_ETHER
    loopback: bool = False
    tap: Tap | None = None

    @property
    def state(self) -> str:
        return "up" if self.up else "down"


def report(link: Link) -> dict[str, t.Any]:
    """Return the link as modules return it."""
    tap = link.tap or Tap("")
    major, minor = tap.device or (None, None)
    return {
        "name": link.name,
        "ifindex": link.index or None,
        "parent": link.parent,
        "mode": link.mode,
        "mac": link.mac,
        "mtu": link.mtu,
        "state": link.state,
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


def permissions(mode: int | None) -> str | None:
    """Return permission bits as users write them: 0o660 gives ``0660``."""
    return None if mode is None else f"{mode:04o}"


Links = t.Mapping[str, Link]


@dataclass(frozen=True)
class Wanted:
    """One link as a user declared it; None means "leave it as it is" (a new link: the kernel's default).

    ``path`` is where the user wrote it (``links[3]``, or "" for the module's own options).
    """

    name: str
    path: str = ""
    state: str = "up"
    parent: str | None = None
    mode: str | None = None
    mac: str | None = None
    mtu: int | None = None
    tap_owner: str | None = None
    tap_group: str | None = None
    tap_mode: int | None = None


@dataclass(frozen=True)
class Holder:
    """A process that holds a tap open; ``domain`` is the libvirt domain that it runs, if it is one."""

    pid: int
    command: str
    domain: str | None = None

    def __str__(self) -> str:
        domain = f", libvirt domain {self.domain}" if self.domain else ""
        return f"pid {self.pid} ({self.command}{domain})"
