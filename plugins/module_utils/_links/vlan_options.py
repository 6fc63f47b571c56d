# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of a VLAN link: their specification, and what a user wrote as what is wanted."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS, specification
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan

VLAN_OPTIONS: dict[str, t.Any] = {
    **specification("state", "parent", "id"),
    "name": {"type": "str"},
    **specification("protocol", "mac", "mtu"),
}


def wanted(path: str, given: t.Mapping[str, t.Any]) -> WantedVlan:
    """Return what the user declared at ``path``; what is left out or None there is not declared.

    :raises MacvtapError: a value that no kernel and no host would take, or none where one is needed.
    """
    said = {option: given.get(option) for option in VLAN_OPTIONS}
    if not said["parent"]:
        raise MacvtapError("say the link that the VLAN is on, such as eth0", path=join_path(path, "parent"))
    if said["name"] is not None:
        _values.check_link_name(said["name"], join_path(path, "name"))
    return WantedVlan(
        parent=said["parent"],
        id=_id(said["id"], join_path(path, "id")),
        name=said["name"],
        protocol=said["protocol"] or "802.1Q",
        **{option: ROWS[option].value(said[option], join_path(path, option)) for option in ("mac", "mtu")},
        state=said["state"] or "up",
        path=path,
    )


def _id(given: int | None, path: str) -> int:
    if given is None:
        raise MacvtapError("say the number of the VLAN, from 1 to 4094", path=path)
    # vlan_validate() and IEEE 802.1Q: the tag with 0 has a priority and no VLAN, and 4095 is reserved.
    why = {0: " (0 marks frames that have a priority and no VLAN)", 4095: " (4095 is reserved)"}.get(given, "")
    if not 1 <= _values.whole(given, path) <= 4094:
        raise MacvtapError(f"{given} is no number of a VLAN, which is from 1 to 4094{why}", path=path)
    return given
