# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On the virtual machine: what there is of macvtap and VLAN links, and of what should bring them back, as JSON."""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import stat
import subprocess
import typing as t

MODULES = {"macvtap", "macvlan", "tap", "8021q"}
PLACES = (
    "/etc/systemd/network/*macvtap*",
    "/etc/systemd/network/*.d/*macvtap*",
    "/etc/NetworkManager/system-connections/*macvtap*",
    "/etc/network/interfaces.d/*macvtap*",
    "/etc/udev/rules.d/*macvtap*",
    "/etc/systemd/system/*macvtap*",
    "/etc/systemd/system/*/*macvtap*",
)


def said(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def shown() -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = json.loads(said("ip", "-d", "-j", "link", "show"))
    return [link for link in found if link.get("linkinfo", {}).get("info_kind") in ("macvtap", "vlan")]


def of_guest(link: dict[str, t.Any]) -> bool:
    """Whether it is of libvirt's own making, for a guest that runs."""
    return str(link["ifname"]).startswith("macvtap")


def links() -> dict[str, t.Any]:
    found = {}
    for link in shown():
        kind = link["linkinfo"]["info_kind"]
        if of_guest(link):
            continue
        data = link["linkinfo"]["info_data"]
        what = {"parent": link["link"], "up": "UP" in link["flags"], "mtu": link["mtu"]}
        if link.get("ifalias"):
            what["alias"] = link["ifalias"]
        if kind == "vlan":
            what["id"] = data["id"]
        else:
            node = os.stat(f"/dev/tap{link['ifindex']}")
            owner, group = pwd.getpwuid(node.st_uid).pw_name, grp.getgrgid(node.st_gid).gr_name
            what.update(mode=data["mode"], mac=link["address"], addrgenmode=link["inet6_addr_gen_mode"])
            what.update(allmulticast="ALLMULTI" in link["flags"], group=link["group"])
            what["tap"] = f"{owner} {group} {stat.S_IMODE(node.st_mode):04o}"
        found[link["ifname"]] = what
    return found


def modules() -> list[str]:
    with open("/proc/modules") as file:
        return sorted(MODULES & {line.split()[0] for line in file})


print(
    json.dumps(
        {
            "boot_id": said("cat", "/proc/sys/kernel/random/boot_id"),
            "system": said("systemctl", "is-system-running"),
            "modules": modules(),
            "links": links(),
            "guests": {link["address"]: "ALLMULTI" in link["flags"] for link in shown() if of_guest(link)},
            "files": sorted(path for place in PLACES for path in glob.glob(place)),
            "active_slave": said("cat", "/sys/class/net/bond0/bonding/active_slave"),
        }
    )
)
