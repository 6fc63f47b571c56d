# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The interface that a declaration leads to: as it is stored, and as the running guest has it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import multicast, networks, sources
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import IN_XML, without_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import (
    differing,
    is_pausable,
    is_set_by_guest,
    least_impact,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.merging import (
    merged,
    removed_with,
    without_dropped,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import (
    LINK_FAULTS,
    LINK_GONE,
    Desired,
    Host,
    Iface,
    Nic,
    target,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import with_values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# libvirt's own default is rtl8139, an emulated NIC of 100 Mbit/s.
DEFAULT_MODEL = "virtio"
# Fields that mean something else for another interface type.
_OTHER_MEANING = ("network", "portgroup", "source", "mode", "virtualport", "vlan")
# An ethernet interface names an existing link, so libvirt could not create one of that name. A host device has its own
# driver, and no model that the guest could keep.
_TYPE_SPECIFIC = {"ethernet": ("target",), "hostdev": ("driver", "model")}
# The field that is not in libvirt's XML.
_ALLMULTICAST = "allmulticast"


def stored_iface(desired: Desired, before: Nic, host: Host) -> tuple[Iface, list[str]]:
    """Return the interface to store, and warnings."""
    current = before.stored
    desired_values = sources.as_stored(desired, current, host.links)
    if current is not None and current.type == "direct":
        values = without_dropped(merged(current.values, desired_values), desired_values, current.values)
        _validate_place(desired, values, before)
        values = networks.storable(values, desired_values, current)
        return with_values(current, values=networks.left(values, current, host.networks, DEFAULT_MODE)), []
    _validate_has_source(desired, desired_values, before)
    base = _kept_values(before)
    warnings = []
    if _ALLMULTICAST not in desired_values and before.mac in (host.managed_rules or ()):
        base[_ALLMULTICAST] = "yes"
        warnings.append(
            f"{target(before)}: a udev rule for this address exists already, so its link receives all "
            "multicast. Set allmulticast: false to remove the rule"
        )
    implied = {field.name: field.implied for field in IN_XML if field.implied is not None}
    is_new = current is None or current.type == "hostdev"
    defaults = {**implied, "mode": DEFAULT_MODE, **({"model": DEFAULT_MODEL} if is_new else {})}
    values = without_dropped(
        merged({**defaults, **base}, desired_values), desired_values, current.values if current is not None else {}
    )
    _validate_place(desired, values, before)
    values = networks.storable(values, desired_values)
    if current is not None:
        return replace(current, type="direct", values=values, origin=None), warnings
    return Iface(before.mac, values=values), warnings


def _validate_place(desired: Desired, values: t.Mapping[str, str], before: Nic) -> None:
    """Refuse a mode of an interface that stays on a network, and a portgroup of one that is on none."""
    name = values.get("network")
    if name is not None and desired.given.get("mode") is not None:
        raise MacvtapError(
            f"{before.mac} is on the network {name!r}, which has one mode for all its NICs. Change the mode of the "
            "network (libvirt_direct_network), or set source as well to take this NIC off it",
            path=join_path(desired.path, "mode"),
        )
    if name is None and values.get("portgroup") is not None:
        raise MacvtapError(
            f"only a network has portgroups, and {before.mac} is not on one. Set network as well",
            path=join_path(desired.path, "portgroup"),
        )


def _validate_has_source(desired: Desired, desired_values: t.Mapping[str, str | None], before: Nic) -> None:
    """Refuse a new or converted interface without a source or network, unless the running guest has one."""
    current = before.stored
    declared = any(desired_values.get(name) is not None for name in ("source", "network"))
    if declared or (current is None and _has_direct(before.live)):
        return
    why = (
        f"since domain {desired.domain!r} has no interface {desired.key} yet"
        if current is None
        else f"to convert {before.mac} of domain {desired.domain!r}"
    )
    raise MacvtapError(
        f"is required, {why}. Set it to the uplink, such as eth0, or set network instead",
        path=join_path(desired.path, "source"),
    )


def _kept_values(before: Nic) -> dict[str, str]:
    """Return the values that a new or converted interface keeps: of the stored one, or else of the running guest's."""
    base: dict[str, str] = {}
    if before.stored is not None:
        return kept_by_conversion(before.stored)
    if before.live is not None and _has_direct(before.live):
        others = ("pci_address", _ALLMULTICAST, *LINK_FAULTS, LINK_GONE)
        base = {name: value for name, value in without_generated(before.live.values).items() if name not in others}
    return _without_floors(base)


def kept_by_conversion(iface: Iface) -> dict[str, str]:
    """Return the values of an interface of another type that mean the same in one of type direct."""
    others = (*_OTHER_MEANING, *_TYPE_SPECIFIC.get(iface.type, ()))
    return _without_floors({name: text for name, text in iface.values.items() if name.split(".")[0] not in others})


def _without_floors(values: dict[str, str]) -> dict[str, str]:
    """Return ``values`` without a bandwidth that had only a floor, which macvtap links do not support."""
    for direction in ("inbound", "outbound"):
        if f"bandwidth.{direction}.average" not in values:
            values = {name: text for name, text in values.items() if not name.startswith(f"bandwidth.{direction}.")}
    return values


def _has_direct(iface: Iface | None) -> bool:
    return iface is not None and iface.type == "direct"


def live_iface(
    desired: Desired, before: Nic, stored: Iface, host: Host, allowed: frozenset[Impact]
) -> tuple[Iface | None, dict[str, Impact]]:
    """Return the desired interface of the running guest, and the impact of each change."""
    live = before.live
    running = host.domains[before.domain].running
    if not running or live is None:
        hotplugs = running and Impact.LIVE in allowed
        return (stored if hotplugs else None), {}
    final = networks.effective(stored, host.networks, live)
    due = _due(desired, live, stored, host, allowed)
    if due.get("type") not in {None, *allowed}:
        # The running interface is of another type, and is not changed.
        return live, {}
    done = {name: impact for name, impact in due.items() if impact in allowed}
    set_by_guest = "trust_guest_rx_filters" not in done and is_set_by_guest(_ALLMULTICAST, live)
    # No guest loses its NIC for what is only the default of all entries, as in the role.
    replugged_for_default = _ALLMULTICAST in desired.defaults and done.get(_ALLMULTICAST) is Impact.REPLUG
    if set_by_guest or replugged_for_default:
        done.pop(_ALLMULTICAST, None)
    if Impact.REPLUG in done.values():
        # After a replug it is entirely as stored.
        replugged = multicast.with_link_allmulticast(live, stored, final, desired)
        return replugged, dict.fromkeys(differing(live, replugged, host), Impact.REPLUG)
    if Impact.PAUSE in done.values():
        paused = _paused(live, multicast.with_link_allmulticast(live, stored, final, desired), done, host)
        return paused, dict.fromkeys(differing(live, paused, host), Impact.PAUSE)
    values = merged(live.values, {name: final.get(name) for name in done})
    if Impact.LIVE in allowed:
        # A link that is down or has another address cuts the guest off, whatever is declared.
        values = {name: text for name, text in values.items() if name not in LINK_FAULTS}
    return replace(live, values=values), done


def _due(desired: Desired, live: Iface, stored: Iface, host: Host, allowed: frozenset[Impact]) -> dict[str, Impact]:
    """Return the declared fields in which the running interface differs, each with its least impact."""
    declared, removed = {"type", *desired.given}, removed_with(live.values, dict(desired.given))
    names = differing(live, stored, host)
    final = networks.effective(stored, host.networks, live)
    due = {
        name: least_impact(name, live, final, host, allowed)
        for name in names
        if name in declared or (removed and name.startswith(removed))
    }
    in_place = {name for name, impact in due.items() if impact is Impact.LIVE and impact in allowed}
    if networks.unnoticed(set(names) - in_place, final):
        due = {name: impact for name, impact in due.items() if name not in networks.NAMES or impact is Impact.LIVE}
    return due


def _paused(live: Iface, stored: Iface, done: t.Collection[str], host: Host) -> Iface:
    """Return the interface that a guest has after a pause: as it is stored, but for what the guest would see.

    It has a new link, without the faults and the generated name of the former one.
    """
    names = [name for name in differing(live, stored, host) if name in done or is_pausable(name, live, stored)]
    values = merged(live.values, {name: stored.get(name) for name in names if name != "type"})
    kept = {n: text for n, text in without_generated(values).items() if n not in (*LINK_FAULTS, LINK_GONE)}
    kept = networks.storable(networks.with_own(kept, stored), done, live)
    return replace(
        live, type=stored.type if "type" in names else live.type, values=kept, stale_mode=None, trust_unknown=False
    )
