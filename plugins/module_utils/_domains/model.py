# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt domains and their network interfaces as plain values.

Pure: no libvirt, no lxml. An adapter fills these in, a planner reads them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

# What a user can set on a direct interface, in libvirt's order within the element.
FIELDS = ("source", "mode", "model")


@dataclass(frozen=True)
class Desired:
    """One direct interface as declared. None leaves a field as it is."""

    path: str
    domain: str
    mac: str
    present: bool = True
    source: str | None = None
    mode: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Iface:
    """One ``<interface>`` element, of any type.

    ``xml`` is the element's text that the other fields were read from. A planner changes the fields
    and leaves ``xml`` as it is: writing the element means changing in this text only what differs. ""
    is an element that does not exist yet.
    """

    mac: str
    type: str = "direct"
    source: str | None = None
    mode: str | None = None
    model: str | None = None
    target: str | None = None
    alias: str | None = None
    xml: str = field(default="", repr=False)
    index: int | None = field(default=None, repr=False, compare=False)

    def given(self) -> dict[str, str | None]:
        return {name: getattr(self, name) for name in FIELDS}


@dataclass(frozen=True)
class Domain:
    """One domain: ``document`` and ``stored`` are its inactive configuration, ``live`` what a running guest has."""

    name: str
    running: bool = False
    persistent: bool = True
    document: str = field(default="", repr=False)
    stored: tuple[Iface, ...] = ()
    live: tuple[Iface, ...] = ()


@dataclass(frozen=True)
class Host:
    """The domains that were asked for, by name. ``known`` lists all of the host's when some of them do not exist."""

    uri: str
    domains: t.Mapping[str, Domain]
    known: tuple[str, ...] = ()


@dataclass(frozen=True)
class Nic:
    """One NIC of a domain: as it is stored and as the running guest has it, None where it is not there.

    ``document`` is the domain's whole stored configuration where this NIC was observed, "" where planned.
    """

    domain: str
    mac: str
    stored: Iface | None = None
    live: Iface | None = None
    document: str = field(default="", repr=False, compare=False)
