# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest goes through every conversion by a pause: it answers again as it was forecast, and its connections stay.

Of each of its two LANs the host is a machine, and several uplinks of the host are on it.
"""

from __future__ import annotations

import contextlib
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, guest_has, ok
from guest_traffic import Noticed, streaming, watched

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

# The bridge of the first LAN, and libvirt's NAT network, whose bridge is the other.
SOURCES = {A: "<source bridge='lan7'/>", B: "<source network='nat'/>"}
# An address and a port on each.
SERVICES = {A: ("10.77.0.2", 7), B: ("10.78.0.2", 8)}
NAT = """
<network><name>nat</name><forward mode='nat'/><bridge name='nat8' stp='off'/>
<ip address='10.78.0.1' prefix='24'/></network>"""
LANS = """
ip link add lan7 type bridge
ip address add 10.77.0.1/24 dev lan7
for number in 2 3; do ip link add up$number type veth peer name far$number; done
for number in 1 2; do ip link set far$number master lan7; done
ip link set far3 master nat8
for link in lan7 up2 far2 up3 far3; do ip link set $link up; done
"""
# The lab's guests ask for a lease, and would give up the address when they begin to.
CONFIGURE = """
nic=$(grep -l $0 /sys/class/net/*/address | cut -d / -f 5)
until [ -e /run/nic/$nic.* ]; do sleep 0.1; done
kill $(cat /run/nic/$nic.*)
ip address add $1/24 dev $nic
setsid nc -ll -p $2 -e cat </dev/null >/dev/null 2>&1 &
"""
ENTRIES: list[list[Result]] = [
    # A bridge, and a NAT network, to an uplink.
    [
        {"mac": A, "source": "up1", "mode": "bridge", "convert": True},
        {"mac": B, "source": "up3", "mode": "bridge", "convert": True},
    ],
    # To another uplink.
    [{"mac": A, "source": "up2"}],
    # To a direct network, and to another one.
    [{"mac": A, "network": "lan"}],
    [{"mac": A, "network": "other"}],
    # To an uplink of its own, and to one that it shares.
    [{"mac": A, "source": "up1", "mode": "passthrough"}],
    [{"mac": A, "source": "up1", "mode": "bridge"}],
]


def direct_network(name: str, uplink: str) -> str:
    return f"<network><name>{name}</name><forward mode='bridge'><interface dev='{uplink}'/></forward></network>"


@pytest.fixture
def lans(hv: Hypervisor) -> t.Iterator[Hypervisor]:
    """A hypervisor whose guest web1 has both NICs, each with an address and a service that sends back what it gets."""
    networks = (NAT, direct_network("lan", "up1"), direct_network("other", "up2"))
    for network in networks:
        hv.virsh("net-create", "/dev/stdin", stdin=network)
    try:
        hv.run("sh", "-c", LANS)
        nics = [
            f"<interface type='{kind}'><mac address='{mac}'/>{SOURCES[mac]}<model type='virtio'/></interface>"
            for mac, kind in ((A, "bridge"), (B, "network"))
        ]
        hv.define_guest("web1", *nics)
        hv.virsh("start", "web1")
        assert guest_has(hv, "web1", set(SERVICES))
        for mac, (address, port) in SERVICES.items():
            hv.in_guest("web1", "sh", "-c", CONFIGURE, mac, address, str(port))
        yield hv
    finally:
        hv.clear()
        hv.run("sh", "-c", "for link in lan7 up2 up3; do ip link del $link; done; true")


def paused(hv: Hypervisor, module: Module, entries: list[Result]) -> tuple[float, list[Noticed]]:
    """Convert the NICs; return for how long the guest was paused, and what its machines noticed of each NIC."""
    params: Result = {"interfaces": [{"domain": "web1", **entry} for entry in entries], "live": "pause"}
    predicted = ok(module(check=True, **params))
    with contextlib.ExitStack() as stack:
        noticed = [stack.enter_context(watched(hv.prefix, address)) for address, _port in SERVICES.values()]
        done = ok(module(**params))
    assert done["changes"] == predicted["changes"]
    assert "pause" in {change["impact"] for change in done["changes"]}, done
    assert (done["restart_required"], done["pending"]) == ([], [])
    assert not ok(module(**params))["changed"]
    # Several NICs are one pause. Others share the machine, which the forecast cannot know.
    (promised,), (one,) = predicted["pauses"], done["pauses"]
    assert one["measured_seconds"] < 2 * promised["forecast_seconds"] + 1
    return float(one["measured_seconds"]), [found for (found,) in noticed]


def test_a_guest_keeps_its_connections_through_all_conversions(lans: Hypervisor, module: Module) -> None:
    with contextlib.ExitStack() as stack:
        for address, port in SERVICES.values():
            stack.enter_context(streaming(lans.prefix, address, port))
        for entries in ENTRIES:
            seconds, noticed = paused(lans, module, entries)
            for found in noticed:
                # It stands still for less than the module counts, and is silent for little longer than it stands still.
                assert 0 < found.still < seconds + 0.5, entries
                assert found.silence < 2 * seconds + 1, entries
    assert guest_has(lans, "web1", set(SERVICES))
