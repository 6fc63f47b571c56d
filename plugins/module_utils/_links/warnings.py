# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Warnings about links that are, or will be, as desired. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def warnings(desired: t.Sequence[DesiredLink], links: Links, steps: t.Sequence[Step[Link]]) -> tuple[str, ...]:
    """Return one warning per subject, however many links it is about."""
    staying = [entry for entry in desired if entry.state != "absent"]
    recreated = [step.target for step in steps if step.recreates]
    public = [w.key for w in staying if w.tap_mode is not None and w.tap_mode & 0o006 == 0o006]
    # macvlan_open() does not pass it on to the parent.
    ineffective = [
        w.key for w in staying if w.allmulticast and w.key not in recreated and _has_no_effect(links.get(w.key))
    ]
    subjects = [
        (
            ineffective,
            "allmulticast was set while the link was down. In mode passthru this has no effect: the parent accepts no "
            "more multicast groups than before. Set the link down, with allmulticast: false, and up again",
        ),
        (recreated, "recreated, so its tap (/dev/tapN) gets another number"),
        (public, "every user of the host can read and send this link's frames; mode 0660 with a group is safer"),
    ]
    return tuple(f"{join_names(names)}: {words}" for names, words in subjects if names)


def of_taps(desired: t.Sequence[DesiredLink], links: Links) -> tuple[str, ...]:
    """Warn of taps of ``links``, as they are at the end, whose device node is missing or another link's."""
    there = [links.get(entry.key) for entry in desired if entry.state != "absent"]
    # In check mode a link that would be created has a tap without a path.
    taps = [(one.name, one.tap) for one in there if one and one.tap and one.tap.path and one.tap.fault]
    missing = [f"{tap.path} of {name} {tap.fault}" for name, tap in taps if tap.node is None]
    foreign = [f"{tap.path} of {name} {tap.fault}" for name, tap in taps if tap.node is not None]
    hint = "Set tap.repair: true to create the right device node"
    subjects = (
        (missing, "no program can open it"),
        (foreign, "a program that opens it gets the frames of another link"),
    )
    return tuple(f"{join_names(faulty)}: {words}. {hint}" for faulty, words in subjects if faulty)


def of_parents(names: t.Iterable[str], links: Links) -> t.Iterator[str]:
    """Warn of the links ``names`` that are up on a parent that is down; ``links`` are as they are at the end."""
    found: dict[str, list[str]] = {}
    for name in names:
        link = links.get(name)
        parent = links.get((link.parent if link and link.up and not link.netns else None) or "")
        if parent is not None and not parent.up:
            found.setdefault(parent.name, []).append(name)
    for parent_name, on_it in found.items():
        yield (
            f"{join_names(on_it)}: the uplink {parent_name} is down, and no frame passes until it is up. Set it up, "
            "and have its network manager set it up at boot"
        )


def _has_no_effect(link: Link | None) -> bool:
    # When a link is set up, the flag is set again.
    passing = link is not None and link.mode == "passthru"
    return bool(passing and link and link.up and link.allmulticast and link.parent_allmulti == 0)
