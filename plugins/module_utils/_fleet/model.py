# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A fleet to compare, and its conflicts. Plain values only."""

from __future__ import annotations

import functools
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DesiredShim as Shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Desired as DesiredNetwork
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network

# In the order of the table: kinds that affect a whole host come first.
KINDS = (
    *("kernel", "libvirt", "declaration", "disconnect", "parent", "mtu", "vepa", "network", "migration", "mac"),
    "address",
)


@dataclass(frozen=True)
class Place:
    """The place of a conflict: a ``nic`` (its MAC address) of a ``domain``, a ``link``, a ``network``, or the ``host``.

    ``seen`` is in which way it is there: declared, stored, live, saved, found, parent.
    """

    host: str
    domain: str | None = None
    nic: str | None = None
    link: str | None = None
    seen: str = ""
    network: str | None = None


# The remedy for an unexpected exception.
DEFECT = (
    "This is a defect of this collection. Exclude this host from preflight (macvtap_preflight: false) until it is fixed"
)


def defect(exc: Exception) -> str:
    return f"this host could not be compared: {type(exc).__name__}: {exc}"


class Problem(t.NamedTuple):
    """A declaration that is invalid or cannot be carried out."""

    place: Place
    message: str
    remedy: str = "Correct the variable"


@dataclass(frozen=True)
class Conflict:
    """Declarations or current states that are impossible, alone or together."""

    kind: str
    message: str
    remedy: str
    where: tuple[Place, ...]
    segment: str
    allowed: bool = False

    def as_dict(self) -> dict[str, t.Any]:
        return {**asdict(self), "where": [asdict(place) for place in self.where]}


@dataclass(frozen=True)
class DeclaredLink:
    """A macvtap link of the role macvtap_links, or a macvlan shim of macvtap_host_access."""

    name: str
    parent: str | None = None
    mode: str | None = None
    mac: str | None = None
    mtu: int | None = None
    absent: bool = False
    path: str = ""
    down: bool = False
    netns: str | None = None

    @property
    def key(self) -> str:
        """The key that identifies it, as for links."""
        return f"{self.netns}/{self.name}" if self.netns else self.name

    def place(self, host: str) -> Place:
        return Place(host, link=self.key, seen="declared")


@dataclass(frozen=True)
class Nic:
    """One NIC of a domain on one host: stored, live, and ``desired`` (None: not declared).

    ``identity`` is the domain's, the same on every host that can run it. ``mac`` is "" if it is not known yet.
    ``number`` distinguishes NICs of one domain with the same address. A NIC that is declared by alias, target or source
    instead of ``by_mac`` has its current address, or gets one. Mode auto depends on the switch.
    """

    domain: str
    identity: str
    mac: str
    number: int = 0
    stored: Iface | None = None
    live: Iface | None = None
    desired: t.Mapping[str, str | None] | None = None
    by_mac: bool = True

    @property
    def current(self) -> Iface | None:
        return self.stored or self.live

    # The next two are asked for again and again.
    @functools.cached_property
    def network(self) -> str | None:
        """The libvirt network that it will be on, None if it will be on something else."""
        desired, current = self.desired or {}, self.current
        if desired.get("network") or desired.get("source") or current is None:
            return desired.get("network")
        return current.origin if current.type == "network" else current.get("network")

    @property
    def portgroup(self) -> str | None:
        """The portgroup of its network that it will have, None for the network's default one."""
        if self.network is None:
            return None
        desired, current = self.desired or {}, self.current
        if desired.get("network") or "portgroup" in desired or current is None:
            return desired.get("portgroup")
        return current.get("portgroup")

    @functools.cached_property
    def type(self) -> str:
        return "direct" if self.desired is not None or self.current is None else self.current.type

    def final(self, name: str) -> str | None:
        """Return the final source, mode, alias or target: the declared value, or else the current one."""
        if name in {"source", "mode"} and self.network is not None:
            # The network has them.
            return None
        value = (self.desired or {}).get(name)
        if value is not None:
            return value
        current = self.current
        if current is not None and current.type == "direct":
            return current.get(name)
        return DEFAULT_MODE if name == "mode" else None

    def place(self, host: str) -> Place:
        seen = (("declared", self.desired is not None), ("stored", self.stored), ("live", self.live))
        return Place(host, self.domain, self.mac or None, seen=", ".join(word for word, is_so in seen if is_so))


@dataclass(frozen=True)
class DeclaredGuard:
    """What a guest may send, and where that is declared. It may be declared absent."""

    guard: Guard
    place: Place
    present: bool = True


