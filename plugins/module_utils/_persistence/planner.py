# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which files are to come, change and go, one step for each. Pure."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DesiredShim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved, resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import (
    make_links,
    networkd,
    networkmanager,
    systemd_unit,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import Entry
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    IFUPDOWN,
    NETWORKD,
    NETWORKMANAGER,
    SHIM,
    Block,
    Declared,
    Desired,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# The files that one link has for itself have its name.
_OWN = re.compile(r"(?:\d\d-)?macvtap-(.+)\.(?:netdev|network|nmconnection)")


def plan(declared: t.Sequence[Declared], host: Host, *, purge: bool = False) -> Plan[File]:
    """Plan the way from the host's files to those that make the ``declared`` links.

    What has been written for other links stays, or goes with ``purge``. What comes is written before anything goes, so
    that at any moment the one or the other makes a link at boot.

    :raises MacvtapError: something that cannot be there, or a file that is not ours where one of ours is to be.
    """
    ours = {path: file for path, file in host.files.items() if file.ours}
    resolved = resolved_of(declared, host)
    files = _Files(resolved, host, ours, purge=purge)
    desired = files.desired()
    steps = []
    for path in {*ours, *desired}:
        if path in host.files and path not in ours:
            raise MacvtapError(
                f"{path} is not managed by this collection: its first line does not say so. It is left alone; move it "
                "away"
            )
        steps.append(step_between(ours.get(path), desired.get(path)))
    return Plan(tuple(sorted(steps, key=_in_order)), (*resolved.warnings, *files.warnings))


def purged_shims(declared: t.Sequence[Declared], host: Host) -> list[Declared]:
    """Return entries that remove what is written for shims that are not ``declared``."""
    names = {one.want.name for one in declared if isinstance(one.want, DesiredShim)}
    written = written_of(host.files.values()).values()
    undeclared = sorted(one.name for one in written if one.kind == SHIM and one.name not in names)
    return [Declared(DesiredShim(name, "purge", "absent"), "auto") for name in undeclared]


def resolved_of(declared: t.Sequence[Declared], host: Host) -> Resolved:
    return resolve(declared, host, written_of(host.files.values()))


def links_of(file: File) -> dict[str, str]:
    """Return the links that a file of ours is for, with their kind ("" where an earlier version did not say it)."""
    blocks = _managed_blocks.parse(file.text)[1]
    name = os.path.basename(file.path)
    own = None if blocks else _OWN.fullmatch(name)
    return {own[1]: ""} if own else {name: kind for name, (kind, _text) in blocks.items()}


def written_of(files: t.Iterable[File]) -> dict[str, Entry]:
    """Return what our files have of each link, by its name; of earlier versions only its kind, where that is known."""
    files = [file for file in files if file.ours]
    found: dict[str, Entry] = {}
    for file in files:
        for name, kind in links_of(file).items():
            found[name] = Entry(name, kind or (found[name].kind if name in found else ""))
    return {**found, **systemd_unit.parse(files)[0]}


def _in_order(step: Step[File]) -> tuple[int, str]:
    """What only comes first, then what changes, then where something goes."""
    if step.before is None:
        return 0, step.target
    loses = step.after is None or links_of(step.before).keys() - links_of(step.after).keys()
    return 2 if loses else 1, step.target


