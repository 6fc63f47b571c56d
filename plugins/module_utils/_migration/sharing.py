# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a guest's NICs would take from the destination itself, or from others there. Pure.

An uplink of a NIC in mode passthrough is that NIC's alone. libvirt 9.0 gives the uplink the guest's address before it
creates the link, and leaves it there if that fails. It also removes the link that has the name of the one that it is to
create.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import disruptions, fields, networks, sharing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.networks import Networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate as links_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.look import There
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# The types of which libvirt creates a link of the NIC's own.
_WITH_LINK = ("direct", "network", "bridge")


@dataclass(frozen=True)
class Arriving:
    """A ``guest`` as it is to be on ``host``, and the libvirt networks there.

    ``paths`` are those of the declared NICs, by MAC address. ``targets`` has the link names that other domains of the
    host store, with the domains' names, as far as they are known.
    """

    host: str
    guest: Domain
    networks: Networks = None
    paths: t.Mapping[str, str] = field(default_factory=dict)
    targets: t.Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def check(there: There | None, coming: Arriving) -> list[str]:
    """Refuse NICs that would cut off the destination or others on it, and return warnings.

    :raises MacvtapError: with the path of the option.
    """
    warnings = check_targets(there, coming)
    guest = _on_networks(coming)
    if there is None:
        _check_unknown(guest, coming)
        return warnings
    host = Host("", {**there.domains, guest.name: guest}, links=there.links, networks=coming.networks)
    for step in _steps(guest, coming):
        for disruption in disruptions.of_steps([step], host):
            lost = reachability.cut_off(disruption, there.reach, there.links)
            if lost is not None:
                message = f"{step.target} cannot be in mode passthrough on {coming.host}: {lost[0]}. {lost[1]}"
                raise MacvtapError(message, path=step.path)
    # One that is only stored may replace others before it starts.
    for ifaces, running in ((guest.live, True), (guest.stored, False)):
        now = replace(guest, running=running)
        cases = [_case(now, iface, coming) for iface in ifaces]
        warnings += _shared(cases, replace(host, domains={**host.domains, guest.name: now}), coming)
    return list(dict.fromkeys(warnings))


def arrived(there: There | None, coming: Arriving) -> There | None:
    """Return the destination once it has the guest, None if it was not looked at."""
    guest = _on_networks(coming)
    return None if there is None else replace(there, domains={**there.domains, guest.name: guest})


def check_targets(there: There | None, coming: Arriving) -> list[str]:
    """Refuse a link name that another link or domain there has, and return warnings.

    :raises MacvtapError: there is one.
    """
    warnings = []
    for iface in (*coming.guest.live, *coming.guest.stored):
        name = iface.get("target")
        if name is None or iface.type not in _WITH_LINK or fields.is_generated("target", name):
            continue
        owner = _owner(name, there, coming)
        if owner:
            raise MacvtapError(
                f"{coming.host} has {owner}, and {iface.mac} of the guest has a link of that name (target). libvirt "
                "would fail to create it, and some versions remove the existing one. Give one of them another name",
                path="domain",
            )
        if there is None:
            warnings.append(
                f"{iface.mac} has the link {name} (target). If {coming.host} has a link of that name, some versions of "
                "libvirt remove that one. To have this looked for, set destination_host"
            )
    return list(dict.fromkeys(warnings))


def _owner(name: str, there: There | None, coming: Arriving) -> str:
    """Return what on the destination has a link name, "" if nothing has."""
    link = link_of(name, there.links) if there is not None else None
    if link is not None:
        on = f" on {link.parent}" if link.parent else ""
        what = f"{links_validate.kind_of(link)}{on}"
        return f"a link {name} already ({what}" + (")" if link.name == name else f", whose name is {link.name})")
    others = [
        one.name
        for one in (there.domains.values() if there is not None else ())
        if one.name != coming.guest.name and any(iface.get("target") == name for iface in (*one.stored, *one.live))
    ]
    domains = sorted({*others, *coming.targets.get(name, ())} - {coming.guest.name})
    return f"a domain {join_names(domains)} whose link is called {name}" if domains else ""


def _on_networks(coming: Arriving) -> Domain:
    """Return the guest with its NICs on networks as they get an uplink there: its own is of the host that it leaves."""
    guest, direct = coming.guest, networks.direct(Host("", {}, networks=coming.networks))
    return replace(
        guest,
        live=tuple(_on_network(iface, direct) for iface in guest.live),
        stored=tuple(_on_network(iface, direct) for iface in guest.stored),
    )


def _on_network(iface: Iface, direct: t.Container[str]) -> Iface:
    name = iface.get("network")
    if name is None:
        return iface
    values = {field: text for field, text in iface.values.items() if field not in ("source", "mode")}
    return replace(iface, type="direct" if name in direct else "network", origin=None, values=values)


def _check_unknown(guest: Domain, coming: Arriving) -> None:
    for iface in (*guest.live, *guest.stored):
        uplinks = networks.uplinks(iface, coming.networks)
        if uplinks and networks.mode(iface, coming.networks) == "passthrough":
            one_of = "one of " if len(uplinks) > 1 else ""
            raise MacvtapError(
                f"{iface.mac} would take all frames of {one_of}{join_names(uplinks)} in mode passthrough, and whether "
                f"{coming.host} itself or another guest needs that is not known. Set destination_host to what "
                "macvtap_host_info returns there, as the role macvtap_migration does",
                path=_path(iface, coming),
            )


def _steps(guest: Domain, coming: Arriving) -> t.Iterator[Step[Nic]]:
    for iface in (*guest.live, *guest.stored):
        yield Step(iface.mac, None, Nic(guest.name, iface.mac, stored=iface), (), path=_path(iface, coming))


def _case(guest: Domain, iface: Iface, coming: Arriving) -> sharing.Case:
    live = iface if guest.running else None
    return (
        Desired(_path(iface, coming), guest.name),
        Nic(guest.name, iface.mac),
        Nic(guest.name, iface.mac, iface, live),
    )


def _shared(cases: t.Sequence[sharing.Case], host: Host, coming: Arriving) -> list[str]:
    try:
        return [f"{coming.host}: {warning}" for warning in sharing.validate(cases, host)]
    except MacvtapError as exc:
        # There the option is one of an interface of that host.
        path = next((one.path for one, *_nics in cases if exc.path and exc.path.startswith(one.path)), "")
        raise MacvtapError(f"on {coming.host} {exc.message}", path=path) from exc


def _path(iface: Iface, coming: Arriving) -> str:
    option = "source" if iface.get("network") is None else "network"
    if iface.mac in coming.paths:
        return join_path(coming.paths[iface.mac], option)
    return "uplinks" if option == "source" else "interfaces"
