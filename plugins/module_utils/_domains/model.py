# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt domains and their network interfaces as plain values.

Pure: no libvirt, no XML. An adapter fills these in, a planner reads them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Links

# What an interface can be found by.
SELECTORS = ("mac", "alias", "target", "source")
# What a running guest's link has otherwise than it must have for the guest to be on the network, among the values of
# its interface: it is set down, or has another address. And the address that a trusted guest has given it.
ASTRAY = (LINK_DOWN, LINK_MAC) = ("link.state", "link.mac")
GUESTS_MAC = "link.guests_mac"
# What the journal of a run calls the things that it does to a NIC.
STORED, RULE, UPDATED, LINK, DETACHED, ATTACHED = "stored", "rule", "updated", "link", "detached", "attached"
# How far a NIC is that a guest was asked to release: the guest has it still, was saved with it, or has released it.
HELD, SAVED, RELEASED = "held", "saved", "released"


class StaleError(MacvtapError):
    """Somebody else has changed what this run had read: it is to be read again."""


@dataclass(frozen=True)
class Desired:
    """One direct interface as declared, found ``by`` one of SELECTORS having the value ``key``.

    ``given`` has the fields that were declared, in libvirt's words; None takes one away, and what is not in it stays
    as it is. ``mac`` is None where the interface is found by something else. ``prefix`` is what an address that is
    made up begins with. ``meant`` is
    the very NIC where it is known already and its address is not its alone.
    """

    path: str
    domain: str
    by: str = "mac"
    key: str = ""
    mac: str | None = None
    present: bool = True
    given: t.Mapping[str, str | None] = field(default_factory=dict)
    convert: bool = False
    prefix: str = "52:54:00"
    meant: Nic | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Iface:
    """One ``<interface>`` element, of any type; ``values`` are its fields in libvirt's words.

    ``xml`` is the element's text that the other fields were read from. A planner changes the fields and leaves
    ``xml`` as it is: writing the element means changing in this text only what differs. "" is an element that does
    not exist yet. ``origin`` says what an interface of another type is connected to. ``stale_mode`` is the mode in
    libvirt's live XML where the kernel has another one.
    """

    mac: str
    type: str = "direct"
    values: t.Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    xml: str = field(default="", repr=False)
    index: int | None = field(default=None, repr=False, compare=False)
    stale_mode: str | None = field(default=None, compare=False)

    def get(self, name: str) -> str | None:
        return self.values.get(name)


@dataclass(frozen=True)
class Domain:
    """One domain: ``document`` and ``stored`` are its inactive configuration, ``live`` what a running guest has.

    ``instance`` names this very run of the guest: another start, and it is another one; "" where it does not run.
    ``defined`` is what libvirt has made of the interfaces that this run has stored, None where it has stored nothing;
    ``overwritten`` is whether another editor has stored it at the same moment.
    ``paused`` is whether it runs and its processors do not: libvirt then sets its links down.
    ``pending`` are the addresses of NICs that the running guest was asked to release and still holds, by whichever run.
    ``state`` and ``job`` are words of states.py, "" for what is ordinary. ``saved`` are the interfaces of its managed
    save, with which its next start goes on; None where it has none.
    """

    name: str
    uuid: str = ""
    running: bool = False
    persistent: bool = True
    document: str = field(default="", repr=False)
    stored: tuple[Iface, ...] = ()
    live: tuple[Iface, ...] = ()
    instance: str = ""
    defined: tuple[Iface, ...] | None = field(default=None, repr=False)
    overwritten: bool = False
    pending: frozenset[str] = frozenset()
    state: str = ""
    job: str = ""
    saved: tuple[Iface, ...] | None = None
    paused: bool = False


@dataclass(frozen=True)
class Host:
    """The domains that were asked for, by name, and what else decides.

    ``known`` lists all of the host's domains when some of those do not exist. ``links`` are the host's, None where
    libvirt's host is another one than ours, and ``holders`` who holds the taps of running guests open, by link;
    ``all_holders`` is whether every process could be looked into. ``version`` is libvirt's. ``macs`` has the addresses
    of the host's other domains with their names, None as long as nobody needed them, and ``targets`` likewise the names
    that those have stored for their links. ``kept`` are the addresses whose links get all multicast when they appear,
    None where that cannot be written down on this host, and ``unkept`` says why; ``edited`` are those whose rule
    somebody has changed. ``no_functions`` are the sources that are known to be no virtual functions of a card (SR-IOV).
    ``placed`` has, by the source, the interfaces that the host's other domains have stored and that do not run, as
    domain, address and mode: known where ``macs`` are.
    ``unread`` are domains that this user may not read, so that their addresses are not among ``macs``.
    """

    uri: str
    domains: t.Mapping[str, Domain]
    known: tuple[str, ...] = ()
    version: int = 0
    links: Links | None = None
    holders: t.Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
    all_holders: bool = False
    macs: t.Mapping[str, tuple[str, ...]] | None = None
    targets: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    placed: t.Mapping[str, tuple[tuple[str, str, str | None], ...]] = field(default_factory=dict)
    kept: frozenset[str] | None = None
    unkept: str = ""
    edited: frozenset[str] = frozenset()
    no_functions: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()

    @property
    def rules(self) -> frozenset[str]:
        """The addresses for whose links there is a rule, whatever it says."""
        return (self.kept or frozenset()) | self.edited


def own_link(iface: Iface, links: Links) -> Link | None:
    """Return the macvtap link of a running guest's interface, None where that of its name is another one's.

    It may have been renamed, and another link have got its name; or libvirt be in another network namespace. One in
    mode passthru has its parent's address.
    """
    link = links.get(iface.get("target") or "")
    if iface.type != "direct" or link is None or link.kind != "macvtap" or link.mode is None:
        return None
    same = link.mac in {iface.mac, iface.get(LINK_MAC), iface.get(GUESTS_MAC)} or (
        link.mode == "passthru" and iface.get("mode") == "passthrough"
    )
    return link if same else None


@dataclass(frozen=True)
class Nic:
    """One NIC of a domain: as it is stored and as the running guest has it, None where it is not there.

    ``document`` is the domain's whole stored configuration where this NIC was observed, "" where planned; ``uuid`` and
    ``instance`` are the domain's then. ``left`` is whether there is a rule for its address of which ``stored`` does not
    tell: that of a NIC that is not stored, or one that somebody has changed. ``shared`` is
    whether another NIC of the domain has the same address.
    """

    domain: str
    mac: str
    stored: Iface | None = None
    live: Iface | None = None
    document: str = field(default="", repr=False, compare=False)
    left: bool = False
    uuid: str = field(default="", compare=False)
    instance: str = field(default="", compare=False)
    shared: bool = field(default=False, repr=False, compare=False)
