# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be there of each declared link after a reboot: what was declared of it, and what it has now. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import model as access
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.planner import as_declared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_model, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import choose_backend, model, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import make_links, systemd_unit
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import Entry
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    SHIM,
    Decision,
    Declared,
    Desired,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names

_ORDINARY_MTU = 1500


@dataclass(frozen=True)
class Resolved:
    """What becomes of each declared link, by its name."""

    decisions: t.Mapping[str, Decision]
    warnings: tuple[str, ...]

    @property
    def links(self) -> tuple[Desired, ...]:
        """Those that are to be there, less those whose files stay as they are."""
        return tuple(one.desired for one in self.decisions.values() if one.desired is not None)

    @property
    def backends(self) -> dict[str, str | None]:
        return {name: one.backend for name, one in self.decisions.items()}


def resolve(declared: t.Sequence[Declared], host: Host, written: t.Mapping[str, Entry]) -> Resolved:
    """Return what is to be there of the ``declared`` links; ``written`` is what files of ours have, by name.

    :raises MacvtapError: something that cannot be there.
    """
    resolver = _Resolver(host, written)
    # Links may be on VLANs that are declared with them.
    for one in sorted(declared, key=lambda one: not isinstance(one.want, DesiredVlan)):
        if isinstance(one.want, DesiredVlan):
            resolver.vlan(one.want, one.backend)
        elif isinstance(one.want, DesiredLink):
            resolver.macvtap(one.want, one.backend)
        else:
            resolver.shim(one.want, one.backend)
    return resolver.resolved()


