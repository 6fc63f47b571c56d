# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Refuses links that cannot exist together after a reboot, even if an earlier run wrote one of them. Pure.

At boot the first of them is created, or comes up, and the other one is missed by its guest.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import UPLINK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import SHIM
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.systemd_unit import StoredLink

_OPTIONS = {"macvtap": "links", "vlan": "vlans", SHIM: "shims"}


class _Claim(t.NamedTuple):
    """What only one link can have: a name, or on one parent (``on``) a MAC address or a VLAN."""

    what: str
    value: str
    on: str = ""

    def shared_with(self, other: str) -> str:
        if self.what == "id":
            return f"VLAN {self.value} of {self.on} is also {other}"
        return f"{self.value} is also {'the MAC address' if self.what == 'mac' else 'a name'} of {other}"


# What happens otherwise, and what else can be done about it.
_EFFECTS = {
    "mac": ("one of the two would stay down", "choose another address"),
    "id": ("one of the two would not be created", "declare another VLAN"),
    "name": ("only one of the two would get it", "choose another name"),
}


def check(declared: t.Mapping[str, str], written: t.Mapping[str, StoredLink], links: Links) -> None:
    """Refuse links that the kernel does not let exist together.

    ``declared`` are the option paths of this run's links, and ``written`` all links that there are to be after a
    reboot, both by name; ``links`` are the current ones.

    :raises MacvtapError: one of them is declared. Links that earlier runs wrote are not held against each other.
    """
    boot = _Boot(written, links)
    for name, path in declared.items():
        own = written[name]
        _check_alone(own, boot, path)
        for claim in boot.claims(own):
            others = [other for other in boot.claimants[claim] if other.name != name]
            if others:
                raise _conflict(claim, own, others[0], declared)
        _check_parents_address(own, boot, declared)


class _Boot:
    """The links after a reboot: what each is on, and what it claims."""

    def __init__(self, written: t.Mapping[str, StoredLink], links: Links) -> None:
        self.written = written
        self.links = links
        self._uplinks: dict[str, str] = {}
        self._macs: dict[str, str | None] = {}
        self.claimants: dict[_Claim, list[StoredLink]] = {}
        # Names and modes, by parent.
        self.on: dict[str, list[tuple[str, str | None]]] = {}
        for one in written.values():
            for claim in self.claims(one):
                self.claimants.setdefault(claim, []).append(one)
            if one.kind != "vlan":
                self.on.setdefault(self.parent(one), []).append((one.name, one.words.get("mode")))
        modes = {parent: [mode for _name, mode in ones] for parent, ones in self.on.items()}
        self.crowded = {parent for parent, those in modes.items() if validate.crowded(those)}

    def parent(self, one: StoredLink) -> str:
        """Return the name of the link that it is on. One uplink can be written by its name and by its address."""
        if one.parent != UPLINK:
            return one.parent
        if one.key not in self._uplinks:
            uplink = parents.lookup(one.key.removeprefix("altname:"), self.links)
            self._uplinks[one.key] = uplink.name if uplink else one.key
        return self._uplinks[one.key]

    def claims(self, one: StoredLink) -> list[_Claim]:
        claims = [_Claim("name", name) for name in dict.fromkeys((one.name, *one.altnames))]
        words, mac = one.words, _address(one)
        if one.kind == "vlan" and "id" in words:
            claims.append(_Claim("id", f"{words['id']} ({words.get('protocol', '802.1Q')})", self.parent(one)))
        elif one.kind != "vlan" and mac:
            # A VLAN link may have the address of any other link.
            claims.append(_Claim("mac", mac, self.parent(one)))
        return claims

    def mac(self, name: str) -> str | None:
        """Return the MAC address of the link ``name`` after a reboot. A VLAN link without one has its parent's."""
        for _below in self.written:
            one = self.written.get(name)
            if one is None:
                break
            if _address(one):
                return _address(one)
            name = self.parent(one)
        if name not in self._macs:
            link = self.links.get(name)
            self._macs[name] = parents.own_mac(link, self.links) if link else None
        return self._macs[name]


def _address(one: StoredLink) -> str | None:
    return _mac.canonical(one.words.get("address", ""))


def _check_alone(own: StoredLink, boot: _Boot, path: str) -> None:
    """Refuse a link in mode passthru beside another one on its parent."""
    parent = boot.parent(own)
    if own.kind != "vlan" and parent in boot.crowded:
        others = [one for one in boot.on[parent] if one[0] != own.name]
        mode = own.words.get("mode")
        raise MacvtapError(
            f"after a reboot, {validate.not_alone(parent, own.name, mode, others)}. Set state: absent for the links "
            "that are not to exist, or purge",
            path=join_path(path, "mode"),
        )


def _conflict(claim: _Claim, own: StoredLink, other: StoredLink, declared: t.Mapping[str, str]) -> MacvtapError:
    option = "altnames" if claim.what == "name" and claim.value != own.name else claim.what
    path, (effect, instead) = join_path(declared[own.name], option), _EFFECTS[claim.what]
    shared = claim.shared_with(other.name)
    if other.name in declared:
        where = f"declared in {declared[other.name]}" if declared[other.name] else "declared here too"
        return MacvtapError(f"{shared}, {where}: after a reboot {effect}. {instead.capitalize()}", path=path)
    return MacvtapError(f"{shared}, {_earlier(other, effect)}, or {instead}", path=path)


def _earlier(other: StoredLink, effect: str) -> str:
    # Purging links leaves shims alone.
    purge = "" if other.kind == SHIM else " (or purge)"
    return (
        f"which an earlier run wrote for the next boot: {effect}. If {other.name} is not to exist, set state: absent "
        f"for it in {_OPTIONS[other.kind]}{purge}"
    )


def _check_parents_address(own: StoredLink, boot: _Boot, declared: t.Mapping[str, str]) -> None:
    """Refuse a link with its parent's MAC address, and a VLAN with that of a link on it that is written."""
    mac, parent, path = _address(own), boot.parent(own), join_path(declared[own.name], "mac")
    if mac is None:
        return
    if own.kind != "vlan" and mac == boot.mac(parent):
        raise MacvtapError(
            f"{mac} is the MAC address of {parent}, the parent itself: after a reboot {own.name} would stay down. "
            "Choose another address",
            path=path,
        )
    for other in boot.claimants.get(_Claim("mac", mac, own.name), ()):
        if other.name not in declared:
            where = f"{mac} is also the MAC address of {other.name}, a link on {own.name}"
            raise MacvtapError(f"{where}, {_earlier(other, f'{other.name} would stay down')}", path=path)
