# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Refuses what libvirt or the kernel would refuse, silently drop, or fail with at the guest's start. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    multicast,
    network_validate,
    networks,
    selection,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import VIRTIO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.validate import has_virtualport_type
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links, link_of

_Case = t.Tuple[Desired, Nic, Nic]
# The fields whose validity depends on the source.
_OF_THE_SOURCE = {"source", "mode", "vlan", "virtualport.type"}
# Values that must be unique in a domain. Otherwise libvirt fails when storing, or QEMU at the start.
_ONCE = ("alias", "pci_address", "boot_order", "acpi_index")


def validate_nics(cases: t.Sequence[_Case], host: Host) -> None:
    """Refuse ``cases`` that cannot work; each is a declaration, the NIC before and the NIC after.

    Values that stay as they are, are not validated.

    :raises MacvtapError: with the path of the option.
    """
    leaving = {(before.domain, before.mac) for _desired, before, after in cases if after.stored is None}
    removed_targets = {
        before.live.get("target") for _desired, before, after in cases if before.live and after.stored is None
    }
    final = _final(cases, host)
    targets = _targets(final)
    of_domain = _by_domain(final)
    for desired, before, after in cases:
        current, stored = before.stored, after.stored
        if stored is None:
            continue
        if current is None:
            _validate_address(desired, before, host, leaving)
        network_validate.validate(desired, stored, _changed(current, stored), host)
        stored = networks.effective(stored, host.networks, before.live)
        current = current and networks.effective(current, host.networks, before.live)
        changed = _changed(current, stored)
        if changed:
            _validate_values(desired, stored, changed)
            _validate_once(desired, after, changed, of_domain[after.domain])
        multicast.validate(desired, before, stored, changed=changed, host=host, leaving=leaving)
        name = stored.get("target")
        if name and "target" in changed:
            link = link_of(name, host.links or {})
            _validate_target(desired, before, name, targets[name], None if name in removed_targets else link)
            _validate_others_targets(desired, name, host)
        _validate_sources((desired, before, after), stored, changed, host, removed_targets)


def _validate_sources(
    case: _Case, stored: Iface, changed: t.AbstractSet[str], host: Host, removed_targets: t.Collection[str | None]
) -> None:
    """Refuse links that cannot have the interface; ``stored`` is it with what its network gives it."""
    desired, before, after = case
    if after.stored is None or host.links is None or not changed & _OF_THE_SOURCE:
        return
    for source in networks.uplinks(after.stored, host.networks):
        link = link_of(source, host.links)
        if "source" in changed:
            link = _validate_source(desired, after.stored, link, source, host.links)
            # The link of type ethernet may stay when the guest releases it.
            if before.live is None or before.live.type == "ethernet":
                _validate_link_address(desired, stored, link, host.links, removed_targets)
        if link is not None:
            _validate_link(desired, stored, link, host)


def _changed(before: Iface | None, after: Iface) -> set[str]:
    """Return the fields with another value ``after``."""
    new = before is None or before.type != after.type
    return {name for name, value in after.values.items() if new or (before and before.get(name)) != value}


def _validate_address(desired: Desired, nic: Nic, host: Host, leaving: t.Collection[tuple[str, str]]) -> None:
    others = [name for name in selection.owners(host, nic.mac, exclude=nic.domain) if (name, nic.mac) not in leaving]
    if others:
        raise MacvtapError(
            f"{nic.mac} is already the address of an interface of domain {', '.join(others)}. A MAC address "
            "must be unique in a network. Use another one, or leave mac out and set source",
            path=join_path(desired.path, "mac"),
        )


def _validate_values(desired: Desired, stored: Iface, changed: t.AbstractSet[str]) -> None:
    model = stored.get("model") or ""
    drivers = sorted(name for name in changed if name.startswith("driver."))
    if drivers and model not in VIRTIO:
        raise MacvtapError(
            f"libvirt silently drops this for NIC model {model or 'rtl8139'}: only virtio has it. Set model: "
            "virtio, or leave it out",
            path=join_path(desired.path, drivers[0]),
        )
    mode = stored.get("mode")
    # libvirt 9.0 stores it, and fails to start the guest; 12.8 does not store it.
    if stored.get("vlan") and mode != "passthrough":
        raise MacvtapError(
            f"libvirt starts no guest that has a VLAN for an interface in mode {mode}. Only an "
            "SR-IOV virtual function in mode passthrough can have one. Use a VLAN interface of the host as "
            f"source instead (ip link add link {stored.get('source')} name "
            f"{stored.get('source')}.{stored.get('vlan')} type vlan id {stored.get('vlan')})",
            path=join_path(desired.path, "vlan"),
        )
    for direction in ("bandwidth.inbound", "bandwidth.outbound"):
        others = [f"{direction}.{what}" for what in ("peak", "burst") if f"{direction}.{what}" in changed]
        if others and stored.get(f"{direction}.average") is None:
            raise MacvtapError(
                "libvirt accepts it only with an average, and this interface has none. Set average as well",
                path=join_path(desired.path, others[0]),
            )
    tuned = sorted(name for name in ("rom.bar", "rom.file") if stored.get(name) is not None)
    if tuned and stored.get("rom.enabled") == "no" and changed & {"rom.enabled", *tuned}:
        raise MacvtapError(
            f"libvirt accepts {' and '.join(tuned)} only with an enabled ROM, and this interface's ROM is disabled",
            path=join_path(desired.path, next(name for name in ("rom.enabled", *tuned) if name in changed)),
        )
    has_virtualport_type(stored.values, changed, desired.path)


