# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""On the virtual machine: what there is of links and shims, and of what should bring them back, as JSON."""

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
SETTINGS = (
    "ipv4/conf/{}/arp_filter",
    "ipv4/conf/{}/arp_announce",
    "ipv6/conf/{}/accept_ra",
    "ipv6/conf/{}/autoconf",
)
PLACES = (
    "/etc/linuxvirt-macvtap",
    "/etc/NetworkManager/conf.d/*macvtap*",
    "/etc/systemd/network/*macvtap*",
    "/etc/systemd/network/*.d/*macvtap*",
    "/etc/NetworkManager/system-connections/*macvtap*",
    "/etc/network/interfaces.d/*macvtap*",
    "/etc/udev/rules.d/*macvtap*",
    "/etc/sysctl.d/*macvtap*",
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


def shims() -> dict[str, t.Any]:
    found = {}
    for link in json.loads(said("ip", "-d", "-j", "address", "show")):
        if link.get("linkinfo", {}).get("info_kind") != "macvlan":
            continue
        name = link["ifname"]
        routes = [
            f"{route['dst']} {route['protocol']} {route.get('prefsrc')}"
            for family in ("-4", "-6")
            for route in json.loads(said("ip", family, "-j", "route", "show", "dev", name))
            # Those that the kernel makes of the addresses.
            if route["protocol"] != "kernel"
        ]
        found[name] = {
            "parent": link["link"],
            "up": "UP" in link["flags"],
            "mode": link["linkinfo"]["info_data"]["mode"],
            "mac": link["address"],
            "mtu": link["mtu"],
            "alias": link.get("ifalias"),
            "addresses": [
                f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["scope"] == "global"
            ],
            "link_local": any(one["scope"] == "link" for one in link["addr_info"]),
            "routes": routes,
            "settings": [int(said("cat", f"/proc/sys/net/{path.format(name)}")) for path in SETTINGS],
        }
    return found


def having_ipv4() -> list[str]:
    found = json.loads(said("ip", "-4", "-j", "address", "show", "scope", "global"))
    return sorted(link["ifname"] for link in found if link.get("addr_info"))


def modules() -> list[str]:
    with open("/proc/modules") as file:
        return sorted(MODULES & {line.split()[0] for line in file})


print(
    json.dumps(
        {
            "boot_id": said("cat", "/proc/sys/kernel/random/boot_id"),
            "system": said("systemctl", "is-system-running"),
            "failed": said("systemctl", "list-units", "--failed", "--plain", "--no-legend").splitlines(),
            "modules": modules(),
            "links": links(),
            "shims": shims(),
            "having_ipv4": having_ipv4(),
            "guests": {link["address"]: "ALLMULTI" in link["flags"] for link in shown() if of_guest(link)},
            "files": sorted(path for place in PLACES for path in glob.glob(place)),
            "active_slave": said("cat", "/sys/class/net/bond0/bonding/active_slave"),
        }
    )
)
