# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""ifupdown, which runs the program that makes the links where systemd does not. Pure.

Measured with ifupdown 0.8.41: a stanza needs no link of its name. It never removes a link: who restarts networking is
not to cut off guests.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.make_links import PROGRAM
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import is_found
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import Host

_STANZA = "auto macvtap-links\niface macvtap-links inet manual"
_BY_NAME = f"    pre-up sh {PROGRAM} "
# Which link it is that was given by an address, the program finds out.
_ANY = f"    pre-up for link in /sys/class/net/*; do sh {PROGRAM} ${{link##*/}}; done"


class Ifupdown:
    """A stanza by which ifupdown runs the program."""

    interfaces = "/etc/network/interfaces"
    file = "/etc/network/interfaces.d/macvtap"
    # The second is of earlier versions: a hook of Debian's DHCP client.
    patterns = (file, "/etc/dhcp/dhclient-enter-hooks.d/macvtap")
    validators: t.ClassVar[dict[str, tuple[str, ...]]] = {file: ("ifquery", "--list", "--interfaces", "{}")}

    def render(self, keys: t.Collection[str]) -> str:
        """Return the stanza for the uplinks with these keys, "" if there are none."""
        lines = [_ANY] if any(map(is_found, keys)) else [f"{_BY_NAME}{key}" for key in sorted(keys)]
        return "\n".join([_STANZA, *lines]) if keys else ""

    def validate(self, host: Host, path: str) -> None:
        """Refuse to rely on ifupdown where it would not run the program, or do more than that.

        :raises MacvtapError: at the option ``backend`` of ``path``.
        """
        if host.ifupdown2:
            raise MacvtapError(
                "ifupdown2 (ifreload -a) sets links down that leave its files, and guests' with them. Leave backend "
                "out, or set systemd: that never touches the uplink",
                path=join_path(path, "backend"),
            )
        if not host.interfaces_sourced:
            raise MacvtapError(
                f"{self.interfaces} does not read {self.file}; add the line: source /etc/network/interfaces.d/*",
                path=join_path(path, "backend"),
            )
