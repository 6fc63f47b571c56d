# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What macvtap_host_info says of a destination, held against the NICs that come to it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import reported
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

_PATH = "destination_host"
Look = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class There:
    """A destination, as it was looked at. ``reported`` are its links as macvtap_host_info returned them."""

    links: Links
    reach: Reach
    domains: t.Mapping[str, Domain]
    reported: t.Sequence[Look] = field(default=(), repr=False)


@dataclass(frozen=True)
class Coming:
    """The NICs that come to ``host``. ``paths`` are those of the declared ones, ``mtus`` what their links have here.

    Both are by MAC address.
    """

    host: str
    ifaces: t.Sequence[Iface]
    paths: t.Mapping[str, str]
    mtus: t.Mapping[str, int]


def read(look: Look | None) -> There | None:
    """Return what a look has of a destination, None without one.

    :raises MacvtapError: it is something else.
    """
    if look is None:
        return None
    links = look.get("links")
    if not isinstance(links, (list, tuple)):
        raise MacvtapError("is not what macvtap_host_info returns: it has no links", path=_PATH)
    try:
        return There(
            reported.links(links),
            reported.reach(links, look.get("connections") or ()),
            reported.domains(look.get("domains") or ()),
            links,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise MacvtapError(f"is not what macvtap_host_info returns: {exc}", path=_PATH) from exc


def reflects(look: Look | None) -> dict[str, bool | None]:
    """Return by uplink whether its switch sends frames back, as far as a host was asked that."""
    return {one["name"]: one.get("reflective_relay") for one in (look or {}).get("links") or ()}


def check(there: There | None, coming: Coming) -> None:
    """Refuse NICs whose uplink on the destination is missing, down or unfit. Without a look, nothing is known.

    :raises MacvtapError: with the path of the option.
    """
    if there is None:
        return
    for iface in coming.ifaces:
        source = iface.get("source") if iface.type == "direct" and iface.get("network") is None else None
        if source is not None:
            path = join_path(coming.paths[iface.mac], "source") if iface.mac in coming.paths else "uplinks"
            reason = _against(source, there.reported, coming.mtus.get(iface.mac))
            if reason:
                raise MacvtapError(f"{coming.host} has {reason}; it is for {iface.mac}", path=path)


def _against(source: str, links: t.Sequence[Look], mtu: int | None) -> str:
    """Return why a NIC cannot be on the link ``source``, "" if nothing is against it."""
    link = next((one for one in links if source in (one.get("name"), *one.get("altnames", ()))), None)
    if link is None:
        return f"no link {source!r}{did_you_mean(suggest(source, [str(one.get('name')) for one in links]))}"
    if link.get("unfit"):
        return f"a link {source!r} that cannot have macvtap links: {link['unfit']}"
    if link.get("state") == "down":
        return f"a link {source!r} that is down. Set it up first"
    if link.get("carrier") is False:
        return f"a link {source!r} without a carrier: nothing is plugged in, or the other end is down"
    if mtu is not None and (link.get("mtu") or mtu) < mtu:
        return f"a link {source!r} with MTU {link['mtu']}, and the guest sends packets of up to {mtu} bytes"
    return ""
