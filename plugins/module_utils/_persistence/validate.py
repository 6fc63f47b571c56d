# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Refuses what configuration files cannot express, and what would harm the host at the next boot. Pure.

Whether the host stays reachable is decided by the code that macvtap_host_access and macvtap_link use for it, too.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import model as access_model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import planner as access_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import validate as access_validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    ip_commands,
    validate,
    vlan_model,
    vlan_validate,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import systemd_unit
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import SHIM, Decision, Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

# Nothing that any of the formats takes for a pattern, quote, comment, substitution or option. A leading dot would hide
# the file. An = would end the name: in "auto a=b" of interfaces(5), and in sysctl.d(5). To NetworkManager
# a comma ends a name, too, so it is escaped there.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,+@-]*")
# By the alias. A macvtap link has none.
_IS_MANAGED = {"vlan": vlan_model.is_managed, SHIM: access_model.is_managed}


def check_link(desired: Desired, links: Links, stored: systemd_unit.StoredLink | None) -> None:
    """Refuse what cannot be written; ``stored`` is what managed files have for the name.

    :raises MacvtapError: at the option.
    """
    link, path, parent = desired.link, desired.link.path, desired.parent
    check_name(link.name, join_path(path, "name"))
    for name in (parent.name, *desired.key.split("altname:")[1:]):
        check_name(name, join_path(path, "parent"))
    for index, altname in enumerate(sorted(link.altnames or ())):
        check_name(altname, join_path(path, f"altnames[{index}]"))
    if any(char < " " for char in link.alias or ""):
        raise MacvtapError("contains a control character, such as a line break", path=join_path(path, "alias"))
    if stored is not None and (stored.kind == SHIM) != (link.kind == SHIM):
        what, options = ("shim", "shims") if stored.kind == SHIM else ("link", "links or vlans")
        message = f"{link.name} is configured as a {what}. Choose another name, or set state: absent in {options} first"
        raise MacvtapError(message, path=join_path(path, "name"))
    _check_name_is_free(desired, links, managed=stored is not None and stored.kind in ("", link.kind))
    # A parent that does not exist yet is as it was declared.
    if parent.index:
        check_parent = vlan_validate.check_parent if link.kind == "vlan" else validate.check_parent
        check_parent(join_path(path, "parent"), parent, links)


def check_keywords(desired: Desired, keywords: str) -> None:
    """Refuse an option whose keyword this host's ip does not know, which then creates no link at boot.

    ``keywords`` is what ip prints of them. Distributions take changes back, so its version does not show it.

    :raises MacvtapError: at the option.
    """
    for one in ip_commands.newer(desired.link):
        if keywords and not re.search(rf"\b{one.ip}\b", keywords):
            raise MacvtapError(
                f"the iproute2 of this host does not know {one.ip}, and would not create the link at boot. Install "
                f"iproute2 {one.ip_since} or newer, remove {one.option}, or set persistence: none for this link",
                path=join_path(desired.link.path, one.option),
            )


def _check_name_is_free(desired: Desired, links: Links, *, managed: bool) -> None:
    """Refuse the name of a link that something else creates: our files for it would take its addresses away."""
    name, kind = desired.link.name, desired.link.kind
    other = links.get(name)
    if other is None:
        # Managers know links by these names, too. One of a macvtap link may be about to become this link's.
        having = (link for link in links.values() if name in link.altnames and link.netns is None)
        other = next((link for link in having if link.kind != "macvtap"), None)
    elif other.kind == kind and (managed or kind not in _IS_MANAGED or _IS_MANAGED[kind](other)):
        return
    if other is not None:
        raise MacvtapError(
            f"{name} is a name of {other.name}, {validate.kind_of(other)} that is not managed by this collection. "
            "Choose another name",
            path=join_path(desired.link.path, "name"),
        )


def check_name(name: str, path: str) -> None:
    """Refuse a name that some file would misread (``*`` is a pattern to udev and to networkd)."""
    # ifname_valid() of systemd: a number is an index to it.
    if not _NAME.fullmatch(name) or name.isdigit():
        raise MacvtapError(
            f"'{name}' cannot be written to configuration files, which take letters, digits and _ . , + @ -, but not "
            "digits alone. Choose another name, or set persistence: none for this link",
            path=path,
        )


def check_reachable(decisions: t.Iterable[Decision], host: access_model.Host) -> None:
    """Refuse shims that would make ``host``, as it is now, unreachable, or cut off Ansible's connection.

    :raises MacvtapError: at the option.
    """
    steps = []
    for one in decisions:
        entry = one.entry
        if isinstance(entry, access_model.DesiredShim) and (one.absent or one.desired is not None):
            before = access_planner.current(entry.name, host, dhcp4=entry.dhcp4)
            after = None if one.desired is None else one.desired.shim
            steps.append((entry, Step(entry.name, before, after, (), path=entry.path)))
    access_validate.check_declared_once([entry for entry, _step in steps])
    access_validate.check(steps, host)
