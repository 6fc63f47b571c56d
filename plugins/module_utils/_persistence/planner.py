# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which files are to come, change and go, one step for each. Pure."""

from __future__ import annotations

import hashlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.refusals import some
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    boot,
    ifupdown,
    networkd,
    networkmanager,
    refusals,
    shared,
    udev,
    written,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Decided, Declared, decide
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    IFUPDOWN,
    INTERFACES_FILE,
    NETWORKD,
    NETWORKMANAGER,
    SYSCTL_FILE,
    SYSTEMD,
    UNIT,
    UNIT_LINK,
    UNMANAGED_FILE,
    File,
    Host,
    Kept,
    Piece,
    content,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

_RENDER = {NETWORKD: networkd.render, NETWORKMANAGER: networkmanager.render, IFUPDOWN: ifupdown.render}


def plan(declared: t.Sequence[Declared], host: Host, *, purge: bool = False) -> Plan[File]:
    """Plan the way from the host's files to those that keep the ``declared`` links.

    What has been written for other links stays, or goes with ``purge``. What comes is written before anything goes, so
    that at any moment the one or the other makes a link at boot.

    :raises MacvtapError: something that cannot be kept, or a file that is not ours where one of ours is to be.
    """
    ours = {path: file for path, file in host.files.items() if file.ours}
    decided = decided_of(declared, host)
    files = _Files(decided, host, ours, purge=purge)
    wanted = files.wanted()
    steps = []
    for path in {*ours, *wanted}:
        if path in host.files and path not in ours:
            raise MacvtapError(
                f"{path} is not managed by this collection: its first line does not say so. It is left alone; move it "
                "away"
            )
        steps.append(step_between(ours.get(path), wanted.get(path)))
    return Plan(tuple(sorted(steps, key=_in_order)), (*decided.warnings, *files.warnings))


def decided_of(declared: t.Sequence[Declared], host: Host) -> Decided:
    return decide(declared, host, written.of(file for file in host.files.values() if file.ours))


def _in_order(step: Step[File]) -> tuple[int, str]:
    """What only comes first, then what changes, then where something goes."""
    if step.before is None:
        return 0, step.target
    loses = step.after is None or shared.parse(step.before.text)[1].keys() - shared.parse(step.after.text)[1].keys()
    return 2 if loses else 1, step.target


def foreseen(planned: Plan[File], host: Host) -> dict[str, File]:
    """Return the files as they will be when ``planned`` is done."""
    going = {step.target for step in planned.steps}
    coming = {step.target: step.after for step in planned.steps if step.after is not None}
    return {**{path: file for path, file in host.files.items() if path not in going}, **coming}


def undo(steps: t.Sequence[Step[File]], host: Host) -> Plan[File]:
    """Plan the way from the host's files back to what ``steps`` started from.

    A file that is neither as a step has left it nor as it was before is another's by now, and stays.
    """
    back, warnings = [], []
    for step in steps:
        now = host.files.get(step.target)
        if content(now) in (content(step.before), content(step.after)):
            back.append(step_between(now, step.before))
        else:
            warnings.append(f"{step.target} was changed by something else while this ran, and is left as it is now")
    return Plan(tuple(back), tuple(warnings))


def step_between(before: File | None, after: File | None) -> Step[File]:
    """Return the step from one state of a file to another."""
    target = (after or before or File("")).path
    changes = []
    if before is None or after is None:
        if before is not after:
            changes.append(Change(target, "state", _state(before), _state(after), Impact.NONE))
    else:
        if (before.text, before.target) != (after.text, after.target):
            changes.append(Change(target, "content", _digest(before), _digest(after), Impact.NONE))
        if before.mode != after.mode:
            changes.append(Change(target, "mode", f"{before.mode:04o}", f"{after.mode:04o}", Impact.NONE))
    return Step(target, before, after, tuple(changes), _view(before), _view(after))


def _state(file: File | None) -> str:
    return "absent" if file is None else "file" if file.target is None else "link"


def _digest(file: File) -> str:
    content = f"link to {file.target}" if file.target else file.text
    return "sha256:" + hashlib.sha256(content.encode(errors="surrogateescape")).hexdigest()[:12]


def _view(file: File | None) -> str:
    if file is None:
        return ""
    return f"link to {file.target}" if file.target else file.text


