# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Plans which files are added, changed and removed, one step for each. Pure.

The files of the uplinks have all links. Most other files follow from these. What is left of earlier versions stays
until its links are declared.
"""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import DesiredShim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File, step_between
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    conflicts,
    copies,
    managers,
    model,
    systemd_unit,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.desired import Resolved, resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import STANZA, UPLINK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import SHIM, Declared, Desired, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# Files for one link are named after it.
_OWN = re.compile(r"(?:\d\d-)?macvtap-(.+)\.(?:netdev|network|nmconnection)")


def plan(declared: t.Sequence[Declared], host: Host, *, purge: bool = False) -> Plan[File]:
    """Plan the steps from the current files to those that create the ``declared`` links at boot.

    The configuration of other links stays, or is removed with ``purge``. New files are written before old ones are
    removed, so that at any moment one of them creates a link.

    :raises MacvtapError: a link cannot exist after a reboot, or a file is in the way that is not managed.
    """
    resolved = resolved_of(declared, host)
    files = _Files(resolved, host, purge=purge)
    managed, after = files.managed, files.after()
    steps = []
    for path in {*managed, *after}:
        if path in host.files and path not in managed:
            raise MacvtapError(f"{path} is not managed by this collection: see its first line. Move it away")
        steps.append(step_between(managed.get(path), after.get(path)))
    return Plan(tuple(sorted(steps, key=_order)), (*resolved.warnings, *files.warnings))


def resolved_of(declared: t.Sequence[Declared], host: Host) -> Resolved:
    """Return the decisions for the ``declared`` links. It raises what :func:`plan` raises."""
    return resolve(declared, host, written_of(host.files.values()))


def written_of(files: t.Iterable[File]) -> dict[str, systemd_unit.StoredLink]:
    """Return the links in managed files, by name; of earlier versions only the kind, if it is known."""
    files = [file for file in files if file.ours]
    # A kind that is known comes last.
    kinds = sorted((kind, name) for file in files for name, kind in links_of(file).items())
    return {**{name: systemd_unit.StoredLink(name, kind) for kind, name in kinds}, **systemd_unit.parse(files)[0]}


def purged_shims(declared: t.Sequence[Declared], host: Host) -> list[Declared]:
    """Return entries that remove the configuration of shims that are not ``declared``."""
    names = {one.entry.name for one in declared if isinstance(one.entry, DesiredShim)}
    shims = {name for name, one in written_of(host.files.values()).items() if one.kind == SHIM}
    return [Declared(DesiredShim(name, "purge", "absent"), "auto") for name in sorted(shims - names)]


def links_of(file: File) -> dict[str, str]:
    """Return the links that a managed file is for, with their kinds ("" if an earlier version did not note it)."""
    blocks = _managed_blocks.parse(file.text)[1]
    own = None if blocks else _OWN.fullmatch(os.path.basename(file.path))
    return {own[1]: ""} if own else {name: kind for name, (kind, _text) in blocks.items()}


def _order(step: Step[File]) -> tuple[int, str]:
    """New files first, then changes, then files that lose a link."""
    if step.before is None:
        return 0, step.target
    loses = step.after is None or links_of(step.before).keys() - links_of(step.after).keys()
    return 2 if loses else 1, step.target


class _Files:
    """The files after the run."""

    def __init__(self, resolved: Resolved, host: Host, *, purge: bool) -> None:
        self.resolved = resolved
        self.host = host
        self.purge = purge
        managed = {path: file for path, file in host.files.items() if file.ours}
        untouched = copies.untouched(managed, host.links, self._stays)
        self.managed = {path: file for path, file in managed.items() if path not in untouched}
        self.desired = {one.link.name: one for one in resolved.links}
        self.stored, self.was_up = systemd_unit.parse(self.managed.values())
        self.up = self.was_up
        self.warnings = [copies.warning(*one) for one in sorted({**host.copies, **untouched}.items())]
        copies.check_written_once(self.managed, self._stays)
        self.remaining = self._remaining()

    def after(self) -> dict[str, File]:
        """Return the files, by their paths."""
        links = self._links()
        files = self._kept()
        for one in self.desired.values():
            for path, text in self._parts(one):
                # NetworkManager reads no profile that others can read.
                mode = 0o600 if path == managers.profile_file(one.link.name) else 0o644
                head, blocks = _managed_blocks.parse(files[path].text if path in files else "")
                blocks[one.link.name] = (one.link.kind, text)
                files[path] = File(path, _managed_blocks.render(head, blocks), mode)
        # An image that is being built may have the unit already, although systemd does not run in it.
        by_ifupdown = any(one.backend == model.IFUPDOWN for one in self.resolved.decisions.values())
        systemd = self.host.systemd or (model.TEMPLATE in self.managed and not by_ifupdown)
        if links and not systemd:
            kept = files.get(model.INTERFACES_FILE, File(""))
            text = _managed_blocks.render(STANZA, _managed_blocks.parse(kept.text)[1])
            files[model.INTERFACES_FILE] = File(model.INTERFACES_FILE, text)
        ignored = [name for name in links if managers.profile_file(name) not in files]
        files.update((file.path, file) for file in managers.unmanaged_by_networkmanager(ignored))
        files.update((file.path, file) for file in systemd_unit.render(links, self.up, systemd=systemd))
        # Earlier versions had the unit for some links only, which may stay.
        enabled = [File(model.UNIT_LINK, target=model.UNIT)] if model.UNIT in files else []
        return {**files, **{file.path: file for file in enabled}}

    def _parts(self, one: Desired) -> t.Iterator[tuple[str, str]]:
        """Yield paths and texts of what the kernel, udev and the managers are configured with for a link."""
        if one.link.kind == SHIM:
            # systemd applies it when udev has the link: later than the program, and after what a file sets for all.
            settings = systemd_unit.settings(one.link.name).items()
            yield model.SYSCTL_FILE, "".join(f"-{path} = {value}\n" for path, value in settings)
        if one.manager is not None and one.shim is not None:
            yield from managers.lease(one, one.shim)
        if one.manager != model.NETWORKD and self.host.systemd:
            yield managers.unmanaged_by_networkd(one.link.name, extended=one.link.name in self.host.extended)

    def _kept(self) -> dict[str, File]:
        """Return the files as they are without the links that are declared or purged."""
        files = {}
        for path, file in self.managed.items():
            links = {} if path.startswith(f"{model.LINKS_DIR}/") else links_of(file)
            gone = {name for name, kind in links.items() if not self._stays(name, kind) and name not in self.remaining}
            # Those that the program creates from now on.
            moved = {name for name in gone & self.desired.keys() if self.desired[name].manager != model.NETWORKMANAGER}
            stuck = moved & self.host.links.keys() if path == model.INTERFACES_FILE and self.host.ifupdown2 else set()
            gone -= stuck
            if stuck:
                self.warnings.append(
                    f"{join_names(sorted(stuck))} was created by ifupdown2, and ifreload -a would set it down if it "
                    f"left {path}. So it stays in that file; remove it from there right before a reboot"
                )
            retired = managers.retired(file, self.host.networkmanager.values()) if links and gone == moved else None
            if gone < links.keys():
                head, blocks = _managed_blocks.parse(file.text)
                left = {name: block for name, block in blocks.items() if name not in gone}
                files[path] = File(path, _managed_blocks.render(head, left), file.mode) if gone else file
            elif retired is not None:
                files[path] = retired
                self.warnings.append(
                    f"{join_names(sorted(links))} was created by NetworkManager, which would remove the link with its "
                    f"profile. The unit creates it from the next boot on; the first run after that removes {path}"
                )
        return files

    def _stays(self, name: str, kind: str) -> bool:
        """Whether what is written for a link stays as it is, apart from links on it."""
        decision = self.resolved.decisions.get(name)
        if decision is not None and decision.replaces(kind):
            return decision.unchanged
        return kind == SHIM or not self.purge

    def _remaining(self) -> set[str]:
        """Return the stored links that stay, and the VLANs below any link that stays.

        :raises MacvtapError: such a VLAN is declared absent.
        """
        remaining = {name for name, one in self.stored.items() if self._stays(name, one.kind)}
        while True:
            on = {name: one.parent.name for name, one in self.desired.items()}
            on.update((name, self.stored[name].parent) for name in remaining - self.desired.keys())
            missing = (self.stored.keys() & set(on.values())) - remaining - self.desired.keys()
            for name in sorted(missing):
                names = join_names(sorted(one for one, parent in on.items() if parent == name))
                message = f"{name} is the parent of {names}, which could not be created at the next boot without it"
                decision = self.resolved.decisions.get(name)
                if decision is not None and decision.absent:
                    raise MacvtapError(f"{message}. Remove the configuration of that first", path=decision.entry.path)
                self.warnings.append(f"the configuration of {name} stays: {message}. Remove that first")
            if not missing:
                return remaining
            remaining |= missing

    def _note_uplink(self, one: Desired) -> None:
        """Note whether the program sets up the uplink of a link. Where that is unclear, it stays as it is written."""
        up = one.parent.name in self.host.unmanaged
        if one.parent.name in self.host.unclear:
            # It may be written by something else that identifies it.
            uplinks = [parents.lookup(key.removeprefix("altname:"), self.host.links) for key in self.was_up]
            up = one.key in self.was_up or one.parent in uplinks
        self.up = self.up | {one.key} if up else self.up - {one.key}

    def _links(self) -> dict[str, systemd_unit.StoredLink]:
        """Return the links that the program creates, and note the uplinks that it sets up."""
        links = {name: one for name, one in self.stored.items() if name in self.remaining}
        for name, one in self.desired.items():
            on_link = one.parent.name in links or one.parent.name in self.desired
            links[name] = systemd_unit.stored_link(one, one.parent.name if on_link else UPLINK)
            if not on_link:
                self._note_uplink(one)
        links = systemd_unit.by_uplink(links)
        conflicts.check({name: one.link.path for name, one in self.desired.items()}, links, self.host.links)
        return links
