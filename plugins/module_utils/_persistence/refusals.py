# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is not written down, because it would harm the host at the next boot or make nothing. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals, vlan_model, vlan_refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link, Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import escaping
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import COMPANION, Host, Kept, Written

# By its alias. A macvtap link has none of ours.
_IS_OURS = {"vlan": vlan_model.is_ours, COMPANION: access_model.is_ours}


def check(kept: Kept, parent: Link, host: Host, *, written: Written | None) -> None:
    """Refuse what no file may say.

    ``written`` is what files of ours say of a link with this name, None if there are none.

    :raises MacvtapError: at the option.
    """
    _check_texts(kept, parent)
    _check_written(kept, written)
    _check_name(kept, host.links, ours=written is not None)
    # One that is still to be made is as it was declared.
    if parent.index:
        check_parent = vlan_refusals.check_parent if kept.kind == "vlan" else refusals.check_parent
        check_parent(join_path(kept.path, "parent"), parent, host.links)


def check_unused(name: str, on: t.Sequence[str], path: str) -> None:
    """Refuse that what is written for a VLAN goes, declared absent at ``path``, from under what is written ``on`` it.

    :raises MacvtapError: in any case.
    """
    raise MacvtapError(
        f"{name} is the parent of {refusals.some(sorted(on))}, and without it that would not be made at the next boot. "
        "Remove what is written for that first",
        path=path,
    )


def check_alone(passthru: str, others: t.Sequence[str], path: str) -> None:
    """Refuse that what is written contradicts itself: at the next boot one of the links would not be made.

    :raises MacvtapError: in any case.
    """
    raise MacvtapError(
        f"{passthru} is in mode passthru, which must be alone on its parent, and {refusals.some(sorted(others))} "
        "would be made there at the next boot too. Set state: absent for what is not to be there, or purge",
        path=join_path(path, "mode"),
    )


def _check_texts(kept: Kept, parent: Link) -> None:
    escaping.check_name(kept.name, join_path(kept.path, "name"))
    escaping.check_name(parent.name, join_path(kept.path, "parent"))
    for index, altname in enumerate(kept.altnames):
        escaping.check_name(altname, join_path(kept.path, f"altnames[{index}]"))
    for option, text in (("alias", kept.alias), ("tap.owner", kept.tap_owner), ("tap.group", kept.tap_group)):
        escaping.check_text(text or "", join_path(kept.path, option))


def _check_written(kept: Kept, written: Written | None) -> None:
    if written is not None and (written.kind == COMPANION) != (kept.kind == COMPANION):
        what = ("a companion", "companions") if written.kind == COMPANION else ("a link", "links or vlans")
        raise MacvtapError(
            f"what is written for {kept.name} is {what[0]}'s. Choose another name, or set state: absent for it in "
            f"{what[1]} first",
            path=join_path(kept.path, "name"),
        )


def _check_name(kept: Kept, links: Links, *, ours: bool) -> None:
    """Refuse the name of a link that something else makes: our file for it would take its addresses away."""
    named = links.get(kept.name)
    if named is not None:
        is_ours = _IS_OURS.get(kept.kind)
        fits = named.kind == kept.kind and (ours or is_ours is None or is_ours(named))
        other = None if fits else named
    else:
        # networkd and ifupdown know links by these names too. One of a macvtap link may be on its way to this one.
        having = (link for link in links.values() if kept.name in link.altnames and link.netns is None)
        other = next((link for link in having if link.kind != "macvtap"), None)
    if other is not None:
        raise MacvtapError(
            f"{kept.name} is a name of {other.name}, {refusals.kind_of(other)} that something else makes. Choose "
            "another name",
            path=join_path(kept.path, "name"),
        )
