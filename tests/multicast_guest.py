# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest with IPv6 addresses of its own making, and in multicast groups: whether it hears what the LAN sends."""

from __future__ import annotations

import subprocess
import time
import typing as t

from labkit import cells, model
from support import until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

# Not made from the card's address: each has a solicited-node group of its own. Several of all, since the kernel knows a
# link's groups by a hash of 256 values (mc_hash() of macvlan), so that now and then a foreign one gets through.
ADDRESSES = ("2001:db8:1::c0de:cafe:1", "2001:db8:1::c0de:beef:1", "2001:db8:1::c0de:f00d:1")
GROUPS, PORT = ("ff02::4d63", "ff02::4d64:1", "ff02::7:4d65"), 5454

_ASK = """
import socket, sys
asked = socket.socket(socket.AF_INET6)
asked.settimeout(6)
try:
    asked.connect((sys.argv[1], 9))
except ConnectionRefusedError:
    print("answered")
except OSError as exc:
    print("silent:", exc)
"""
_SEND = """
import socket, sys
to = sys.argv[1], int(sys.argv[2]), 0, socket.if_nametoindex("lan0")
socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).sendto(sys.argv[3].encode(), to)
"""
# The guest joins, and writes down whatever comes.
_JOIN = """
import socket, struct, sys
joined = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
joined.bind(("", int(sys.argv[1])))
for group in sys.argv[2:]:
    there = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", socket.if_nametoindex("eth0"))
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, there)
print("joined", flush=True)
while True:
    print(joined.recv(100).decode(), flush=True)
"""


class Guest:
    """The guest web1, and another machine on its LAN: the switch. ``hv`` is the hypervisor that it is on."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv
        self._sent = 0
        for address in ADDRESSES:
            self.sh(f"ip -6 address add {address}/64 dev eth0")
        self.sh(f"setsid python3 -c '{_JOIN}' {PORT} {' '.join(GROUPS)} </dev/null >/tmp/heard 2>&1 &")
        until(lambda: "joined" in self.sh("cat /tmp/heard") and not self.sh("ip -6 address | grep tentative"))

    def sh(self, command: str) -> str:
        return self.hv.in_guest("web1", "sh", "-c", command)

    def _on_switch(self, *command: str) -> str:
        switch = cells.enter(model.require(self.hv.cell.lab).switch)
        return subprocess.run([*switch, *command], check=True, capture_output=True, text=True).stdout

    def answers(self, *addresses: str) -> bool:
        """Whether the switch finds the guest by all its addresses, as who has never heard of it."""
        return all(map(self._answers, addresses or ADDRESSES))

    def _answers(self, address: str) -> bool:
        self._on_switch("ip", "neigh", "flush", "dev", "lan0")
        message = self._on_switch("/usr/bin/python3", "-c", _ASK, address)
        assert message.split(":")[0] in {"answered\n", "silent"}
        return message == "answered\n"

    def hears(self) -> bool:
        """Whether the guest hears what the switch sends to all its groups."""
        self._sent += 1
        for group in GROUPS * 3:
            self._on_switch("/usr/bin/python3", "-c", _SEND, group, str(PORT), f"{self._sent} to {group}.")
        time.sleep(1)
        heard = self.sh("cat /tmp/heard")
        return all(f"{self._sent} to {group}." in heard for group in GROUPS)
