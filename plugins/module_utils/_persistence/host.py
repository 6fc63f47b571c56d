# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter: the files that are ours, what the network managers have left in /run, and the tools that check files.

All paths are below ``root``, which is / but in tests.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import tempfile
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _file_store, _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._file_store import under
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import (
    networkd,
    networkmanager,
    systemd_unit,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    NETWORKD,
    NETWORKMANAGER,
    UNIT_DIR,
    Host,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# Runs a program with a text as its input; None if it is not installed.
Run = t.Callable[[t.Sequence[str], t.Optional[str]], t.Optional[t.Tuple[int, str]]]

# What a file of ours may be called.
_OURS = (*systemd_unit.PATTERNS, *networkd.PATTERNS, *networkmanager.PATTERNS)
# What reads a file first, by how its path ends; {} is where the text lies, which is its input if it has none.
_VALIDATORS = {**systemd_unit.VALIDATORS, **networkmanager.VALIDATORS}
# What a version answers that cannot do it yet: udevadm before 254, nmcli before 1.40.
_TOO_OLD = ("Unknown command verb", "Unknown operation", "unrecognized option", "unknown option", "is unknown")
# The distribution's and those of generators (netplan's) among them.
_UNITS_ABOVE = (
    UNIT_DIR,
    "/run/systemd/system",
    "/run/systemd/generator*",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
_NETWORKING = "networking.service"
_UNITS = {NETWORKD: "systemd-networkd.service", NETWORKMANAGER: "NetworkManager.service"}
_EXTENDED = re.compile(r"05-macvtap-(.+)\.network\.d")
# Where networkd and NetworkManager have what they manage, by index.
_STATES = {NETWORKD: "/run/systemd/netif/links", NETWORKMANAGER: "/run/NetworkManager/devices"}


def observe(links: Links, root: str = "/") -> Host:
    """Return what there is on this host, with its ``links``.

    :raises MacvtapError: a file that cannot be read.
    """
    systemd = os.path.isdir(under(root, "/run/systemd/system"))
    masked = {name for name, unit in _UNITS.items() if systemd and _is_masked(root, unit)}
    by_networkd = {
        index: None if state.get("ADMIN_STATE", "unmanaged") == "unmanaged" else state.get("NETWORK_FILE", "")
        for index, state in (() if NETWORKD in masked else _states(root, NETWORKD))
    }
    by_networkmanager = {
        index: state.get("connection-uuid", "")
        for index, state in (() if NETWORKMANAGER in masked else _states(root, NETWORKMANAGER))
        if state.get("managed") == "true"
    }
    named, sourced = _interfaces(root, systemd=systemd)
    enabled = tuple(name for name, unit in _UNITS.items() if name not in masked and _is_enabled(root, unit))
    # Of one that starts at boot and does not run now, nothing is known.
    known = all(os.path.isdir(under(root, _STATES[name])) for name in enabled)
    managed = {index for index, file in by_networkd.items() if file is not None and "-macvtap-" not in file}
    return Host(
        links=links,
        files=_ours(root),
        networkd=by_networkd,
        networkmanager=by_networkmanager,
        enabled=enabled,
        extended=frozenset(_extended(root)),
        unmanaged=frozenset(
            link.name
            for link in links.values()
            if known and not link.kind and link.netns is None and not {link.name, *link.altnames} & named
            if link.index not in managed | by_networkmanager.keys()
        ),
        ifupdown2=os.path.isdir(under(root, "/usr/share/ifupdown2")),
        interfaces_sourced=sourced,
        systemd=systemd,
    )


def apply(steps: t.Sequence[Step[File]], journal: Journal[File] | None = None, root: str = "/") -> None:
    """Write, link and remove the files: see :func:`_file_store.apply`."""
    if steps:
        directories = {os.path.dirname(under(root, pattern)) for pattern in _OURS}
        _file_store.clear(found for pattern in directories for found in glob.glob(pattern))
    _file_store.apply(steps, journal, root)


def check(steps: t.Sequence[Step[File]], run: Run, directory: str | None = None) -> list[str]:
    """Have the tools that will read what ``steps`` write read it first, and return what they warn of.

    :raises MacvtapError: a tool does not take it, with its message.
    """
    coming = (step.after for step in steps if step.after is not None and step.after.target is None)
    return [warning for file in coming for warning in _check(file, run, directory)]


def _check(file: File, run: Run, directory: str | None) -> t.Iterator[str]:
    command = next((command for end, command in _VALIDATORS.items() if file.path.endswith(end)), None)
    if command is None:
        return
    # By its name systemd-analyze and udevadm know what it is.
    with tempfile.TemporaryDirectory(dir=directory) as passing:
        path = os.path.join(passing, os.path.basename(file.path))
        _files.write(path, file.text)
        answer = run([word.format(path) for word in command], None if "{}" in command else file.text)
    if answer is None:
        return
    code, message = answer
    if code == 0 and command[0] == "udevadm" and "deprecat" in message:
        # From systemd 258 on, of an owner who is no system user: the unit sets that too.
        notes = (line.replace(path, file.path).strip() for line in message.splitlines() if "deprecat" in line)
        yield f"{command[0]} takes {file.path}, and warns: {'; '.join(notes)}"
    if code != 0 and not any(words in message for words in _TOO_OLD):
        raise MacvtapError(f"{command[0]} does not take what was to be written to {file.path}: {message.strip()}")


def _ours(root: str) -> dict[str, File]:
    found = {}
    for pattern in _OURS:
        for path in glob.glob(under(root, pattern)):
            shown = "/" + os.path.relpath(path, root)
            found[shown] = _file_store.read(path, shown)
    return found


def _text(root: str, path: str) -> str:
    try:
        return _files.read(under(root, path)) or ""
    except MacvtapError:
        # What a manager has of a link that goes while this runs, or a source of interfaces(5) that is a directory.
        return ""


def _states(root: str, manager: str) -> t.Iterator[tuple[int, dict[str, str]]]:
    for path in glob.glob(under(root, f"{_STATES[manager]}/*")):
        name = os.path.basename(path)
        if name.isdigit():
            lines = (line.partition("=") for line in _text(root, f"{_STATES[manager]}/{name}").splitlines())
            yield int(name), {key.strip(): value.strip() for key, mark, value in lines if mark}


def _extended(root: str) -> t.Iterator[str]:
    """Yield the links whose networkd file of ours has a drop-in that is not ours."""
    for path in glob.glob(under(root, f"{networkd.DIRECTORY}/05-macvtap-*.network.d/*.conf")):
        found = _EXTENDED.fullmatch(os.path.basename(os.path.dirname(path)))
        if found and os.path.basename(path) != networkd.DROP_IN:
            yield found[1]


def _interfaces(root: str, *, systemd: bool) -> tuple[set[str], bool]:
    """Return the names that others' interfaces(5) have brought up, and whether those read our file (or would)."""
    names: set[str] = set()
    # The file outlives the program and its unit. Without systemd it is not known what starts.
    here = any(os.path.lexists(under(root, path)) for path in ("/sbin/ifup", "/usr/sbin/ifup"))
    starts = not systemd or (_is_enabled(root, _NETWORKING) and not _is_masked(root, _NETWORKING))
    sourced = False
    waiting = ["/etc/network/interfaces"]
    for path in waiting:
        for line in _text(root, path).splitlines():
            word, *rest = line.split() or [""]
            # Those of allow-hotplug udev brings up, whether or not the unit starts.
            at_boot = starts and (word in ("auto", "iface") or word.startswith("allow-"))
            if here and (at_boot or word == "allow-hotplug"):
                names.update(rest[:1] if word == "iface" else rest)
            for pattern in rest if word in ("source", "source-directory") else ():
                full = os.path.join(os.path.dirname(path), pattern) + ("/*" if word == "source-directory" else "")
                sourced = sourced or fnmatch.fnmatchcase(systemd_unit.INTERFACES_FILE, full)
                read = ("/" + os.path.relpath(found, root) for found in sorted(glob.glob(under(root, full))))
                waiting += [one for one in read if one not in (*waiting, systemd_unit.INTERFACES_FILE)]
    return names, sourced


def _is_masked(root: str, unit: str) -> bool:
    path = under(root, f"{UNIT_DIR}/{unit}")
    return os.path.islink(path) and os.readlink(path) == "/dev/null"


def _is_enabled(root: str, unit: str) -> bool:
    return any(glob.glob(under(root, f"{above}/*.wants/{unit}")) for above in _UNITS_ABOVE)
