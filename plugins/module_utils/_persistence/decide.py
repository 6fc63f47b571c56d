# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be kept of each declared link, and by whom. Pure."""

from __future__ import annotations

import os
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as WantedCompanion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_model, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import some
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    choose_backend,
    desired,
    escaping,
    networkd,
    reach,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import refusals as refuse
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    NETWORKD,
    SYSTEMD,
    Host,
    Kept,
    Parent,
    Written,
)


@dataclass(frozen=True)
class Declared:
    """A link as the user declared it, and which of the backends is to keep it."""

    want: t.Union[Wanted, WantedVlan, WantedCompanion]
    backend: str


@dataclass(frozen=True)
class Decided:
    """The backend of each declared link by its name (None: it is not kept), and what is to be kept."""

    backends: t.Mapping[str, str | None]
    kept: tuple[Kept, ...]
    warnings: tuple[str, ...]
    left: frozenset[str] = frozenset()
    """Declared links for which what is written stays as it is."""
    companions: frozenset[str] = frozenset()
    """The declared links that are companions."""
    absent: t.Mapping[str, str] = field(default_factory=dict)
    """The VLAN links and companions that are declared absent, with where."""


class _Deciding:
    def __init__(self, host: Host, written: t.Mapping[str, Written]) -> None:
        self.host = host
        self.written = written
        self.links = dict(host.links)
        self.backends: dict[str, str | None] = {}
        self.kept: dict[str, Kept] = {}
        self.left: set[str] = set()
        self.unkept: list[str] = []
        self.warnings: list[str] = []
        self.companions: dict[str, WantedCompanion] = {}
        # Where each thing is declared, and each VLAN link that goes; and all that is declared absent.
        self.declared: dict[str, str] = {}
        self.going: dict[str, str] = {}
        self.absent: dict[str, str] = {}

    def vlan(self, declared: Declared, want: WantedVlan) -> None:
        if want.state == "absent":
            self._absent_vlan(want)
            return
        parent = parents.resolve(want, self.links)
        self._once(f"VLAN {want.id} ({want.protocol}) of {parent.name}", want.path, "id")
        link = vlans.found(want, self.links)
        ours = self.written.get(link.name) if link else None
        if link is not None and not vlan_model.is_ours(link) and (ours is None or ours.kind == COMPANION):
            # Another manager has made it, and will at the next boot.
            self._once(link.name, want.path)
            self.backends[link.name] = None
            return
        name = vlans.name_of(want, parent)
        self._once(name, want.path)
        self._keep(declared, desired.vlan(want, name, self._parent(want, parent), link), parent)
        self.links.setdefault(name, Link(name, kind="vlan", parent=parent.name, vlan_id=want.id))

    def _absent_vlan(self, want: WantedVlan) -> None:
        """Whatever its name is: a VLAN link is known by its parent and id."""
        parent = parents.lookup(want.parent, self.links)
        names = {name for name, one in self.written.items() if self._is_vlan(want, one, parent)}
        link = vlans.found(want, self.links)
        if link is not None:
            names.add(link.name)
        for name in sorted(names) or [want.said_name if parent is None else vlans.name_of(want, parent)]:
            self._once(name, want.path)
            self.backends[name] = None
            self.absent[name] = want.path
            if name in self.links and vlan_model.is_ours(self.links[name]):
                self.going[name] = want.path

    def _is_vlan(self, want: WantedVlan, one: Written, parent: Link | None) -> bool:
        called = {want.parent}
        if parent is not None:
            called |= {parent.name, parent.mac or "", parent.pci or "", *parent.altnames}
            state = self.host.networkd.get(parent.index)
            # In a drop-in for somebody's file the parent is known by that alone.
            called.add(os.path.basename(state.file or "").rpartition(".")[0] if state else "")
        same = one.vlan == (want.protocol, want.id) and one.parent in called - {""}
        return same and want.name in (None, one.name)

    def _once(self, what: str, path: str, option: str = "name") -> None:
        if what in self.declared:
            raise MacvtapError(
                f"{what} is declared twice, here and in {self.declared[what]}", path=join_path(path, option)
            )
        self.declared[what] = path

    def macvtap(self, declared: Declared, want: Wanted) -> None:
        self._once(want.key, want.path)
        if want.state == "absent":
            self.backends.setdefault(want.name, None)
            return
        if want.netns is not None:
            self._refuse_netns(declared, want)
            return
        link = self.links.get(want.name)
        parent = self._parent_link(want, link)
        self._keep(declared, desired.macvtap(want, self._parent(want, parent), link), parent)

    def companion(self, declared: Declared, want: WantedCompanion) -> None:
        self._once(want.name, want.path)
        self.companions[want.name] = want
        if want.state == "absent":
            self.absent[want.name] = want.path
            self.backends.setdefault(want.name, None)
            return
        link = self.links.get(want.name)
        parent = self._parent_link(want, link)
        self._keep(declared, desired.companion(want, self._parent(want, parent), link, parent), parent)

    def _refuse_netns(self, declared: Declared, want: Wanted) -> None:
        message = f"no link is made at boot in the network namespace {want.netns}"
        if declared.backend not in ("auto", "none"):
            raise MacvtapError(f"{message}. Set backend: none for this link", path=join_path(want.path, "netns"))
        # Here there may be another link of this name.
        self.backends.setdefault(want.name, None)
        if declared.backend == "auto":
            self.warnings.append(
                f"{want.name} will not be there after a reboot: {message}. Set backend: none for it to silence this"
            )

    def _parent_link(self, want: Wanted | WantedCompanion, link: Link | None) -> Link:
        if want.parent is not None:
            found = parents.find(want.parent, self.links, path=join_path(want.path, "parent"), but=want.name)
            if found.name in self.going:
                raise MacvtapError(
                    f"{found.name} is declared absent in {self.going[found.name]}. Use another link, or set state: "
                    "absent here too",
                    path=join_path(want.path, "parent"),
                )
            return found
        parent = self.links.get((link.parent if link else None) or "")
        if parent is None:
            raise MacvtapError(
                f"parent is required: the link {want.name} does not exist yet", path=join_path(want.path, "parent")
            )
        return parent

    def _parent(self, want: Wanted | WantedVlan | WantedCompanion, link: Link) -> Parent:
        asked = want.parent
        state = self.host.networkd.get(link.index)
        file = state.file if state else None
        if self._backend_of(link.name) == NETWORKD:
            file = networkd.network_file(link.name)
        if asked is None or asked == link.name:
            return Parent(link.name, link.kind, "name", link.name, file)
        if parents.is_pci(asked):
            return Parent(link.name, link.kind, "pci", link.pci or asked, file)
        if asked in link.altnames:
            escaping.check_name(asked, join_path(want.path, "parent"))
            return Parent(link.name, link.kind, "altname", asked, file)
        if link.kind:
            # It has the address of what it is on or made of, which at boot is found instead.
            return Parent(link.name, link.kind, "name", link.name, file)
        return Parent(link.name, link.kind, "mac", _mac.canonical(asked) or asked, file)

    def _keep(self, declared: Declared, kept: Kept, parent: Link) -> None:
        backend = choose_backend.choose(declared.backend, kept.kind, self.host, kept.path)
        written = self.written.get(kept.name)
        if backend is None:
            self.backends[kept.name] = None
            if declared.backend == "auto" and written and (written.kind == COMPANION) == (kept.kind == COMPANION):
                # Where systemd does not run now, as in an image that is being built, it may have been written before.
                self.left.add(kept.name)
                self.backends[kept.name] = written.backend
            elif declared.backend == "auto":
                self.unkept.append(kept.name)
            return
        refuse.check(kept, parent, self.host, written=written)
        self._check_below(backend, parent, kept.path)
        manager = None
        if kept.kind == COMPANION:
            manager = choose_backend.addresses_by(declared.backend, parent, self.host, kept.path, dhcp4=kept.dhcp4)
        if backend != SYSTEMD and parent.name not in self.kept:
            choose_backend.check_native(backend, parent, self.host, kept.path)
        self.backends[kept.name] = backend
        self.kept[kept.name] = replace(kept, backend=backend, manager=manager)
        self.warnings += _not_kept(kept)
        self.warnings += self._grabbed(kept, manager)

    def _check_below(self, backend: str, parent: Link, path: str) -> None:
        """Refuse a manager that would be there before its link's parent is."""
        if backend != SYSTEMD and self._backend_of(parent.name) == SYSTEMD:
            raise MacvtapError(
                f"{parent.name} is made by systemd's unit, and so must be what is on it. Leave backend out",
                path=join_path(path, "backend"),
            )

    def _backend_of(self, name: str) -> str | None:
        """Return who will make the link of this name by files of ours."""
        if name in self.backends:
            return self.backends[name]
        return self.written[name].backend if name in self.written else None

    def _grabbed(self, kept: Kept, manager: str | None) -> t.Iterator[str]:
        link = self.host.links.get(kept.name)
        state = self.host.networkd.get(link.index) if link else None
        if state is not None and state.managed and manager != NETWORKD and not _is_own(state.file, kept.name):
            yield (
                f"{kept.name} is configured by networkd, from {state.file}, which matches it too. From the next boot, "
                "or from networkctl reload on, networkd leaves it alone"
            )

    def decided(self) -> Decided:
        pairs = [
            (want, self.kept.get(name))
            for name, want in self.companions.items()
            if want.state == "absent" or name in self.kept
        ]
        if self.host.access is not None:
            reach.check(pairs, self.host.access)
        if self.unkept:
            self.warnings.append(
                f"{some(self.unkept)} will not be there after a reboot: systemd, whose unit would make them, does not "
                "run here. Set backend (in the roles macvtap_links_persistence and macvtap_host_access_persistence): "
                "ifupdown where that reads interfaces(5), or none to silence this"
            )
        if self.left:
            self.warnings.append(
                f"{some(sorted(self.left))}: systemd does not run here, so what has been written before stays as it "
                "is. Set backend to change it"
            )
        left, declared = frozenset(self.left), frozenset(self.companions)
        return Decided(self.backends, tuple(self.kept.values()), tuple(self.warnings), left, declared, self.absent)


def _is_own(file: str | None, name: str) -> bool:
    return file is None or file.endswith(f"-macvtap-{name}.network")


def _not_kept(kept: Kept) -> t.Iterator[str]:
    if kept.bclim is not None:
        yield f"{kept.name}: bclim is the parent's, and is not kept over a reboot; the next run sets it"
    if kept.promiscuous is False and kept.mode != "passthru":
        yield (
            f"{kept.name}: promiscuous: false has no effect in mode {kept.mode}, and is not kept over a reboot. Leave "
            "it out"
        )


def decide(declared: t.Sequence[Declared], host: Host, written: t.Mapping[str, Written]) -> Decided:
    """Decide what of the ``declared`` links is kept, and by whom; ``written`` is what files of ours have, by name.

    :raises MacvtapError: something that cannot be kept.
    """
    deciding = _Deciding(host, written)
    for one in declared:
        if isinstance(one.want, WantedVlan):
            deciding.vlan(one, one.want)
    for one in declared:
        if isinstance(one.want, Wanted):
            deciding.macvtap(one, one.want)
    for one in declared:
        if isinstance(one.want, WantedCompanion):
            deciding.companion(one, one.want)
    return deciding.decided()
