# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Conflicts within one host, regardless of the other hosts. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import disconnect, network_checks, networks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet.model import (
    Conflict,
    DeclaredLink,
    Host,
    Nic,
    Place,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import (
    MACVLAN_KINDS,
)

# Kind, message and remedy. Places with the same finding are one conflict of their host.
_Finding = t.Tuple[str, str, str]
# What is on a link. Its place is only made for conflicts, which are few among thousands of uses.
_User = t.Union[Nic, DeclaredLink, Place]
# Parent, mode and user of a link.
_Use = t.Tuple[t.Optional[str], t.Optional[str], _User]


def conflicts(host: Host) -> t.Iterator[Conflict]:
    findings: dict[_Finding, list[Place]] = {}
    for finding, place in _all(host):
        findings.setdefault(finding, []).append(place)
    for (kind, message, remedy), where in findings.items():
        yield Conflict(kind, message, remedy, tuple(where), host.segment)


def _all(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    for problem in host.problems:
        yield ("declaration", problem.message, problem.remedy), problem.place
    if not host.inspected:
        return
    yield from _kernel(host)
    yield from _exclusive(host)
    yield from disconnect.conflicts(host)
    yield from _of_vlans(host)
    for desired in host.declared_links:
        for finding in _of_link(desired, host) if not desired.absent else ():
            yield finding, desired.place(host.name)
    yield from network_checks.conflicts(host)
    yield from _uplinks_of_networks(host)
    for nic in host.nics:
        for finding in _of_nic(nic, host) if nic.desired is not None else ():
            yield finding, nic.place(host.name)


def _of_vlans(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    for vlan in host.vlans:
        if vlan.state != "absent":
            place = Place(host.name, link=vlan.default_name, seen="declared")
            for finding in _on_parent(host, vlan.parent, None, vlan.mtu, unfit=host.unfit_vlan):
                yield finding, place


def _of_nic(nic: Nic, host: Host) -> t.Iterator[_Finding]:
    yield from _on_parent(host, nic.final("source"), nic.final("mode"), _mtu(nic, host), word="source")
    yield from _libvirt(nic, host)


def _uplinks_of_networks(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    for declared in host.declared_networks:
        network = host.networks.get(declared.name)
        if network is not None:
            for uplink in (network.pf,) if network.pf else network.interfaces:
                for finding in _on_parent(host, uplink, network.mode, None, word="uplink"):
                    yield finding, Place(host.name, network=declared.name, seen="declared")


def _exclusive(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    """Find links that share a parent with a link in mode passthru, which must be the only one there."""
    yield from _passthru_conflicts(host, _on_links(host))
    # The NICs of one domain start together or not at all.
    stopped: dict[str, list[_Use]] = {}
    for nic in host.nics:
        domain = host.domains.get(nic.domain)
        if nic.type == "direct" and (domain is None or not domain.running):
            stopped.setdefault(nic.domain, []).append((nic.final("source"), nic.final("mode"), nic))
    for uses in stopped.values():
        yield from _passthru_conflicts(host, uses)


def _passthru_conflicts(host: Host, uses: t.Iterable[_Use]) -> t.Iterator[tuple[_Finding, Place]]:
    by_parent: dict[str, list[tuple[str | None, _User]]] = {}
    for named, mode, user in uses:
        parent = parents.lookup(named, host.links) if named else None
        if parent is not None:
            by_parent.setdefault(parent.name, []).append((mode, user))
    for name, links in by_parent.items():
        if not validate.crowded([mode for mode, _user in links]):
            continue
        places = [user if isinstance(user, Place) else user.place(host.name) for _mode, user in links]
        if any("declared" in place.seen for place in places):
            alone = "a link in mode passthru must be the only one on its parent"
            message = f"{alone}, but {name} would have {len(links)} links"
            for place in places:
                yield ("parent", message, "Use a separate parent for the link in mode passthru"), place


def _on_links(host: Host) -> t.Iterator[_Use]:
    """Return everything that will be on the host's links at the same time."""
    for link in host.unmanaged_links():
        yield link.parent, link.mode, Place(host.name, link=link.name, seen="found")
    for desired in {desired.key: desired for desired in host.declared_links}.values():
        if not desired.absent:
            yield host.parent_of(desired), desired.mode, desired
    for nic in host.nics:
        # A stopped domain may be meant to replace a running one.
        domain = host.domains.get(nic.domain)
        if nic.network is None and nic.type == "direct":
            if domain is not None and domain.running and (nic.live is not None or nic.desired):
                yield nic.final("source"), nic.final("mode"), nic
        elif nic.live is None:
            network = networks.of_nic(host, nic)
            if network is not None and len(network.interfaces) == 1 and domain is not None and domain.running:
                # It will be attached.
                yield network.interfaces[0], network.mode, nic
        else:
            # A libvirt network has created its link; the domain does not have the parent.
            made = host.links.get(nic.live.get("target") or "")
            if made is not None and made.kind in MACVLAN_KINDS:
                yield made.parent, made.mode, nic


def _of_link(desired: DeclaredLink, host: Host) -> t.Iterator[_Finding]:
    existing = host.link_of(desired)
    if not desired.parent and existing is None and desired.netns is None:
        message = "the link does not exist yet, so its parent is required"
        yield "declaration", f"{join_path(desired.path, 'parent')}: {message}", "Set parent"
        return
    mtu = desired.mtu or (existing.mtu if existing else None)
    yield from _on_parent(host, host.parent_of(desired), desired.mode, mtu)


def _kernel(host: Host) -> t.Iterator[tuple[_Finding, Place]]:
    declares = any(nic.desired is not None for nic in host.nics) or any(not link.absent for link in host.declared_links)
    if not host.kernel.get("supported", True) and (host.kernel_required or declares):
        reason = str(host.kernel.get("reason") or "the kernel has no macvtap")
        yield ("kernel", reason, str(host.kernel.get("remedy") or "")), Place(host.name)


def _on_parent(  # noqa: PLR0913  # all of them decide
    host: Host,
    named: str | None,
    mode: str | None,
    mtu: int | None,
    *,
    word: str = "parent",
    unfit: t.Mapping[str, str] | None = None,
) -> t.Iterator[_Finding]:
    if not named:
        return
    try:
        parent = parents.find(named, host.links, path=word)
    except MacvtapError as exc:
        yield "parent", exc.message, f"Declare an existing {word}, or create that link on the host"
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
            "Enable reflective relay (hairpin) on the port, or declare mode bridge",
        )


def _mtu(nic: Nic, host: Host) -> int | None:
    """Return the MTU of the running guest's link."""
    link = host.links.get((nic.live and nic.live.get("target")) or "")
    return link.mtu if link is not None and link.kind == "macvtap" else None


def _libvirt(nic: Nic, host: Host) -> t.Iterator[_Finding]:
    if host.version is None:
        return
    has = f"libvirt {inspection.version_text(host.version)}"
    for name, value in (nic.desired or {}).items():
        field = BY_NAME[name]
        if field.added > host.version and value is not None:
            needed = inspection.version_text(field.added)
            message = f"{has} does not support {name}, which requires {needed}"
            yield "libvirt", message, f"Install libvirt {needed} or newer, or leave {name} out"
