# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The impact of bringing a stored interface into a running guest. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, FIELDS, is_libvirts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, link_of_iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import same_source
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# The values of the option live, and the impacts that each allows.
LEVELS: t.Mapping[str, frozenset[Impact]] = {
    "none": frozenset(),
    "update": frozenset({Impact.LIVE}),
    "replug": frozenset({Impact.LIVE, Impact.REPLUG}),
}


def differing(live: Iface, stored: Iface, host: Host) -> list[str]:
    """Return the fields in which they differ, except for names that libvirt generates.

    An interface on a network is compared with what its network gives it.
    """
    names = ["type"] if live.type != stored.type else []
    both_run = stored.get("source") is not None and networks.same_network(live, stored)
    live, stored = networks.effective(live, host.networks), networks.effective(stored, host.networks, live)
    # If the network is not known, what it gives is not known either.
    unknown = stored.type == "direct" and stored.get("network") is not None and stored.get("mode") is None
    for field in FIELDS:
        if unknown and field.name.split(".")[0] in networks.GIVEN and stored.get(field.name) is None:
            continue
        # A field outside of the XML may be unknown on one side.
        implied = field.implied if field.outside_xml else None
        one, other = live.get(field.name) or implied, stored.get(field.name) or implied
        if field.name == "source" and (both_run or same_source(one, other, host.links)):
            continue
        made_up = all(text is None or is_libvirts(field.name, text) for text in (one, other))
        if one != other and not made_up and not (field.name == "pci_address" and other is None):
            names.append(field.name)
    return names


def noticeable(live: Iface, stored: Iface, host: Host) -> list[str]:
    """As :func:`differing`, without a network's name if the guest has the same link without it."""
    names = differing(live, stored, host)
    if not networks.unnoticed(names, networks.effective(stored, host.networks, live)):
        return names
    return [name for name in names if name not in networks.NAMES]


def due_at_restart(
    live: Iface, stored: Iface, host: Host, given: t.Collection[str] = (), *, all_names: bool = False
) -> list[str]:
    """Return the fields that will change when the guest is stopped and started.

    With ``all_names`` also the name of a network that the guest does not notice: see noticeable().
    allmulticast counts only if it is declared or has a rule: libvirt may have set it for the guest.
    """
    stored_value = stored.get("allmulticast")
    is_managed = stored_value == "yes" or (stored_value is not None and "allmulticast" in given)
    is_managed = is_managed and not is_set_by_guest("allmulticast", live)
    names = (differing if all_names else noticeable)(live, stored, host)
    return [name for name in names if is_managed or name != "allmulticast"]


def is_set_by_guest(name: str, live: Iface) -> bool:
    """Whether a trusted guest's own filters determine this field of its link."""
    return name == "allmulticast" and live.get(name) == live.get("trust_guest_rx_filters") == "yes"


def impact_of(name: str, live: Iface, desired: Iface, host: Host) -> Impact:
    """Return the least impact that gives the ``live`` interface the ``desired`` value of a field."""
    if name == "type" or name in networks.NAMES:
        in_place = name != "type" and networks.connects_live(live, desired, host)
        return Impact.LIVE if in_place else Impact.REPLUG
    if name == "mode":
        # macvlan_changelink() refuses only changes to and from passthru.
        reachable = _is_reachable(live, host)
        return Impact.LIVE if reachable and "passthrough" not in (live.get(name), desired.get(name)) else Impact.REPLUG
    if name == "allmulticast":
        if live.get("mode") == "passthrough":
            # The rule did not raise the parent's reference count. Removing allmulticast while the link is up would make
            # it underflow.
            return Impact.REPLUG if desired.get(name) == "yes" else Impact.RESTART
        trusts = "trust_guest_rx_filters"
        # As long as libvirt applies the guest's filters, it removes this again.
        trusted = desired.get(name) == live.get(trusts) == "yes" and _of_element(trusts, host) is not Impact.LIVE
        return Impact.LIVE if _is_reachable(live, host) and not trusted else Impact.REPLUG
    if live.get("network") is not None and name.split(".", maxsplit=1)[0] in networks.TAKES_NEW_PORT:
        return Impact.REPLUG
    return _of_element(name, host)


def _is_reachable(live: Iface, host: Host) -> bool:
    return host.links is not None and link_of_iface(live, host.links) is not None


def _of_element(name: str, host: Host) -> Impact:
    field = BY_NAME[name]
    return Impact.REPLUG if host.version in field.replug_versions else field.impact
