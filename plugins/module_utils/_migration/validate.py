# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What of a migration would be refused, or would go wrong, found before it begins. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.inspection import version_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.jobs import validate_job
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.states import STATE_TEXTS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import look, sharing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.along import differing
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import (
    POST_COPY,
    SHARED,
    TUNNEL,
    Along,
    Both,
    Desired,
    Side,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import (
    declared_twice,
    did_you_mean,
    join_names,
    suggest,
)

_DESTINATION = "destination_uri"


def options(desired: Desired) -> None:
    """Refuse options that exclude each other.

    :raises MacvtapError: they do.
    """
    needs = "Set transport: tls, for which QEMU needs its certificates on both hosts"
    if desired.transport == TUNNEL and desired.storage != SHARED:
        raise MacvtapError(f"libvirt cannot copy disks through its own connection. {needs}", path="storage")
    if desired.on_timeout != POST_COPY:
        return
    if desired.transport == TUNNEL:
        raise MacvtapError(f"post_copy needs a connection from QEMU to QEMU. {needs}", path="on_timeout")
    if not desired.live:
        raise MacvtapError("post_copy requires live: true. Set that, or remove on_timeout", path="on_timeout")


def identities(both: Both, desired: Desired) -> None:
    """Refuse a destination that is this host, or that has another domain of the guest's name or UUID.

    :raises MacvtapError: it is.
    """
    source, destination = both.source, both.destination
    if source.uuid and source.uuid == destination.uuid:
        raise MacvtapError(
            f"{destination.uri} leads to this host ({destination.name}): libvirt has the UUID {source.uuid} in both. "
            "If these are two hosts, give one another host_uuid in libvirtd.conf (or virtqemud.conf)",
            path=_DESTINATION,
        )
    here, there = source.domain, destination.domain
    if here is not None and there is not None and here.uuid != there.uuid:
        raise MacvtapError(
            f"{destination.name} has another domain of that name: its UUID is {there.uuid}, here it is {here.uuid}",
            path="domain",
        )
    if here is not None and destination.namesake not in ("", desired.domain):
        raise MacvtapError(
            f"{destination.name} has a domain with its UUID ({here.uuid}) already, which is called "
            f"{destination.namesake!r}",
            path="domain",
        )


def movable(domain: Domain, both: Both, desired: Desired) -> None:
    """Refuse a guest that cannot be moved at all, or not as declared.

    :raises MacvtapError: naming the first option that excludes it, or all reasons of the guest.
    """
    if not domain.running and desired.persistent is False:
        raise MacvtapError(
            "false is only for a running guest. This one does not run, so the destination would have nothing of it. "
            "Remove persistent, or set it to true",
            path="persistent",
        )
    validate_job(domain.name, domain.job, path="domain", live=True)
    reasons = list(both.blockers)
    if domain.job:
        reasons.append(f"it has a job in progress ({domain.job})")
    if domain.state:
        reasons.append(f"its guest {STATE_TEXTS[domain.state]}")
    if domain.pending:
        reasons.append(
            f"it was asked to release {join_names(sorted(domain.pending))}, and still holds it: what attaches it again "
            "works on this host alone. Restart the guest"
        )
    if domain.saved is not None:
        reasons.append(
            "it has a managed save, which stays here. Start it first, or discard that (virsh managedsave-remove)"
        )
    if not domain.running and not domain.persistent:
        reasons.append("it is not stored")
    if reasons:
        raise MacvtapError(f"domain {domain.name!r} cannot move: {', and '.join(reasons)}", path="domain")


def storage(domain: Domain, both: Both, desired: Desired) -> None:
    """Refuse a guest whose disks would not be on the destination, as far as that is known.

    :raises MacvtapError: they would not.
    """
    if desired.storage != SHARED and both.disks and not domain.running:
        raise MacvtapError(
            f"the guest does not run, and libvirt copies the disks only of one that does. Start it first, or copy "
            f"{join_names(both.disks)} to {both.destination.name} yourself, and set storage: shared",
            path="storage",
        )
    if desired.storage == SHARED and both.local_disks and domain.running:
        raise MacvtapError(
            f"{_local(both)}, which {both.destination.name} does not see. To have the disks copied, set storage: copy",
            path="storage",
        )


def _local(both: Both) -> str:
    return join_names(
        [f"{file} is on a file system of this host alone ({kind})" for file, kind in both.local_disks.items()]
    )


def appliable(both: Both, desired: Desired) -> None:
    """Refuse to connect a running NIC as it is stored, on a direct network, if that is none on the destination.

    :raises MacvtapError: it is not.
    """
    source, destination = both.source, both.destination
    running = {(iface.mac, iface.get("network")) for iface in both.live}
    declared = {nic.mac for nic in desired.nics}
    for iface in both.stored:
        name = iface.get("network")
        here, there = ((side.networks or {}).get(name or "") for side in (source, destination))
        if here is None or there is None or iface.mac in declared or (iface.mac, name) in running:
            continue
        if here.direct and not there.direct:
            raise MacvtapError(
                f"{iface.mac} is stored on the network {name!r}, which is a direct one on {source.name} and not on "
                f"{destination.name}. Set interfaces for it, or leave this out",
                path="apply_stored",
            )


def interfaces(domain: Domain, both: Both, desired: Desired, guest: Domain) -> list[str]:
    """Refuse NICs that the destination cannot connect, or that would cut off others there, and return warnings.

    ``guest`` is the domain as it is to be there.

    :raises MacvtapError: with the path of the option.
    """
    found = {iface.mac: iface for iface in (*domain.stored, *domain.live)}
    paths: dict[str, str] = {}
    for nic in desired.nics:
        if nic.mac in paths:
            raise declared_twice(nic.mac, nic.path, paths[nic.mac])
        paths[nic.mac] = nic.path
        if nic.mac not in found:
            has = did_you_mean(suggest(nic.mac, found)) or f". It has {join_names(sorted(found)) or 'none'}"
            message = f"domain {domain.name!r} has no interface with the address {nic.mac}{has}"
            raise MacvtapError(message, path=join_path(nic.path, "mac"))
        if found[nic.mac].type in ("hostdev", "vdpa"):
            raise MacvtapError(
                f"{nic.mac} is of type {found[nic.mac].type}: a device of the host cannot move",
                path=join_path(nic.path, "mac"),
            )
    there = (*guest.live, *guest.stored)
    for iface in there:
        path = join_path(paths[iface.mac], "network") if iface.mac in paths else "interfaces"
        _network(iface, both.destination, path)
    destination, seen = both.destination, look.read(desired.destination_host)
    look.check(seen, look.Coming(destination.name, there, paths, both.mtus))
    arriving = sharing.Arriving(destination.name, guest, destination.networks, paths, destination.targets)
    warnings = sharing.check(seen, arriving)
    for mac in found:
        names = (both.destination.macs or {}).get(mac, ())
        if names:
            raise MacvtapError(
                f"{both.destination.name} has the address {mac} already, in {join_names(names)}. Two NICs with one "
                "address take each other's frames",
                path=paths.get(mac, "domain"),
            )
    return warnings


def _network(iface: Iface, host: Side, path: str) -> None:
    """Refuse a network that the destination lacks, or has not active."""
    name = iface.get("network")
    if name is None:
        return
    networks = host.networks or {}
    found = networks.get(name)
    if found is None:
        hint = did_you_mean(suggest(name, networks))
        raise MacvtapError(f"{host.name} has no network {name!r}, for {iface.mac}{hint}", path=path)
    if not found.active:
        raise MacvtapError(
            f"network {name!r}, for {iface.mac}, is not active on {host.name}. Start it there: virsh net-start {name}",
            path=path,
        )
    group = iface.get("portgroup")
    if group is not None and found.direct and (found.live or found).portgroup(group) is None:
        raise MacvtapError(f"network {name!r} has no portgroup {group!r} on {host.name}", path=path)


def prepared(both: Both, desired: Desired, along: t.Iterable[Along]) -> None:
    """Refuse to move a guest away from what this host keeps for it, unless the destination has that already.

    :raises MacvtapError: naming what there is.
    """
    along = tuple(along)
    if desired.rules is not None:
        unchanged(both, desired, desired.rules, along)
    guarded = [one.mac for one in along if one.guard is not None]
    hearing = [one.mac for one in along if one.allmulticast]
    if desired.prepared or not (guarded or hearing):
        return
    has = [f"a guard ({join_names(guarded)})"] if guarded else []
    has += [f"a link that receives all multicast ({join_names(hearing)})"] if hearing else []
    raise MacvtapError(
        f"domain {desired.domain!r} has {' and '.join(has)}, which {both.destination.name} would not have. The role "
        "macvtap_migration takes that along. If it is there already, set prepared: true",
        path="prepared",
    )


def unchanged(both: Both, desired: Desired, given: t.Iterable[t.Mapping[str, t.Any]], along: t.Iterable[Along]) -> None:
    """Refuse to move a guest if this host keeps something else for its NICs than before.

    :raises MacvtapError: it does. The destination would not have it, or would have more.
    """
    macs = differing(given, along)
    if macs:
        raise MacvtapError(
            f"what this host keeps for {join_names(macs)} of domain {desired.domain!r} (guards, rules for multicast) "
            f"has changed since it was looked at for {both.destination.name}. Run again",
            path="rules",
        )


def fits(both: Both) -> None:
    """Refuse a destination that cannot run the guest.

    :raises MacvtapError: naming all reasons.
    """
    reasons = list(both.unfit)
    free = both.destination.free
    if free is not None and both.memory is not None and free < both.memory:
        reasons.append(f"the guest has {_mib(both.memory)} MiB of memory, and {_mib(free)} MiB are free there")
    if reasons:
        raise MacvtapError(f"{both.destination.name} cannot run it: {', and '.join(reasons)}", path=_DESTINATION)


def warnings(domain: Domain, both: Both) -> list[str]:
    """Return what may go wrong after the migration."""
    source, destination = both.source, both.destination
    found = []
    if both.local_disks and not domain.running:
        found.append(
            f"{_local(both)}. Of a guest that does not run libvirt moves the configuration alone: copy that file to "
            f"{destination.name} before you start it there"
        )
    older = [
        f"{what} ({version_text(there)} there, {version_text(here)} here)"
        for what, here, there in (
            ("libvirt", source.version, destination.version),
            ("QEMU", source.emulator, destination.emulator),
        )
        if 0 < there < here
    ]
    if older:
        found.append(
            f"{destination.name} has an older {' and '.join(older)}: libvirt and QEMU promise only that a guest can "
            "move to newer ones"
        )
    return found


def _mib(size: int) -> int:
    return size >> 20
