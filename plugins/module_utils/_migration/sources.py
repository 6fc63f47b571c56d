# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Uplinks of a migration given by alternative name, MAC address or PCI address: by names that libvirt can use. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Desired, NicThere

_HERE = "the links of the guest's host are not known"


def named(
    desired: Desired, ifaces: t.Iterable[Iface], here: Links | None, there: Links | None, destination: str
) -> Desired:
    """Return a migration with the names that uplinks have on their hosts, as far as the guest's ``ifaces`` need them.

    Each uplink of this host has an entry for each of its names: ``ifaces`` may have any of them. ``here`` and ``there``
    are the links of the two hosts, None where they are not known; ``destination`` is the other host's name.

    :raises MacvtapError: there is no such link, or several, or it cannot be looked up. The option's path is in it.
    """
    nics = tuple(_nic(nic, there, destination) for nic in desired.nics)
    listed = {nic.mac for nic in nics if nic.given}
    used = {
        source
        for iface in ifaces
        if iface.type == "direct" and iface.get("network") is None and iface.mac not in listed
        if (source := iface.get("source")) is not None
    }
    found: dict[str, str] = {}
    # Of a guest without such NICs, an uplink that cannot be looked up is in nobody's way.
    for key, value in desired.uplinks.items() if used else ():
        path = join_path("uplinks", key)
        names = _names(key, here, path)
        if names & used:
            name = _there(value, there, destination, path)
            for one in names:
                if found.setdefault(one, name) != name:
                    raise MacvtapError(f"{one} goes to {found[one]} by another entry. Remove one of them", path=path)
    return replace(desired, nics=nics, uplinks=found)


def _nic(nic: NicThere, there: Links | None, destination: str) -> NicThere:
    source = nic.given.get("source")
    if source is None:
        return nic
    return replace(
        nic, given={**nic.given, "source": _there(source, there, destination, join_path(nic.path, "source"))}
    )


def _names(key: str, here: Links | None, path: str) -> set[str]:
    """Return all names of an uplink of this host."""
    if here is None and not uplinks.is_usable(key, None):
        raise MacvtapError(f"{uplinks.unknown(key, _HERE)}, in macvtap_uplink or here", path=path)
    link = link_of(key, here or {})
    if link is None and not uplinks.is_usable(key, here):
        link = parents.find(key, here or {}, path=path)
    return {key} if link is None else {link.name, *link.altnames}


def _there(value: str, there: Links | None, destination: str, path: str) -> str:
    """Return the name of an uplink on the destination."""
    if uplinks.is_usable(value, there):
        return value
    if there is None:
        why = f"without destination_host, the links of {destination} are not known"
        raise MacvtapError(f"{uplinks.unknown(value, why)}, in macvtap_uplink or here", path=path)
    try:
        return parents.find(value, there, path=path).name
    except MacvtapError as exc:
        exc.message = exc.message.replace("on this host", f"on {destination}")
        raise
