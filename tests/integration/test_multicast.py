# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest with an IPv6 address of its own making, and in a multicast group: who hears what, by each way out."""

from __future__ import annotations

import re
import subprocess
import time
import typing as t

import direct_iface
import pytest
from direct_iface import A, Module, Result, impacts, nic, ok
from labkit import cells, model
from support import run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

# Not made from the card's address: each has a solicited-node group of its own. Several of all, since the kernel knows a
# link's groups by a hash of 256 values (mc_hash() of macvlan), so that now and then a foreign one gets through.
ADDRESSES = ("2001:db8:1::c0de:cafe:1", "2001:db8:1::c0de:beef:1", "2001:db8:1::c0de:f00d:1")
ANOTHER = "2001:db8:1::c0de:cafe:2"
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
    """A guest, and another machine on its LAN: the switch."""

    def __init__(self, hv: Hypervisor) -> None:
        self.hv = hv
        self._sent = 0
        for address in ADDRESSES:
            self.sh(f"ip -6 address add {address}/64 dev eth0")
        self.sh(f"python3 -c '{_JOIN}' {PORT} {' '.join(GROUPS)} >/tmp/heard 2>&1 &")
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


@pytest.fixture
def guest(hv: Hypervisor) -> Guest:
    hv.define_guest("web1", nic(A))
    hv.virsh("start", "web1")
    return Guest(hv)


def restarted(hv: Hypervisor) -> Guest:
    hv.virsh("destroy", "web1")
    hv.virsh("start", "web1")
    return Guest(hv)


def link(result: Result) -> str:
    return str(result["interfaces"][0]["live"]["target"])


def test_a_running_guest_receives_its_groups_only_with_allmulticast(guest: Guest, module: Module) -> None:
    assert (guest.answers(), guest.hears()) == (False, False)
    predicted = ok(module(check=True, domain="web1", mac=A, allmulticast=True))
    assert (guest.answers(), guest.hears()) == (False, False)
    done = ok(module(domain="web1", mac=A, allmulticast=True))
    assert done["changes"] == predicted["changes"]
    assert impacts(done) == {"allmulticast": "live"}
    assert "\nallmulticast: yes" in done["diff"][0]["after"]
    assert (guest.answers(), guest.hears()) == (True, True)
    assert done["interfaces"][0]["live"]["allmulticast"] is True
    (returned,) = run_module("libvirt_direct_iface_info", {}, prefix=guest.hv.prefix)["domains"]
    assert returned["interfaces"][0]["live"]["allmulticast"] is True
    assert returned["interfaces"][0]["differences"] == []
    # This hypervisor has no udev, which would set it at the next start.
    assert "lasts only until the guest stops: this host has no udev" in str(done["warnings"])
    again = ok(module(domain="web1", mac=A, allmulticast=True))
    assert (again["changed"], again["restart_required"]) == (False, [])
    assert impacts(ok(module(domain="web1", mac=A, allmulticast=False))) == {"allmulticast": "live"}
    assert (guest.answers(), guest.hears()) == (False, False)


def test_an_attached_interface_has_it_at_once_and_again_after_a_replug(guest: Guest, module: Module) -> None:
    ok(module(domain="web1", mac=A, state="absent"))
    added: Result = {"domain": "web1", "mac": A, "source": "eth0", "mode": "bridge", "allmulticast": True}
    assert ok(module(**added))["interfaces"][0]["live"]["allmulticast"] is True
    done = ok(module(**added, alias="ua-lan", live="replug"))
    assert set(impacts(done).values()) == {"replug"}
    assert "ALLMULTI" in guest.hv.run("ip", "link", "show", link(done))
    # Where nobody asks for it either: what was plugged in had it.
    done = ok(module(domain="web1", mac=A, alias="ua-uplink", live="replug"))
    assert impacts(done) == {"alias": "replug"}
    assert "ALLMULTI" in guest.hv.run("ip", "link", "show", link(done))


def test_a_failed_run_takes_it_back(guest: Guest, module: Module) -> None:
    before = link(ok(module(domain="web1", mac=A)))
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": A, "allmulticast": True},
            {"domain": "web1", "mac": direct_iface.B, "source": "up1", "model": "nonsense"},
        ]
    )
    assert failed["msg"].endswith("The host is as it was before")
    assert "ALLMULTI" not in guest.hv.run("ip", "link", "show", before)
    assert not guest.answers()


def test_a_guest_that_is_trusted_sets_its_link_itself(guest: Guest, module: Module) -> None:
    done = ok(module(domain="web1", mac=A, trust_guest_rx_filters=True))
    hv = guest.hv
    if hv.release < 10:
        assert impacts(done) == {"trust_guest_rx_filters": "restart"}
        assert (guest.answers(), guest.hears()) == (False, False)
        guest = restarted(hv)
    else:
        # libvirt waits for the guest to change something, and the module says so.
        assert "Until then the link receives no more than before" in str(done["warnings"])
        assert (guest.answers(), guest.hears()) == (False, False)
        guest.sh(f"ip -6 address add {ANOTHER}/64 dev eth0")
        assert until(lambda: guest.answers(ANOTHER))
    assert (guest.answers(), guest.hears()) == (True, True)
    groups = hv.run("ip", "maddr", "show", "dev", link(ok(module(domain="web1", mac=A))))
    assert "33:33:ff:fe:00:01" in groups
    assert "33:33:00:00:4d:63" in groups


def test_a_trusted_guest_in_mode_passthrough_receives_its_groups(hv: Hypervisor) -> None:
    passing = nic(A, mode="passthrough")
    hv.define_guest("web1", passing)
    hv.virsh("start", "web1")
    untrusted = Guest(hv)
    assert (untrusted.answers(), untrusted.hears()) == (False, False)
    hv.virsh("destroy", "web1")
    hv.virsh("undefine", "web1")
    hv.define_guest("web1", passing.replace("type='direct'", "type='direct' trustGuestRxFilters='yes'", 1))
    hv.virsh("start", "web1")
    guest = Guest(hv)
    assert (guest.answers(), guest.hears()) == (True, True)


def test_libvirt_takes_allmulticast_off_the_link_of_a_guest_that_it_trusts(hv: Hypervisor, module: Module) -> None:
    hv.define_guest("web1", nic(A).replace("type='direct'", "type='direct' trustGuestRxFilters='yes'", 1))
    hv.virsh("start", "web1")
    guest = Guest(hv)
    name = link(ok(module(domain="web1", mac=A)))
    refused = module(domain="web1", mac=A, allmulticast=True)
    assert re.match(r"allmulticast: allmulticast and trust_guest_rx_filters exclude each other", refused["msg"])
    hv.run("ip", "link", "set", name, "allmulticast", "on")
    guest.sh(f"ip -6 address add {ANOTHER}/64 dev eth0")
    assert until(lambda: "ALLMULTI" not in hv.run("ip", "link", "show", name))


def test_a_nic_that_does_not_report_its_filters_cannot_be_trusted(hv: Hypervisor, module: Module) -> None:
    hv.define(direct_iface.domain("web1", nic(A).replace("virtio", "e1000e")))
    assert "QEMU does not report" in module(domain="web1", mac=A, trust_guest_rx_filters=True)["msg"]
    hv.virsh("start", "web1")
    message = hv.virsh("qemu-monitor-command", "web1", '{"execute": "query-rx-filter"}')
    assert "e1000e" not in message
    assert '"return":[]' in message.replace(" ", "")
