# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter: managed files, what the network managers have in /run, and which of them start at boot.

All paths are below ``root``, which is / except in tests.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _file_store, _files, _systemd, _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._file_store import under
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import copies, make_links, model
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import NETWORKD, NETWORKMANAGER, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# Including the distribution's units, and those of generators (netplan's).
_UNIT_DIRS = (
    *(model.UNIT_DIR, "/run/systemd/system", "/run/systemd/generator*"),
    *("/usr/lib/systemd/system", "/lib/systemd/system"),
)
_UNITS = {NETWORKD: "systemd-networkd.service", NETWORKMANAGER: "NetworkManager.service"}
_NETWORKING = "networking.service"
# Where the managers have what they manage, by index.
_STATES = {NETWORKD: "/run/systemd/netif/links", NETWORKMANAGER: "/run/NetworkManager/devices"}
# Where udev has the properties of links.
_UDEV_DATA = "/run/udev/data"
_EXTENDED = re.compile(r".*/05-macvtap-([^/]+)\.network\.d/(?!50-macvtap\.conf$)[^/]+\.conf")


def observe(links: Links, root: str = "/") -> Host:
    """Return what there is on this host, with its ``links``.

    :raises MacvtapError: a file that cannot be read.
    """
    systemd = os.path.isdir(under(root, "/run/systemd/system"))
    masked = {name for name, unit in _UNITS.items() if systemd and _is_masked(root, unit)}
    states = {name: {} if name in masked else dict(_states(root, name)) for name in _UNITS}
    by_networkd = {
        index: None if state.get("ADMIN_STATE", "unmanaged") == "unmanaged" else state.get("NETWORK_FILE", "")
        for index, state in states[NETWORKD].items()
    }
    by_networkmanager = {
        index: state.get("connection-uuid", "")
        for index, state in states[NETWORKMANAGER].items()
        if state.get("managed") == "true"
    }
    named, sourced = _interfaces(root, systemd=systemd)
    enabled = tuple(name for name, unit in _UNITS.items() if name not in masked and _is_enabled(root, unit))
    drop_ins = glob.glob(under(root, f"{model.NETWORKD_DIR}/*.network.d/*"))
    # Of a manager that starts at boot and does not run now, nothing is known.
    known = all(os.path.isdir(under(root, _STATES[name])) for name in enabled)
    managed = {index for index, file in by_networkd.items() if file is not None and "-macvtap-" not in file}
    managed |= by_networkmanager.keys()
    free = frozenset(
        link.name
        for link in links.values()
        if not link.kind and link.netns is None and not {link.name, *link.altnames} & named
        if link.index not in managed
    )
    files = copies.ordered(ours(root), links)
    copied = copies.of(files, links)
    return Host(
        links=links,
        files={path: file for path, file in files.items() if path not in copied},
        copies=copied,
        networkd=by_networkd,
        networkmanager=by_networkmanager,
        udev_names=dict(_udev_names(links, root)),
        enabled=enabled,
        extended=frozenset(found[1] for found in map(_EXTENDED.fullmatch, drop_ins) if found),
        unmanaged=free if known else frozenset(),
        unclear=frozenset() if known else free,
        ifupdown2=os.path.isdir(under(root, "/usr/share/ifupdown2")),
        interfaces_sourced=sourced,
        systemd=systemd,
        systemd_version=_systemd.version(root) if systemd else None,
    )


def apply(steps: t.Sequence[Step[File]], journal: Journal[File] | None = None, root: str = "/") -> None:
    """Write, link and remove the files: see :func:`_file_store.apply`."""
    if steps:
        directories = {os.path.dirname(under(root, pattern)) for pattern in model.PATTERNS}
        _files.clear(found for pattern in directories for found in glob.glob(pattern))
    _file_store.apply(steps, journal, root)


def ours(root: str) -> dict[str, File]:
    found = {}
    for pattern in model.PATTERNS:
        for path in sorted(glob.glob(under(root, pattern))):
            shown = "/" + os.path.relpath(path, root)
            file = _file_store.read(path, shown)
            # An editor may have removed its own meanwhile.
            if file is not None:
                found[shown] = file
    return found


def _read(root: str, path: str) -> str:
    try:
        return _files.read(under(root, path)) or ""
    except MacvtapError:
        # What a manager has of a link that goes while this runs, or a source of interfaces(5) that is a directory.
        return ""


def _states(root: str, manager: str) -> t.Iterator[tuple[int, dict[str, str]]]:
    for path in glob.glob(under(root, f"{_STATES[manager]}/*")):
        name = os.path.basename(path)
        index = _text.number(name)
        if index is not None:
            lines = (line.partition("=") for line in _read(root, f"{_STATES[manager]}/{name}").splitlines())
            yield index, {key.strip(): value.strip() for key, mark, value in lines if mark}


def _udev_names(links: Links, root: str) -> t.Iterator[tuple[int, frozenset[str]]]:
    """Yield the names that udev has made for the links with alternative names, by their indexes."""
    for link in links.values():
        lines = _read(root, f"{_UDEV_DATA}/n{link.index}").splitlines() if link.altnames and not link.netns else []
        if lines:
            values = (line.removeprefix("E:").partition("=") for line in lines)
            yield link.index, frozenset(value for name, _mark, value in values if name in make_links.UDEV_NAMES)


def _interfaces(root: str, *, systemd: bool) -> tuple[set[str], bool]:
    """Return the names that others' interfaces(5) have brought up, and whether those read our file (or would)."""
    names: set[str] = set()
    # The file outlives the program and its unit. Without systemd it is not known what starts.
    here = any(os.path.lexists(under(root, path)) for path in ("/sbin/ifup", "/usr/sbin/ifup"))
    starts = not systemd or (_is_enabled(root, _NETWORKING) and not _is_masked(root, _NETWORKING))
    sourced = False
    waiting = ["/etc/network/interfaces"]
    for path in waiting:
        for line in _read(root, path).splitlines():
            word, *rest = line.split() or [""]
            # udev brings up those of allow-hotplug, whether or not the unit starts.
            if here and (word == "allow-hotplug" or (starts and re.match("(auto|iface)$|allow-", word))):
                names.update(rest[:1] if word == "iface" else rest)
            for pattern in rest if word in ("source", "source-directory") else ():
                full = os.path.join(os.path.dirname(path), pattern) + ("/*" if word == "source-directory" else "")
                sourced = sourced or _matches(full, model.INTERFACES_FILE)
                # A file that was not written to the end has NUL bytes, and no file has them in its name.
                there = [] if "\0" in full else sorted(glob.glob(under(root, full)))
                read = ("/" + os.path.relpath(found, root) for found in there)
                waiting += [one for one in read if one not in (*waiting, model.INTERFACES_FILE)]
    return names, sourced


def _matches(pattern: str, path: str) -> bool:
    """Whether the shell's pattern is one of this path: no wildcard stands for a slash."""
    names, patterns = path.split("/"), os.path.normpath(pattern).split("/")
    return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))


def _is_masked(root: str, unit: str) -> bool:
    return _files.target(under(root, f"{model.UNIT_DIR}/{unit}")) == "/dev/null"


def _is_enabled(root: str, unit: str) -> bool:
    return any(glob.glob(under(root, f"{above}/*.wants/{unit}")) for above in _UNIT_DIRS)
