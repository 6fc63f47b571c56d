# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in the words of ifupdown, which has a shell run them, and of ``ip``. Pure."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import commands, dhclient, sysctls
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    INTERFACES_FILE,
    Kept,
    Parent,
    Piece,
    Rendered,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.words import cannot

_SETTINGS = ("addrgenmode", "alias", "allmulticast", "altnames", "source_macs")
# Which of the physical links has the address, or is the device's: {0} is what it is found by.
_FIND = {
    "mac": "for d in /sys/class/net/*/device; do n=${{d%/device}}; grep -qix {0} $n/address && echo ${{n##*/}}; done",
    "pci": "for d in /sys/bus/pci/devices/{0}/net/* /sys/bus/pci/devices/{0}/*/net/*; do "
    "test -e $d && echo ${{d##*/}}; done",
}


def render(kept: Kept) -> Rendered:
    """Return the link's stanza. It never removes a link: who restarts networking is not to cut off guests.

    :raises MacvtapError: ifupdown would make something else by itself, or not find the parent.
    """
    makes_vlan = re.search(r"\.\d+$", kept.name)
    if makes_vlan and (kept.kind != "vlan" or kept.protocol == "802.1ad"):
        said = f"the name {kept.name}, from which it makes a VLAN link of protocol 802.1Q by itself,"
        raise cannot(kept, "name", said, "ifupdown", "choose one that does not end in a dot and a number")
    if kept.parent.by == "mac" and kept.parent.kind:
        said = f"the parent {kept.parent.said}, which is no physical link,"
        raise cannot(kept, "parent", said, "ifupdown", f"say its name, {kept.parent.name}")
    parent = find(kept.parent)
    # A word that the shell is to replace stands among those that it is to take as they are.
    made = " ".join(word if word == parent else shlex.quote(word) for word in commands.add(kept, parent))
    rest = [f"ip {shlex.join(words)}" for words in commands.settings(kept, _SETTINGS)]
    there = f"test -e /sys/class/net/{kept.name}"
    lines = [f"pre-up ip link set dev {parent} up"] if kept.up else []
    if kept.kind == "vlan":
        lines += [f"pre-up {there} || ip {made}", *(f"pre-up {one}" for one in [*_again(kept), *rest])]
    else:
        # All at once, so that what Ansible or an earlier ifup has made is left as it is.
        lines.append(f"pre-up {there} || {{ {' && '.join([f'ip {made}', *rest])}; }}")
    if kept.kind == COMPANION:
        lines += [f"pre-up {one}" for one in _settings(kept)]
    lines.append(f"post-up ip link set dev {kept.name} {'up' if kept.up else 'down'}")
    if kept.kind == COMPANION:
        lines += [f"post-up {one}" for one in _stack(kept)]
    if kept.dhcp4:
        lines += [f"post-up {dhclient.start(kept)}", f"pre-down {dhclient.stop(kept)}"]
    stanza = "".join(f"    {line}\n" for line in lines)
    pieces = [Piece(INTERFACES_FILE, f"auto {kept.name}\niface {kept.name} inet manual\n{stanza}", shared=True)]
    if kept.dhcp4:
        pieces.append(dhclient.hook(kept))
    return Rendered(tuple(pieces))


def _settings(kept: Kept) -> t.Iterator[str]:
    """Yield what sets them before the link is up, and where nothing else does, without systemd."""
    for path, value in sysctls.values(kept.name).items():
        # A kernel may have no IPv6.
        yield f"test ! -e /proc/sys/{path} || echo {value} > /proc/sys/{path}"


def _stack(kept: Kept) -> t.Iterator[str]:
    """Yield what gives a companion its addresses and its routes."""
    yield from (f"ip {shlex.join(commands.address(kept, address))}" for address in kept.addresses)
    yield from (f"ip {shlex.join(commands.route(kept, route))}" for route in kept.routes)


def _again(kept: Kept) -> t.Iterator[str]:
    """Yield what a VLAN link needs that ifupdown has made already, by its name, knowing nothing else of it."""
    given = [word for key, value in (("address", kept.mac), ("mtu", kept.mtu)) if value for word in (key, str(value))]
    if given:
        yield f"ip link set dev {kept.name} {' '.join(given)}"


def find(parent: Parent) -> str:
    """Return what the shell has to be told to find the parent at boot."""
    command = _FIND.get(parent.by)
    if command is None:
        return shlex.quote(parent.said if parent.by == "altname" else parent.name)
    return f'"$({command.format(parent.said)})"'
