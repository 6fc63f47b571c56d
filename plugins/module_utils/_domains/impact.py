# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What it takes to bring a stored interface into a running guest. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, FIELDS, is_libvirts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host, Iface, own_link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import same_source
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# How much a running guest may feel: the option's words, and what each of them allows.
LEVELS: t.Mapping[str, frozenset[Impact]] = {
    "none": frozenset(),
    "update": frozenset({Impact.LIVE}),
    "replug": frozenset({Impact.LIVE, Impact.REPLUG}),
}


def differing(live: Iface, stored: Iface, links: Links | None) -> list[str]:
    """Return the fields in which they differ, apart from what libvirt makes up for what is running."""
    names = ["type"] if live.type != stored.type else []
    for field in FIELDS:
        # Of what is outside of the element one of the two may not be known yet.
        unsaid = field.implied if field.outside else None
        one, other = live.get(field.name) or unsaid, stored.get(field.name) or unsaid
        if field.name == "source" and same_source(one, other, links):
            continue
        made_up = all(text is None or is_libvirts(field.name, text) for text in (one, other))
        if one != other and not made_up and not (field.name == "address" and other is None):
            names.append(field.name)
    return names


def unsettled(live: Iface, stored: Iface, links: Links | None, given: t.Collection[str] = ()) -> list[str]:
    """Return what will be otherwise when the guest has been stopped and started.

    A link that has allmulticast with nobody having said so is none: libvirt may have set it for the guest.
    """
    kept = stored.get("allmulticast")
    told = kept == "yes" or (kept is not None and "allmulticast" in given)
    told = told and not is_the_guests("allmulticast", live)
    return [name for name in differing(live, stored, links) if told or name != "allmulticast"]


def is_the_guests(name: str, live: Iface) -> bool:
    """Whether the link of a guest that libvirt trusts has it as the guest's card is set."""
    return name == "allmulticast" and live.get(name) == live.get("trust_guest_rx_filters") == "yes"


def need(name: str, live: Iface, wanted: Iface, host: Host) -> Impact:
    """Return the least that gives the running ``live`` interface the ``wanted`` value of a field."""
    if name == "type":
        return Impact.REPLUG
    if name == "mode":
        # macvlan_changelink() refuses only a mode to or from passthru.
        reachable = _is_reachable(live, host)
        return Impact.LIVE if reachable and "passthrough" not in (live.get(name), wanted.get(name)) else Impact.REPLUG
    if name == "allmulticast":
        if live.get("mode") == "passthrough":
            # Taken off while the link is up, it drives the parent's count below zero, which the rule has not raised.
            return Impact.REPLUG if wanted.get(name) == "yes" else Impact.RESTART
        trusts = "trust_guest_rx_filters"
        # As long as libvirt sets the link as the guest's card is set, it takes this off again.
        trusted = wanted.get(name) == live.get(trusts) == "yes" and _of_element(trusts, host) is not Impact.LIVE
        return Impact.LIVE if _is_reachable(live, host) and not trusted else Impact.REPLUG
    return _of_element(name, host)


def _is_reachable(live: Iface, host: Host) -> bool:
    return host.links is not None and own_link(live, host.links) is not None


def _of_element(name: str, host: Host) -> Impact:
    field = BY_NAME[name]
    return Impact.REPLUG if host.version in field.not_with else field.needs
