# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What cannot be on one host, whatever the others are. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Wanted, link_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight import disconnect
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._preflight.model import (
    Conflict,
    DeclaredLink,
    Host,
    Nic,
    Place,
)

# Kind, message and remedy: places with the same are one conflict of their host.
_Said = t.Tuple[str, str, str]
# The parent, the mode and what it is.
_Use = t.Tuple[t.Optional[str], t.Optional[str], Place]


def conflicts(host: Host) -> t.Iterator[Conflict]:
    found: dict[_Said, list[Place]] = {}
    for said, place in _all(host):
        found.setdefault(said, []).append(place)
    for (kind, message, remedy), where in found.items():
        yield Conflict(kind, message, remedy, tuple(where), host.segment)


def _all(host: Host) -> t.Iterator[tuple[_Said, Place]]:
    for problem in host.problems:
        yield ("declaration", problem.message, problem.remedy), problem.place
    if not host.found:
        return
    yield from _kernel(host)
    yield from _alone(host)
    yield from disconnect.conflicts(host)
    for vlan in host.vlans:
        if vlan.state != "absent":
            place = Place(host.name, link=vlan.said_name, seen="declared")
            for said in _on_parent(host, vlan.parent, None, vlan.mtu, unfit=host.unfit_vlan):
                yield said, place
    for wanted in host.declared_links:
        for said in _of_link(wanted, host) if not wanted.absent else ():
            yield said, wanted.place(host.name)
    for nic in host.nics:
        if nic.given is not None:
            for said in _on_parent(host, nic.final("source"), nic.final("mode"), _mtu(nic, host), word="source"):
                yield said, nic.place(host.name)
            for said in _libvirt(nic, host):
                yield said, nic.place(host.name)


def _alone(host: Host) -> t.Iterator[tuple[_Said, Place]]:
    """Find what is declared to be on one parent with a link in mode passthru, which must be the only one there."""
    yield from _crowded(host, _on_links(host))
    # The NICs of one domain start together or not at all.
    stopped: dict[str, list[_Use]] = {}
    for nic in host.nics:
        domain = host.domains.get(nic.domain)
        if nic.type == "direct" and (domain is None or not domain.running):
            stopped.setdefault(nic.domain, []).append((nic.final("source"), nic.final("mode"), nic.place(host.name)))
    for uses in stopped.values():
        yield from _crowded(host, uses)


def _crowded(host: Host, there: t.Iterable[_Use]) -> t.Iterator[tuple[_Said, Place]]:
    on: dict[str, list[tuple[str | None, Place]]] = {}
    for named, mode, place in there:
        parent = parents.lookup(named, host.links) if named else None
        if parent is not None:
            on.setdefault(parent.name, []).append((mode, place))
    for name, uses in on.items():
        declared = any("declared" in place.seen for _mode, place in uses)
        if declared and refusals.crowded([mode for mode, _place in uses]):
            message = f"a link in mode passthru must be the only one on its parent, and {name} is to have {len(uses)}"
            for _mode, place in uses:
                yield ("parent", message, "Give the link in mode passthru a parent of its own"), place


def _on_links(host: Host) -> t.Iterator[_Use]:
    """Return what is to be on links at one time."""
    for link in host.beside():
        yield link.parent, link.mode, Place(host.name, link=link.name, seen="found")
    for wanted in {wanted.key: wanted for wanted in host.declared_links}.values():
        if not wanted.absent:
            yield host.parent_of(wanted), wanted.mode, wanted.place(host.name)
    for nic in host.nics:
        # One that does not run may be meant to take the place of another one that does.
        domain = host.domains.get(nic.domain)
        if nic.type == "direct" and domain is not None and domain.running and (nic.live is not None or nic.given):
            yield nic.final("source"), nic.final("mode"), nic.place(host.name)
        elif nic.live is not None and nic.type != "direct":
            # One of a libvirt network has got a link, of which its domain does not say on what it is.
            made = host.links.get(nic.live.get("target") or "")
            if made is not None and made.kind in MACVLAN_KINDS:
                yield made.parent, made.mode, nic.place(host.name)


def _of_link(wanted: DeclaredLink, host: Host) -> t.Iterator[_Said]:
    existing = host.link_of(wanted)
    if not wanted.parent and existing is None and wanted.netns is None:
        message = "there is no such link yet, and to make it its parent must be known"
        yield "declaration", f"{join_path(wanted.path, 'parent')}: {message}", "Say the parent"
        return
    mtu = wanted.mtu or (existing.mtu if existing else None)
    yield from _on_parent(host, host.parent_of(wanted), wanted.mode, mtu)


def _kernel(host: Host) -> t.Iterator[tuple[_Said, Place]]:
    declares = any(nic.given is not None for nic in host.nics) or any(not link.absent for link in host.declared_links)
    if not host.kernel.get("supported", True) and (host.kernel_required or declares):
        reason = str(host.kernel.get("reason") or "the kernel has no macvtap")
        yield ("kernel", reason, str(host.kernel.get("remedy") or "")), Place(host.name)


def _on_parent(  # noqa: PLR0913  # all of them are what decides
    host: Host,
    named: str | None,
    mode: str | None,
    mtu: int | None,
    *,
    word: str = "parent",
    unfit: t.Mapping[str, str] | None = None,
) -> t.Iterator[_Said]:
    if not named:
        return
    try:
        parent = _parent(host, named, word)
    except MacvtapError as exc:
        yield "parent", exc.message, f"Declare a {word} that the host has, or give it that link"
        return
    refusal = (host.unfit if unfit is None else unfit).get(parent.name)
    if refusal:
        yield "parent", refusal, f"Declare another {word}"
        return
    if mtu and parent.mtu and mtu > parent.mtu:
        message = f"mtu {mtu} exceeds that of the {word} {parent.name} ({parent.mtu})"
        yield "mtu", message, f"Raise the mtu of {parent.name} first, or declare a smaller one"
    if mode == "vepa" and host.reflects.get(parent.name) is False:
        yield (
            "vepa",
            f"mode vepa on {parent.name}, whose switch port does not reflect frames: guests on this host would not "
            "reach each other",
            "Switch on reflective relay (hairpin) at the port, or declare mode bridge",
        )


def _parent(host: Host, named: str, word: str) -> Link:
    if word == "parent":
        return parents.resolve(Wanted("", parent=named), host.links)
    # libvirt knows no other spelling than a name.
    link = link_of(named, host.links)
    if link is None:
        raise MacvtapError(f"there is no link {named} on this host{parents.near(named, host.links)}")
    return link


def _mtu(nic: Nic, host: Host) -> int | None:
    """Return the MTU of the running guest's link."""
    link = host.links.get((nic.live and nic.live.get("target")) or "")
    return link.mtu if link is not None and link.kind == "macvtap" else None


def _libvirt(nic: Nic, host: Host) -> t.Iterator[_Said]:
    if host.version is None:
        return
    has = f"libvirt {inspection.version_text(host.version)}"
    for name, value in (nic.given or {}).items():
        field = BY_NAME[name]
        if field.added > host.version and value is not None:
            needed = inspection.version_text(field.added)
            message = f"{has} has no {name}, which came with {needed}"
            yield "libvirt", message, f"Install libvirt {needed} or newer, or leave {name} out"
