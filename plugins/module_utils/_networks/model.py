# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Direct networks of libvirt as plain values: a name for the LAN, which gives each guest a macvtap link.

Pure: no libvirt, no XML. The adapters create these values, and the planners read them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

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
    it is instead of a direct network, such as "nat" or "isolated".
    """

    mode: str = ""
    interfaces: tuple[str, ...] = ()
    pf: str | None = None
    values: t.Mapping[str, str] = field(default_factory=dict)
    portgroups: tuple[Portgroup, ...] = ()
    forward: str = field(default="", compare=False)

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
