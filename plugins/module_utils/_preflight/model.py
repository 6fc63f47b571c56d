# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A fleet as it is to be compared, and what is wrong with it. Plain values only."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as Companion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan

# In the order of a table: what keeps a host out altogether comes first.
KINDS = ("kernel", "libvirt", "declaration", "disconnect", "parent", "mtu", "vepa", "migration", "mac", "address")


@dataclass(frozen=True)
class Place:
    """Where a conflict is: at a ``nic`` (its MAC address) of a ``domain``, at a ``link``, or at the ``host`` itself.

    ``seen`` says as what it is there: declared, stored, live, found, parent.
    """

    host: str
    domain: str | None = None
    nic: str | None = None
    link: str | None = None
    seen: str = ""


# What to do about what nobody has thought of.
DEFECT = (
    "It is a defect of this collection. Leave this host out of preflight (macvtap_preflight: false) until it is mended"
)


def defect(exc: Exception) -> str:
    return f"this host could not be compared: {type(exc).__name__}: {exc}"


class Problem(t.NamedTuple):
    """A declaration that cannot be read, or carried out."""

    place: Place
    message: str
    remedy: str = "Correct the variable"


@dataclass(frozen=True)
class Conflict:
    """Things that cannot be as they are declared or found, at all or together."""

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
    """A macvtap link that the role macvtap_links is to make, or a companion of macvtap_host_access."""

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
        """What it is told apart by, as links are."""
        return f"{self.netns}/{self.name}" if self.netns else self.name

    def place(self, host: str) -> Place:
        return Place(host, link=self.key, seen="declared")


@dataclass(frozen=True)
class Nic:
    """One NIC of a domain on one host: as stored and live there, and what is declared of it (None: nothing).

    ``identity`` is the domain's, the same on every host on which it can live. ``mac`` is "" where it is not known yet;
    ``number`` tells NICs of one domain with the same address apart. One that is declared not ``by_mac`` but by its
    alias, target or source has the address that was found, or gets one. The mode auto is one that the switch decides.
    """

    domain: str
    identity: str
    mac: str
    number: int = 0
    stored: Iface | None = None
    live: Iface | None = None
    given: t.Mapping[str, str | None] | None = None
    by_mac: bool = True

    @property
    def found(self) -> Iface | None:
        return self.stored or self.live

    @property
    def type(self) -> str:
        return "direct" if self.given is not None or self.found is None else self.found.type

    def final(self, name: str) -> str | None:
        """Return the source, mode, alias or target that it is to have: the declared one, else that which it has."""
        said = (self.given or {}).get(name)
        if said is not None:
            return said
        found = self.found
        return found.get(name) if found is not None and found.type == "direct" else None

    def place(self, host: str) -> Place:
        seen = (("declared", self.given is not None), ("stored", self.stored), ("live", self.live))
        return Place(host, self.domain, self.mac or None, seen=", ".join(word for word, is_so in seen if is_so))


@dataclass(frozen=True)
class Host:
    """One host: what was ``found`` on it, if anything was, and what is declared of it.

    ``segment`` is that of all its links but those in ``segments``. ``version`` is libvirt's, None where it was not
    asked. ``unfit`` (as a parent of macvtap links), ``unfit_vlan`` (of VLAN links) and ``reflects`` are what was found
    of links, by their names; the links are those that there are once the VLAN links are made. With ``nics_follow``,
    mode auto is about existing NICs as well; with ``guests_keep``, running guests keep NICs that are to go. Companions
    are among the declared links too. ``lost_by_vlans`` is what making the VLAN links would take from the host, and
    what to do about it; ``may_disconnect`` has the roles that may do that. What the host is reached by is in ``reach``.
    """

    name: str
    segment: str
    segments: t.Mapping[str, str] = field(default_factory=dict)
    found: bool = False
    kernel: t.Mapping[str, t.Any] = field(default_factory=dict)
    kernel_required: bool = True
    uri: str = ""
    version: int | None = None
    links: Links = field(default_factory=dict)
    unfit: t.Mapping[str, str] = field(default_factory=dict)
    unfit_vlan: t.Mapping[str, str] = field(default_factory=dict)
    reflects: t.Mapping[str, bool | None] = field(default_factory=dict)
    domains: t.Mapping[str, Domain] = field(default_factory=dict)
    nics_follow: bool = False
    guests_keep: bool = False
    declared_links: tuple[DeclaredLink, ...] = ()
    purged_links: frozenset[str] = frozenset()
    vlans: tuple[WantedVlan, ...] = ()
    companions: tuple[Companion, ...] = ()
    nics: tuple[Nic, ...] = ()
    # With which domains come back from their managed saves, as if they were stored.
    saved: tuple[Nic, ...] = ()
    problems: tuple[Problem, ...] = ()
    reach: Reach = field(default_factory=Reach)
    lost_by_vlans: tuple[tuple[WantedVlan, tuple[str, str]], ...] = ()
    may_disconnect: frozenset[str] = frozenset()
    # Kinds of conflicts, each with what it is about where not every one of the kind is allowed: see allowed.py.
    allowed: tuple[str, ...] = ()
    # Not looked at, since --limit leaves it out: what is declared there counts where it concerns others.
    outside: bool = False

    def beside(self) -> t.Iterator[Link]:
        """Yield the macvlan and macvtap links that stay as they are, and are no running guest's."""
        but = {link.key for link in self.declared_links} | self.purged_links
        # Those of running guests are their NICs, also of those that are to go.
        guests = {iface.get("target") for domain in self.domains.values() for iface in domain.live}
        for link in self.links.values():
            if link.kind in MACVLAN_KINDS and link.name not in but and link.name not in guests:
                yield link

    def link_of(self, wanted: DeclaredLink) -> Link | None:
        """Return the link that a declared one is already; None also where nobody looked into its namespace."""
        return self.links.get(wanted.key)

    def parent_of(self, wanted: DeclaredLink) -> str | None:
        """Return the parent that a declared link is to have: the declared one, else that which it has."""
        existing = self.link_of(wanted)
        return wanted.parent or (existing.parent if existing is not None else None)
