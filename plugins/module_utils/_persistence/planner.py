# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which files are to come, change and go, one step for each. Pure."""

from __future__ import annotations

import hashlib
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    below,
    caveats,
    ifupdown,
    networkd,
    networkmanager,
    ordering,
    refusals,
    shared,
    sysctls,
    udev,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.decide import Decided, Declared, decide
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    DROP_IN,
    HOOK_FILE,
    IFUPDOWN,
    INTERFACES_FILE,
    NETWORKD,
    NETWORKMANAGER,
    SYSCTL_FILE,
    UDEV_FILE,
    UNIT_FILE,
    UNIT_LINK,
    File,
    Host,
    Kept,
    Piece,
    Rendered,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

_RENDER = {NETWORKD: networkd.render, NETWORKMANAGER: networkmanager.render, IFUPDOWN: ifupdown.render}
# The files that one link has for itself.
_OWN = re.compile(
    "|".join(re.escape(path("\0")).replace("\0", "(.+)") for path in (networkd.netdev_file, networkd.network_file))
    + "|"
    + re.escape(networkmanager.keyfile("\0")).replace("\0", "(.+)")
)


def is_shared(path: str) -> bool:
    fixed = (INTERFACES_FILE, HOOK_FILE, SYSCTL_FILE, UDEV_FILE, UNIT_FILE)
    return path in fixed or path.endswith(f".network.d/{DROP_IN}") or networkd.is_parent_file(path)


def plan(declared: t.Sequence[Declared], host: Host, *, purge: bool = False) -> Plan[File]:
    """Plan the way from the host's files to those that keep the ``declared`` links.

    What has been written for other links stays, or goes with ``purge``.

    :raises MacvtapError: something that cannot be kept, or a file that is not ours where one of ours is to be.
    """
    ours = {path: file for path, file in host.files.items() if file.ours}
    decided = decided_of(declared, host)
    wanted, warnings = _wanted(decided, host, ours, purge=purge)
    steps = []
    for path in sorted({*ours, *wanted}):
        if path in host.files and path not in ours:
            raise MacvtapError(
                f"{path} is somebody else's: its first line does not say that this collection has written it. It is "
                "left alone; move it away"
            )
        steps.append(step_between(ours.get(path), wanted.get(path)))
    return Plan(tuple(steps), (*decided.warnings, *warnings))


def decided_of(declared: t.Sequence[Declared], host: Host) -> Decided:
    kinds: dict[str, str] = {}
    for file in host.files.values():
        for name, kind in (_links(file) if file.ours else {}).items():
            kinds[name] = kind or kinds.get(name, "")
    return decide(declared, host, kinds)


def foreseen(planned: Plan[File], host: Host) -> dict[str, File]:
    """Return the files as they will be when ``planned`` is done."""
    going = {step.target for step in planned.steps}
    coming = {step.target: step.after for step in planned.steps if step.after is not None}
    return {**{path: file for path, file in host.files.items() if path not in going}, **coming}


def undo(steps: t.Sequence[Step[File]], host: Host) -> Plan[File]:
    """Plan the way from the host's files back to what ``steps`` started from."""
    return Plan(tuple(step_between(host.files.get(step.target), step.before) for step in steps))


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


def _links(file: File) -> t.Mapping[str, str]:
    """Return the links that a file of ours is for, with their kind where the file says it."""
    marked = {name: kind for name, (kind, _text) in shared.parse(file.text)[1].items()}
    if is_shared(file.path):
        return marked
    found = _OWN.fullmatch(file.path)
    return {name: marked.get(name, "") for name in found.groups() if name} if found else {}


def _wanted(
    decided: Decided, host: Host, ours: t.Mapping[str, File], *, purge: bool
) -> tuple[dict[str, File], list[str]]:
    """Return the files that are to be there, by their paths, and warnings."""
    whole: dict[str, File] = {}
    heads: dict[str, str] = {}
    blocks: dict[str, shared.Blocks] = {}
    settled = set(decided.backends) - decided.left
    needed: dict[str, list[str]] = {}

    def stays(name: str, kind: str) -> bool:
        if name in decided.left:
            return True
        if kind == COMPANION:
            return name not in decided.companions
        return (not purge or name in needed) and (name not in settled or name in decided.companions)

    needed = _needed(decided, ours, stays)
    warnings = list(_on_what_goes(decided, ours, needed, purge=purge))
    for path, file in ours.items():
        if is_shared(path):
            heads[path], there = shared.parse(file.text)
            blocks[path] = {name: one for name, one in there.items() if stays(name, one[0])}
        elif path != UNIT_LINK:
            links = _links(file)
            if all(stays(name, kind) for name, kind in links.items()) if links else not purge:
                whole[path] = file
    for kept in decided.kept:
        rendered = _RENDER[str(decided.backends[kept.name])](kept)
        warnings += rendered.warnings
        for piece in (*rendered.pieces, *_of_every_manager(kept, rendered, host)):
            if piece.shared:
                heads[piece.path] = piece.head
                _add(blocks.setdefault(piece.path, {}), kept, piece)
            else:
                whole[piece.path] = File(piece.path, piece.text, piece.mode)
    for path, theirs in blocks.items():
        if theirs:
            whole[path] = File(path, shared.render(heads[path], theirs))
    if UNIT_FILE in whole:
        whole[UNIT_LINK] = File(UNIT_LINK, target=UNIT_FILE)
    return whole, warnings


def _needed(decided: Decided, ours: t.Mapping[str, File], stays: t.Callable[[str, str], bool]) -> dict[str, list[str]]:
    """Return the links that others are on which will be written, with those."""
    parents = below.of(ours.values())
    kept = {one.name: one.parent.name for one in decided.kept}
    links = {name: kind for file in ours.values() for name, kind in _links(file).items()}
    staying = {name for name, kind in links.items() if name not in kept and stays(name, kind)}
    found: dict[str, list[str]] = {}
    waiting = [*kept.items(), *((name, parent) for name, parent in parents.items() if name in staying)]
    for name, parent in waiting:
        if parent not in found and parent not in kept and parent not in staying and parent in parents:
            # A VLAN on a VLAN.
            waiting.append((parent, parents[parent]))
        found.setdefault(parent, []).append(name)
    return found


def _on_what_goes(
    decided: Decided, ours: t.Mapping[str, File], needed: t.Mapping[str, t.Sequence[str]], *, purge: bool
) -> t.Iterator[str]:
    """Yield what to know of links that are not to be written any longer, and that others are on which are."""
    written = {name for file in ours.values() for name in _links(file)}
    for name in sorted(written & needed.keys()):
        if name in decided.absent and name not in decided.companions:
            refusals.check_unused(name, needed[name], decided.absent[name])
        elif name not in decided.backends:
            yield from caveats.needed(name, needed[name]) if purge else ()
        elif decided.backends[name] is None:
            yield from caveats.orphaned(name, needed[name])


def _of_every_manager(kept: Kept, rendered: Rendered, host: Host) -> t.Iterator[Piece]:
    yield from udev.render(kept, rendered.left, host.ip)
    if kept.kind == COMPANION:
        yield sysctls.render(kept)
    elif host.systemd:
        # No guest is on a companion.
        yield ordering.render(kept)


def _add(blocks: shared.Blocks, kept: Kept, piece: Piece) -> None:
    blocks[kept.name] = (kept.kind, piece.text)
