# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links that a program of ours makes at boot, with no network manager: its units, its text and its files. Pure.

There is one file per uplink. It has a block for each link, what is below before what is on it, in the words of ``ip``.
A systemd unit that is bound to the uplink runs the program, and again when the uplink comes back.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import SETTINGS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import ip_commands
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, permissions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import make_links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.make_links import (
    LINKS_DIR,
    PROGRAM,
    UP,
    UPLINK,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    SHIM,
    SYSCTL_FILE,
    UDEV_FILE,
    UNIT_DIR,
    Block,
    Desired,
)

TEMPLATE = f"{UNIT_DIR}/macvtap-links@.service"
UPLINKS_FILE = "/etc/udev/rules.d/90-macvtap-uplinks.rules"
# Of all uplinks, for libvirt to wait for.
UNIT = f"{UNIT_DIR}/macvtap-links.service"
UNIT_LINK = f"{UNIT_DIR}/multi-user.target.wants/macvtap-links.service"

INTERFACES_FILE = "/etc/network/interfaces.d/macvtap"
PATTERNS = (
    f"{LINKS_DIR}/*",
    PROGRAM,
    TEMPLATE,
    f"{UNIT_DIR}/*.wants/macvtap-links@*.service",
    UPLINKS_FILE,
    UNIT,
    UNIT_LINK,
    UDEV_FILE,
    SYSCTL_FILE,
    INTERFACES_FILE,
    # Of earlier versions: a hook of Debian's DHCP client.
    "/etc/dhcp/dhclient-enter-hooks.d/macvtap",
)
VALIDATORS = {
    UDEV_FILE: ("udevadm", "verify", "{}"),
    UPLINKS_FILE: ("udevadm", "verify", "{}"),
    INTERFACES_FILE: ("ifquery", "--list", "--interfaces", "{}"),
}

_MAC_COLONS = 5


@dataclass(frozen=True)
class Entry:
    """A link as a file has it: on ``parent``, a link of the same file, or on the uplink itself (``UPLINK``).

    ``key`` is what the uplink is found by, which the file is named by.
    """

    name: str
    kind: str
    parent: str = ""
    text: str = ""
    key: str = ""

    @property
    def words(self) -> dict[str, str]:
        """What the link is made with, by the word of ``ip`` before it; a person may have edited the file."""
        line = next((line for line in self.text.splitlines() if line.startswith("link add ")), "")
        words = line.split()[2:]
        return dict(zip(words[::2], words[1::2]))

    @property
    def vlan(self) -> tuple[str, int] | None:
        """Protocol and id of a VLAN link."""
        protocol, number = self.words.get("protocol"), self.words.get("id", "")
        return (protocol, int(number)) if protocol and number.isdecimal() else None

    @property
    def passthru(self) -> bool:
        return self.words.get("mode") == "passthru"


def blocks(desired: Desired) -> t.Iterator[Block]:
    """Yield what udev and systemd set of a link, beside the program."""
    name, link = desired.name, desired.link
    tap = (("OWNER", link.tap_owner), ("GROUP", link.tap_group), ("MODE", permissions(link.tap_mode)))
    given = [f'{key}="{value}"' for key, value in tap if value is not None]
    if given:
        rule = f'SUBSYSTEM=="macvtap", KERNELS=="{name}", SUBSYSTEMS=="net", {", ".join(given)}\n'
        yield Block(UDEV_FILE, rule)
    if desired.kind == SHIM:
        # systemd sets it when udev has the link. In udev's rule it would lose to a file that has it for all links.
        yield Block(SYSCTL_FILE, "".join(f"-{path} = {value}\n" for path, value in _settings(name).items()))


def parse(files: t.Iterable[File]) -> tuple[dict[str, Entry], set[str]]:
    """Return the links that the files have, by name, and the keys of the uplinks that the program sets up."""
    entries, up = {}, set()
    for file in files:
        if not file.path.startswith(f"{LINKS_DIR}/"):
            continue
        key = file.path[len(LINKS_DIR) + 1 :]
        head, blocks = _managed_blocks.parse(file.text)
        if UP in head.splitlines():
            up.add(key)
        for name, (kind, text) in blocks.items():
            lower = Entry(name, kind, text=text).words.get("link", UPLINK)
            entries[name] = Entry(name, kind, lower, text, key)
    return entries, up


