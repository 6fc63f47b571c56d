# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a user should know of links that are as declared, or will be. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links, Wanted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names


def warnings(wanted: t.Sequence[Wanted], links: Links, steps: t.Sequence[Step[Link]]) -> tuple[str, ...]:
    """Gather what a user should know; one sentence each, however many links it is about."""
    staying = [want for want in wanted if want.state != "absent"]
    vepa = [w.key for w in staying if w.mode is None and w.key not in links]
    anew = [step.target for step in steps if step.recreates]
    public = [w.key for w in staying if w.tap_mode is not None and w.tap_mode & 0o006 == 0o006]
    # The parent hears nothing of it (macvlan_open).
    deaf = [w.key for w in staying if w.allmulticast and w.key not in anew and _is_deaf(links.get(w.key))]
    told = [
        (
            deaf,
            "allmulticast was set while the link was down, which in mode passthru has no effect on the parent: it lets "
            "in no more groups than before. Set the link down, with allmulticast: false, and up again",
        ),
        (
            vepa,
            "no mode was given for these new links; they get the kernel's default, vepa, with which guests of one host "
            "reach each other only through a switch with reflective relay. Say mode: bridge for any other switch",
        ),
        (anew, "made anew: the number of the tap (/dev/tapN) is another one then"),
        (public, "everybody on the host may read and send this link's frames; 0660 and a group are safer"),
    ]
    return tuple(f"{join_names(names)}: {words}" for names, words in told if names)


def of_taps(wanted: t.Sequence[Wanted], links: Links) -> tuple[str, ...]:
    """Say which taps of ``links``, as they are when all is done, are not what lies at their paths."""
    there = [links.get(want.key) for want in wanted if want.state != "absent"]
    taps = [(one.name, one.tap) for one in there if one and one.tap and one.tap.fault]
    missing = [f"{tap.path} of {name} {tap.fault}" for name, tap in taps if tap.node is None]
    foreign = [f"{tap.path} of {name} {tap.fault}" for name, tap in taps if tap.node is not None]
    mend = "Set tap.repair: true to put the right device there"
    told = ((missing, "no program can open it"), (foreign, "opening it would be opening something else"))
    return tuple(f"{join_names(faulty)}: {words}. {mend}" for faulty, words in told if faulty)


def of_parents(names: t.Iterable[str], links: Links) -> t.Iterator[str]:
    """Say which of the links ``names`` are up on a link that is down; ``links`` are as they are when all is done."""
    found: dict[str, list[str]] = {}
    for name in names:
        link = links.get(name)
        parent = links.get((link.parent if link and link.up and not link.netns else None) or "")
        if parent is not None and not parent.up:
            found.setdefault(parent.name, []).append(name)
    for parent_name, on_it in found.items():
        yield (
            f"{join_names(on_it)}: the uplink {parent_name} is down, and no frame passes before it is up. Set it "
            "up, and have its network manager do that at boot"
        )


def _is_deaf(link: Link | None) -> bool:
    # Of one that is set up the flag is set anew.
    passing = link is not None and link.mode == "passthru"
    return bool(passing and link and link.up and link.allmulticast and link.parent_allmulti == 0)
