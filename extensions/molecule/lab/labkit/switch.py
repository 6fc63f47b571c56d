# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The lab's switch: a bridge in a namespace of its own, with one port per hypervisor, and the LAN's dnsmasq on it.

The bridge passes frames with a VLAN's tag on as they are; ../vlantag.py makes of each VLAN a device of its own.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import time
import typing as t
from pathlib import Path

from labkit import cells
from labkit.model import PYTHON, UPLINK, Cell, Lab, Vm
from labkit.shell import LabError, run

BRIDGE = "lan0"
# The documentation prefixes of RFC 5737 and RFC 3849: nobody's addresses.
IPV4 = "192.0.2.1/24"
IPV6 = "2001:db8:1::1/64"
VLANS = ipaddress.IPv4Network("198.51.100.0/24")
# For how long dnsmasq leases an IPv4 address.
LEASE_SECONDS = 3600
TAGGER = Path(__file__).resolve().parent.parent / "vlantag.py"
# The tagger's end of a cable into the bridge, and the bridge's.
TRUNK, TRUNK_PORT = "trunk0", "port-trunk0"


@dataclasses.dataclass(frozen=True)
class Lease:
    mac: str
    address: str
    hostname: str
    expires: int


def vlan_link(vlan: int) -> str:
    return f"lan{vlan}"


def vlan_addresses(lab: Lab) -> dict[int, str]:
    """The switch's own address in each VLAN, with its prefix length."""
    return {vlan: f"{network[1]}/{network.prefixlen}" for vlan, network in _vlan_networks(lab).items()}


def _vlan_networks(lab: Lab) -> dict[int, ipaddress.IPv4Network]:
    return dict(zip(lab.vlans, VLANS.subnets(new_prefix=26)))


def dnsmasq_conf(lab: Lab) -> str:
    vlans = "".join(
        f"interface={vlan_link(vlan)}\ndhcp-range={network[10]},{network[62]},{network.netmask},{LEASE_SECONDS}\n"
        for vlan, network in _vlan_networks(lab).items()
    )
    return f"""\
# DHCPv4 and IPv6 router advertisements; no DNS.
port=0
user=root
group=root
interface={BRIDGE}
bind-interfaces
pid-file=
dhcp-authoritative
# Asking first whether somebody has the address already would cost each guest three seconds.
no-ping
dhcp-range=192.0.2.50,192.0.2.250,255.255.255.0,{LEASE_SECONDS}
dhcp-rapid-commit
enable-ra
dhcp-range=2001:db8:1::,ra-only,64,1h
{vlans}\
dhcp-leasefile={leases_file(lab)}
log-dhcp
log-facility={lab.switch.dir}/dnsmasq.log
"""


def leases_file(lab: Lab) -> str:
    return f"{lab.switch.dir}/leases"


def create(lab: Lab) -> None:
    netns = lab.switch.netns
    cells.add_netns(lab.switch)
    ip = ["ip", "-n", netns]
    # Without forward_delay a new port would be deaf for 15 s; with snooping, multicast (and with it IPv6
    # neighbour discovery) would depend on there being a querier.
    run([*ip, "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"])
    run([*ip, "link", "set", BRIDGE, "up"])
    run([*ip, "address", "add", IPV4, "dev", BRIDGE])
    run([*ip, "address", "add", IPV6, "dev", BRIDGE, "nodad"])
    if lab.vlans:
        add_vlans(lab)
    lab.switch.dir.mkdir(parents=True, exist_ok=True)
    conf = lab.switch.dir / "dnsmasq.conf"
    conf.write_text(dnsmasq_conf(lab))
    spec: cells.Spec = {
        "hostname": netns,
        "overlays": [],
        "emptied": [],
        "removed": [],
        "files": {},
        "start": [["/usr/sbin/dnsmasq", f"--conf-file={conf}"]],
    }
    if lab.vlans:
        spec["start"].insert(0, [PYTHON, str(TAGGER), TRUNK, *map(str, lab.vlans)])
    cells.boot(lab.switch, spec)


def add_vlans(lab: Lab) -> None:
    ip = ["ip", "-n", lab.switch.netns]
    run([*ip, "link", "add", TRUNK_PORT, "type", "veth", "peer", "name", TRUNK])
    run([*ip, "link", "set", TRUNK_PORT, "master", BRIDGE, "up"])
    run([*ip, "link", "set", TRUNK, "addrgenmode", "none", "up"])
    for vlan, address in vlan_addresses(lab).items():
        link = vlan_link(vlan)
        run([*ip, "tuntap", "add", link, "mode", "tap"])
        run([*ip, "address", "add", address, "dev", link])
        run([*ip, "link", "set", link, "up"])


def plug_in(lab: Lab, hv: Cell) -> None:
    """A cable from a switch port to the hypervisor's uplink."""
    ip = ["ip", "-n", lab.switch.netns]
    veth = ["type", "veth", "peer", "name", UPLINK, "address", hv.uplink_mac, "netns", hv.netns]
    run([*ip, "link", "add", hv.ports[UPLINK], *veth])
    run([*ip, "link", "set", hv.ports[UPLINK], "master", BRIDGE, "up"])
    run(["ip", "-n", hv.netns, "link", "set", UPLINK, "up"])


def add_taps(lab: Lab, vm: Vm) -> None:
    """Switch ports that QEMU is the cable of. The bridge passes frames with a VLAN tag on as they are."""
    ip = ["ip", "-n", lab.switch.netns]
    for port in vm.ports.values():
        run([*ip, "tuntap", "add", port, "mode", "tap"])
        run([*ip, "link", "set", port, "master", BRIDGE, "up"])


def set_hairpin(lab: Lab, hv: Cell, on: bool, uplinks: t.Collection[str] = ()) -> None:
    """Reflective relay of IEEE 802.1Qbg: the port sends a frame back where it came from. All uplinks, or these."""
    if unknown := set(uplinks) - set(hv.ports):
        raise LabError(f"{hv.name} has no uplink {', '.join(sorted(unknown))}; it has {', '.join(hv.ports)}")
    for uplink in uplinks or hv.ports:
        port = hv.ports[uplink]
        run(["bridge", "-n", lab.switch.netns, "link", "set", "dev", port, "hairpin", "on" if on else "off"])


def leases(lab: Lab) -> list[Lease]:
    """DHCPv4 leases, as dnsmasq has them on file at this moment."""
    try:
        with open(leases_file(lab)) as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LabError(f"{leases_file(lab)}: {error.strerror}") from error
    return [Lease(row[1], row[2], row[3], int(row[0])) for row in rows if len(row) == 5 and "." in row[2]]


def awaited_leases(lab: Lab, macs: t.Collection[str], since: int = 0, timeout: float = 600) -> list[Lease]:
    """Wait until each of these has got a lease later than in second ``since`` of time(2); returns all leases."""
    deadline = time.monotonic() + timeout
    expired = since + LEASE_SECONDS
    while missing := set(macs) - {lease.mac for lease in leases(lab) if lease.expires > expired}:
        if time.monotonic() > deadline:
            raise LabError(f"no new lease for {', '.join(sorted(missing))} within {timeout:g} s")
        time.sleep(0.2)
    return leases(lab)
