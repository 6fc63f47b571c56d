# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be kept of a link: what was declared of it, and what it has now. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import MARK, family, source_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as WantedCompanion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import vlan_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import AS_DECLARED, Link, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    Kept,
    Parent,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._relay.choice import AUTO

_ORDINARY_MTU = 1500
# What a user declares and is kept as it was said.
_AS_SAID = (*(name for name in AS_DECLARED if name not in ("altnames", "mtu")), "tap_owner", "tap_group", "tap_mode")


def vlan(want: WantedVlan, name: str, parent: Parent, link: Link | None = None) -> Kept:
    return Kept(
        name,
        "vlan",
        parent,
        path=want.path,
        up=_up(want.state),
        vlan_id=want.id,
        protocol=want.protocol,
        mac=want.mac,
        mtu=_mtu(want, link),
        alias=vlan_model.MARK,
    )


def macvtap(want: Wanted, parent: Parent, link: Link | None) -> Kept:
    """Return the macvtap link as it is to be; ``link`` is what has its name now."""
    has = link.mode if link else None
    # auto was decided when the link was made; a link that is still to be made (check mode) has what always works.
    mode = has or "bridge" if want.mode == AUTO else want.mode or has or "vepa"
    return Kept(
        want.name,
        "macvtap",
        parent,
        path=want.path,
        up=_up(want.state),
        mode=mode,
        mac=None if mode == "passthru" else _mac(want, link),
        source_macs=tuple(sorted(want.source_macs or ())) if mode == "source" else (),
        altnames=tuple(sorted(want.altnames or ())),
        mtu=_mtu(want, link),
        **{option: getattr(want, option) for option in _AS_SAID},
    )


def companion(want: WantedCompanion, parent: Parent, link: Link | None, below: Link) -> Kept:
    """Return the companion as it is to be; ``link`` is what has its name now, and ``below`` its parent."""
    return Kept(
        want.name,
        COMPANION,
        parent,
        path=want.path,
        mode="bridge",
        mac=_mac(want, link),
        mtu=_mtu(want, link),
        alias=MARK,
        # Not a network's: the kernel would route all of it over the companion.
        addresses=tuple(f"{address}/{128 if family(address) == 6 else 32}" for address in want.addresses),
        routes=tuple(Route(guests, source_of(guests, want.addresses)) for guests in want.guests),
        dhcp4=want.dhcp4,
        lease_mtu=(link or below).mtu if want.dhcp4 else None,
    )


def _mac(want: Wanted | WantedCompanion, link: Link | None) -> str | None:
    # One that the kernel chooses would be another one at each boot.
    return want.mac or (link.mac if link else None)


def _mtu(want: Wanted | WantedVlan | WantedCompanion, link: Link | None) -> int | None:
    # At boot a link is made before a manager has raised the uplink's MTU, and does not follow that up by itself.
    return want.mtu or (link.mtu if link and link.mtu and link.mtu > _ORDINARY_MTU else None)


def _up(state: str) -> bool | None:
    return {"up": True, "down": False}.get(state)
