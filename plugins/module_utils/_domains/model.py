# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt domains and their network interfaces as plain values.

Pure: no libvirt, no XML. The adapters create these values, and the planners read them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder, Link, Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network, Port

# The options that can select an interface, the first that is set first.
SELECTORS = ("mac", "alias", "target", "source", "network")
# Faults of a running guest's link, among the values of its interface: it is set down, or has another MAC address.
# Either takes the guest off the network. GUEST_MAC is no fault: a trusted guest has set that address, or may have.
LINK_FAULTS = (LINK_DOWN, LINK_MAC) = ("link.state", "link.mac")
GUEST_MAC = "link.guests_mac"
# The link is gone, as with its uplink. Only a new start, or a replug or pause for another reason, brings one.
LINK_GONE = "link"
# The actions on a NIC, as a run's journal names them.
STORED, RULE, UPDATED, LINK, DETACHED, ATTACHED = "stored", "rule", "updated", "link", "detached", "attached"
PAUSED = "paused"
# The states of a NIC that a guest was asked to release: still held, saved with the guest, or released.
HELD, SAVED, RELEASED, UNGUARDED = "held", "saved", "released", "unguarded"


@dataclass(frozen=True)
class Desired:
    """One direct interface as the user declares it. ``by`` is one of SELECTORS, and ``key`` its value.

    ``given`` has the declared fields, as libvirt spells their values. None removes a field, and a field that is missing
    stays as it is. ``mac`` is None where another selector is used. ``mac_prefix`` is the prefix of a generated address.
    ``looked_up`` is whether the source was declared in a way that libvirt does not know, and ``given`` has the link's
    name (sources.py). ``nic`` is the NIC itself, where it is known already and shares its address with another.
    ``defaults`` are the fields in ``given`` that the entry itself does not set. See multicast.with_default().
    """

    path: str
    domain: str
    by: str = "mac"
    key: str = ""
    mac: str | None = None
    present: bool = True
    given: t.Mapping[str, str | None] = field(default_factory=dict)
    convert: bool = False
    mac_prefix: str = "52:54:00"
    looked_up: bool = False
    nic: Nic | None = field(default=None, repr=False, compare=False)
    defaults: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Iface:
    """One ``<interface>`` element; ``values`` are its fields, as libvirt spells them.

    ``type`` is libvirt's, but for one on a direct network: libvirt shows it as network when it is stored and as direct
    when it runs, and here it is direct in both. The running one has the uplink and mode that its network gave it, and
    the stored one has neither: see networks.py.

    ``xml`` is the text of the element that the other fields were read from, "" for a new element. A planner changes the
    fields and never ``xml``: to render the element, only what differs is changed in this text. ``origin`` is what an
    interface of another type is connected to. ``stale_mode`` is the mode in libvirt's live XML, where the kernel has
    another one. ``port`` is the id of a running interface's port on its network, which has what it got when it started.
    ``trust_unknown`` is whether it is not known if its network has made libvirt trust the guest: its port is gone, as
    after a restart of the network.
    """

    mac: str
    type: str = "direct"
    values: t.Mapping[str, str] = field(default_factory=dict)
    origin: str | None = None
    xml: str = field(default="", repr=False)
    index: int | None = field(default=None, repr=False, compare=False)
    stale_mode: str | None = field(default=None, compare=False)
    port: str = field(default="", repr=False, compare=False)
    trust_unknown: bool = field(default=False, compare=False)

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    @property
    def may_be_trusted(self) -> bool:
        """Whether a running guest may have set the address and the filters of its link; unknown is yes."""
        return self.trust_unknown or self.get("trust_guest_rx_filters") == "yes"


