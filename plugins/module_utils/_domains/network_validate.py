# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Refuses networks that cannot give an interface a macvtap link, and warns of those that are not active. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.networks import NAMES
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names, suggest


def validate(desired: Desired, stored: Iface, changed: t.Collection[str], host: Host) -> None:
    """Refuse a network that cannot give the ``stored`` interface a link; ``changed`` are the fields that change.

    :raises MacvtapError: with the path of the option.
    """
    name = stored.get("network")
    if name is None or host.networks is None or not set(NAMES) & set(changed):
        return
    path = join_path(desired.path, "network" if desired.given.get("network") is not None else "portgroup")
    network = host.networks.get(name)
    if network is None:
        known = [one.name for one in host.networks.values() if one.direct]
        close = suggest(name, sorted(host.networks))
        hint = f"Did you mean {join_names(close)}?" if close else _known(known)
        raise MacvtapError(f"there is no network {name!r} on {host.uri}. {hint}", path=path)
    if not network.direct:
        raise MacvtapError(
            f"{name!r} is not a direct network: {_kind(network)}. Its forward mode must be bridge, vepa, private or "
            f"passthrough, without a bridge. {_known([one.name for one in host.networks.values() if one.direct])}",
            path=path,
        )
    if not network.active:
        raise MacvtapError(
            f"the network {name!r} is not active, so libvirt would not start a guest on it. Activate it first, with "
            f"libvirt_direct_network (state: active) or virsh net-start {name}",
            path=path,
        )
    group = stored.get("portgroup")
    given = network.live or network
    if group is not None and given.portgroup(group) is None:
        names = [one.name for one in given.portgroups]
        raise MacvtapError(
            f"the network {name!r} has no portgroup {group!r}, and libvirt would silently give the NIC none of its "
            f"settings. {'It has ' + join_names(names) if names else 'It has no portgroups'}",
            path=join_path(desired.path, "portgroup"),
        )


def inactive_warnings(nics: t.Iterable[tuple[str, Iface]], host: Host) -> t.Iterator[str]:
    """Return a warning for each inactive network of ``nics``, which are pairs of a name and a stored interface."""
    found: dict[str, list[str]] = {}
    for name, iface in nics:
        network = (host.networks or {}).get(iface.get("network") or "")
        if network is not None and not network.active:
            found.setdefault(network.name, []).append(name)
    for network_name, names in found.items():
        yield (
            f"{join_names(names)}: the network {network_name!r} is not active, so the guest does not start. Activate "
            f"it with libvirt_direct_network (state: active) or virsh net-start {network_name}"
        )


def _known(names: t.Sequence[str]) -> str:
    return f"Direct networks there: {', '.join(names)}" if names else "There is no direct network: create it first"


def _kind(network: Network) -> str:
    shown = network.live or network
    return f"it is {'isolated' if shown.forward == 'isolated' else f'of forward mode {shown.forward}'}"
