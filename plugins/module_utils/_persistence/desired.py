# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Each declared link as it is to be after a reboot: what was declared for it, and what it has now. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS, DesiredShim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.planner import as_declared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_model, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import DEFAULT_MODE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.desired import kept_mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import choose_backend, model, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import UPLINK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import SHIM, Decision, Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.systemd_unit import StoredLink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.choice import AUTO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import declared_twice, join_names


class Resolved(t.NamedTuple):
    """The decision for each declared link, by its name."""

    decisions: t.Mapping[str, Decision]
    warnings: tuple[str, ...]

    @property
    def links(self) -> tuple[Desired, ...]:
        """The links to create at boot, without those whose files stay unchanged."""
        return tuple(one.desired for one in self.decisions.values() if one.desired is not None)


def resolve(declared: t.Sequence[model.Declared], host: model.Host, stored: t.Mapping[str, StoredLink]) -> Resolved:
    """Return what is to exist of the ``declared`` links; ``stored`` are those in managed files, by name.

    :raises MacvtapError: a link cannot exist after a reboot.
    """
    resolver = _Resolver(host, stored)
    # Links may be on VLANs that are declared with them.
    for one in sorted(declared, key=lambda one: not isinstance(one.entry, DesiredVlan)):
        if isinstance(one.entry, DesiredVlan):
            resolver.vlan(one.entry, one.backend)
        else:
            resolver.link(one.entry, one.backend)
    if host.access is not None:
        validate.check_reachable(resolver.decisions.values(), host.access)
    if resolver.unwritten:
        resolver.warnings.append(
            f"no configuration is written for {join_names(resolver.unwritten)}, and what earlier runs wrote stays: "
            "systemd does not run on this host, and its unit would create them at boot. Set persistence (in the roles "
            "macvtap_links_persistence and macvtap_host_access_persistence): ifupdown if that reads interfaces(5), or "
            "none to silence this"
        )
    return Resolved(resolver.decisions, tuple(resolver.warnings))