@dataclass(frozen=True)
class Domain:
    """One domain: ``document`` and ``stored`` are its inactive configuration, ``live`` is its running guest.

    ``instance`` identifies one start of the guest, "" where it does not run. ``defined`` are the interfaces that this
    run has stored, as libvirt returns them; None where it has stored none. ``overwritten`` is whether another editor
    stored the domain at the same moment. ``paused`` is whether the guest is paused: libvirt then sets its links down.
    ``pending`` are the MAC addresses of NICs that any run has asked the guest to release and that it still holds.
    ``state`` and ``job`` are constants of jobs.py, "" for none. ``saved`` are the interfaces of its managed save, which
    its next start restores; None where it has none. ``is_restored_later`` is whether a run has saved it, and the keeper
    restores it.
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
    is_restored_later: bool = False


@dataclass(frozen=True)
class Host:
    """The requested domains, by name, and what else the plan depends on.

    ``known`` lists all domains of the host, if a requested one does not exist. ``version`` is libvirt's. ``links`` are
    the host's links, None where they are not known; ``links_unknown`` is the reason. ``holders`` are the processes that
    hold the taps of running guests open, by link. ``all_holders`` is whether every process could be inspected. ``macs``
    has the MAC addresses of the host's other domains with the domains' names, None until they are needed. ``targets``
    has the link names that those domains store. ``managed_rules`` are the MAC addresses with a udev rule that sets
    allmulticast, None where rules are not supported; ``rules_unsupported`` is the reason. ``modified_rules`` are the
    addresses whose rule was edited by hand. ``non_vfs`` are the links that are known not to be SR-IOV virtual
    functions. ``stored_by_source`` has the interfaces that the host's other domains store and that do not run, by
    source, as (domain, MAC address, mode); it is known where ``macs`` are. ``unreadable`` are domains that this user
    may not read: their addresses are not in ``macs``. ``networks`` are the host's libvirt networks by name, None where
    they are not known, or nothing depends on them. ``ports`` are the ports of running interfaces on these, by id.
    """

    uri: str
    domains: t.Mapping[str, Domain]
    known: tuple[str, ...] = ()
    version: int = 0
    links: Links | None = None
    links_unknown: str = ""
    holders: t.Mapping[str, tuple[Holder, ...]] = field(default_factory=dict)
    all_holders: bool = False
    macs: t.Mapping[str, tuple[str, ...]] | None = None
    targets: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    stored_by_source: t.Mapping[str, tuple[tuple[str, str, str | None], ...]] = field(default_factory=dict)
    managed_rules: frozenset[str] | None = None
    rules_unsupported: str = ""
    modified_rules: frozenset[str] = frozenset()
    non_vfs: frozenset[str] = frozenset()
    unreadable: tuple[str, ...] = ()
    networks: t.Mapping[str, Network] | None = None
    ports: t.Mapping[str, Port] = field(default_factory=dict)

    @property
    def rules(self) -> frozenset[str]:
        """The MAC addresses with a udev rule, modified ones included."""
        return (self.managed_rules or frozenset()) | self.modified_rules


@dataclass(frozen=True)
class PauseFacts:
    """What decides whether, and for how long, a running guest can be paused to change its NICs.

    ``blockers`` are the reasons why it cannot be saved. ``memory`` is how much of its memory is in use, and ``total``
    all that it has. ``free`` is the space in the file system of libvirt's managed saves. All are in bytes, None if
    unknown. ``write_rate`` and ``read_rate`` are that file system's, in bytes per second. ``load`` is how many
    processes share a processor, one of ours included. ``unknown`` is why something of it is not known, "" if all is.
    """

    blockers: tuple[str, ...] = ()
    memory: int | None = None
    total: int | None = None
    free: int | None = None
    write_rate: float | None = None
    read_rate: float | None = None
    load: float = 1.0
    unknown: str = ""


class Paused(t.NamedTuple):
    """What a pause was for a guest: how many ``seconds`` it stood still, and whether its agent has set its clock."""

    seconds: float
    is_clock_set: bool


# A host of which nothing is known.
NO_HOST = Host("", {})


def link_of_iface(iface: Iface, links: Links) -> Link | None:
    """Return the macvtap link of a running guest's interface, None where the link of that name is not its own.

    The link may have been renamed, and another link may have its name now. Or libvirt runs in another network
    namespace. A link in mode passthru has the address of its parent.
    """
    link = links.get(iface.get("target") or "")
    if iface.type != "direct" or link is None or link.kind != "macvtap" or link.mode is None:
        return None
    same = link.mac in {iface.mac, iface.get(LINK_MAC), iface.get(GUEST_MAC)} or (
        link.mode == "passthru" and iface.get("mode") == "passthrough"
    )
    return link if same else None


def has_lost_link(iface: Iface, links: Links) -> bool:
    """Whether the link of a running guest's interface is gone; False if that is not known.

    If the uplink is not among ``links`` either, libvirt may run in another network namespace. A link that was renamed
    still has the interface's address.
    """
    name, source = iface.get("target"), iface.get("source")
    if iface.type != "direct" or not name or name in links or link_of(source, links) is None:
        return False
    return not any(link.kind == "macvtap" and link.mac == iface.mac for link in links.values())


@dataclass(frozen=True)
class Nic:
    """One NIC of a domain: ``stored`` and ``live``, each None where it does not exist.

    ``document``, ``uuid`` and ``instance`` are the domain's when this NIC was observed; "" where it is planned.
    ``has_orphan_rule`` is whether its address has a udev rule that ``stored`` does not show: the NIC is not stored, or
    the rule was modified. ``shared`` is whether another NIC of the domain has the same MAC address.
    """

    domain: str
    mac: str
    stored: Iface | None = None
    live: Iface | None = None
    document: str = field(default="", repr=False, compare=False)
    has_orphan_rule: bool = False
    uuid: str = field(default="", compare=False)
    instance: str = field(default="", compare=False)
    shared: bool = field(default=False, repr=False, compare=False)


def target(nic: Nic) -> str:
    return f"{nic.domain} {nic.mac}"