@dataclass(frozen=True)
class FoundGuard:
    """A guard that a host has: its policy, and whether it is stored and has the rules of this collection."""

    mac: str
    policy: str
    other_macs: bool
    persistent: bool = True
    modified: bool = False


@dataclass(frozen=True)
class Host:
    """One host: its current state, if it was ``inspected``, and its declarations.

    ``segment`` applies to all links except those in ``segments``. ``version`` is libvirt's, None if libvirt was not
    queried. ``unfit`` (as a parent of macvtap links), ``unfit_vlan`` (of VLAN links), ``reflects`` and
    ``functions`` (virtual functions, not of all links) are by link name. ``links`` are the links after the VLAN
    links are created. ``networks`` are the libvirt networks after the role macvtap_networks, with the current names
    of their uplinks; ``networks_known`` is whether libvirt listed them. ``pools`` are the current uplinks of active
    networks in mode passthrough. With ``nics_follow``, mode auto also applies to existing NICs. With
    ``guests_keep``, running guests keep removed NICs. With ``skips_missing``, declared domains may be on other
    hosts. Macvlan shims are also in ``declared_links``. ``lost_by_vlans`` has what creating the VLAN links would
    take from the host, with hints. ``may_disconnect`` has the roles that may do that. ``reach`` is how the host is
    reached.
    """

    name: str
    segment: str
    segments: t.Mapping[str, str] = field(default_factory=dict)
    inspected: bool = False
    kernel: t.Mapping[str, t.Any] = field(default_factory=dict)
    kernel_required: bool = True
    uri: str = ""
    version: int | None = None
    links: Links = field(default_factory=dict)
    unfit: t.Mapping[str, str] = field(default_factory=dict)
    unfit_vlan: t.Mapping[str, str] = field(default_factory=dict)
    reflects: t.Mapping[str, bool | None] = field(default_factory=dict)
    functions: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    domains: t.Mapping[str, Domain] = field(default_factory=dict)
    nics_follow: bool = False
    guests_keep: bool = False
    skips_missing: bool = False
    declared_links: tuple[DeclaredLink, ...] = ()
    purged_links: frozenset[str] = frozenset()
    # Links that are created at the next boot, and that no purge removes: name and kind.
    written: tuple[tuple[str, str], ...] = ()
    vlans: tuple[DesiredVlan, ...] = ()
    shims: tuple[Shim, ...] = ()
    guards: tuple[DeclaredGuard, ...] = ()
    # The guards that it has, None if they could not be read.
    found_guards: tuple[FoundGuard, ...] | None = None
    networks: t.Mapping[str, Network] = field(default_factory=dict)
    networks_known: bool = False
    pools: frozenset[str] = frozenset()
    declared_networks: tuple[DesiredNetwork, ...] = ()
    nics: tuple[Nic, ...] = ()
    # NICs in managed saves, as if they were stored.
    saved: tuple[Nic, ...] = ()
    problems: tuple[Problem, ...] = ()
    reach: Reach = field(default_factory=Reach)
    lost_by_vlans: tuple[tuple[DesiredVlan, tuple[str, str]], ...] = ()
    may_disconnect: frozenset[str] = frozenset()
    # Allowed conflicts: a kind, or a kind and its subject. See allowed.py.
    allowed: tuple[str, ...] = ()
    # Excluded by --limit, and so not inspected. Its declarations count if they concern other hosts.
    outside: bool = False

    def unmanaged_links(self) -> t.Iterator[Link]:
        """Yield the macvlan and macvtap links that are neither declared, nor purged, nor a running guest's."""
        excluded = {link.key for link in self.declared_links} | self.purged_links
        # Links of running guests are their NICs, including NICs to be removed.
        guests = {iface.get("target") for domain in self.domains.values() for iface in domain.live}
        for link in self.links.values():
            if link.kind in MACVLAN_KINDS and link.name not in excluded and link.name not in guests:
                yield link

    def link_of(self, declared: DeclaredLink) -> Link | None:
        """Return the existing link of a declared one; None also if its namespace was not inspected."""
        return self.links.get(declared.key)

    def parent_of(self, declared: DeclaredLink) -> str | None:
        """Return the final parent of a declared link: the declared one, or else the current one.

        By its name, if there is such a link: it may be declared by an address.
        """
        existing = self.link_of(declared)
        asked = declared.parent or (existing.parent if existing is not None else None)
        found = parents.lookup(asked, self.links) if asked else None
        return found.name if found is not None else asked
