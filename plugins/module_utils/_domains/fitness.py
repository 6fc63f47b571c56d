# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt or the kernel would refuse, drop, or only fail with when the guest starts: seen first. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import multicast, selection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import VIRTIO
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links, link_of

_Case = t.Tuple[Desired, Nic, Nic]
# What the source decides about.
_OF_THE_SOURCE = {"source", "mode", "vlan", "virtualport.type"}
# What no two devices of a domain can have, and who says so otherwise: libvirt when it is stored, or QEMU at the start.
_ONCE = ("alias", "address", "boot_order", "acpi_index")


def check(cases: t.Sequence[_Case], host: Host) -> None:
    """Refuse what cannot work of ``cases``: each what is declared, the NIC as it is and as it is to be.

    What is there already and stays as it is, is not looked at.

    :raises MacvtapError: with the path of the option.
    """
    leaving = {(before.domain, before.mac) for _desired, before, after in cases if after.stored is None}
    going = {before.live.get("target") for _desired, before, after in cases if before.live and after.stored is None}
    final = _final(cases, host)
    targets = _targets(final)
    for desired, before, after in cases:
        was, stored = before.stored, after.stored
        if stored is None:
            continue
        if was is None:
            _check_address(desired, before, host, leaving)
        changed = {n for n, v in stored.values.items() if was is None or was.type != stored.type or was.get(n) != v}
        if changed:
            _check_values(desired, stored, changed)
            _check_once(desired, after, changed, final)
        multicast.check(desired, before, stored, changed=changed, host=host, leaving=leaving)
        name = stored.get("target")
        if name and "target" in changed:
            link = link_of(name, host.links or {})
            _check_target(desired, before, name, targets[name], None if name in going else link)
            _check_others_targets(desired, name, host)
        if changed & _OF_THE_SOURCE and host.links is not None:
            link = link_of(stored.get("source"), host.links)
            if "source" in changed:
                link = _source(desired.path, link, stored.get("source") or "", host.links)
                # The link of one of type ethernet may stay when the guest lets go of it.
                if before.live is None or before.live.type == "ethernet":
                    _check_link_address(desired, stored, link, host.links, going)
            if link is not None:
                _check_on(desired, stored, link, host)


def _check_address(desired: Desired, nic: Nic, host: Host, leaving: t.Collection[tuple[str, str]]) -> None:
    others = [name for name in selection.owners(host, nic.mac, but=nic.domain) if (name, nic.mac) not in leaving]
    if others:
        raise MacvtapError(
            f"{nic.mac} is the address of an interface of domain {', '.join(others)} already; on one network each "
            "address must be there once. Choose another one, or leave mac out and say the source",
            path=join_path(desired.path, "mac"),
        )


def _check_values(desired: Desired, stored: Iface, changed: t.AbstractSet[str]) -> None:
    model = stored.get("model") or ""
    drivers = sorted(name for name in changed if name.startswith("driver."))
    if drivers and model not in VIRTIO:
        raise MacvtapError(
            f"libvirt silently drops this for a card of model {model or 'rtl8139'}: only virtio has it. Say "
            "model: virtio, or leave it out",
            path=join_path(desired.path, drivers[0]),
        )
    mode = stored.get("mode")
    if stored.get("vlan") and mode != "passthrough":
        raise MacvtapError(
            f"libvirt stores a VLAN for an interface in mode {mode}, but fails to start the guest: only a virtual "
            "function of a network card (SR-IOV) in mode passthrough can have one. Use a VLAN link of the host as "
            f"source instead (ip link add link {stored.get('source')} name {stored.get('source')}.{stored.get('vlan')} "
            f"type vlan id {stored.get('vlan')})",
            path=join_path(desired.path, "vlan"),
        )
    for direction in ("bandwidth.inbound", "bandwidth.outbound"):
        others = [f"{direction}.{what}" for what in ("peak", "burst") if f"{direction}.{what}" in changed]
        if others and stored.get(f"{direction}.average") is None:
            raise MacvtapError(
                "libvirt takes it only beside an average, which this interface has none of. Set average as well",
                path=join_path(desired.path, others[0]),
            )
    tuned = sorted(name for name in ("rom.bar", "rom.file") if stored.get(name) is not None)
    if tuned and stored.get("rom.enabled") == "no" and changed & {"rom.enabled", *tuned}:
        raise MacvtapError(
            f"libvirt takes {' and '.join(tuned)} only where the ROM is enabled, which this interface's is not",
            path=join_path(desired.path, next(name for name in ("rom.enabled", *tuned) if name in changed)),
        )
    parameters = [name for name in changed if name.startswith("virtualport.") and name != "virtualport.type"]
    if parameters and stored.get("virtualport.type") is None:
        raise MacvtapError(
            "a parameter needs the type that it is one of; say 802.1Qbg or 802.1Qbh",
            path=join_path(desired.path, "virtualport.type"),
        )


