# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The updates that turn what an active network has into something else: arguments of virNetworkUpdate(). Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Portgroup

# Command, section, parent index, XML.
Update = t.Tuple[int, int, int, str]


def updates(before: Definition, after: Definition, libvirt: t.Any) -> list[Update]:
    """Return what changes the uplinks and portgroups of an active network; ``libvirt`` has the constants.

    An uplink is added before another one goes, so that there is one at each moment. A portgroup stops being the default
    before another one becomes it.
    """
    add, remove, modify = (
        libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST,
        libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE,
        libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY,
    )
    uplink, group = libvirt.VIR_NETWORK_SECTION_FORWARD_INTERFACE, libvirt.VIR_NETWORK_SECTION_PORTGROUP
    found = []
    if before.pf is None and after.pf is None:
        found += [(add, uplink, -1, _interface(one)) for one in after.interfaces if one not in before.interfaces]
        found += [(remove, uplink, -1, _interface(one)) for one in before.interfaces if one not in after.interfaces]
    old, new = ({one.name: one for one in side.portgroups} for side in (before, after))
    found += [(remove, group, -1, _portgroup(one)) for name, one in old.items() if name not in new]
    changed = [(add if name not in old else modify, one) for name, one in new.items() if old.get(name) != one]
    changed.sort(key=lambda pair: pair[1].default)
    return [*found, *((command, group, -1, _portgroup(one)) for command, one in changed)]


def _interface(name: str) -> str:
    return spans.set_attributes(b"<interface/>", {"dev": name}).decode()


def _portgroup(portgroup: Portgroup) -> str:
    return edit.portgroup_element(portgroup)
