# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is not written down: it would be read otherwise, harm the host at the next boot, or make nothing. Pure.

Whether the host could be reached is judged by the code by which macvtap_host_access and macvtap_link refuse it now.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner as access_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import validate as access_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reachability import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import validate, vlan_model, vlan_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import Entry
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    SHIM,
    Decision,
    Desired,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# No pattern, quote, comment, substitution or option of any of the formats; a leading dot would hide the file. A = would
# end the name: in "auto a=b" of interfaces(5), and in sysctl.d(5).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+@-]*")
_ENDS_A_VALUE = re.compile(r"[\x00-\x1f\x7f\"'\\`\u2028\u2029\ud800-\udfff]")
# By its alias. A macvtap link has none of ours.
_IS_OURS = {"vlan": vlan_model.is_managed, SHIM: access_model.is_managed}


def check_link(desired: Desired, host: Host, *, written: Entry | None) -> None:
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
    if written is not None and (written.kind == SHIM) != (desired.kind == SHIM):
        what, options = ("a shim", "shims") if written.kind == SHIM else ("a link", "links or vlans")
        raise MacvtapError(
            f"what is written for {link.name} is {what}'s. Choose another name, or set state: absent for it in "
            f"{options} first",
            path=join_path(path, "name"),
        )
    _check_name_is_free(desired, host.links, ours=written is not None)
    # One that is still to be made is as it was declared.
    if parent.index:
        check_parent = vlan_validate.check_parent if desired.kind == "vlan" else validate.check_parent
        check_parent(join_path(path, "parent"), parent, host.links)


def check_alone(own: Entry, entries: t.Iterable[Entry], path: str) -> None:
    """Refuse that what is written contradicts itself: at the next boot one of the links would not be made.

    :raises MacvtapError: a link in mode passthru is not alone on its parent.
    """
    same = [one for one in entries if one.kind != "vlan" and (one.parent, one.key) == (own.parent, own.key)]
    passthru = next((one.name for one in same if one.passthru), None)
    if passthru is not None and own.kind != "vlan" and len(same) > 1:
        names = sorted(one.name for one in same if one.name != passthru)
        raise MacvtapError(
            f"{passthru} is in mode passthru, which must be alone on its parent, and {join_names(names)} "
            "would be made there at the next boot too. Set state: absent for what is not to be there, or purge",
            path=join_path(path, "mode"),
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
            f"{name} is a name of {other.name}, {validate.kind_of(other)} that something else makes. Choose another "
            "name",
            path=join_path(desired.path, "name"),
        )


def check_name(name: str, path: str) -> None:
    """Refuse a name that some file would read otherwise (``*`` is a pattern to udev and to networkd)."""
    # ifname_valid() of systemd: a number is an index to it.
    if not _NAME.fullmatch(name) or name.isdigit() or name in {"all", "default"}:
        raise MacvtapError(
            f"'{name}' cannot be written into configuration files: letters, digits and any of _ . , + @ - can, not "
            "digits alone, and not the words all and default. Choose another name, or set persistence: none "
            "for this link",
            path=path,
        )


def check_text(text: str, path: str) -> None:
    """Refuse a text that would end the value that it is in."""
    found = _ENDS_A_VALUE.search(text)
    if found:
        raise MacvtapError(
            f"{found[0]!r} cannot be written into configuration files. Leave it out, or set persistence: none for this "
            "link",
            path=path,
        )


def check_reachable(decisions: t.Iterable[Decision], host: access_model.Host) -> None:
    """Refuse shims that ``host``, as it is now, could not be reached with, or not by whoever runs this.

    :raises MacvtapError: at the option.
    """
    steps = []
    for one in decisions:
        want = one.want
        if isinstance(want, access_model.DesiredShim) and (one.absent or one.desired is not None):
            before = access_planner.current(want.name, host, dhcp4=want.dhcp4)
            after = None if one.desired is None else one.desired.shim
            steps.append((want, Step(want.name, before, after, (), path=want.path)))
    access_validate.check_declared_once([want for want, _step in steps])
    access_validate.check(steps, host)


def disruptions(desired: t.Iterable[Desired], links: Links) -> t.Iterator[Disruption]:
    """Yield what links in mode passthru take at the next boot that they have not taken already."""
    for one in desired:
        there = links.get(one.name)
        taken = there is not None and there.mode == one.link.mode and there.parent == one.parent.name
        if one.link.mode == "passthru" and not taken:
            yield Disruption(one.parent.name, Loss.PASSTHRU, one.path)
