# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What `ip` shows of a macvtap link, by the module's options."""

from __future__ import annotations

import subprocess
import sys
import typing as t

if t.TYPE_CHECKING:
    from namespaces import Namespace


MACS = [f"52:54:00:00:00:{n:02x}" for n in range(1, 8)]
EVERYTHING = {
    "mode": "source",
    "source_macs": MACS[:2],
    "mac": MACS[6],
    "mtu": 1400,
    "txqueuelen": 77,
    "promiscuous": False,
    "nodst": True,
    "bcqueuelen": 500,
    "bclim": 5,
    "group": 7,
    "alias": "ä" * 127 + "b",
    "altnames": ["web0", "w" * 127],
    "queues": {"tx": 3, "rx": 2},
    "gso_max_size": 30000,
    "addrgenmode": "none",
    "allmulticast": True,
    "arp": True,
    "accept_ra": True,
}

# iproute2 6.1 does not know attribute 9 of macvlan's data.
_BCLIM = """
import socket, struct, sys
def attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3fff, data[4:length]
        data = data[(length + 3) & ~3:]
sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
index = socket.if_nametoindex(sys.argv[1])
sock.send(struct.pack("=IHHIIBxHiII", 32, 18, 1, 1, 0, 0, 0, index, 0, 0))
data = dict(attributes(dict(attributes(dict(attributes(sock.recv(65536)[32:]))[18]))[2]))
print(struct.unpack("=i", data[9])[0] if 9 in data else 1)
"""


def bclim(netns: Namespace, name: str) -> int:
    command = [*netns.prefix, sys.executable, "-c", _BCLIM, name]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def shown(netns: Namespace, name: str) -> dict[str, t.Any]:
    """Return what ``ip`` shows of the link, by the module's options."""
    link = netns.link(name)
    data = link["linkinfo"]["info_data"]
    return {
        "mode": data["mode"],
        "source_macs": sorted(data.get("macaddr_data", [])),
        "mac": link["address"],
        "mtu": link["mtu"],
        "txqueuelen": link.get("txqlen", 0),
        "promiscuous": not data.get("nopromisc", False),
        "nodst": data.get("nodst", False),
        "bcqueuelen": data["bcqueuelen"],
        "bclim": bclim(netns, name),
        "group": 0 if link["group"] == "default" else int(link["group"]),
        "alias": link.get("ifalias", ""),
        "altnames": sorted(link.get("altnames", [])),
        "queues": {"tx": link["num_tx_queues"], "rx": link["num_rx_queues"]},
        "gso_max_size": link["gso_max_size"],
        "addrgenmode": link["inet6_addr_gen_mode"],
        "allmulticast": "ALLMULTI" in link["flags"],
        "arp": "NOARP" not in link["flags"],
        "accept_ra": accept_ra(netns, name),
    }


def accept_ra(netns: Namespace, name: str) -> bool:
    command = [*netns.prefix, "cat", f"/proc/sys/net/ipv6/conf/{name}/accept_ra"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout != "0\n"


def impacts(result: dict[str, t.Any]) -> dict[str, str]:
    assert "failed" not in result, result["msg"]
    return {change["field"]: change["impact"] for change in result["changes"]}