class _Files:
    """The files that are to be there."""

    def __init__(self, decided: Decided, host: Host, ours: t.Mapping[str, File], *, purge: bool) -> None:
        self.decided = decided
        self.host = host
        self.ours = ours
        self.purge = purge
        self.written = written.of(ours.values())
        self.warnings: list[str] = []
        self.whole: dict[str, File] = {}
        self.heads: dict[str, str] = {}
        self.blocks: dict[str, shared.Blocks] = {}
        self.needed: dict[str, list[str]] = {}
        self.needed = self._needed()

    def wanted(self) -> dict[str, File]:
        """Return the files, by their paths."""
        self._check_needed()
        self._keep_others()
        entries = self._entries()
        for kept in self.decided.kept:
            for piece in self._pieces(kept):
                self._add(kept, piece)
        for path, theirs in self.blocks.items():
            if theirs:
                self.whole[path] = File(path, shared.render(self.heads[path], theirs))
        self.whole.update((file.path, file) for file in boot.render(entries, self._up(entries)))
        self._unmanaged(entries)
        return self.whole

    def _stays(self, name: str, kind: str) -> bool:
        """Whether what is written of a link stays, which is not kept anew."""
        decided = self.decided
        if name in decided.left:
            return True
        if kind == COMPANION:
            return name not in decided.companions
        settled = name in decided.backends and name not in decided.companions
        return not settled and (not self.purge or name in self.needed)

    def _needed(self) -> dict[str, list[str]]:
        """Return the links that others are on which will be written, with those."""
        parents = {name: one.parent for name, one in self.written.items() if one.parent}
        kept = {one.name: one.parent.name for one in self.decided.kept}
        staying = {name for name, one in self.written.items() if name not in kept and self._stays(name, one.kind)}
        found: dict[str, list[str]] = {}
        waiting = [*kept.items(), *((name, parent) for name, parent in parents.items() if name in staying)]
        for name, parent in waiting:
            if parent not in found and parent not in kept and parent not in staying and parent in parents:
                # A VLAN on a VLAN.
                waiting.append((parent, parents[parent]))
            found.setdefault(parent, []).append(name)
        return found

    def _check_needed(self) -> None:
        """Refuse, or warn, where links are not to be written any longer that others are on which are."""
        decided = self.decided
        for name in sorted(self.written.keys() & self.needed.keys()):
            on = self.needed[name]
            if name in decided.absent and name not in decided.companions:
                refusals.check_unused(name, on, decided.absent[name])
            elif name not in decided.backends and self.purge:
                self.warnings.append(
                    f"{name} is not declared, and stays written all the same: it is the parent of {some(sorted(on))}, "
                    "which would not be made at the next boot without it. Remove that first, or declare this too"
                )
            elif name in decided.backends and decided.backends[name] is None:
                self.warnings.append(
                    f"{some(sorted(on))} will not be there after a reboot, though that is written: nothing makes "
                    f"{name}, the parent. Set backend: none for that too, or another one here"
                )

    def _keep_others(self) -> None:
        """Keep what is written of links that are not declared."""
        kept = {one.name for one in self.decided.kept if one.backend == SYSTEMD and one.manager != NETWORKMANAGER}
        for path, file in self.ours.items():
            links = written.links_of(file)
            if written.is_shared(path):
                self.heads[path], there = shared.parse(file.text)
                self.blocks[path] = {name: one for name, one in there.items() if self._stays(name, one[0])}
                if path == INTERFACES_FILE:
                    self.blocks[path].update(self._of_ifupdown2(there, kept))
            elif links:
                if all(self._stays(name, kind) for name, kind in links.items()):
                    self.whole[path] = file
                elif networkmanager.is_active(file, self.host.networkmanager.values()) and not links.keys() - kept:
                    self._retire(path, file, next(iter(links)))
        if self.blocks.get(UNIT):
            self.whole[UNIT_LINK] = File(UNIT_LINK, target=UNIT)

    def _retire(self, path: str, file: File, name: str) -> None:
        self.whole[path] = networkmanager.retire(file)
        self.warnings.append(
            f"{name}: NetworkManager has made this link, and would remove it with its profile. At the next boot the "
            f"unit makes it; the first run after that removes {path}"
        )

    def _of_ifupdown2(self, blocks: shared.Blocks, kept: t.Collection[str]) -> shared.Blocks:
        names = {name for name in blocks if name in kept and name in self.host.links and self.host.ifupdown2}
        if names:
            self.warnings.append(
                f"{some(sorted(names))}: ifupdown2 has made this, and ifreload -a would set it down if it left "
                f"{INTERFACES_FILE}. So it stays there; remove it from there right before a reboot"
            )
        return {name: blocks[name] for name in names}

    def _entries(self) -> dict[str, boot.Entry]:
        """Return what the unit makes."""
        there = boot.parse(self.ours.values())
        entries = {name: one for name, one in there.items() if self._stays(name, one.kind)}
        made = {kept.name: kept for kept in self.decided.kept if kept.backend == SYSTEMD}
        for name, kept in made.items():
            below = kept.parent.name in made or kept.parent.name in entries
            entries[name] = boot.entry(kept, kept.parent.name if below else boot.UPLINK, stack=kept.manager is None)
        for kept in made.values():
            if kept.kind != "vlan":
                self._check_alone(kept, entries)
        return entries

    def _check_alone(self, kept: Kept, entries: t.Mapping[str, boot.Entry]) -> None:
        own = entries[kept.name]
        others = [
            one
            for one in entries.values()
            if one.name != kept.name and one.kind != "vlan" and (one.parent, one.key) == (own.parent, own.key)
        ]
        alone = [one.name for one in (own, *others) if one.passthru]
        if alone and others:
            refusals.check_alone(alone[0], [one.name for one in (own, *others) if one.name != alone[0]], kept.path)

    def _up(self, entries: t.Mapping[str, boot.Entry]) -> set[str]:
        """Return the uplinks that no manager sets up, by what they are found by."""
        up = boot.set_up(self.ours.values())
        for kept in self.decided.kept:
            if kept.backend == SYSTEMD and entries[kept.name].parent == boot.UPLINK:
                up.discard(kept.parent.key)
                if kept.parent.name in self.host.unmanaged:
                    up.add(kept.parent.key)
        return up

    def _pieces(self, kept: Kept) -> t.Iterator[Piece]:
        left: t.Collection[str] = ()
        if kept.backend != SYSTEMD:
            rendered = _RENDER[kept.backend](kept)
            self.warnings += rendered.warnings
            left = rendered.left
            yield from rendered.pieces
        elif kept.manager == NETWORKD:
            yield networkd.addresses(kept)
        elif kept.manager == NETWORKMANAGER:
            # It may be there before the unit is, and makes the link then.
            left = {"alias"}
            yield networkmanager.addresses(kept)
        if kept.backend == SYSTEMD and kept.manager != NETWORKD:
            yield networkd.leave_alone(kept, extended=kept.name in self.host.extended)
        yield from udev.render(kept, left, self.host.ip)
        if kept.kind == COMPANION:
            # systemd sets it when udev has the link. Said in udev's rule it would lose to a file that says it of all.
            lines = [f"-{path} = {value}\n" for path, value in boot.settings(kept.name).items()]
            yield Piece(SYSCTL_FILE, "".join(lines), shared=True)

    def _add(self, kept: Kept, piece: Piece) -> None:
        if piece.shared:
            self.heads[piece.path] = piece.head
            self.blocks.setdefault(piece.path, {})[kept.name] = (kept.kind, piece.text)
        else:
            self.whole[piece.path] = File(piece.path, piece.text, piece.mode)

    def _unmanaged(self, entries: t.Mapping[str, boot.Entry]) -> None:
        """Have NetworkManager leave alone what the unit makes, unless it has made that, or gives it addresses."""
        was = self.ours.get(UNMANAGED_FILE)
        before = networkmanager.left_alone(was) if was else set()
        kept = {one.name: one for one in self.decided.kept}
        names = {name for name in entries if name not in kept and name in before}
        names |= {name for name, one in kept.items() if one.backend == SYSTEMD and one.manager != NETWORKMANAGER}
        names -= {name for name in names if networkmanager.keyfile(name) in self.whole}
        if names:
            self.whole[UNMANAGED_FILE] = networkmanager.leave_alone(names)