def render(entries: t.Mapping[str, Entry], up: t.Collection[str] = (), *, units: bool = True) -> t.Iterator[File]:
    """Yield the files that make ``entries``, none if there are none; :meth:`parse` gives the same again.

    :param units: systemd runs the program, and nobody else.
    """
    by_key: dict[str, list[Entry]] = {}
    for one in entries.values():
        by_key.setdefault(one.key, []).append(one)
    for key, some in by_key.items():
        order = sorted(
            some, key=lambda one: (len(_below(one, entries)), _managed_blocks.KINDS.index(one.kind), one.name)
        )
        blocks = {one.name: (one.kind, one.text) for one in order}
        yield File(f"{LINKS_DIR}/{key}", _managed_blocks.render(UP if key in up else "", blocks, list(blocks)))
    if not by_key:
        return
    yield File(PROGRAM, make_links.TEXT)
    if not units:
        return
    yield from (File(TEMPLATE, make_links.UNIT), File(UNIT, make_links.ALL_UNIT))
    for unit in (escape(key) for key in by_key if not is_found(key)):
        wants = f"{UNIT_DIR}/sys-subsystem-net-devices-{unit}.device.wants"
        yield File(f"{wants}/macvtap-links@{unit}.service", target=TEMPLATE)
    rules = "".join(rule for key in sorted(by_key) for rule in _rules(key))
    if rules:
        yield File(UPLINKS_FILE, f"{HEADER}\n{rules}")


def escape(name: str) -> str:
    """Return the name as a part of a unit's name, as ``systemd-escape`` does."""
    return "".join(
        char if re.fullmatch(r"[A-Za-z0-9:_.]", char) else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for char in name
    )


def is_found(key: str) -> bool:
    """Whether the uplink is found by an address or an alternative name, and may have any name then."""
    return ":" in key


def by_uplink(entries: t.Mapping[str, Entry]) -> dict[str, Entry]:
    """Return the entries with the keys of the uplinks that they stand on in the end."""
    bases = {name: _below(one, entries)[-1] for name, one in entries.items()}
    keys = {name: base.key if base.parent == UPLINK else base.parent for name, base in bases.items()}
    return {name: replace(one, key=keys[name]) for name, one in entries.items()}


def _below(one: Entry, entries: t.Mapping[str, Entry]) -> list[Entry]:
    """Return the entry and those that it stands on, down to the uplink."""
    found = [one]
    while found[-1].parent in entries and len(found) <= len(entries):
        found.append(entries[found[-1].parent])
    return found


def _rules(key: str) -> t.Iterator[str]:
    """Yield what starts the unit for an uplink that may have another name each time."""
    start = 'PROGRAM=="/bin/systemd-escape -- $name", ENV{SYSTEMD_WANTS}+="macvtap-links@$result.service"\n'
    matches = 'SUBSYSTEM=="net", ACTION!="remove"'
    if key.startswith("altname:"):
        # Those that udev gives.
        for source in ("ONBOARD", "SLOT", "PATH", "MAC"):
            yield f'{matches}, ENV{{ID_NET_NAME_{source}}}=="{key[len("altname:") :]}", {start}'
    elif key.count(":") == _MAC_COLONS:
        yield f'{matches}, ATTR{{address}}=="{key}", TEST=="device", {start}'
    elif is_found(key):
        yield f'{matches}, KERNELS=="{key}", SUBSYSTEMS=="pci", {start}'


def entry(desired: Desired, parent: str, key: str) -> Entry:
    """Return what makes the link on ``parent``, an entry's name or ``UPLINK``."""
    lines = [ip_commands.create(desired.link, parent, desired.vlan), *ip_commands.settings(desired.link)]
    if desired.kind == SHIM:
        lines += [f"sysctl {path} {value}" for path, value in _settings(desired.name).items()]
    lines += _tap(desired.link)
    if desired.link.state == "up":
        lines.append(f"link set dev {desired.name} up")
    if desired.kind == SHIM and desired.manager is None:
        lines += [f"address replace {one} dev {desired.name}" for one in desired.shim.addresses]
        for route in desired.shim.routes:
            source = f" src {route.source}" if route.source else ""
            lines.append(f"route replace {route.destination} dev {desired.name} proto static{source}")
    text = "".join(f"{line}\n" for line in lines)
    return Entry(desired.name, desired.kind, parent, text, key)


def _settings(name: str) -> dict[str, int]:
    """Return the kernel's settings of a shim by their paths below /proc/sys."""
    return {f"net/{setting.replace('/', f'/conf/{name}/')}": value for setting, value in SETTINGS.items()}


def _tap(link: DesiredLink) -> t.Iterator[str]:
    """Yield the permissions of the tap; udev sets them too, but from systemd 258 on no owner who is no system user."""
    owner = f"{link.tap_owner or ''}{'' if link.tap_group is None else f':{link.tap_group}'}"
    if (owner or link.tap_mode is not None) and " " not in owner:
        yield f"tap {owner or '-'} {permissions(link.tap_mode) or '-'}"
