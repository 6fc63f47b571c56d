# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On the virtual machine: guests on parents, and whether host and guest reach each other over a shim; as JSON.

``guest.py GUESTS SHIMS``, as in ../vars/expected.yml, has for one guest after the other a link in a network namespace,
which is what a guest is to the kernel, with its addresses (and prefixes' lengths), and pings both ways: the guest's
addresses, and the shim's.
"""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import sys
import typing as t

NETNS = "host-access"
GUEST = ["ip", "netns", "exec", NETNS]


def said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def answers(*argv: str) -> bool:
    """Return whether one of some pings is answered; it ends with the first that is."""
    # The machine is emulated.
    argv = (*argv[:-1], "-c", "1", "-W", "5", argv[-1])
    return any(subprocess.run(argv, capture_output=True, check=False).returncode == 0 for _try in range(3))


def way(address: str) -> str:
    """Return over which link the host sends to the address, and as whom."""
    (route,) = json.loads(said("ip", "-j", "route", "get", address))
    return f"{route['dev']} {route['prefsrc']}"


def talk(guests: t.Sequence[str], shims: t.Sequence[str]) -> dict[str, t.Any]:
    own = {":" in address: address.partition("/")[0] for address in guests}
    with concurrent.futures.ThreadPoolExecutor() as pool:
        by_host = {one: pool.submit(answers, "ping", one) for one in own.values()}
        by_guest = {one: pool.submit(answers, *GUEST, "ping", "-I", own[":" in one], one) for one in shims}
    return {
        **{f"host to {one}": asked.result() and way(one) for one, asked in by_host.items()},
        **{f"guest to {one}": asked.result() for one, asked in by_guest.items()},
    }


def told(parent: str, mac: str, guests: t.Sequence[str], shims: t.Sequence[str]) -> dict[str, t.Any]:
    said("ip", "netns", "add", NETNS)
    try:
        # With the same MAC address each time, which the host may have in its table.
        link = ["name", "guest0", "netns", NETNS, "address", mac, "type", "macvlan", "mode", "bridge"]
        said("ip", "link", "add", "link", parent, *link)
        # What it gets of the LAN's router it would speak from, and the host does not route that over the shim.
        said(*GUEST, "sysctl", "-qw", "net.ipv6.conf.guest0.accept_ra=0")
        said("ip", "-n", NETNS, "link", "set", "guest0", "up")
        for address in guests:
            nodad = ["nodad"] if ":" in address else []
            said("ip", "-n", NETNS, "address", "add", address, "dev", "guest0", *nodad)
        return talk(guests, shims)
    finally:
        said("ip", "netns", "del", NETNS)


def main(guests: str, shims: str) -> None:
    addresses = {name: [one.partition("/")[0] for one in shim["addresses"]] for name, shim in json.loads(shims).items()}
    guest = [(one["parent"], one["mac"], one["addresses"], addresses[one["shim"]]) for one in json.loads(guests)]
    print(json.dumps([told(*one) for one in guest]))


main(*sys.argv[1:])
