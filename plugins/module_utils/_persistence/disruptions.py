# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the host loses by new boot configuration: at the next boot, or as soon as a network manager reads it. Pure.

What a link takes from the host is decided by the code that macvtap_link and vlan_link use for it, too.
"""

from __future__ import annotations

import typing as t
from dataclasses import fields

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents, vlan_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import Attributes
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MACVLAN_KINDS, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, predicted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import managers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import UPLINK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import SHIM, Desired, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.planner import written_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.systemd_unit import StoredLink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

_ATTRIBUTES = tuple(field.name for field in fields(Attributes))


def of_plan(resolved: Resolved, host: Host, planned: Plan[File]) -> list[Disruption]:
    """Return what the ``resolved`` links take from the host, and what its links lose by the planned files."""
    gone = list(unconfigured(resolved, host, planned))
    released = _released(host, predicted(planned, host.files), _paths(resolved, host))
    names = {one.link for one in gone}
    return [*of_links(resolved.links, host.links), *gone, *(one for one in released if one.link not in names)]


def of_links(desired: t.Iterable[Desired], links: Links) -> t.Iterator[Disruption]:
    """Yield what the links take from the host at the next boot, and have not taken already."""
    identities = {vlan_model.identity(link) for link in links.values()}
    for one in desired:
        if one.link.kind == SHIM:
            # validate.check_reachable() knows more of these.
            continue
        step = _at_boot(one, links)
        same = step.after is not None and vlan_model.identity(step.after) in identities
        yield from (found for found in reachability.of_steps([step]) if not (same and found.loss is Loss.VLAN))


def _at_boot(desired: Desired, links: Links) -> Step[Link]:
    """Return the step from the link as it is now to the one that the next boot creates."""
    link, parent = desired.link, desired.parent
    before = links.get(link.name)
    before = before if before is not None and before.kind == link.kind else None
    values = {name: getattr(link, name) for name in _ATTRIBUTES}
    values["source_macs"] = link.source_macs or frozenset()
    if link.kind == "macvtap":
        # A new one has neither, unless it is declared.
        values.update(arp=bool(link.arp), accept_ra=bool(link.accept_ra))
    protocol, number = desired.vlan or (None, None)
    after = Link(
        link.name,
        kind=link.kind,
        parent=parent.name,
        parent_index=parent.index,
        vlan_id=number,
        vlan_protocol=protocol,
        # Otherwise the program leaves that to others, as the modules do.
        up={"up": True, "down": False}.get(link.state, before is not None and before.up),
        **values,
    )
    # The kernel puts a macvtap link on the link below a macvlan link.
    below = {parent.index, parent.parent_index if parent.kind in MACVLAN_KINDS and link.kind == "macvtap" else 0}
    moved = before is not None and (
        before.parent_index not in below or (before.vlan_id, before.vlan_protocol) != (number, protocol)
    )
    changes = (Change(link.name, "parent", None, parent.name, Impact.RECREATE),) if moved else ()
    return Step(link.name, before, after, changes, path=link.path)


def unconfigured(resolved: Resolved, host: Host, planned: Plan[File]) -> t.Iterator[Disruption]:
    """Yield the links that exist, and that the next boot no longer creates."""
    before, after = written_of(host.files.values()), written_of(predicted(planned, host.files).values())
    paths = _paths(resolved, host)
    for name in sorted(before.keys() - after.keys()):
        link, kind = host.links.get(name), before[name].kind
        if link is None or link.kind not in ("macvtap", "vlan") or kind not in ("", link.kind):
            continue
        # Otherwise something else creates it, or another VLAN has the name by now.
        if link.kind == "macvtap" or (
            vlan_model.is_managed(link) and not _is_other_vlan(link, before[name], host.links)
        ):
            yield Disruption(name, Loss.UNCONFIGURED, paths.get(name, "purge"))


def _is_other_vlan(link: Link, stored: StoredLink, links: Links) -> bool:
    """Whether ``link`` has another parent, VLAN ID or protocol than what is written. If that is unclear, it has not."""
    words = stored.words
    if words.get("id", str(link.vlan_id)) != str(link.vlan_id):
        return True
    if words.get("protocol", str(link.vlan_protocol)) != str(link.vlan_protocol):
        return True
    parent = parents.lookup(stored.key.removeprefix("altname:") if stored.parent == UPLINK else stored.parent, links)
    return parent is not None and parent.index != link.parent_index


def _paths(resolved: Resolved, host: Host) -> dict[str, str]:
    """Return the options that decide on what is written under a name."""
    stored = written_of(host.files.values())
    decisions = resolved.decisions.items()
    return {name: one.entry.path for name, one in decisions if name not in stored or one.replaces(stored[name].kind)}


def _released(host: Host, after: t.Mapping[str, File], paths: t.Mapping[str, str]) -> t.Iterator[Disruption]:
    """Yield the links that a manager configures now, and that these files take from it."""
    ignored = managers.ignored_by_networkmanager(after) - managers.ignored_by_networkmanager(host.files)
    for link in _here(host):
        name, file, new = link.name, host.networkd.get(link.index), managers.file_of(link.name, after)
        by_networkd = file and new != managers.file_of(name, host.files) and managers.releases(name, file, after)
        hint = f"Declare {name} with persistence: none, or absent"
        if by_networkd:
            drop_in = f"{managers.network_file(name)}.d/address.conf"
            # They may be there by accident.
            hint = f"Remove them first, or have networkd set them by {drop_in}" if new is not None else ""
        if by_networkd or (name in ignored and host.networkmanager.get(link.index)):
            # The files of all links are written again, also of those that this run does not declare.
            yield _unmanaged(link, paths.get(name, "purge" if name not in written_of(after.values()) else ""), hint)


def by_networkd(host: Host, planned: Plan[File]) -> list[Disruption]:
    """Return the links that networkd may give up, begin with, or configure otherwise, once it reads our files."""
    after = predicted(planned, host.files)
    return [_unmanaged(link) for link in _here(host) if _may_change(link, host, after)]


def _may_change(link: Link, host: Host, after: t.Mapping[str, File]) -> bool:
    file, new = host.networkd.get(link.index), managers.file_of(link.name, after)
    if file:
        # It may still configure the link by one that is gone.
        return new is not None or managers.is_for(link.name, file)
    return link.index in host.networkd and new == managers.network_file(link.name)


def _here(host: Host) -> t.Iterator[Link]:
    return (link for link in host.links.values() if link.netns is None)


def _unmanaged(link: Link, path: str = "", hint: str = "") -> Disruption:
    return Disruption(link.name, Loss.UNMANAGED, path, declared=link.kind == SHIM, hint=hint)
