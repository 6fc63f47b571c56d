# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Links in the words of ifupdown, which has a shell run them, and of ``ip``. Pure."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import boot, commands, shared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.escaping import cannot
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    COMPANION,
    IFUPDOWN,
    INTERFACES_FILE,
    File,
    Kept,
    Parent,
    Piece,
    Rendered,
    Written,
)

_VLAN = re.compile(r" type vlan protocol (\S+) id (\d+)$", re.MULTILINE)
# The kernel takes no longer word in a command (MAX_ARG_STRLEN).
_LONGEST = 128 * 1024
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
    parent = find(kept.parent)
    # A word that the shell is to replace stands among those that it is to take as they are.
    made = " ".join(word if word == parent else shlex.quote(word) for word in commands.add(kept, parent))
    rest = [f"ip {shlex.join(words)}" for words in commands.settings(kept)]
    there = f"test -e /sys/class/net/{kept.name}"
    lines = [f"pre-up ip link set dev {parent} up"] if kept.up else []
    if kept.kind == "vlan":
        # ifupdown has made one with such a name already, and knows nothing else of it.
        lines += [f"pre-up {there} || ip {made}", *(f"pre-up {one} || true" for one in [*_again(kept), *rest])]
    else:
        # All at once, so that what Ansible or an earlier ifup has made is left as it is.
        lines.append(f"pre-up {there} || {{ ip {made} && {{ {'; '.join([*rest, 'true'])}; }}; }}")
    if kept.kind == COMPANION:
        for path, value in boot.settings(kept.name).items():
            # A kernel may have no IPv6.
            lines.append(f"pre-up test ! -e /proc/sys/{path} || echo {value} > /proc/sys/{path}")
    lines.append(f"post-up ip link set dev {kept.name} {'up' if kept.up else 'down'}")
    lines += [f"post-up ip {shlex.join(commands.address(kept, address))}" for address in kept.addresses]
    lines += [f"post-up ip {shlex.join(commands.route(kept, route))}" for route in kept.routes]
    if max(map(len, lines)) >= _LONGEST:
        said = f"{len(kept.source_macs)} addresses"
        raise cannot(kept, "source_macs", said, "ifupdown", "leave backend out")
    stanza = "".join(f"    {line}\n" for line in lines)
    text = f"auto {kept.name}\niface {kept.name} inet manual\n{stanza}"
    return Rendered((Piece(INTERFACES_FILE, text, shared=True),))


def _again(kept: Kept) -> t.Iterator[str]:
    if kept.mac:
        yield f"ip link set dev {kept.name} address {kept.mac}"


def written(file: File) -> t.Iterator[Written]:
    """Yield what a file of ours says of links that ifupdown makes."""
    if file.path == INTERFACES_FILE:
        for name, (kind, text) in shared.parse(file.text)[1].items():
            found = _VLAN.search(text)
            vlan = (found[1], int(found[2])) if found else None
            yield Written(name, kind, IFUPDOWN, shared.parent_of(text) or "", vlan)


def find(parent: Parent) -> str:
    """Return what the shell has to be told to find the parent at boot."""
    command = _FIND.get(parent.by)
    if command is None:
        return shlex.quote(parent.said if parent.by == "altname" else parent.name)
    return f'"$({command.format(parent.said)})"'
