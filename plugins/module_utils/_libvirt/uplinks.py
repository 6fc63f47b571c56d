# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Uplinks of interfaces and networks: the names by which libvirt knows a link. Pure.

libvirt finds an uplink by its name only, or by an alternative name of up to 15 bytes (measured with 9.0 and 11.3).
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, link_of


def validate_name(name: str, path: str) -> None:
    """Refuse a declared uplink that is neither an address nor can be a name.

    :raises MacvtapError: with the ``path`` of the option.
    """
    if parents.is_address(name):
        return
    # The kernel reads % in a new link's name as a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s\0]", name):
        raise MacvtapError(
            f"{name!r} cannot be the name of a network link: no white space, no / : % and not . or ..", path=path
        )
    _values.check_bytes(name, _values.ALTNAME_BYTES, path)


def is_usable(uplink: str, links: Links | None) -> bool:
    """Whether libvirt looks for the same link by this name. A name may consist of hexadecimal digits alone."""
    if len(uplink.encode()) > _values.NAME_BYTES:
        return False
    return not parents.is_address(uplink) or link_of(uplink, links or {}) is not None


def unknown(uplink: str, why: str) -> str:
    """Return the message that ``uplink`` cannot be looked up, since the host's links are not known."""
    why = why or "the links of the guests' host are not known"
    return f"{uplink!r} is not a name that libvirt can use, and {why}. Set the name that the link has there"


def same(one: str | None, other: str | None, links: Links | None) -> bool:
    """Whether two names mean the same link; libvirt accepts alternative names as well."""
    if one == other or links is None:
        return one == other
    link = link_of(one, links)
    return link is not None and link is link_of(other, links)


def validate_association(link: Link, links: Links, what: str, instead: str, path: str) -> None:
    """Refuse an uplink on which libvirt cannot associate ``what``; the message ends with ``instead``.

    :raises MacvtapError: with the ``path`` of the option.
    """
    veth = veth_below(link, links)
    if veth is not None:
        where = "is a veth link" if veth is link else f"is on the veth link {veth.name}"
        raise MacvtapError(
            f"{link.name} {where}, on which libvirtd 9.0 hangs when it associates {what}. {instead}", path=path
        )


def validate_function(link: Link, non_vfs: t.Container[str], instead: str, path: str) -> None:
    """Refuse an uplink on which libvirt sets no VLAN. ``non_vfs`` are known to be no SR-IOV virtual functions.

    :raises MacvtapError: with the ``path`` of the option. The message ends with ``instead``.
    """
    if link.pci is None or link.name in non_vfs:
        raise MacvtapError(
            f"{link.name} is not an SR-IOV virtual function, and only one can have a VLAN here. {instead}", path=path
        )


def veth_below(link: Link, links: Links) -> Link | None:
    """Return the veth link that ``link`` is, or is on: libvirtd 9.0 hangs when it associates a virtual port there."""
    # virNetDevVPortProfileGetPhysdevAndVlan() follows the links below to the end. Two veth links are below each other.
    visited: set[str] = set()
    below: Link | None = link
    while below is not None and below.name not in visited:
        if below.kind == "veth":
            return below
        visited.add(below.name)
        below = links.get(below.parent or "")
    return None