class _Resolver:
    def __init__(self, host: model.Host, stored: t.Mapping[str, StoredLink]) -> None:
        self.host = host
        self.stored = stored
        self.links = dict(host.links)
        self.decisions: dict[str, Decision] = {}
        # Links with persistence auto for which nothing is written.
        self.unwritten: list[str] = []
        self.warnings: list[str] = []
        self.paths: dict[str, str] = {}

    def vlan(self, entry: DesiredVlan, backend: str) -> None:
        if entry.state == "absent":
            self._absent_vlan(entry)
            return
        parent = parents.resolve(entry, self.links)
        self._once(f"VLAN {entry.id} ({entry.protocol}) of {parent.name}", entry.path, "id")
        current = vlans.current(entry, self.links)
        if current is not None and not vlan_model.is_managed(current) and not self._is_stored(entry, current.name):
            # Something else has created it, and will at the next boot.
            self._once(current.name, entry.path)
            self._decide(current.name, Decision(entry, other=True))
            return
        name = vlans.name_of(entry, parent)
        self._once(name, entry.path)
        # vlan_link moves a link of this name here, with its address.
        named = self.links.get(name)
        there = named if named is not None and vlan_model.is_managed(named) else current
        mac, mtu, alias = entry.mac or _own_mac(there, self.links), _mtu(entry.mtu, current), vlan_model.OWNER_ALIAS
        link = DesiredLink(name, entry.path, entry.state, mac=mac, mtu=mtu, alias=alias, kind="vlan")
        key = self._key(entry, name, parent)
        self._add(entry, backend, Desired(link, parent, key, vlan=(entry.protocol, entry.id)))
        self.links.setdefault(name, Link(name, kind="vlan", parent=parent.name, vlan_id=entry.id))

    def _absent_vlan(self, entry: DesiredVlan) -> None:
        """Find the VLAN by its parent and VLAN ID, whatever its name is: a name may be another link's by now."""
        parent = parents.lookup(entry.parent, self.links)
        names = {name for name, one in self.stored.items() if entry.name in (None, name) and self._is_vlan(entry, one)}
        current = vlans.current(entry, self.links)
        shown = {current.name} if current is not None else set()
        for name in sorted(names | shown) or [entry.default_name if parent is None else vlans.name_of(entry, parent)]:
            self._once(name, entry.path)
            self._decide(name, Decision(entry, other=name not in names and not self._is_stored(entry, name)))

    def _decide(self, name: str, decision: Decision) -> None:
        """Note a decision under which nothing is created, unless there is one on what is written under the name."""
        if name not in self.decisions or self.decisions[name].other:
            self.decisions[name] = decision

    def _is_stored(self, entry: DesiredVlan, name: str) -> bool:
        """Whether what is written under this name is the VLAN. Of earlier versions' files the name alone is known."""
        one = self.stored.get(name)
        return one is not None and model.is_kind(one.kind, entry) and (not one.text or self._is_vlan(entry, one))

    def _is_vlan(self, entry: DesiredVlan, one: StoredLink) -> bool:
        """Whether ``one`` has the parent, VLAN ID and protocol of ``entry``."""
        if f" type vlan protocol {entry.protocol} id {entry.id}\n" not in one.text:
            return False
        parent = parents.lookup(entry.parent, self.links)
        names = {*parents.spellings(entry.parent), f"altname:{entry.parent}"}
        if parent is not None:
            names |= {parent.name, parent.mac or "", parent.permanent_mac or "", parent.pci or ""}
            names |= {f"altname:{name}" for name in parent.altnames}
        on = one.key if one.parent == UPLINK else one.parent
        # A name and an address may be those of one uplink. That cannot be seen while it is missing.
        unclear = parent is None and (":" in on) != (":" in entry.parent) and entry.name == one.name
        return on in names or (unclear and parents.lookup(on.removeprefix("altname:"), self.links) is None)

    def link(self, entry: DesiredLink | DesiredShim, backend: str) -> None:
        netns = entry.netns if isinstance(entry, DesiredLink) else None
        self._once(f"{netns}/{entry.name}" if netns else entry.name, entry.path)
        current = self.links.get(entry.name)
        if entry.state == "absent" or netns is not None:
            # What is written is for the host's own network namespace, and stays while a link of the name stays there.
            here = current is not None and current.kind == "macvtap"
            self._decide(entry.name, Decision(entry, other=netns is not None and (entry.state == "absent" or here)))
            if entry.state != "absent" and backend != "none":
                what = f"{entry.name} will not exist after a reboot, because it is in the network namespace {netns}"
                self.warnings.append(f"{what}. Set persistence: none for it to silence this")
            return
        parent = self._parent(entry, current)
        key = self._key(entry, entry.name, parent)
        # The kernel would choose another MAC address at each boot.
        mac, mtu = kept_mac(entry.mac, current), _mtu(entry.mtu, current)
        if isinstance(entry, DesiredShim):
            link = DesiredLink(entry.name, entry.path, mode="bridge", mac=mac, mtu=mtu, alias=OWNER_ALIAS, kind=SHIM)
            self._add(entry, backend, Desired(link, parent, key, shim=as_declared(entry)))
            return
        # auto was resolved when the link was created.
        mode = ((current and current.mode) or DEFAULT_MODE) if entry.mode in (None, AUTO) else entry.mode
        macs = entry.source_macs if mode == "source" else None
        link = replace(entry, mode=mode, mac=None if mode == "passthru" else mac, mtu=mtu, source_macs=macs)
        if link.bclim is not None:
            what = f"{link.name}: bclim is a setting of the parent"
            self.warnings.append(f"{what}, and does not survive a reboot. The next run sets it")
        self._add(entry, backend, Desired(link, parent, key))

    def _once(self, what: str, path: str, option: str = "name") -> None:
        if what in self.paths:
            raise declared_twice(what, join_path(path, option), self.paths[what])
        self.paths[what] = path

    def _parent(self, entry: DesiredLink | DesiredShim, current: Link | None) -> Link:
        path = join_path(entry.path, "parent")
        if entry.parent is None:
            parent = self.links.get((current.parent if current else None) or "")
            if parent is None:
                raise parents.required(entry.name, path)
            return parent
        parent = parents.find(entry.parent, self.links, path=path, exclude=entry.name)
        decision = self._removing(parent)
        if decision is not None:
            where = f"{parent.name} is declared absent in {decision.entry.path}"
            raise MacvtapError(f"{where}. Use another link, or set state: absent here too", path=path)
        return parent

    def _removing(self, link: Link) -> Decision | None:
        """Return the decision by which the VLAN link is to be removed, None if it stays or is no such link."""
        decision = self.decisions.get(link.name)
        if decision is None or not decision.absent or not isinstance(decision.entry, DesiredVlan):
            return None
        removed = vlan_model.is_managed(link) and vlans.current(decision.entry, self.links) == link
        return decision if removed else None

    def _key(self, entry: model.Entry, name: str, parent: Link) -> str:
        """Return what identifies the parent of the link ``name`` at boot: what the user declared, if udev has it then.

        Else udev would not start the unit when the parent appears.
        """
        asked = entry.parent
        if asked is None or asked == parent.name:
            return parent.name
        if parents.is_pci(asked):
            return parent.pci or asked
        alone = [link.pci for link in self.links.values()].count(parent.pci) == 1
        other = parent.pci if parent.pci and alone else parent.name
        if asked in parent.altnames:
            # If a program or a .link file gives it, no rule of udev can ask for it.
            known = not self.host.systemd or asked in self.host.udev_names.get(parent.index, (asked,))
            return f"altname:{asked}" if known else other
        # Only physical links are found by MAC address: others have that of a link below them.
        if parent.kind:
            return parent.name
        mac = _mac.canonical(asked) or asked
        if mac == parent.mac:
            # If it is not the permanent one, something sets it at boot, perhaps later than udev looks at the link.
            return mac if parent.permanent_mac in (None, mac) else other
        # It is the device's permanent address, and at boot the current one is compared, which the host may have set.
        stored = self.stored.get(name)
        # Or a guest has, until the next boot: then it stays as it is written.
        return mac if parents.is_lent(parent, self.links) and (stored is None or stored.key != other) else other

    def _add(self, entry: model.Entry, asked: str, desired: Desired) -> None:
        """Have the link created at boot, unless its backend creates nothing."""
        name, kind, path = desired.link.name, desired.link.kind, desired.link.path
        stored = self.stored.get(name)
        backend = choose_backend.choose(asked, kind, self.host, path)
        if backend is None:
            unchanged = asked == "auto" and stored is not None and stored.kind in ("", kind)
            if unchanged and stored and stored.key:
                # systemd may run at the next boot, as in an image that is being built.
                backend = model.SYSTEMD if model.TEMPLATE in self.host.files else model.IFUPDOWN
            self.unwritten += [name] if asked == "auto" else []
            self.decisions[name] = Decision(entry, backend, unchanged=unchanged, parent=desired.parent.name)
            return
        validate.check_link(desired, self.host.links, stored)
        validate.check_keywords(desired, self.host.keywords)
        if desired.shim is not None and desired.shim.dhcp4:
            desired = replace(desired, manager=choose_backend.lease_by(asked, desired.parent, self.host, path))
        self.decisions[name] = Decision(entry, backend, desired, parent=desired.parent.name)


def _own_mac(current: Link | None, links: t.Mapping[str, Link]) -> str | None:
    """Return the MAC address that a VLAN link has and its parent has not: the next boot would give it the parent's."""
    parent = links.get((current.parent if current else None) or "")
    if current is None or parent is None:
        return None
    return None if current.mac in (parent.mac, parents.own_mac(parent, links)) else current.mac


def _mtu(mtu: int | None, current: Link | None) -> int | None:
    # At boot a link may be created before the uplink's MTU is raised, and does not follow that.
    return mtu or (current.mtu if current and current.mtu and current.mtu > 1500 else None)
