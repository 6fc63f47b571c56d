# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the links for the declared uplinks of networks, and what mode auto stands for on them. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import ABSENT, Desired, Host, Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO, Case, kept

_AUTO_OF = ("vepa", "bridge")


def named(declared: t.Iterable[Desired], host: Host) -> list[Desired]:
    """Return ``declared`` with names that libvirt can use as uplinks.

    A link that the network has already, by whichever name, stays as it is called there.

    :raises MacvtapError: there is no such link, or several, or the links of the guests' host are not known.
    """
    return [one if one.state == ABSENT else _named(one, host) for one in declared]


def _named(desired: Desired, host: Host) -> Desired:
    network = host.networks.get(desired.name)
    has = network.interfaces if network is not None else ()
    names = None
    if desired.interfaces is not None:
        path = join_path(desired.path, "interfaces")
        asked = [(one, f"{path}[{index}]") for index, one in enumerate(desired.interfaces)]
        names = tuple(_name_of(one, has, where, host) for one, where in asked)
        for index, name in enumerate(names):
            other = next((n for n, one in enumerate(names[:index]) if uplinks.same(one, name, host.links)), None)
            if other is not None:
                raise MacvtapError(
                    f"{desired.interfaces[index]} and {desired.interfaces[other]} are the same link, {name}",
                    path=asked[index][1],
                )
    pf = desired.pf
    if pf is not None:
        pf = _name_of(pf, (network.pf,) if network and network.pf else (), join_path(desired.path, "pf"), host)
    return replace(desired, interfaces=names, pf=pf)


def _name_of(asked: str, has: t.Sequence[str], path: str, host: Host) -> str:
    if uplinks.is_usable(asked, host.links):
        return next((one for one in has if uplinks.same(one, asked, host.links)), asked)
    if host.links is None:
        raise MacvtapError(uplinks.unknown(asked, host.links_unknown), path=path)
    name = parents.find(asked, host.links, path=path).name
    return next((one for one in has if uplinks.same(one, name, host.links)), name)


def cases(declared: t.Sequence[Desired], host: Host, *, check: bool) -> list[Case]:
    """Return a case for each uplink of the networks that will exist, for the switch behind it."""
    return [
        case
        for desired in declared
        if desired.state != ABSENT and (check or desired.mode == AUTO)
        for case in _cases_of(desired, host)
    ]


def _cases_of(desired: Desired, host: Host) -> t.Iterator[Case]:
    network = host.networks.get(desired.name)
    has = network.interfaces if network is not None else ()
    devices = has if desired.interfaces is None else desired.interfaces
    # One switch more or less may make another mode the right one for all.
    moves = any(not any(uplinks.same(one, other, host.links) for other in has) for one in devices)
    had = kept(network.mode, moves=moves, declared=desired.mode) if network is not None and network.mode else None
    for index, device in enumerate(devices):
        link = link_of(device, host.links) if host.links is not None else None
        yield Case(_case_path(desired, index), desired.name, link.name if link else None, desired.mode, had)


def _case_path(desired: Desired, index: int) -> str:
    return f"{join_path(desired.path, 'interfaces')}[{index}]"


def with_modes(declared: t.Sequence[Desired], modes: t.Mapping[str, str | None], host: Host) -> list[Desired]:
    """Return ``declared`` with auto replaced by the mode that works on all uplinks: ``modes`` are by case path.

    vepa needs a switch that reflects frames behind each of them.
    """
    return [replace(one, mode=_mode_of(one, modes, host)) if one.mode == AUTO else one for one in declared]


def _mode_of(desired: Desired, modes: t.Mapping[str, str | None], host: Host) -> str | None:
    network: Network | None = host.networks.get(desired.name)
    count = len((network.interfaces if network else ()) if desired.interfaces is None else desired.interfaces)
    found = {modes.get(_case_path(desired, index)) for index in range(count)}
    # None keeps what is there.
    chosen = found - {None}
    if not chosen:
        return None
    if None in found:
        chosen.add(network.mode if network else None)
    return _AUTO_OF[0] if chosen == {_AUTO_OF[0]} else _AUTO_OF[1]
