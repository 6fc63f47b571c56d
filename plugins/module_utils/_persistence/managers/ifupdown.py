# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""ifupdown, which runs the program that makes the links where systemd does not. Pure.

Measured with ifupdown 0.8.41: a stanza needs no link of its name. It never removes a link: who restarts networking is
not to cut off guests.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.make_links import PROGRAM


class Ifupdown:
    """A stanza by which ifupdown runs the program; which link is an uplink, that finds out."""

    interfaces = "/etc/network/interfaces"
    file = "/etc/network/interfaces.d/macvtap"
    stanza = (
        "auto macvtap-links\niface macvtap-links inet manual\n"
        f"    pre-up for link in /sys/class/net/*; do sh {PROGRAM} ${{link##*/}}; done"
    )
    # The second is of earlier versions: a hook of Debian's DHCP client.
    patterns = (file, "/etc/dhcp/dhclient-enter-hooks.d/macvtap")
    validators: t.ClassVar[dict[str, tuple[str, ...]]] = {file: ("ifquery", "--list", "--interfaces", "{}")}
