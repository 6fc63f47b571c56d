# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the link for a parent given by name, alternative name, MAC address or PCI address. Pure."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    MACVLAN_KINDS,
    DesiredLink,
    Link,
    Links,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, join_names, suggest


class NoSuchLinkError(MacvtapError):
    """No link has this name or address."""


def is_pci(parent: str) -> bool:
    return _values.pci_address(parent) is not None


# The same few names, asked for by every NIC.
@functools.lru_cache(maxsize=256)
def is_address(parent: str) -> bool:
    """Whether ``parent`` can be a MAC address or a PCI address. A link's name can consist of 12 digits too."""
    return is_pci(parent) or _mac.canonical(parent) is not None


def spellings(parent: str) -> set[str]:
    """Return the names and addresses that a link meant by ``parent`` may have."""
    return {parent, _mac.canonical(parent) or parent, _values.pci_address(parent) or parent}


def resolve(entry: DesiredLink | DesiredVlan, links: Links) -> Link:
    """Return the link that ``entry.parent`` names.

    :raises NoSuchLinkError: no link matches.
    :raises MacvtapError: several links match.
    """
    return find(entry.parent or "", links, path=join_path(entry.path, "parent"), exclude=entry.name or "")


def find(asked: str, links: Links, *, path: str, exclude: str = "") -> Link:
    """Return the link that the option ``path`` asks for; ``exclude`` is not suggested.

    :raises NoSuchLinkError: no link matches.
    :raises MacvtapError: several links match.
    """
    named = links.get(asked)
    if named is not None and named.netns is None:
        return named
    links = {name: link for name, link in links.items() if link.netns is None}
    address = _values.pci_address(asked)
    if address is not None:
        return _only([link for link in links.values() if link.pci == address], asked, links, "PCI address", path)
    named = next((link for link in links.values() if asked in link.altnames), None)
    mac = _mac.canonical(asked)
    if named is None and mac is not None:
        return _only(_having(mac, links), asked, links, "MAC address", path)
    if named is None:
        raise NoSuchLinkError(f"there is no link {asked} on this host{candidates(asked, links, exclude)}", path=path)
    return named


def _having(mac: str, links: Links) -> list[Link]:
    """Return the links that a user may mean by a MAC address.

    A guest on a link in mode passthru gives its own address to the NIC below, any address if it is trusted. So the NIC
    whose permanent address it is counts as much as a link that has it now.
    """
    now = [link for link in links.values() if link.mac == mac and link.kind not in MACVLAN_KINDS]
    own = [link for link in links.values() if link.permanent_mac == mac != link.mac]
    # A VLAN link or a bridge takes over the address of the link that it is on.
    indexes = {link.index for link in (*now, *own)}
    now = [link for link in now if link.kind != "vlan" or link.parent_index not in indexes]
    return [*([link for link in now if not link.kind] or now), *own]


def own_mac(link: Link, links: Links) -> str | None:
    """Return the MAC address that ``link`` has without a guest's: see :func:`_having`."""
    return (link.permanent_mac or link.mac) if is_lent(link, links) else link.mac


def is_lent(link: Link, links: Links) -> bool:
    """Whether a guest on a link in mode passthru may have given ``link`` its address."""
    return any(other.mode == "passthru" and other.parent_index == link.index for other in links.values())


def standing_on(link: Link, links: Links) -> t.Iterator[Link]:
    """Yield the links of this network namespace on top of ``link``, directly or through other links."""
    here = [other for other in links.values() if other.netns is None and other.index != link.index]
    indexes, new = {link.index}, [link]
    while new:
        one = new.pop(0)
        for other in here:
            if one.index in (other.under, other.parent_index) and other.index not in indexes:
                indexes.add(other.index)
                new.append(other)
                yield other


def lookup(asked: str, links: Links) -> Link | None:
    """Return the link that ``asked`` names, None where :func:`find` would raise."""
    try:
        return find(asked, links, path="")
    except MacvtapError:
        return None


def required(name: str, path: str) -> MacvtapError:
    """Return the error that a new link of this name has no parent in the option ``path``."""
    return MacvtapError(
        f"is required, since the link {name} does not exist yet. Set it to the uplink, such as eth0", path=path
    )


def _address(link: Link, what: str) -> str | None:
    # Addresses of links that take over their parent's, and of guests, are not what is asked for.
    if what == "PCI address":
        return link.pci
    return None if link.kind or link.loopback else link.mac


def _only(found: t.Sequence[Link], asked: str, links: Links, what: str, path: str) -> Link:
    if len(found) == 1:
        return found[0]
    if not found:
        having = [f"{link.name} {address}" for link in links.values() if (address := _address(link, what))]
        known = f" (known: {join_names(sorted(having))})" if having else ""
        raise NoSuchLinkError(f"no link with the {what} {asked} on this host{known}", path=path)
    names = ", ".join(link.name for link in found)
    raise MacvtapError(f"several links have the {what} {asked}: {names}. Use the name of one instead", path=path)


def candidates(asked: str, links: Links, exclude: str = "") -> str:
    """Return the end of a message: links with a name like ``asked``, or those that exist."""
    names = sorted({name for link in links.values() for name in (link.name, *link.altnames)} - {exclude})
    alike = suggest(asked, names)
    if alike:
        return did_you_mean(alike)
    return f" (links: {', '.join(names[:5])}" + (f" and {len(names) - 5} more)" if len(names) > 5 else ")")
