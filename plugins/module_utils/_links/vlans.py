# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What must be done to make VLAN links as declared, and what each change costs. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import NAME_BYTES, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import WantedVlan


def name_of(want: WantedVlan, parent: Link) -> str:
    """Return the name that the VLAN link on ``parent`` is to have.

    :raises MacvtapError: it is left out, and PARENT.ID is longer than the kernel allows.
    """
    name = want.name or f"{parent.name}.{want.id}"
    size = len(name.encode())
    if size > NAME_BYTES:
        raise MacvtapError(
            f"'{name}' would have {size} bytes and the kernel allows {NAME_BYTES}; give a name",
            path=join_path(want.path, "name"),
        )
    return name
