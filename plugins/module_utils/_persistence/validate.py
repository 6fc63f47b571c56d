# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is not written down, because it would harm the host at the next boot or make nothing. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals, vlan_model, vlan_refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.escaping import check_name, check_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import Entry
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import COMPANION, Desired, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# By its alias. A macvtap link has none of ours.
_IS_OURS = {"vlan": vlan_model.is_ours, COMPANION: access_model.is_ours}


def check(desired: Desired, host: Host, *, written: Entry | None) -> None:
    """Refuse what no file may say; ``written`` is what files of ours have for this name.

    :raises MacvtapError: at the option.
    """
    link, path, parent = desired.link, desired.path, desired.parent
    check_name(link.name, join_path(path, "name"))
    check_name(parent.name, join_path(path, "parent"))
    for index, altname in enumerate(sorted(link.altnames or ())):
        check_name(altname, join_path(path, f"altnames[{index}]"))
    for option, text in (("alias", link.alias), ("tap.owner", link.tap_owner), ("tap.group", link.tap_group)):
        check_text(text or "", join_path(path, option))
    if written is not None and (written.kind == COMPANION) != (desired.kind == COMPANION):
        what, options = ("a companion", "companions") if written.kind == COMPANION else ("a link", "links or vlans")
        raise MacvtapError(
            f"what is written for {link.name} is {what}'s. Choose another name, or set state: absent for it in "
            f"{options} first",
            path=join_path(path, "name"),
        )
    _check_name_is_free(desired, host.links, ours=written is not None)
    # One that is still to be made is as it was declared.
    if parent.index:
        check_parent = vlan_refusals.check_parent if desired.kind == "vlan" else refusals.check_parent
        check_parent(join_path(path, "parent"), parent, host.links)


def check_unused(name: str, on: t.Sequence[str], path: str) -> None:
    """Refuse that what is written for a VLAN goes, declared absent at ``path``, from under what is written ``on`` it.

    :raises MacvtapError: in any case.
    """
    raise MacvtapError(
        f"{name} is the parent of {join_names(sorted(on))}, and without it that would not be made at the next boot. "
        "Remove what is written for that first",
        path=path,
    )


def check_alone(own: Entry, others: t.Sequence[Entry], path: str) -> None:
    """Refuse that what is written contradicts itself: at the next boot one of the links would not be made.

    :raises MacvtapError: a link in mode passthru is not alone on its parent.
    """
    passthru = next((one.name for one in (own, *others) if one.passthru), None)
    if passthru is not None and others:
        names = sorted(one.name for one in (own, *others) if one.name != passthru)
        raise MacvtapError(
            f"{passthru} is in mode passthru, which must be alone on its parent, and {join_names(names)} "
            "would be made there at the next boot too. Set state: absent for what is not to be there, or purge",
            path=join_path(path, "mode"),
        )


def check_starter(own: Entry, desired: Desired) -> None:
    """Refuse that of the links of one uplink some are declared for systemd and some for ifupdown.

    :raises MacvtapError: this one would be with another that is declared.
    """
    if own.starter != desired.backend:
        raise MacvtapError(
            f"{own.name} is on {desired.parent.name} like others that are declared for {own.starter}, and one of the "
            "two makes all links of an uplink. Set the same backend for all of them",
            path=join_path(desired.path, "backend"),
        )


def _check_name_is_free(desired: Desired, links: Links, *, ours: bool) -> None:
    """Refuse the name of a link that something else makes: our file for it would take its addresses away."""
    name, kind = desired.name, desired.kind
    other = links.get(name)
    if other is None:
        # Who reads our files knows links by these names too. One of a macvtap link may be on its way to this one.
        having = (link for link in links.values() if name in link.altnames and link.netns is None)
        other = next((link for link in having if link.kind != "macvtap"), None)
    elif other.kind == kind and (ours or kind not in _IS_OURS or _IS_OURS[kind](other)):
        return
    if other is not None:
        raise MacvtapError(
            f"{name} is a name of {other.name}, {refusals.kind_of(other)} that something else makes. Choose another "
            "name",
            path=join_path(desired.path, "name"),
        )
