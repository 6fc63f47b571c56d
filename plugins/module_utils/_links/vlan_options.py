# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of a VLAN link: their specification, and turning them into desired VLANs."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.specification import specification
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import DesiredVlan

_PLACE = specification("state", "parent", "id")
VLAN_OPTIONS: dict[str, t.Any] = {
    **_PLACE,
    # vlandev is the word of community.general.nmcli.
    "parent": {**_PLACE["parent"], "aliases": [*_PLACE["parent"]["aliases"], "vlandev"]},
    "name": {"type": "str"},
    **specification("protocol", "mac", "mtu"),
}


def desired(path: str, given: t.Mapping[str, t.Any]) -> DesiredVlan:
    """Return the desired VLAN of the options at ``path``; omitted and None mean "not set".

    :raises MacvtapError: a value is invalid, or a required one is missing.
    """
    values = {option: given.get(option) for option in VLAN_OPTIONS}
    if not values["parent"]:
        raise MacvtapError(
            "is required; set it to the link that carries the VLAN, such as eth0", path=join_path(path, "parent")
        )
    if values["name"] is not None:
        _values.check_link_name(values["name"], join_path(path, "name"))
    return DesiredVlan(
        parent=values["parent"],
        id=_id(values["id"], join_path(path, "id")),
        name=values["name"],
        protocol=values["protocol"] or "802.1Q",
        **{option: ROWS[option].value(values[option], join_path(path, option)) for option in ("mac", "mtu")},
        state=values["state"] or "up",
        path=path,
    )


def _id(given: int | None, path: str) -> int:
    if given is None:
        raise MacvtapError("is required; set it to the VLAN ID, from 1 to 4094", path=path)
    # vlan_validate() and IEEE 802.1Q: ID 0 marks a priority tag without a VLAN, and 4095 is reserved.
    why = {0: " (0 marks frames with a priority and no VLAN)", 4095: " (4095 is reserved)"}.get(given, "")
    if not 1 <= _values.whole(given, path) <= 4094:
        raise MacvtapError(f"{given} is not a VLAN ID; use one from 1 to 4094{why}", path=path)
    return given
