# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NIC of a domain is the one that is described: by a declaration, or by what it was before. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import is_libvirts
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import suggest

Pair = t.Tuple[t.Optional[Iface], t.Optional[Iface]]
# By these NICs with one MAC address are told apart, the surest first: no two devices of a domain have one address.
_TELLING = ("address", "alias", "target", "source", "type")


def pairs(domain: Domain) -> list[Pair]:
    """Return the NICs of ``domain``, each as (stored, live).

    What is stored comes in its order, then what only the running guest has. Of several with one MAC address those
    belong together that are most alike.
    """
    left = list(enumerate(domain.live))
    stored = list(enumerate(domain.stored))
    alike = sorted(
        (
            (-_likeness(one, other), here, there)
            for here, one in stored
            for there, other in left
            if one.mac == other.mac
        ),
    )
    partner: dict[int, int] = {}
    for _score, here, there in alike:
        if here not in partner and there not in partner.values():
            partner[here] = there
    taken = set(partner.values())
    return [
        *((one, domain.live[partner[here]] if here in partner else None) for here, one in stored),
        *((None, one) for there, one in left if there not in taken),
    ]


def of_pair(pair: Pair) -> Iface:
    """Return what a NIC is known by: as it is stored. What a running guest still has counts where nothing is."""
    iface = pair[0] or pair[1]
    if iface is None:
        raise ValueError("a NIC that is neither stored nor live")
    return iface


def nic_of(domain: Domain, pair: Pair) -> Nic:
    stored, live = pair
    mac = of_pair(pair).mac
    shared = any(sum(iface.mac == mac for iface in side) > 1 for side in (domain.stored, domain.live))
    return replace(none_yet(domain, mac), stored=stored, live=live if domain.running else None, shared=shared)


def again(domain: Domain, was: Nic, path: str) -> Nic:
    """Return the NIC that is ``was``, as ``domain`` has it now: with neither stored nor live where it is gone.

    :raises MacvtapError: there are several with its MAC address, and which of them it is cannot be told.
    """
    found = [pair for pair in pairs(domain) if of_pair(pair).mac == was.mac]
    known = was.stored or was.live
    if was.shared and known is not None:
        # One that is gone must not be taken for its twin, which stays.
        found = [pair for pair in found if _same_device(of_pair(pair), known)]
    if len(found) > 1:
        raise _several(domain, [of_pair(pair) for pair in found], "mac", was.mac, path)
    if not found:
        return replace(none_yet(domain, was.mac), shared=was.shared)
    return nic_of(domain, found[0])


def none_yet(domain: Domain, mac: str) -> Nic:
    """Return a NIC that ``domain`` does not have."""
    return Nic(domain.name, mac, None, None, domain.document, uuid=domain.uuid, instance=domain.instance)


def among(ifaces: t.Iterable[Iface], was: Nic) -> Iface | None:
    """Return that of ``ifaces`` which is the NIC that ``was``, None where it is not among them."""
    known = was.stored or was.live
    return next(
        (i for i in ifaces if i.mac == was.mac and (not was.shared or known is None or _same_device(i, known))), None
    )


def nic(domain: Domain, mac: str, path: str) -> Nic:
    """Return the NIC of ``domain`` with this address.

    :raises MacvtapError: there are several.
    """
    return again(domain, Nic(domain.name, mac), path)


def matching(desired: Desired, ifaces: t.Iterable[Iface], links: Links | None) -> list[Iface]:
    """Return those of ``ifaces`` that ``desired`` means; several where it does not tell them apart."""
    found = [iface for iface in ifaces if fits(iface, desired.by, desired.key, links)]
    if desired.by != "mac":
        return found
    # Of several with one address, as of a teaming pair, it is what else is said of it that tells.
    for name in ("alias", "target", "source"):
        said = desired.given.get(name)
        if len(found) > 1 and said:
            found = [iface for iface in found if fits(iface, name, said, links)] or found
    direct = [iface for iface in found if iface.type == "direct"]
    return direct if len(direct) == 1 else found


def fits(iface: Iface, by: str, key: str, links: Links | None) -> bool:
    """Whether ``iface`` has the value ``key`` of the selector ``by``."""
    if by == "mac":
        return iface.mac == key
    if by == "source":
        # What a NIC of another type may have as well, and mean something else by.
        return iface.type == "direct" and same_source(iface.get("source"), key, links)
    return iface.get(by) == key


def refuse_several(desired: Desired, domain: Domain, found: t.Sequence[Iface]) -> None:
    """Refuse a declaration that several NICs fit, or one with no address that could be kept."""
    if len(found) > 1:
        raise _several(domain, found, desired.by, desired.key, desired.path)
    if found and not found[0].mac:
        raise MacvtapError(
            f"domain {domain.name!r}: the interface {describe(found[0])} has no MAC address, and libvirt makes up "
            "another one each time it reads the file. Write one into it first",
            path=join_path(desired.path, desired.by),
        )


def owners(host: Host, mac: str, *, but: str) -> list[str]:
    """Return the names of the other domains that have this address."""
    # A saved guest comes back with the address that it was saved with.
    found = {d.name: (*d.stored, *d.live, *(d.saved or ())) for d in host.domains.values()}
    observed = [name for name, ifaces in found.items() if any(iface.mac == mac for iface in ifaces)]
    return sorted({*observed, *(host.macs or {}).get(mac, ())} - {but})


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
    near = suggest(name, host.known, most=5, cutoff=0.5) or sorted(host.known)[:5]
    more = len(host.known) - len(near)
    listed = ", ".join(near) + (f" and {more} more" if more else "") if near else "none"
    return f"no domain {name!r} on {host.uri} (known: {listed})"


def _several(domain: Domain, found: t.Sequence[Iface], by: str, key: str, path: str) -> MacvtapError:
    listed = "; ".join(map(describe, found))
    if by == "mac":
        said = (
            f"domain {domain.name!r} has {len(found)} interfaces with {key}: {listed}. "
            "Set its alias, target or source as well, whichever only one of them has"
        )
    else:
        alike = len({iface.mac for iface in found}) < len(found)
        said = (
            f"domain {domain.name!r} has {len(found)} direct interfaces with the {by} {key}: {listed}. "
            f"Select one by its {'alias or target' if alike else 'MAC address'}"
        )
    return MacvtapError(said, path=join_path(path, by))


def _telling(iface: Iface, name: str) -> str | None:
    """Return a value that is the NIC's own, and not made up for as long as the guest runs."""
    text = iface.type if name == "type" else iface.get(name)
    return None if text is None or is_libvirts(name, text) else text


def _likeness(one: Iface, other: Iface) -> int:
    same = (_telling(one, name) is not None and _telling(one, name) == _telling(other, name) for name in _TELLING)
    return sum(alike << place for place, alike in enumerate(reversed(list(same))))


def _same_device(one: Iface, other: Iface) -> bool:
    for name in _TELLING:
        here, there = _telling(one, name), _telling(other, name)
        if here is not None and there is not None:
            return here == there
    return True
