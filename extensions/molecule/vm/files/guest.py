# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On the virtual machine: a guest on a parent, which host and guest reach each other over a shim; as JSON.

``guest.py PARENT MAC GUEST,… SHIM,…`` has a link in a network namespace for the guest, which is what it is to the
kernel, with its addresses (and prefixes' lengths), and pings both ways: the guest's addresses, and the shim's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t

NETNS = "host-access"
GUEST = ["ip", "netns", "exec", NETNS]


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def answers(*argv: str) -> bool:
    # The machine is emulated.
    return (
        subprocess.run([*argv[:-1], "-c", "2", "-W", "10", argv[-1]], capture_output=True, check=False).returncode == 0
    )


def way(address: str) -> str:
    """Return over which link the host sends to the address, and as whom."""
    (route,) = json.loads(said("ip", "-j", "route", "get", address))
    return f"{route['dev']} {route['prefsrc']}"


def talk(guests: t.Sequence[str], shims: t.Sequence[str]) -> dict[str, t.Any]:
    own = {":" in address: address.partition("/")[0] for address in guests}
    return {
        **{f"host to {own[v6]}": answers("ping", own[v6]) and way(own[v6]) for v6 in own},
        **{f"guest to {one}": answers(*GUEST, "ping", "-I", own[":" in one], one) for one in shims},
    }


def main(parent: str, mac: str, guests: str, shims: str) -> None:
    said("ip", "netns", "add", NETNS)
    try:
        # With the same MAC address each time, which the host may have in its table.
        link = ["name", "guest0", "netns", NETNS, "address", mac, "type", "macvlan", "mode", "bridge"]
        said("ip", "link", "add", "link", parent, *link)
        # What it gets of the LAN's router it would speak from, and the host does not route that over the shim.
        said(*GUEST, "sysctl", "-qw", "net.ipv6.conf.guest0.accept_ra=0")
        said("ip", "-n", NETNS, "link", "set", "guest0", "up")
        for address in guests.split(","):
            nodad = ["nodad"] if ":" in address else []
            said("ip", "-n", NETNS, "address", "add", address, "dev", "guest0", *nodad)
        print(json.dumps(talk(guests.split(","), shims.split(","))))
    finally:
        said("ip", "netns", "del", NETNS)


main(*sys.argv[1:])
