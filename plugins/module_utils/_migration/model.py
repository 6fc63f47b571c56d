# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest and the two hosts of its migration as plain values. Pure: no libvirt, no XML."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import INCOMING
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import Segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network

# How the guest's memory reaches the destination. Only TCP is not encrypted.
TRANSPORTS = (TUNNEL, TLS, TCP) = ("tunnel", "tls", "tcp")
STORAGE = (SHARED, COPY, INCREMENTAL) = ("shared", "copy", "incremental")
ON_TIMEOUT = (ABORT, SUSPEND, POST_COPY) = ("abort", "suspend", "post_copy")
# The actions of a run, as its journal names them.
MOVED, UNDEFINED, ENDED = "moved", "undefined", "ended"


@dataclass(frozen=True)
class NicThere:
    """What one NIC is connected to on the destination, as the user declares it.

    ``given`` has some of ``source``, ``mode``, ``network`` and ``portgroup``, as libvirt spells their values.
    """

    path: str
    mac: str
    given: t.Mapping[str, str]


@dataclass(frozen=True)
class Along:
    """What a host keeps for a NIC, and libvirt does not take along.

    ``allmulticast`` is whether its link receives all multicast. ``guard`` has the options of its guard, None without.
    """

    mac: str
    allmulticast: bool = False
    guard: t.Mapping[str, t.Any] | None = None

    @property
    def exists(self) -> bool:
        return self.allmulticast or self.guard is not None


@dataclass(frozen=True)
class Desired:
    """A migration as the user declares it.

    ``uplinks`` has the names of uplinks on the destination by their names here, for NICs that are not in ``nics``.
    ``persistent`` is whether the destination stores the domain, None for as here. ``bandwidth`` is in MiB/s and
    ``downtime`` in ms, None for libvirt's own; ``timeout`` is in seconds, 0 for none. ``prepared`` is whether the
    destination has what goes with the NICs: see Along. ``destination_host`` is what macvtap_host_info returns of it.
    """

    domain: str
    nics: tuple[NicThere, ...] = ()
    uplinks: t.Mapping[str, str] = field(default_factory=dict)
    live: bool = True
    persistent: bool | None = None
    transport: str = TUNNEL
    storage: str = SHARED
    bandwidth: int | None = None
    downtime: int | None = None
    timeout: int = 0
    on_timeout: str = ABORT
    prepared: bool = False
    # Whether running NICs get on the destination what is stored for them here, and not what they run with.
    apply_stored: bool = False
    # What of it the destination has been given; None if that is not known.
    rules: tuple[t.Mapping[str, t.Any], ...] | None = field(default=None, repr=False)
    destination_host: t.Mapping[str, t.Any] | None = field(default=None, repr=False)
    # The variable macvtap_segment of this host and of the destination, as read; None if neither has it.
    segments: tuple[Segments, Segments] | None = None


@dataclass(frozen=True)
class Side:
    """One of the two hosts: the guest on it, and what else the plan depends on.

    ``uri`` is how this run reaches it, ``name`` its host name and ``uuid`` what tells it from others. ``domain``
    is the guest's, None if the host has none of its name. ``namesake`` is the name under which the host has a domain of
    the guest's UUID. ``known`` are the names of all domains. ``macs`` has the MAC addresses of the other ones with
    their names, None where they do not matter, and ``targets`` the link names that those store. ``free`` are the bytes
    of memory that are not in use, None if unknown. ``version`` is libvirt's and ``emulator`` QEMU's.
    """

    uri: str
    name: str
    uuid: str = ""
    version: int = 0
    emulator: int = 0
    domain: Domain | None = None
    namesake: str = ""
    known: tuple[str, ...] = ()
    macs: t.Mapping[str, tuple[str, ...]] | None = None
    targets: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    networks: t.Mapping[str, Network] | None = None
    free: int | None = None

    @property
    def stands_by(self) -> bool:
        """Whether its guest is paused for a migration: one that brings it here, or one that broke off."""
        return self.domain is not None and self.domain.job == INCOMING


@dataclass(frozen=True)
class Both:
    """The two hosts. ``live`` and ``stored`` are the guest's NICs, as they are to be changed for the destination.

    Each has the text of its element in what libvirt sends. ``modes`` are the modes of the guest's links that libvirt
    does not know, by MAC address. ``blockers`` are the reasons why the guest cannot move at all, and ``unfit`` why it
    cannot move there. ``memory`` is the guest's, in bytes, and ``used`` what of it is in use, None if unknown.
    ``mtus`` are those of its links here, by MAC address; none of links out of reach. ``disks`` are the files of its
    disks, and ``local_disks`` those that no other host sees, with the type of their file system.
    """

    source: Side
    destination: Side
    live: tuple[Iface, ...] = ()
    stored: tuple[Iface, ...] = ()
    modes: t.Mapping[str, str] = field(default_factory=dict)
    blockers: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    memory: int | None = None
    used: int | None = None
    mtus: t.Mapping[str, int] = field(default_factory=dict)
    # The links of this host, {} where they are not known.
    links: Links = field(default_factory=dict)
    # Whether one of them could not be asked again: all is as it was before.
    is_outdated: bool = False
    disks: tuple[str, ...] = ()
    local_disks: t.Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Guest:
    """Where a guest is, and with which NICs: what one step of a plan changes.

    ``live`` and ``stored`` are edits of its XML, each as (before, after). ``action`` is what brings it there.
    ``was_stored_there`` is whether the destination had the domain before.
    """

    domain: str
    uuid: str
    host: str
    instance: str = ""
    action: str = MOVED
    running: bool = False
    live: tuple[tuple[Iface, Iface], ...] = field(default=(), repr=False)
    stored: tuple[tuple[Iface, Iface], ...] = field(default=(), repr=False)
    was_stored_there: bool = False
