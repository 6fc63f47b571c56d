# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The impact of bringing a stored interface into a running guest. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, FIELDS, is_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, link_of_iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import same_source
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import GENERATED
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# The values of the option live, and the impacts that each allows.
LEVELS: t.Mapping[str, frozenset[Impact]] = {
    "none": frozenset(),
    "update": frozenset({Impact.LIVE}),
    "pause": frozenset({Impact.LIVE, Impact.PAUSE}),
    "replug": frozenset({Impact.LIVE, Impact.REPLUG}),
}

# One word of the option live, or several.
Level = t.Union[str, t.Collection[str]]
# What may differ between a guest that was saved and the one that is restored of it: only what the guest does not see.
# libvirt compares MAC address, model, MTU, virtio options and PCI address, and QEMU what the device offers.
_PAUSED = ("type", "source", "mode", "network", "portgroup", "virtualport", "vlan", "bandwidth", "target")
_TRUST = "trust_guest_rx_filters"
_PAUSED_TOO = (_TRUST, "allmulticast")
# The types of interfaces whose device in the guest does not depend on the host's side.
_SAME_DEVICE = frozenset(("direct", "bridge", "network", "ethernet", "user"))


def allowed(level: Level, way: Impact | None = None) -> frozenset[Impact]:
    """Return the impacts that the words of the option live allow; ``way`` is what was chosen if several do."""
    words = (level,) if isinstance(level, str) else level
    impacts = frozenset[Impact]().union(*(LEVELS[word] for word in words))
    return impacts - ({Impact.PAUSE, Impact.REPLUG} - {way} if way is not None else set())


def validate_level(words: t.Collection[str]) -> None:
    """Refuse words of the option live that contradict each other.

    :raises MacvtapError: they do.
    """
    if not words or ("none" in words and len(set(words)) > 1):
        raise MacvtapError(
            f"[{', '.join(words)}] is not possible. Set none alone, or one or more of update, pause, replug",
            path="live",
        )


def differing(live: Iface, stored: Iface, host: Host) -> list[str]:
    """Return the fields in which they differ, except for names that libvirt generates.

    An interface on a network is compared with what its network gives it.
    """
    names = ["type"] if live.type != stored.type else []
    trust_unknown = networks.trust_is_unknown(live, stored)
    both_run = stored.get("source") is not None and networks.same_network(live, stored)
    live, stored = networks.effective(live, host.networks), networks.effective(stored, host.networks, live)
    # If the network is not known, what it gives is not known either.
    unknown = stored.type == "direct" and stored.get("network") is not None and stored.get("mode") is None
    for field in FIELDS:
        if unknown and field.name.split(".")[0] in networks.GIVEN and stored.get(field.name) is None:
            continue
        if field.name == _TRUST and trust_unknown:
            continue
        # A field outside of the XML may be unknown on one side.
        implied = field.implied if field.outside_xml else None
        one, other = live.get(field.name) or implied, stored.get(field.name) or implied
        if field.name == "source" and (both_run or same_source(one, other, host.links)):
            continue
        made_up = all(text is None or is_generated(field.name, text) for text in (one, other))
        made_up = made_up or (field.name == GENERATED and other is None and stored.get("network") is not None)
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
    """Whether a trusted guest's own filters determine this field of its link, or may."""
    return name == "allmulticast" and live.get(name) == "yes" and live.may_be_trusted


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
        # As long as libvirt applies the guest's filters, it removes this again.
        trusted = desired.get(name) == live.get(_TRUST) == "yes" and _of_element(_TRUST, host) is not Impact.LIVE
        return Impact.LIVE if _is_reachable(live, host) and not trusted else Impact.REPLUG
    if live.get("network") is not None and name.split(".", maxsplit=1)[0] in networks.TAKES_NEW_PORT:
        return Impact.REPLUG
    return _of_element(name, host)


def least_impact(name: str, live: Iface, desired: Iface, host: Host, ways: t.Collection[Impact]) -> Impact:
    """Return as :func:`impact_of`, or PAUSE instead of REPLUG if that is among ``ways`` and can bring the value."""
    impact = impact_of(name, live, desired, host)
    pausable = Impact.PAUSE in ways and is_pausable(name, live, desired)
    return Impact.PAUSE if impact is Impact.REPLUG and pausable else impact


def is_pausable(name: str, live: Iface, desired: Iface) -> bool:
    """Whether the guest can get this field's value by a pause: saved, changed in the image, and restored."""
    part = name.partition(".")[0]
    return {live.type, desired.type} <= _SAME_DEVICE and part in (*_PAUSED, *_PAUSED_TOO)


def _is_reachable(live: Iface, host: Host) -> bool:
    return host.links is not None and link_of_iface(live, host.links) is not None


def _of_element(name: str, host: Host) -> Impact:
    field = BY_NAME[name]
    return Impact.REPLUG if host.version in field.replug_versions else field.impact
