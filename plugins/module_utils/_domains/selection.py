# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NIC of a domain a declaration means, and which address a new one gets. Pure."""

from __future__ import annotations

import difflib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links


def select(desired: Desired, domain: Domain, host: Host, taken: t.Collection[str] = ()) -> Nic:
    """Return the NIC that ``desired`` means, as it is: with neither stored nor live where it is still to be made.

    ``taken`` are addresses that this run gives to other new NICs.

    :raises MacvtapError: several are meant.
    """
    mac = desired.mac
    if desired.by != "mac":
        stored = [iface for iface in domain.stored if _fits(iface, desired, host)]
        found = stored or [iface for iface in domain.live if _fits(iface, desired, host)]
        if len(found) > 1:
            raise MacvtapError(
                f"domain {domain.name!r} has {len(found)} direct interfaces with the {desired.by} {desired.key}: "
                f"{'; '.join(map(describe, found))}. Say which one by its MAC address",
                path=join_path(desired.path, desired.by),
            )
        if found and not found[0].mac:
            raise MacvtapError(
                f"domain {domain.name!r}: the interface {describe(found[0])} has no MAC address, and libvirt makes up "
                "another one each time it reads the file. Write one into it first",
                path=join_path(desired.path, desired.by),
            )
        mac = found[0].mac if found else _new_address(desired, domain, host, taken)
    return nic(domain, mac or "", desired.path)


def nic(domain: Domain, mac: str, path: str) -> Nic:
    """Return the NIC of ``domain`` with this address.

    :raises MacvtapError: there are several.
    """
    return Nic(
        domain.name,
        mac,
        _only(domain.stored, domain, mac, path),
        _only(domain.live, domain, mac, path) if domain.running else None,
        domain.document,
        uuid=domain.uuid,
        instance=domain.instance,
    )


def owners(host: Host, mac: str, *, but: str) -> list[str]:
    """Return the names of the other domains that have this address."""
    observed = [d.name for d in host.domains.values() if any(i.mac == mac for i in (*d.stored, *d.live))]
    return sorted({*observed, *(host.macs or {}).get(mac, ())} - {but})


def link_of(name: str | None, links: Links) -> Link | None:
    """Return the link of this name or alternative name."""
    return links.get(name or "") or next((link for link in links.values() if name in link.altnames), None)


def same_source(one: str | None, other: str | None, links: Links | None) -> bool:
    """Whether two names are the same link's; libvirt finds it by an alternative name as well."""
    if one == other or links is None:
        return one == other
    link = link_of(one, links)
    return link is not None and link is link_of(other, links)


def describe(iface: Iface) -> str:
    words = [iface.mac, iface.type, iface.get("source") or iface.origin, iface.get("alias"), iface.get("target")]
    return " ".join(word for word in words if word)


def unknown(name: str, host: Host) -> str:
    """Say that there is no such domain, and which are like it."""
    near = difflib.get_close_matches(name, host.known, n=5, cutoff=0.5) or sorted(host.known)[:5]
    more = len(host.known) - len(near)
    listed = ", ".join(near) + (f" and {more} more" if more else "") if near else "none"
    return f"no domain {name!r} on {host.uri} (known: {listed})"


def _fits(iface: Iface, desired: Desired, host: Host) -> bool:
    if desired.by == "source":
        # What a NIC of another type may have as well, and mean something else by.
        return iface.type == "direct" and same_source(iface.get("source"), desired.key, host.links)
    return iface.get(desired.by) == desired.key


def _new_address(desired: Desired, domain: Domain, host: Host, taken: t.Collection[str]) -> str:
    # Two hosts that have a domain of one UUID have one domain, which must keep its address when it moves.
    seed = f"{domain.uuid or domain.name}/{desired.given.get('source') or desired.key}"
    own = {iface.mac for other in host.domains.values() for iface in (*other.stored, *other.live)}
    return _mac.stable(seed, prefix=desired.prefix, taken={*own, *(host.macs or ()), *taken})


def _only(ifaces: t.Iterable[Iface], domain: Domain, mac: str, path: str) -> Iface | None:
    found = [iface for iface in ifaces if iface.mac == mac]
    if len(found) > 1:
        raise MacvtapError(
            f"domain {domain.name!r} has {len(found)} interfaces with {mac} "
            f"({'; '.join(map(describe, found))}): which one is meant cannot be told",
            path=join_path(path, "mac"),
        )
    return found[0] if found else None
