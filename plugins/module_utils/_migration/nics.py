# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest's NICs as they are on the host that the guest moves to. Pure.

libvirt compares the guest's virtual machine with what it is to be there: MAC address, model, MTU, virtio options and
slot. It does not compare type and source (measured with 9.0 and 11.3), so the link underneath may be any other one.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.desired import kept_by_conversion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import (
    CONNECTION,
    OF_NETWORK,
    OF_UPLINK,
    without_generated,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Desired, NicThere
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# What an interface shows of what it is connected to.
PLACE = ("type", *CONNECTION)
_AUTO = "auto"
Edits = t.Tuple[t.Tuple[Iface, Iface], ...]


def spelt(given: t.Mapping[str, str]) -> dict[str, str]:
    """Return what a NIC is declared to be connected to as libvirt spells it."""
    mode = {"passthru": "passthrough"}.get(given.get("mode", ""), given.get("mode", _AUTO))
    # Only the destination could probe its switch.
    return {
        **{name: text for name, text in given.items() if name != "mode"},
        **({} if mode == _AUTO else {"mode": mode}),
    }


def edits(
    ifaces: t.Iterable[Iface],
    desired: Desired,
    modes: t.Mapping[str, str] | None = None,
    direct: t.Container[str | None] = (),
) -> Edits:
    """Return what to change in the XML that has ``ifaces``, as (before, after), without what stays as it is.

    ``modes`` are those of links that libvirt does not know, by MAC address. ``direct`` are the direct networks of the
    host that the guest leaves.
    """
    ifaces = tuple(ifaces)
    return tuple(
        (before, after) for before, after in zip(ifaces, moved(ifaces, desired, modes, direct)) if before != after
    )


def moved(
    ifaces: t.Iterable[Iface],
    desired: Desired,
    modes: t.Mapping[str, str] | None = None,
    direct: t.Container[str | None] = (),
) -> tuple[Iface, ...]:
    """Return interfaces as they are on the destination; the rest is as in :func:`edits`."""
    declared = {nic.mac: nic.given for nic in desired.nics}
    return tuple(
        there(
            iface,
            declared.get(iface.mac) or _by_uplink(iface, desired.uplinks),
            (modes or {}).get(iface.mac),
            is_direct=iface.type == "direct" or (iface.type == "network" and iface.get("network") in direct),
        )
        for iface in ifaces
    )


def as_stored(
    desired: Desired, live: t.Iterable[Iface], stored: t.Iterable[Iface], direct: t.Collection[str] = ()
) -> Desired:
    """Return a migration that also connects the running NICs to what is stored for them.

    ``direct`` are the direct networks of the destination. A NIC that is stored on something else than a macvtap link
    stays as it runs.
    """
    declared = {nic.mac for nic in desired.nics}
    kept = {
        iface.mac: iface
        for iface in networks.as_stored(tuple(stored), direct)
        if iface.type == "direct" and iface.mac not in declared
    }
    pairs = [(iface, kept[iface.mac]) for iface in live if iface.mac in kept]
    more = [
        NicThere("apply_stored", iface.mac, {**_connection(stored), **_by_uplink(stored, desired.uplinks)})
        for iface, stored in pairs
        if not _is_connected_as(iface, stored)
    ]
    return replace(desired, nics=(*desired.nics, *more))


def _is_connected_as(iface: Iface, stored: Iface) -> bool:
    # libvirt adds the uplink and mode of a network to an interface that runs.
    alike = iface.type == stored.type and (iface.get("network") is None) == (stored.get("network") is None)
    return alike and all(iface.get(name) == stored.get(name) for name in _names(stored))


def _connection(iface: Iface) -> dict[str, str]:
    """Return what a stored interface is connected to: an uplink and a mode, or a network and its portgroup."""
    return {name: text for name in _names(iface) if (text := iface.get(name)) is not None}


def _names(iface: Iface) -> tuple[str, ...]:
    return OF_NETWORK if iface.get("network") is not None else OF_UPLINK


def _by_uplink(iface: Iface, uplinks: t.Mapping[str, str]) -> dict[str, str]:
    source = iface.get("source") if iface.type == "direct" and iface.get("network") is None else None
    return {"source": uplinks[source]} if source is not None and source in uplinks else {}


def there(iface: Iface, given: t.Mapping[str, str], mode: str | None = None, *, is_direct: bool | None = None) -> Iface:
    """Return an interface as it is on the destination. ``mode`` is that of its link, if libvirt does not know.

    ``is_direct`` is whether it has a macvtap link here: by its type, or by its network.
    """
    if iface.type == "direct" and mode is not None and iface.get("mode") is not None:
        iface = replace(iface, values={**iface.values, "mode": mode})
    if not given:
        # Its link gets a name of its own there.
        kept = without_generated(iface.values)
        return replace(iface, values=kept) if iface.type == "direct" and kept != iface.values else iface
    return _connected(iface, given, is_direct=iface.type == "direct" if is_direct is None else is_direct)


def _connected(iface: Iface, given: t.Mapping[str, str], *, is_direct: bool) -> Iface:
    # A VLAN or a virtual port of a bridge is none of a macvtap link.
    values = without_generated(iface.values if is_direct else kept_by_conversion(iface))
    for name in ("alias", "pci_address"):
        # The guest's own.
        if iface.get(name) is not None:
            values[name] = iface.values[name]
    if not is_direct and iface.get("network") is not None and given.get("source") is None:
        # As before: only the portgroup changes, or the network itself.
        values = {**{name: text for name in OF_NETWORK if (text := iface.get(name)) is not None}, **values}
    if given.get("network") is not None:
        values = {name: text for name, text in values.items() if name not in OF_NETWORK}
        values = networks.storable({**values, **given}, given, iface if iface.type == "direct" else None)
    elif given.get("source") is not None:
        values = {name: text for name, text in values.items() if name not in OF_NETWORK}
        if iface.type != "direct" or "mode" not in values:
            values["mode"] = "bridge"
    return replace(iface, type="direct", origin=None, values={**values, **given})


def lost(before: Iface, after: Iface, host: str) -> str:
    """Return what an interface loses on ``host`` by what it is connected to there, "" if nothing."""
    is_converted = element.xml_type(before) != element.xml_type(after)
    what = element.lost_by_conversion(before, after) if is_converted and before.xml else []
    vlan = before.get("vlan") if after.get("vlan") is None else None
    if vlan is None and not what:
        return ""
    message = f"{before.mac}: a macvtap link has no {join_names(what or ['vlan'])}, so it has none on {host}"
    if vlan is None:
        return message
    return (
        f"{message}. Here it is in the VLAN {vlan}. If its uplink there is not a link of that VLAN, it reaches other "
        "hosts than here"
    )


def place(iface: Iface) -> dict[str, t.Any]:
    """Return what an interface is connected to, by the fields that say so; None where it has none."""
    found: dict[str, t.Any] = {name: iface.get(name) for name in PLACE[1:]}
    return {"type": iface.type, **found, "source": iface.origin if iface.type != "direct" else found["source"]}