class _Resolver:
    def __init__(self, host: Host, written: t.Mapping[str, Entry]) -> None:
        self.host = host
        self.written = written
        self.links = dict(host.links)
        self.decisions: dict[str, Decision] = {}
        # Where each thing is declared.
        self.declared: dict[str, str] = {}
        self.not_made: list[str] = []
        self.warnings: list[str] = []

    def vlan(self, want: DesiredVlan, asked: str) -> None:
        if want.state == "absent":
            self._absent_vlan(want)
            return
        parent = parents.resolve(want, self.links)
        self._once(f"VLAN {want.id} ({want.protocol}) of {parent.name}", want.path, "id")
        link = vlans.current(want, self.links)
        ours = self.written.get(link.name) if link else None
        if link is not None and not vlan_model.is_managed(link) and (ours is None or ours.kind == SHIM):
            # Another manager has made it, and will at the next boot.
            self._once(link.name, want.path)
            self.decisions[link.name] = Decision(want)
            return
        name = vlans.name_of(want, parent)
        self._once(name, want.path)
        made = DesiredLink(
            name, want.path, want.state, mac=want.mac, mtu=_mtu(want.mtu, link), alias=vlan_model.OWNER_ALIAS
        )
        self._add(asked, want, replace(made, kind="vlan"), parent, vlan=(want.protocol, want.id))
        self.links.setdefault(name, Link(name, kind="vlan", parent=parent.name, vlan_id=want.id))

    def _absent_vlan(self, want: DesiredVlan) -> None:
        """Whatever its name is: a VLAN link is known by its parent and id."""
        parent = parents.lookup(want.parent, self.links)
        names = {name for name, one in self.written.items() if _is_vlan(want, one, parent)}
        link = vlans.current(want, self.links)
        if link is not None:
            names.add(link.name)
        for name in sorted(names) or [want.default_name if parent is None else vlans.name_of(want, parent)]:
            self._once(name, want.path)
            self.decisions[name] = Decision(want)

    def macvtap(self, want: DesiredLink, asked: str) -> None:
        self._once(want.key, want.path)
        if want.state == "absent":
            self.decisions.setdefault(want.name, Decision(want))
            return
        if want.netns is not None:
            self._refuse_netns(want, asked)
            return
        now = self.links.get(want.name)
        parent = self._parent(want, now)
        has = now.mode if now else None
        # auto was decided when the link was made; a link that is still to be made (check mode) has what always works.
        mode = has or DEFAULT_MODE if want.mode in (None, AUTO) else want.mode
        link = replace(
            want,
            mode=mode,
            mac=None if mode == "passthru" else _mac_of(want.mac, now),
            mtu=_mtu(want.mtu, now),
            source_macs=want.source_macs if mode == "source" else None,
        )
        self.warnings += _not_kept(link)
        self._add(asked, want, link, parent)

    def shim(self, want: access.DesiredShim, asked: str) -> None:
        self._once(want.name, want.path)
        if want.state == "absent":
            self.decisions.setdefault(want.name, Decision(want))
            return
        now = self.links.get(want.name)
        parent = self._parent(want, now)
        link = DesiredLink(want.name, want.path, mode="bridge", mac=_mac_of(want.mac, now), mtu=_mtu(want.mtu, now))
        link = replace(link, alias=access.OWNER_ALIAS, kind=SHIM)
        lease_mtu = (now or parent).mtu if want.dhcp4 else None
        self._add(asked, want, link, parent, shim=as_declared(want), lease_mtu=lease_mtu)

    def _once(self, what: str, path: str, option: str = "name") -> None:
        if what in self.declared:
            raise declared_twice(what, join_path(path, option), self.declared[what])
        self.declared[what] = path

    def _refuse_netns(self, want: DesiredLink, asked: str) -> None:
        message = f"no link is made at boot in the network namespace {want.netns}"
        if asked not in ("auto", "none"):
            raise MacvtapError(f"{message}. Set persistence: none for this link", path=join_path(want.path, "netns"))
        # Here there may be another link of this name.
        self.decisions.setdefault(want.name, Decision(want))
        if asked == "auto":
            self.warnings.append(
                f"{want.name} will not be there after a reboot: {message}. Set persistence: none for it to silence this"
            )

    def _parent(self, want: DesiredLink | access.DesiredShim, link: Link | None) -> Link:
        path = join_path(want.path, "parent")
        if want.parent is None:
            parent = self.links.get((link.parent if link else None) or "")
            if parent is None:
                raise MacvtapError(f"parent is required: the link {want.name} does not exist yet", path=path)
            return parent
        parent = parents.find(want.parent, self.links, path=path, exclude=want.name)
        decided = self.decisions.get(parent.name)
        if decided is not None and decided.absent and vlan_model.is_managed(parent):
            raise MacvtapError(
                f"{parent.name} is declared absent in {decided.want.path}. Use another link, or set state: "
                "absent here too",
                path=path,
            )
        return parent

    def _key(self, asked: str | None, parent: Link, path: str) -> str:
        """Return what the parent is found by at boot: what the user gave, as far as that is its own."""
        if asked is None or asked == parent.name:
            return parent.name
        if parents.is_pci(asked):
            return parent.pci or asked
        if asked in parent.altnames:
            validate.check_name(asked, join_path(path, "parent"))
            return f"altname:{asked}"
        # One that is no physical link has the address of what it is on or made of, which at boot is found instead.
        return parent.name if parent.kind else _mac.canonical(asked) or asked

    def _add(
        self,
        asked: str,
        want: DesiredLink | DesiredVlan | access.DesiredShim,
        link: DesiredLink,
        parent: Link,
        **more: t.Any,
    ) -> None:
        """Have the link there after a reboot, if whoever is ``asked`` for makes it."""
        name, path, written = link.name, link.path, self.written.get(link.name)
        backend = choose_backend.choose(asked, link.kind, self.host, path)
        if backend is None:
            left = asked == "auto" and written is not None and (written.kind == SHIM) == (link.kind == SHIM)
            if left and written and written.key:
                # Where systemd does not run now, as in an image that is being built, it may have been written before.
                backend = model.SYSTEMD if systemd_unit.TEMPLATE in self.host.files else model.IFUPDOWN
            self.decisions[name] = Decision(want, backend, left=left)
            self.not_made += [name] if asked == "auto" and not left else []
            return
        desired = Desired(link, parent, self._key(want.parent, parent, path), **more)
        validate.check_link(desired, self.host, written=written)
        if link.kind == SHIM:
            manager = choose_backend.addresses_by(asked, parent, self.host, path, dhcp4=desired.shim.dhcp4)
            desired = replace(desired, manager=manager)
        self.decisions[name] = Decision(want, backend, desired)
        self.warnings += self._grabbed(name, desired.manager)

    def _grabbed(self, name: str, manager: str | None) -> t.Iterator[str]:
        link = self.host.links.get(name)
        file = self.host.networkd.get(link.index) if link else None
        if file and manager != model.NETWORKD and not file.endswith(f"-macvtap-{name}.network"):
            yield (
                f"{name} is configured by networkd, from {file}, which matches it too. From the next boot, "
                "or from networkctl reload on, networkd leaves it alone"
            )

    def resolved(self) -> Resolved:
        if self.host.access is not None:
            validate.check_reachable(self.decisions.values(), self.host.access)
        if self.not_made:
            self.warnings.append(
                f"{join_names(self.not_made)} will not be there after a reboot: systemd, whose unit would make them, "
                "does not run here. Set persistence (in the roles macvtap_links_persistence and "
                "macvtap_host_access_persistence): ifupdown where that reads interfaces(5), or none to silence this"
            )
        left = sorted(name for name, one in self.decisions.items() if one.left)
        if left:
            self.warnings.append(
                f"{join_names(left)}: systemd does not run here, so what has been written before stays as it is. Set "
                "persistence to change it"
            )
        return Resolved(self.decisions, tuple(self.warnings))


def _is_vlan(want: DesiredVlan, one: Entry, parent: Link | None) -> bool:
    names = {want.parent, _mac.canonical(want.parent) or ""}
    if parent is not None:
        names |= {parent.name, parent.mac or "", parent.pci or "", *(f"altname:{name}" for name in parent.altnames)}
    on = one.key if one.parent == make_links.UPLINK else one.parent
    return one.vlan == (want.protocol, want.id) and on in names - {""} and want.name in (None, one.name)


def _mac_of(mac: str | None, link: Link | None) -> str | None:
    # One that the kernel chooses would be another one at each boot.
    return mac or (link.mac if link else None)


def _mtu(mtu: int | None, link: Link | None) -> int | None:
    # At boot a link is made before a manager has raised the uplink's MTU, and does not follow that up by itself.
    return mtu or (link.mtu if link and link.mtu and link.mtu > _ORDINARY_MTU else None)


def _not_kept(link: DesiredLink) -> t.Iterator[str]:
    if link.bclim is not None:
        yield f"{link.name}: bclim is the parent's, and is not kept over a reboot; the next run sets it"
    if link.promiscuous is False and link.mode != "passthru":
        yield (
            f"{link.name}: promiscuous: false has no effect in mode {link.mode}, and is not kept over a reboot. Leave "
            "it out"
        )
