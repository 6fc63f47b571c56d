# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be kept of each link, and by whom. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Wanted as WantedCompanion
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_model, vlans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    backends,
    caveats,
    networkd,
    reach,
    whole,
    words,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import refusals as refuse
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    NETWORKD,
    Host,
    Kept,
    Parent,
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
    def __init__(self, host: Host, ours: t.Mapping[str, str]) -> None:
        self.host = host
        self.ours = ours
        self.links = dict(host.links)
        self.backends: dict[str, str | None] = {}
        self.kept: list[Kept] = []
        self.left: set[str] = set()
        self.warnings: list[str] = []
        self.vlans: set[str] = set()
        self.companions: dict[str, WantedCompanion] = {}
        # Where each thing is declared, and each VLAN link that goes; and all that is declared absent.
        self.declared: dict[str, str] = {}
        self.going: dict[str, str] = {}
        self.absent: dict[str, str] = {}
        self.unmanaged: dict[str, list[str]] = {}

    def vlan(self, declared: Declared, want: WantedVlan) -> None:
        if want.state == "absent":
            self._absent_vlan(want)
            return
        parent = parents.resolve(want, self.links)
        self._once(f"VLAN {want.id} ({want.protocol}) of {parent.name}", want.path, "id")
        link = vlans.found(want, self.links)
        if link is not None and not vlan_model.is_ours(link) and self.ours.get(link.name) in (None, COMPANION):
            # Another manager has made it, and will at the next boot.
            self._once(link.name, want.path)
            self.backends[link.name] = None
            return
        name = vlans.name_of(want, parent)
        self._once(name, want.path)
        self.vlans.add(name)
        kept = whole.vlan(want, name, self._parent(want, parent))
        self._keep(kept, declared.backend, parent)
        self.links.setdefault(name, Link(name, kind="vlan", parent=parent.name))

    def _absent_vlan(self, want: WantedVlan) -> None:
        name = self._name_of_absent(want)
        self._once(name, want.path)
        self.backends[name] = None
        self.absent[name] = want.path
        link = self.links.get(name)
        if link is not None and vlan_model.is_ours(link):
            self.going[name] = want.path

    def _once(self, what: str, path: str, option: str = "name") -> None:
        if what in self.declared:
            raise MacvtapError(
                f"{what} is declared twice, here and in {self.declared[what]}", path=join_path(path, option)
            )
        self.declared[what] = path

    def _name_of_absent(self, want: WantedVlan) -> str:
        try:
            return vlans.name_of(want, parents.resolve(want, self.links))
        except parents.NoSuchLinkError:
            return want.said_name

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
        kept = whole.macvtap(want, self._parent(want, parent), link)
        self._keep(kept, declared.backend, parent)

    def companion(self, declared: Declared, want: WantedCompanion) -> None:
        self._once(want.name, want.path)
        self.companions[want.name] = want
        if want.state == "absent":
            self.absent[want.name] = want.path
            self.backends.setdefault(want.name, None)
            return
        link = self.links.get(want.name)
        parent = self._parent_link(want, link)
        self._keep(whole.companion(want, self._parent(want, parent), link, parent), declared.backend, parent)

    def _refuse_netns(self, declared: Declared, want: Wanted) -> None:
        said = f"no network manager makes a link in the network namespace {want.netns}"
        if declared.backend not in ("auto", "none"):
            raise MacvtapError(f"{said}; say backend: none for this link", path=join_path(want.path, "netns"))
        # Here there may be another link of this name.
        self.backends.setdefault(want.name, None)
        if declared.backend == "auto":
            self.warnings.append(f"{want.name} will not be there after a reboot: {said}. Say backend: none for it")

    def _parent_link(self, want: Wanted | WantedCompanion, link: Link | None) -> Link:
        if want.parent is not None:
            said = parents.find(want.parent, self.links, path=join_path(want.path, "parent"), but=want.name)
            if said.name in self.going:
                raise MacvtapError(
                    f"{said.name} is declared absent in {self.going[said.name]}; say another link, or state: absent "
                    "here too",
                    path=join_path(want.path, "parent"),
                )
            return said
        parent = self.links.get((link.parent if link else None) or "")
        if parent is None:
            raise MacvtapError(
                f"the link {want.name} does not exist, and its parent must be known; say parent",
                path=join_path(want.path, "parent"),
            )
        return parent

    def _parent(self, want: Wanted | WantedVlan | WantedCompanion, link: Link) -> Parent:
        said = want.parent
        state = self.host.networkd.get(link.index)
        declared = link.name in self.backends
        keeping = self.backends[link.name] if declared else backends.keeping(link, self.host)
        # networkd will use its own file, also where it has not read that yet.
        file = networkd.network_file(link.name) if keeping == NETWORKD else state.file if state else None
        if said is None or said == link.name:
            return Parent(link.name, link.kind, "name", link.name, file)
        if parents.is_pci(said):
            return Parent(link.name, link.kind, "pci", link.pci or said, file)
        if said in link.altnames:
            words.check_name(said, join_path(want.path, "parent"))
            return Parent(link.name, link.kind, "altname", said, file)
        return Parent(link.name, link.kind, "mac", _mac.canonical(said) or said, file)

    def _keep(self, kept: Kept, backend: str, parent: Link) -> None:
        own_vlan = parent.name in self.vlans
        chosen: str | None = backend
        if backend == "auto":
            chosen = self.backends.get(parent.name) if own_vlan else backends.of_parent(parent, self.host)
            if chosen is None and self._is_written(kept):
                # The manager may be down for a moment: what it is to do at the next boot is not lost for that.
                self.backends[kept.name] = backends.keeping(Link(kept.name), self.host)
                self.left.add(kept.name)
                self.warnings += caveats.left(kept, parent)
                return
            if chosen is None and not own_vlan:
                self.unmanaged.setdefault(parent.name, []).append(kept.name)
        chosen = None if chosen == "none" else chosen
        backends.check_lease(kept, chosen, self.host)
        if chosen is None:
            self.backends[kept.name] = None
            return
        refuse.check(kept, parent, self.host, written=self.ours.get(kept.name))
        if not (own_vlan and self.backends.get(parent.name) == chosen):
            backends.check(chosen, parent, self.host, kept.path)
        self.backends[kept.name] = chosen
        self.kept.append(kept)
        self.warnings += caveats.of(kept, chosen, self.host, parent)

    def _is_written(self, kept: Kept) -> bool:
        """Say whether files of ours are for this link, and not for one of its name that is none of its kind."""
        kind = self.ours.get(kept.name)
        return kind is not None and (kind == COMPANION) == (kept.kind == COMPANION)

    def check_reach(self) -> None:
        kept = {one.name: one for one in self.kept}
        declared = [
            (want, kept.get(name)) for name, want in self.companions.items() if want.state == "absent" or name in kept
        ]
        if self.host.access is not None:
            reach.check(declared, self.host.access)

    def decided(self) -> Decided:
        self.warnings += caveats.unmanaged(self.unmanaged)
        left, declared = frozenset(self.left), frozenset(self.companions)
        return Decided(self.backends, tuple(self.kept), tuple(self.warnings), left, declared, self.absent)


def decide(declared: t.Sequence[Declared], host: Host, ours: t.Mapping[str, str]) -> Decided:
    """Decide what of the ``declared`` links is kept, and by whom.

    ``ours`` are the links that files of ours are for, with their kind, or nothing where a file does not say it.

    :raises MacvtapError: something that its manager could not keep.
    """
    deciding = _Deciding(host, ours)
    for one in declared:
        if isinstance(one.want, WantedVlan):
            deciding.vlan(one, one.want)
    for one in declared:
        if isinstance(one.want, Wanted):
            deciding.macvtap(one, one.want)
    for one in declared:
        if isinstance(one.want, WantedCompanion):
            deciding.companion(one, one.want)
    deciding.check_reach()
    return deciding.decided()
