# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a guest reaches the same others on another host: the segment and the mode of its NICs there. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import VARIABLE, Segments, by_links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import look
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Both, Desired, Side
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network

_VEPA = "vepa"
# A NIC here, and what it is to be there.
Pair = t.Tuple[Iface, Iface]


@dataclass(frozen=True)
class Ground:
    """What a host's NICs are on. ``segments`` is None if nothing is declared of any host.

    ``reflects`` has by uplink whether its switch sends frames back, as far as that is known. ``links`` are the host's,
    {} where they are not known.
    """

    name: str
    segments: Segments | None = None
    networks: t.Mapping[str, Network] = field(default_factory=dict)
    reflects: t.Mapping[str, bool | None] = field(default_factory=dict)
    links: Links = field(default_factory=dict)

    def mode(self, iface: Iface, *, here: bool = False) -> str | None:
        """Return the mode of an interface's link, None if it has none or it is not known.

        One that runs ``here`` has what its network gave it when it started. There it gets what the network has then.
        """
        if here and iface.type == "direct" and iface.get("mode") is not None:
            return iface.get("mode")
        network = self.networks.get(iface.get("network") or "")
        if network is not None:
            return (network.live or network).mode or None
        return iface.get("mode") if iface.type == "direct" else None

    def uplink(self, iface: Iface, *, here: bool = False) -> str:
        """Return the uplink or bridge of an interface, "" if it is not known; see mode() for ``here``."""
        if here and iface.type == "direct" and iface.get("source") is not None:
            return iface.values["source"]
        network = self.networks.get(iface.get("network") or "")
        if network is not None and network.interfaces:
            return network.interfaces[0]
        return (iface.get("source") if iface.type == "direct" else iface.origin) or ""

    def place(self, iface: Iface) -> str:
        """Return what an interface is on, for messages."""
        name = iface.get("network")
        return f"network {name}" if name is not None else self.uplink(iface) or "no uplink"


class Against(t.NamedTuple):
    """Which NICs would be in another segment, and in another mode that is not declared, and what may be amiss."""

    segments: list[str]
    modes: list[str]
    doubts: list[str]


def against(desired: Desired, pairs: t.Sequence[Pair], here: Ground, there: Ground) -> Against:
    """Return in which way NICs would reach others than here."""
    declared = {nic.mac for nic in desired.nics if {"mode", "network"} & nic.given.keys()}
    kept = [pair for pair in pairs if pair[0].mac not in declared]
    return Against(
        [reason for pair in pairs if (reason := _segment(pair, here, there))],
        [reason for pair in kept if (reason := _mode(pair, here, there))],
        _doubts(kept, here, there),
    )


def _segment(pair: Pair, here: Ground, there: Ground) -> str:
    """Return that a NIC would be in another segment there, "" if it would not, or that is not known."""
    before, after = pair
    if here.segments is None or there.segments is None:
        return ""
    one, other = here.segments.of_iface(before), there.segments.of_iface(after)
    if one == other:
        return ""
    return (
        f"{before.mac} is in the segment {one} on {here.name} ({here.place(before)}), and would be in {other} on "
        f"{there.name} ({there.place(after)}). The variable {VARIABLE} of the hosts says so"
    )


def _mode(pair: Pair, here: Ground, there: Ground) -> str:
    """Return that a NIC would reach others in another way there, "" if it would not, or that is not known."""
    before, after = pair
    one, other = here.mode(before, here=True), there.mode(after)
    if one is None or other is None:
        return ""
    what = f"{before.mac} is in mode {one} on {here.name} ({here.place(before)}), and would be"
    if one != other:
        return f"{what} in mode {other} on {there.name} ({there.place(after)})"
    if one == _VEPA and _reflects(before, here, here=True) and _reflects(after, there) is False:
        return (
            f"{what} behind a switch on {there.name} ({there.place(after)}) that sends no frames back, which vepa needs"
        )
    return ""


def _doubts(pairs: t.Iterable[Pair], here: Ground, there: Ground) -> list[str]:
    """Return in which way NICs may reach fewer others there; what is not known is not refused."""
    return [
        f"{after.mac} is in mode vepa on {there.place(after)} of {there.name}, whose switch sends no frames back: it "
        "does not reach the other guests on that uplink"
        for before, after in pairs
        if there.mode(after) == _VEPA and _reflects(after, there) is False and not _reflects(before, here, here=True)
    ]


def _reflects(iface: Iface, ground: Ground, *, here: bool = False) -> bool | None:
    uplink = ground.uplink(iface, here=here)
    link = link_of(uplink, ground.links)
    return ground.reflects.get(uplink if link is None else link.name)


def check(desired: Desired, both: Both, pairs: t.Iterable[Pair]) -> list[str]:
    """Refuse NICs that would be in another segment there, or in another mode that is not declared; return doubts.

    :raises MacvtapError: with all of these NICs.
    """
    here, there = _grounds(desired, both)
    pairs = [(_with_mode(before, both), after) for before, after in pairs]
    found = against(desired, pairs, here, there)
    if found.segments:
        raise MacvtapError("; ".join(found.segments), path="destination")
    if found.modes:
        raise MacvtapError(f"{'; '.join(found.modes)}. If that is meant, declare it here", path="interfaces")
    return found.doubts


def _with_mode(iface: Iface, both: Both) -> Iface:
    """Return a NIC in the mode that its link has, which libvirt may not know."""
    mode = both.modes.get(iface.mac)
    return iface if mode is None else replace(iface, values={**iface.values, "mode": mode})


def _grounds(desired: Desired, both: Both) -> tuple[Ground, Ground]:
    seen = look.read(desired.destination_host)
    links = seen.links if seen is not None else {}
    one, other = desired.segments or (None, None)
    return (
        _ground(both.source, one, both.links, {}),
        _ground(both.destination, other, links, look.reflects(desired.destination_host)),
    )


def _ground(side: Side, segments: Segments | None, links: Links, reflects: t.Mapping[str, bool | None]) -> Ground:
    return ground(side.name, segments, links, side.networks or {}, reflects)


def ground(
    name: str,
    segments: Segments | None,
    links: Links,
    networks: t.Mapping[str, Network],
    reflects: t.Mapping[str, bool | None],
) -> Ground:
    """Return a host's ground; ``segments`` are as they were read, of names that its ``links`` may have."""
    if segments is not None:
        segments = Segments(segments.common, by_links(segments.named, links), links, networks)
    return Ground(name, segments, networks, reflects, links)
