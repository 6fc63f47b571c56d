# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files from which the program creates links at boot, and the files that start it. Pure.

There is one file for each uplink. It has a block of ``ip`` commands for each link, parents before the links on them.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import SETTINGS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import ip_commands
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import permissions
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import make_links, model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import UP, UPLINK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import LINKS_DIR, SHIM, Desired

_STARTERS = (
    File(model.TEMPLATE, make_links.TEMPLATE),
    File(model.UNIT, make_links.UNIT),
    File(model.UPLINKS_FILE, make_links.RULES),
)


@dataclass(frozen=True)
class StoredLink:
    """A link as a file has it: on ``parent``, a link of the same file, or on the uplink itself (``UPLINK``).

    ``key`` identifies the uplink, and is the name of the file. Of a link that only files of earlier versions have,
    nothing is known but the name, and perhaps the kind.
    """

    name: str
    kind: str
    text: str = ""
    key: str = ""

    @property
    def words(self) -> dict[str, str]:
        """The words of ``ip link add`` with the word after each. A user may have edited the file."""
        line = next((line for line in self.text.splitlines() if line.startswith("link add ")), "")
        words = line.split()[2:]
        return dict(zip(words[::2], words[1::2]))

    @property
    def parent(self) -> str:
        return self.words.get("link", UPLINK)

    @property
    def altnames(self) -> list[str]:
        adding = f"link property add dev {self.name} altname "
        start = len(adding)
        lines = (line[start:].split() for line in self.text.splitlines() if line.startswith(adding))
        # The word altname is before each of them.
        return [name for words in lines for name in words[::2]]


def parse(files: t.Iterable[File]) -> tuple[dict[str, StoredLink], set[str]]:
    """Return the links that the files have, by name, and the keys of the uplinks that the program sets up."""
    links: dict[str, StoredLink] = {}
    up: set[str] = set()
    for file in files:
        before, directory, key = file.path.partition(f"{LINKS_DIR}/")
        if directory and not before:
            head, blocks = _managed_blocks.parse(file.text)
            up |= {key} if UP in head.splitlines() else set()
            links.update((name, StoredLink(name, kind, text, key)) for name, (kind, text) in blocks.items())
    return links, up


def render(links: t.Mapping[str, StoredLink], up: t.Collection[str], *, systemd: bool) -> t.Iterator[File]:
    """Yield the files for ``links`` of :func:`by_uplink`, none without links; :func:`parse` is the inverse.

    ``up`` are the keys of the uplinks that the program sets up. ``systemd`` is whether systemd runs the program.
    """
    for key in sorted({one.key for one in links.values()}):
        blocks = {one.name: (one.kind, one.text) for one in links.values() if one.key == key}
        yield File(f"{LINKS_DIR}/{key}", _managed_blocks.render(UP if key in up else "", blocks, list(blocks)))
    if links:
        yield File(model.PROGRAM, make_links.PROGRAM)
        yield from _STARTERS if systemd else ()


def by_uplink(links: t.Mapping[str, StoredLink]) -> dict[str, StoredLink]:
    """Return the links with the keys of their uplinks, in the order of creation."""
    chains = {name: _below(one, links) for name, one in links.items()}
    order = sorted(links, key=lambda name: (len(chains[name]), _managed_blocks.KINDS.index(links[name].kind), name))
    # A link goes where the VLAN below it goes.
    lowest = {name: chains[name][-1] for name in order}
    keys = {name: one.key if one.parent == UPLINK else one.parent for name, one in lowest.items()}
    return {name: replace(links[name], key=keys[name]) for name in order}


def stored_link(desired: Desired, parent: str) -> StoredLink:
    """Return what creates the link on ``parent``, another stored link or ``UPLINK``."""
    link, shim = desired.link, desired.shim
    lines = [ip_commands.create(link, parent, desired.vlan), *ip_commands.settings(link)]
    lines += [f"sysctl {path} {value}" for path, value in settings(link.name).items() if link.kind == SHIM]
    owner = f"{link.tap_owner or ''}{'' if link.tap_group is None else f':{link.tap_group}'}"
    if owner or link.tap_mode is not None:
        lines.append(f"tap {owner or '-'} {permissions(link.tap_mode) or '-'}")
    lines += [f"link set dev {link.name} up"] if link.state == "up" else []
    if shim is not None and desired.manager is None:
        lines += [f"address replace {one} dev {link.name}" for one in shim.addresses]
        for route in shim.routes:
            source = f" src {route.source}" if route.source else ""
            lines.append(f"route add {route.destination} dev {link.name} proto static{source}")
    return StoredLink(link.name, link.kind, "".join(f"{line}\n" for line in lines), desired.key)


def settings(name: str) -> dict[str, int]:
    """Return the kernel's settings of a shim by their paths below /proc/sys."""
    return {f"net/{setting.replace('/', f'/conf/{name}/')}": value for setting, value in SETTINGS.items()}


def _below(one: StoredLink, links: t.Mapping[str, StoredLink]) -> list[StoredLink]:
    """Return the link and those that it is on, down to the uplink."""
    found = [one]
    while found[-1].parent in links and len(found) <= len(links):
        found.append(links[found[-1].parent])
    return found
