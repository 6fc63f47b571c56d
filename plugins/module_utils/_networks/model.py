# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Direct networks of libvirt as plain values: a name for the LAN, which gives each guest a macvtap link.

Pure: no libvirt, no XML. The adapters create these values, and the planners read them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links

# The states that a network can be declared in.
STATES = (ACTIVE, INACTIVE, ABSENT) = ("active", "inactive", "absent")
# The actions on a network, as a run's journal names them.
DEFINED, UNDEFINED, STARTED, STOPPED = "defined", "undefined", "started", "stopped"
RESTARTED, UPDATED, AUTOSTART = "restarted", "updated", "autostart"
# The modes of a direct network, as libvirt spells them.
DIRECT_MODES = ("bridge", "vepa", "private", "passthrough")


@dataclass(frozen=True)
class Portgroup:
    """A group of settings that NICs of a network can choose. NICs that choose none have those of the ``default`` one.

    ``values`` are its fields, as libvirt spells them. ``xml`` is the text of its element, "" for a new one.
    """

    name: str
    default: bool = False
    values: t.Mapping[str, str] = field(default_factory=dict)
    xml: str = field(default="", repr=False, compare=False)


@dataclass(frozen=True)
class Definition:
    """What one XML says of a network. ``mode`` is "" if it is not a direct network; the rest is empty then.

    ``interfaces`` are its uplinks by name, ``pf`` is the physical function whose virtual functions are its uplinks.
    ``values`` are the fields of the network itself (``virtualport.type``), as libvirt spells them. ``forward`` is what
    it is instead of a direct network, such as "nat" or "isolated". ``connections`` is how many guests libvirt counts on
    each uplink, without those that have none; None if that is not known.
    """

    mode: str = ""
    interfaces: tuple[str, ...] = ()
    pf: str | None = None
    values: t.Mapping[str, str] = field(default_factory=dict)
    portgroups: tuple[Portgroup, ...] = ()
    forward: str = field(default="", compare=False)
    connections: t.Mapping[str, int] | None = field(default=None, compare=False)

    def portgroup(self, name: str | None) -> Portgroup | None:
        """Return the portgroup of a NIC that chooses ``name``, None if there is none; without a name the default."""
        chosen = (one for one in self.portgroups if (one.name == name if name else one.default))
        return next(chosen, None)


@dataclass(frozen=True)
class Network(Definition):
    """One network. Its fields are those of the stored configuration, or of the active network if it is transient.

    ``live`` is what the active network has, None if it is not active. ``xml`` is the stored configuration, "" for a
    transient network. ``live_xml`` is the XML of the active one, "" if it is not active. ``defined`` is the XML that
    libvirt returned right after this run stored it, "" if this run stored nothing.
    """

    name: str = ""
    uuid: str = ""
    active: bool = False
    persistent: bool = True
    autostart: bool = False
    live: Definition | None = None
    xml: str = field(default="", repr=False, compare=False)
    live_xml: str = field(default="", repr=False, compare=False)
    defined: str = field(default="", repr=False, compare=False)

    @property
    def direct(self) -> bool:
        """Whether it is a direct network, stored and live."""
        return bool(self.mode) and (self.live is None or bool(self.live.mode))


@dataclass(frozen=True)
class Port:
    """A running guest's connection to a network, which libvirt keeps a record of.

    ``portgroup`` is the name of its portgroup, None if it has none. ``uplink`` is the link that its macvtap link is on,
    in the mode ``mode``. ``domain`` and ``uuid`` are of the domain that owns it. ``values`` are its settings, which it
    got when it was made, as the fields of a portgroup.
    """

    network: str
    portgroup: str | None = None
    uplink: str = ""
    domain: str = ""
    uuid: str = ""
    mac: str = ""
    mode: str = ""
    id: str = ""
    values: t.Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class DesiredPortgroup:
    """One portgroup as the user declares it. ``default`` is None if it stays as it is; see Desired for ``given``."""

    path: str
    name: str
    present: bool = True
    default: bool | None = None
    given: t.Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Desired:
    """One direct network as the user declares it. What is None stays as it is.

    ``interfaces`` are uplinks by name, alternative name, MAC address or PCI address; once ``named`` they are names.
    ``given`` has the declared fields, as libvirt spells their values. None removes a field, and a field that is missing
    stays as it is.
    """

    path: str
    name: str
    state: str = ACTIVE
    mode: str | None = None
    interfaces: tuple[str, ...] | None = None
    pf: str | None = None
    given: t.Mapping[str, str | None] = field(default_factory=dict)
    portgroups: tuple[DesiredPortgroup, ...] = ()
    autostart: bool | None = None


@dataclass(frozen=True)
class User:
    """A NIC on a network: in a domain's stored configuration, in its running guest, or in its managed save.

    ``portgroup`` is the one that it chooses, None for the default one; ``chosen`` has all, by "stored", "live" and
    "saved", where they may differ. ``uplink`` and ``mode`` are those of a running guest, which it got when it
    started, as are ``values``. ``own`` are the fields that the NIC sets itself, or of which it is not known what the
    guest has.
    """

    network: str
    domain: str
    mac: str
    stored: bool = False
    live: bool = False
    saved: bool = False
    portgroup: str | None = None
    uplink: str = ""
    mode: str = ""
    values: t.Mapping[str, str] = field(default_factory=dict)
    own: frozenset[str] = frozenset()
    chosen: t.Mapping[str, str | None] = field(default_factory=dict, compare=False)

    @property
    def live_portgroup(self) -> str | None:
        """The portgroup that the running guest has chosen, None for the default one."""
        return self.chosen.get("live", self.portgroup)

    def portgroups(self, default: str | None) -> frozenset[str]:
        """Return all portgroups that it uses now, or would at a start; ``default`` is the default one."""
        names = frozenset(self.chosen.values()) or {self.portgroup}
        return frozenset(name for name in ((one or default) for one in names) if name is not None)

    @property
    def label(self) -> str:
        how = [word for word, there in (("running", self.live), ("saved", self.saved)) if there] or ["not running"]
        return f"{self.domain} ({self.mac}, {how[0]})"


@dataclass(frozen=True)
class Host:
    """The networks of a host by name, and what else the plan depends on.

    ``users`` has the NICs on each network by its name. ``unreadable`` are domains that this user may not read, so that
    they may be on any network. ``links`` are the host's links, None where they are not known; ``links_unknown`` is the
    reason. ``non_vfs`` are the links that are known not to be SR-IOV virtual functions. ``functions`` are the virtual
    functions of links, by name or, if they have no link here, by PCI address; () if there are none. ``overwritten`` are
    the UUIDs of networks that another editor stored at the same moment.
    """

    uri: str
    networks: t.Mapping[str, Network]
    users: t.Mapping[str, tuple[User, ...]] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()
    links: Links | None = None
    links_unknown: str = ""
    non_vfs: frozenset[str] = frozenset()
    functions: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    overwritten: frozenset[str] = frozenset()

    def by_uuid(self, uuid: str) -> Network | None:
        return next((network for network in self.networks.values() if network.uuid == uuid), None)

    def users_of(self, name: str) -> tuple[User, ...]:
        return self.users.get(name, ())
