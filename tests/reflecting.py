# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A bridge as the switch of an uplink, which reflects frames or does not."""

from __future__ import annotations

import subprocess
import typing as t

if t.TYPE_CHECKING:
    from namespaces import Namespace


Result = t.Dict[str, t.Any]


class Switch:
    """The bridge that eth0 is plugged into."""

    def __init__(self, netns: Namespace) -> None:
        self.netns = netns
        netns.ip("link", "add", "sw0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        netns.ip("link", "set", "far0", "master", "sw0")
        netns.ip("link", "set", "sw0", "up")

    def hairpin(self, on: bool) -> None:
        words = ["link", "set", "dev", "far0", "hairpin", "on" if on else "off"]
        subprocess.run(["bridge", "-n", self.netns.name, *words], check=True)

    def ask(self, **params: t.Any) -> Result:
        given = {} if "parents" in params else {"parent": "eth0"}
        result = self.netns.run({**given, **params}, module="reflective_relay_info")
        assert "failed" not in result, result
        assert not result["changed"]
        return result