class _Files:
    """The files that are to be there."""

    def __init__(self, resolved: Resolved, host: Host, ours: t.Mapping[str, File], *, purge: bool) -> None:
        self.resolved = resolved
        self.host = host
        self.ours = ours
        self.purge = purge
        self.warnings: list[str] = []
        self.before, self.up = systemd_unit.parse(ours.values())
        self.needed: dict[str, list[str]] = {}
        self.needed = self._needed()

    def desired(self) -> dict[str, File]:
        """Return the files, by their paths."""
        self._check_needed()
        entries = self._entries()
        files, shared = self._staying()
        for one in self.resolved.links:
            for block in self._blocks(one):
                shared.setdefault(block.path, ("", {}))[1][one.name] = (one.kind, block.text)
        # Where systemd does not run now, as in an image that is being built, its unit may be there already.
        by_ifupdown = IFUPDOWN in self.resolved.backends.values()
        units = self.host.systemd or (systemd_unit.TEMPLATE in self.ours and not by_ifupdown)
        if entries and not units:
            _head, theirs = shared.get(systemd_unit.INTERFACES_FILE, ("", {}))
            shared[systemd_unit.INTERFACES_FILE] = (make_links.STANZA, theirs)
        for path, content in shared.items():
            # As it is, where that has the same in another order.
            was = self.ours[path].text if path in self.ours else ""
            text = was if _managed_blocks.parse(was) == content else _managed_blocks.render(*content)
            files[path] = File(path, text, networkmanager.MODE if path.endswith(".nmconnection") else 0o644)
        files.update((file.path, file) for file in systemd_unit.render(entries, self.up, units=units))
        if systemd_unit.UNIT in files:
            # Also one of an earlier version, for links that stay.
            files[systemd_unit.UNIT_LINK] = File(systemd_unit.UNIT_LINK, target=systemd_unit.UNIT)
        alone = {name for name in entries if networkmanager.keyfile(name) not in files}
        files.update((file.path, file) for file in networkmanager.leave_alone(alone))
        return files

    def _staying(self) -> tuple[dict[str, File], dict[str, tuple[str, _managed_blocks.Blocks]]]:
        """Return the files that stay as they are, and of others what they begin with and the blocks that stay."""
        files: dict[str, File] = {}
        shared: dict[str, tuple[str, _managed_blocks.Blocks]] = {}
        made = {one.name for one in self.resolved.links if one.manager != NETWORKMANAGER}
        for path, file in self.ours.items():
            head, blocks = _managed_blocks.parse(file.text)
            links = {} if path.startswith(f"{make_links.LINKS_DIR}/") else links_of(file)
            staying = {name for name, kind in links.items() if self._stays(name, kind)}
            if path == systemd_unit.INTERFACES_FILE:
                staying |= self._of_ifupdown2(links.keys() & made)
            if staying and not blocks:
                files[path] = file
            elif staying:
                shared[path] = head, {name: block for name, block in blocks.items() if name in staying}
            elif links.keys() <= made and networkmanager.is_active(file, self.host.networkmanager.values()):
                files[path] = networkmanager.retire(file)
                self.warnings.append(
                    f"{join_names(sorted(links))}: NetworkManager has made this link, and would remove it with its "
                    f"profile. At the next boot the unit makes it; the first run after that removes {path}"
                )
        return files, shared

    def _of_ifupdown2(self, names: t.Collection[str]) -> set[str]:
        """Return those of the links whose stanzas stay although the unit makes the links from now on."""
        staying = {name for name in names if name in self.host.links and self.host.ifupdown2}
        if staying:
            self.warnings.append(
                f"{join_names(sorted(staying))}: ifupdown2 has made this, and ifreload -a would set it down if it left "
                f"{systemd_unit.INTERFACES_FILE}. So it stays there; remove it from there right before a reboot"
            )
        return staying

    def _blocks(self, one: Desired) -> t.Iterator[Block]:
        """Yield what the managers, udev and the kernel are told of a link."""
        yield from systemd_unit.blocks(one)
        if one.manager == NETWORKD:
            yield networkd.addresses(one)
        elif self.host.systemd:
            yield networkd.leave_alone(one.name, extended=one.name in self.host.extended)
        if one.manager == NETWORKMANAGER:
            yield from networkmanager.blocks(one)

    def _stays(self, name: str, kind: str) -> bool:
        """Whether what is written of a link stays as it is."""
        decided = self.resolved.decisions.get(name)
        if decided is not None and decided.shim == (kind == SHIM):
            return decided.left
        return kind == SHIM or not self.purge or name in self.needed

    def _needed(self) -> dict[str, list[str]]:
        """Return the links that others are on which will be written, with those."""
        desired = {one.name: one.parent.name for one in self.resolved.links}
        staying = {name for name, one in self.before.items() if name not in desired and self._stays(name, one.kind)}
        found: dict[str, list[str]] = {}
        waiting = [*desired.items(), *((name, self.before[name].parent) for name in staying)]
        for name, parent in waiting:
            if parent not in found and parent not in desired and parent not in staying and parent in self.before:
                # A VLAN on a VLAN.
                waiting.append((parent, self.before[parent].parent))
            found.setdefault(parent, []).append(name)
        return found

    def _check_needed(self) -> None:
        """Refuse, or warn, where links are not to be written any longer that others are on which are.

        :raises MacvtapError: what is written for a VLAN would go, declared absent, from under what is on it.
        """
        for name in sorted(self.before.keys() & self.needed.keys()):
            on = join_names(sorted(self.needed[name]))
            decided = self.resolved.decisions.get(name)
            if decided is not None and decided.absent and not decided.shim:
                raise MacvtapError(
                    f"{name} is the parent of {on}, and without it that would not be made at the next boot. Remove "
                    "what is written for that first",
                    path=decided.want.path,
                )
            if decided is None and self.purge:
                self.warnings.append(
                    f"{name} is not declared, and stays written all the same: it is the parent of {on}, which would "
                    "not be made at the next boot without it. Remove that first, or declare this too"
                )
            elif decided is not None and decided.backend is None:
                self.warnings.append(
                    f"{on} will not be there after a reboot, though that is written: nothing makes {name}, the "
                    "parent. Set persistence: none for that too, or another one here"
                )

    def _entries(self) -> dict[str, Entry]:
        """Return what the program makes, and note the uplinks that it sets up."""
        entries = {name: one for name, one in self.before.items() if self._stays(name, one.kind)}
        desired = {one.name: one for one in self.resolved.links}
        for name, one in desired.items():
            on_link = one.parent.name in entries or one.parent.name in desired
            entries[name] = systemd_unit.entry(one, one.parent.name if on_link else make_links.UPLINK, one.key)
            if not on_link:
                self.up.discard(one.key)
                self.up |= {one.key} if one.parent.name in self.host.unmanaged else set()
        entries = systemd_unit.by_uplink(entries)
        for one in desired.values():
            validate.check_alone(entries[one.name], entries.values(), one.path)
        return entries
