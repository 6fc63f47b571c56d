# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How network managers leave links alone, and get a shim its address by DHCP. Pure.

Measured over reboots with systemd 252 and NetworkManager 1.42. A shim that gets a lease has all its addresses and
routes from that manager, which would remove any that it does not know. The unit still creates the link.
"""

from __future__ import annotations

import re
import typing as t
import uuid
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Shim, family
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import NETWORKD_DIR

# Why a manager creates no links.
WHY_NOT = {
    model.NETWORKD: "networkd creates links by the uplink's file, and leaves the uplink without addresses if it cannot",
    model.NETWORKMANAGER: "NetworkManager removes a link with its profile, and the guest on it loses its NIC",
}
# No rule leads to this routing table: it takes what a lease would otherwise route over the shim.
_TABLE = 1836479600
# What of a lease a shim does not take. The host's name on the LAN stays that of its ordinary address, too.
_NOT_TAKEN = ("DNS", "NTP", "SIP", "Domains", "Hostname", "MTU", "Timezone", "Routes", "Gateway")
_LEASE = f"""method=auto
ignore-auto-routes=true
ignore-auto-dns=true
dhcp-send-hostname=false
route-table={_TABLE}"""
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "linuxvirt.macvtap")
# A route as the kernel has it: no gateway, and for IPv6 a metric.
_DIRECTLY = {4: "0.0.0.0,0", 6: "::,1024"}
_GETS_LEASE = re.compile("^(DHCP=ipv4|method=auto)$", re.MULTILINE)
_IGNORED = re.compile("interface-name:([^;\n]+)")
_RETIRED = "[connection]\nautoconnect=false\n"


def network_file(name: str) -> str:
    return f"{NETWORKD_DIR}/05-macvtap-{name}.network"


def unmanaged_file(name: str) -> str:
    # It sorts before files that match more than they should.
    return f"{NETWORKD_DIR}/00-macvtap-{name}.network"


def file_of(name: str, files: t.Container[str]) -> str | None:
    """Return the file of ours by which networkd treats the link once it has read ``files``, None without one."""
    return next((path for path in (unmanaged_file(name), network_file(name)) if path in files), None)


def is_for(name: str, path: str) -> bool:
    """Whether this is the path of such a file."""
    return path in (unmanaged_file(name), network_file(name))


def releases(name: str, current: str, files: t.Container[str]) -> bool:
    """Whether networkd gives up the link, which it manages by ``current`` now, once it has read ``files``."""
    new = file_of(name, files)
    if new is None:
        return is_for(name, current)
    return new != current and new == unmanaged_file(name)


def profile_file(name: str) -> str:
    return f"{model.PROFILES_DIR}/{profile(name)}.nmconnection"


def profile(name: str) -> str:
    return f"macvtap-{name}"


def unmanaged_by_networkd(name: str, *, extended: bool) -> tuple[str, str]:
    """Return path and text of the file by which networkd leaves the link alone, whatever other files match.

    If a user has ``extended`` it by a drop-in, networkd still manages the link, and sets only what that declares.
    """
    match = f"[Match]\nName={name}\n\n[Link]\n"
    if not extended:
        return unmanaged_file(name), f"{match}Unmanaged=yes\n"
    nothing = "DHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    return network_file(name), f"{match}RequiredForOnline=no\n\n[Network]\n{nothing}"


def unmanaged_by_networkmanager(names: t.Collection[str]) -> t.Iterator[File]:
    """Yield the file by which NetworkManager leaves the links alone, none without links."""
    if names:
        # It splits the list at a comma, too: nm_match_spec_split().
        escaped = (name.replace(",", "\\,") for name in sorted(names))
        devices = ";".join(f"interface-name:{name}" for name in escaped)
        yield File(model.UNMANAGED_FILE, f"{HEADER}\n[keyfile]\nunmanaged-devices+={devices}\n")


def ignored_by_networkmanager(files: t.Mapping[str, File]) -> frozenset[str]:
    """Return the links that NetworkManager leaves alone because of that file."""
    file = files.get(model.UNMANAGED_FILE)
    found = _IGNORED.findall(file.text) if file is not None and file.ours else ()
    return frozenset(name.replace("\\,", ",") for name in found)


def lease(desired: model.Desired, shim: Shim) -> t.Iterator[tuple[str, str]]:
    """Return paths and texts by which ``desired.manager`` gets the shim an address, and sets its others."""
    return LEASES[str(desired.manager)](desired, shim)


def _by_networkd(desired: model.Desired, shim: Shim) -> t.Iterator[tuple[str, str]]:
    yield network_file(desired.link.name), _network(desired.link.name, shim)


def _by_networkmanager(desired: model.Desired, shim: Shim) -> t.Iterator[tuple[str, str]]:
    name, alias = desired.link.name, desired.link.alias
    yield profile_file(name), _profile(desired, shim)
    # NetworkManager may start before the unit, and creates the link then. A link that exists when it starts it (1.42)
    # takes for another program's, and gives no address, unless udev says otherwise.
    own = f'SUBSYSTEM=="net", KERNEL=="{name}"'
    managed = f'ACTION!="remove", {own}, ENV{{NM_UNMANAGED}}="0"\n'
    yield model.UDEV_FILE, f'ACTION=="add", {own}, ATTR{{ifalias}}="{alias}"\n{managed}'


# By manager. A test holds all such tables against WHY_NOT: see docs/dev/add-a-manager.md.
LEASES: t.Mapping[str, t.Callable[[model.Desired, Shim], t.Iterator[t.Tuple[str, str]]]] = {
    model.NETWORKD: _by_networkd,
    model.NETWORKMANAGER: _by_networkmanager,
}


def gets_lease(file: File) -> bool:
    """Whether a manager gets an address by DHCP because of this file."""
    return _GETS_LEASE.search(file.text) is not None


def retired(file: File, active: t.Collection[str]) -> File | None:
    """Return a profile so that NetworkManager ignores it at the next boot, None unless it is ``active`` (UUIDs).

    If it were removed now, NetworkManager would remove the link with it as soon as it reads its files again.
    """
    if not any(f"\nuuid={one}\n" in file.text for one in active if one):
        return None
    return file if _RETIRED in file.text else replace(file, text=file.text.replace("[connection]\n", _RETIRED, 1))


def _network(name: str, shim: Shim) -> str:
    lines = [f"[Match]\nName={name}\n\n[Link]\nRequiredForOnline=no\n\n[Network]\nDHCP=ipv4"]
    lines += ["LinkLocalAddressing=ipv6", "IPv6AcceptRA=no", *(f"Address={one}" for one in shim.addresses)]
    # Without a table of its own the kernel would get the LAN's route for the address, in spite of UseRoutes.
    lines += ["\n[DHCPv4]", *(f"Use{what}=no" for what in _NOT_TAKEN), "SendHostname=no", f"RouteTable={_TABLE}"]
    for route in shim.routes:
        lines += ["\n[Route]", f"Destination={route.destination}", "Protocol=static"]
        lines += [f"PreferredSource={route.source}"] if route.source else []
        lines += ["Scope=link"] if family(route.destination) == 4 else []
    return "\n".join(lines) + "\n"


def _profile(desired: model.Desired, shim: Shim) -> str:
    name, link = desired.link.name, desired.link
    # NetworkManager compares the permanent address, the program the current one.
    by_mac = desired.key.count(":") == 5 and desired.parent.permanent_mac in (None, desired.key)
    mtu = link.mtu or desired.parent.mtu
    parent = desired.key.removeprefix("altname:")
    lines = [f"[connection]\nid={profile(name)}\nuuid={uuid.uuid5(_NAMESPACE, f'{name} {parent}')}"]
    lines += [f"type=macvlan\ninterface-name={name}", "\n[ethernet]"]
    lines += [f"mac-address={desired.key.upper()}"] if by_mac else []
    lines += [f"cloned-mac-address={link.mac.upper()}"] if link.mac else []
    # Without one it would take the lease's. A parent that is still to be created has none.
    lines += [f"mtu={mtu}"] if mtu else []
    lines += ["\n[macvlan]", *([] if by_mac else [f"parent={desired.parent.name}"]), "mode=2"]
    return "\n".join([*lines, *_family(shim, 4), *_family(shim, 6)]) + "\n"


def _family(shim: Shim, version: int) -> t.Iterator[str]:
    yield f"\n[ipv{version}]"
    addresses = [one for one in shim.addresses if family(one.address) == version]
    # Neighbours are found by the link-local address.
    yield _LEASE if version == 4 else f"method={'manual' if addresses else 'link-local'}\naddr-gen-mode=0"
    if version == 6 and not addresses:
        return
    yield from (f"address{number}={one}" for number, one in enumerate(addresses, 1))
    for number, route in enumerate((one for one in shim.routes if family(one.destination) == version), 1):
        # With a lease, routes go to its table by default.
        options = [f"src={route.source}"] * bool(route.source) + ["table=254"] * (version == 4)
        yield f"route{number}={route.destination},{_DIRECTLY[version]}"
        yield from [f"route{number}_options={','.join(options)}"] * bool(options)
    yield "never-default=true"