def _final(cases: t.Sequence[_Case], host: Host) -> dict[tuple[str, str], Iface]:
    """Return the interfaces after the run, by domain and MAC address."""
    final: dict[tuple[str, str], Iface | None] = {
        (domain.name, iface.mac): iface for domain in host.domains.values() for iface in domain.stored
    }
    final.update(((after.domain, after.mac), after.stored) for _desired, _before, after in cases)
    return {key: iface for key, iface in final.items() if iface is not None}


def _by_domain(final: t.Mapping[tuple[str, str], Iface]) -> dict[str, dict[str, Iface]]:
    """Return the interfaces of each domain, by MAC address."""
    found: dict[str, dict[str, Iface]] = {}
    for (domain, mac), iface in final.items():
        found.setdefault(domain, {})[mac] = iface
    return found


def _targets(final: t.Mapping[tuple[str, str], Iface]) -> dict[str, list[tuple[str, str]]]:
    """Return the interfaces (domain, MAC address) of each target name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, iface in final.items():
        found.setdefault(iface.get("target") or "", []).append(key)
    return found


def _validate_once(desired: Desired, nic: Nic, changed: t.Collection[str], ifaces: t.Mapping[str, Iface]) -> None:
    """``ifaces`` are those of the domain after the run, by MAC address."""
    for name in _ONCE:
        value = nic.stored.get(name) if nic.stored and name in changed else None
        others = [mac for mac, iface in ifaces.items() if value and mac != nic.mac and iface.get(name) == value]
        if others:
            raise MacvtapError(
                f"{value} is also used by interface {others[0]} of the same domain, and must be unique in a domain. "
                "Use another one",
                path=join_path(desired.path, name),
            )


def _validate_target(
    desired: Desired, nic: Nic, name: str, users: t.Sequence[tuple[str, str]], link: Link | None
) -> None:
    """Refuse the name of another link: libvirt fails to create its own, and 9.0 (not 11.3) removes the other."""
    path = join_path(desired.path, "target")
    others = [f"{mac} of domain {domain}" for domain, mac in users if (domain, mac) != (nic.domain, nic.mac)]
    if others:
        raise MacvtapError(
            f"{name} is also the target of interface {others[0]}. A link's name is unique on a host, so the "
            "second guest would fail to start. Use another one",
            path=path,
        )
    # The link of an ethernet interface may be older than the guest, and does not disappear with it.
    own = nic.live is not None and nic.live.get("target") == name and nic.live.type != "ethernet"
    if link is not None and not own:
        on = f" on {link.parent}" if link.parent else ""
        raise MacvtapError(
            f"{name} is already a link of this host, {validate.kind_of(link)}{on}. libvirt would fail to create "
            "its own, and some versions remove the existing one. Use another name",
            path=path,
        )


def _validate_others_targets(desired: Desired, name: str, host: Host) -> None:
    # A domain that does not run has no link. Other domains are known only if their addresses were needed.
    domains = host.targets.get(name)
    if domains:
        raise MacvtapError(
            f"{name} is already the target of an interface of domain {', '.join(domains)}. A link's name is "
            "unique on a host, so the second guest would fail to start. Use another one",
            path=join_path(desired.path, "target"),
        )


def _validate_source(desired: Desired, stored: Iface, link: Link | None, name: str, links: Links) -> Link:
    network = stored.get("network")
    path = join_path(desired.path, "source" if network is None else "network")
    if link is None and network is not None:
        raise MacvtapError(
            f"the network {network!r} has the uplink {name}, and there is no such link on this host, so a guest on it "
            f"would not start{parents.candidates(name, links)}. Change the network's uplinks",
            path=path,
        )
    if link is None:
        raise MacvtapError(f"there is no link {name} on this host{parents.candidates(name, links)}", path=path)
    validate.check_parent(path, link, links)
    return link


def _validate_link_address(
    desired: Desired, stored: Iface, source: Link, links: Links, removed_targets: t.Collection[str | None]
) -> None:
    # A link in mode passthrough gives its address to the source.
    if stored.get("mode") == "passthrough":
        return
    # macvlan_open() compares with links that are up.
    on = [one for one in links.values() if one.parent == source.name and one.kind in MACVLAN_KINDS and one.up]
    duplicate = next(
        (link for link in (source, *on) if link.mac == stored.mac and link.name not in removed_targets), None
    )
    if duplicate is not None:
        whose = "the source itself" if duplicate is source else f"another link on {source.name}"
        raise MacvtapError(
            f"{stored.mac} is the address of {duplicate.name}, {whose}; the kernel allows each address once on "
            "a link, so the guest would not start. Use another one, or leave mac out and set source",
            path=join_path(desired.path, "mac"),
        )


def _validate_link(desired: Desired, stored: Iface, link: Link, host: Host) -> None:
    kind = stored.get("virtualport.type")
    if kind:
        path = join_path(desired.path, "virtualport.type")
        uplinks.validate_association(link, host.links or {}, kind, "Use a physical NIC as source", path)
    if stored.get("vlan"):
        instead = "Use a VLAN interface of the host as source instead"
        uplinks.validate_function(link, host.non_vfs, instead, join_path(desired.path, "vlan"))