def _final(cases: t.Sequence[_Case], host: Host) -> dict[tuple[str, str], Iface]:
    """Return what is to be stored, by domain and address."""
    final: dict[tuple[str, str], Iface | None] = {
        (domain.name, iface.mac): iface for domain in host.domains.values() for iface in domain.stored
    }
    final.update(((after.domain, after.mac), after.stored) for _desired, _before, after in cases)
    return {key: iface for key, iface in final.items() if iface is not None}


def _targets(final: t.Mapping[tuple[str, str], Iface]) -> dict[str, list[tuple[str, str]]]:
    """Return which interfaces, by domain and address, are to have each name."""
    found: dict[str, list[tuple[str, str]]] = {}
    for key, iface in final.items():
        found.setdefault(iface.get("target") or "", []).append(key)
    return found


def _check_once(
    desired: Desired, nic: Nic, changed: t.Collection[str], final: t.Mapping[tuple[str, str], Iface]
) -> None:
    for name in _ONCE:
        value = nic.stored.get(name) if nic.stored and name in changed else None
        others = [
            mac
            for (domain, mac), iface in final.items()
            if value and domain == nic.domain and mac != nic.mac and iface.get(name) == value
        ]
        if others:
            raise MacvtapError(
                f"{value} is that of interface {others[0]} of the same domain too, and no two devices can have one. "
                "Choose another one",
                path=join_path(desired.path, name),
            )


def _check_target(
    desired: Desired, nic: Nic, name: str, having: t.Sequence[tuple[str, str]], link: Link | None
) -> None:
    """Refuse a name that another link has: libvirt fails to make its own, and 9.0 (not 11.3) removes that other one."""
    path = join_path(desired.path, "target")
    others = [f"{mac} of domain {domain}" for domain, mac in having if (domain, mac) != (nic.domain, nic.mac)]
    if others:
        raise MacvtapError(
            f"{name} is the target of interface {others[0]} too; each name is once on a host, and whichever guest "
            "starts second fails to. Choose another one",
            path=path,
        )
    # What an interface of type ethernet uses may have been made before, and does not go with the guest.
    own = nic.live is not None and nic.live.get("target") == name and nic.live.type != "ethernet"
    if link is not None and not own:
        on = f" on {link.parent}" if link.parent else ""
        raise MacvtapError(
            f"{name} is a link of this host already, {refusals.kind_of(link)}{on}; libvirt would fail to make its own, "
            "and some versions remove that one. Choose another name",
            path=path,
        )


def _check_others_targets(desired: Desired, name: str, host: Host) -> None:
    # A domain that does not run has no link yet. Others are known only where their addresses had to be.
    domains = host.targets.get(name)
    if domains:
        raise MacvtapError(
            f"{name} is the target of an interface of domain {', '.join(domains)} already; each name is once on a "
            "host, and whichever guest starts second fails to. Choose another one",
            path=join_path(desired.path, "target"),
        )


def _source(path: str, link: Link | None, name: str, links: Links) -> Link:
    path = join_path(path, "source")
    if link is None:
        raise MacvtapError(f"there is no link {name} on this host{parents.near(name, links)}", path=path)
    refusals.check_parent(path, link, links)
    return link


def _check_link_address(
    desired: Desired, stored: Iface, source: Link, links: Links, going: t.Collection[str | None]
) -> None:
    # A passthrough link gives its address to the source.
    if stored.get("mode") == "passthrough":
        return
    # macvlan_open() looks at those that are up.
    on = [one for one in links.values() if one.parent == source.name and one.kind in MACVLAN_KINDS and one.up]
    twin = next((link for link in (source, *on) if link.mac == stored.mac and link.name not in going), None)
    if twin is not None:
        whose = "the source itself" if twin is source else f"another link on {source.name}"
        raise MacvtapError(
            f"{stored.mac} is the address of {twin.name}, {whose}; the kernel allows each address once on a link, so "
            "that the guest would not start. Choose another one, or leave mac out and say the source",
            path=join_path(desired.path, "mac"),
        )


def _check_on(desired: Desired, stored: Iface, link: Link, host: Host) -> None:
    kind = stored.get("virtualport.type")
    veth = _veth_below(link, host.links or {})
    if kind and veth:
        what = "is a veth link" if veth is link else f"is on the veth link {veth.name}"
        raise MacvtapError(
            f"{link.name} {what}, on which libvirtd 9.0 never returns from associating {kind}: refused. "
            "Use a network card as source",
            path=join_path(desired.path, "virtualport.type"),
        )
    if stored.get("vlan") and (link.pci is None or link.name in host.no_functions):
        raise MacvtapError(
            f"{link.name} is no virtual function of a network card (SR-IOV), and only such a one can have a VLAN "
            "here. Use a VLAN link of the host as source instead",
            path=join_path(desired.path, "vlan"),
        )


def _veth_below(link: Link, links: Links) -> Link | None:
    # virNetDevVPortProfileGetPhysdevAndVlan() goes down to what is on nothing, and two veth links are on each other.
    seen: set[str] = set()
    below: Link | None = link
    while below is not None and below.name not in seen:
        if below.kind == "veth":
            return below
        seen.add(below.name)
        below = links.get(below.parent or "")
    return None
