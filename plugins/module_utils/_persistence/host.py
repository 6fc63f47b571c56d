# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter: the host's links, the files that are ours, and what the network managers say. Writes the files.

All paths are below ``root``, which is / but in tests.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import os
import re
import shutil
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    DROP_IN,
    INTERFACES,
    INTERFACES_FILE,
    LINKS_DIR,
    NETWORKD,
    NETWORKD_DIR,
    NETWORKMANAGER,
    NETWORKMANAGER_DIR,
    OLD_HOOK,
    PROGRAM,
    SYSCTL_FILE,
    TEMPLATE,
    UDEV_FILE,
    UNIT,
    UNIT_DIR,
    UNIT_LINK,
    UNMANAGED_FILE,
    UPLINKS_FILE,
    File,
    Host,
    NetworkdLink,
    content,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# What a file of ours may be called.
_OURS = (
    f"{NETWORKD_DIR}/*-macvtap-*.netdev",
    f"{NETWORKD_DIR}/*-macvtap-*.network",
    f"{NETWORKD_DIR}/*.network.d/{DROP_IN}",
    f"{NETWORKMANAGER_DIR}/macvtap-*.nmconnection",
    INTERFACES_FILE,
    UDEV_FILE,
    SYSCTL_FILE,
    f"{LINKS_DIR}/*",
    PROGRAM,
    TEMPLATE,
    f"{UNIT_DIR}/*.wants/macvtap-links@*.service",
    UPLINKS_FILE,
    UNMANAGED_FILE,
    UNIT,
    UNIT_LINK,
    OLD_HOOK,
)
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
# Where networkd and NetworkManager tell of links, by index.
_STATES = {NETWORKD: "/run/systemd/netif/links", NETWORKMANAGER: "/run/NetworkManager/devices"}
_PROGRAMS = "/sbin:/usr/sbin:/bin:/usr/bin"


def observe(links: Links, addresses: t.Mapping[int, t.Sequence[str]], root: str = "/") -> Host:
    """Return what there is on this host, with its ``links`` and their ``addresses``.

    :raises MacvtapError: a file that cannot be read.
    """
    systemd = os.path.isdir(_under(root, "/run/systemd/system"))
    masked = {name for name, unit in _UNITS.items() if systemd and _is_masked(root, unit)}
    by_networkd = {} if NETWORKD in masked else _networkd(root)
    by_networkmanager = {} if NETWORKMANAGER in masked else dict(_networkmanager(root))
    named, sourced = _interfaces(root, systemd=systemd)
    enabled = tuple(name for name, unit in _UNITS.items() if name not in masked and _is_enabled(root, unit))
    # Of one that starts at boot and does not run now, nothing is known.
    known = all(os.path.isdir(_under(root, _STATES[name])) for name in enabled)
    managed = {index for index, state in by_networkd.items() if state.managed and not _is_ours(state.file)}
    return Host(
        links=links,
        addresses=addresses,
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
        ifupdown2=os.path.isdir(_under(root, "/usr/share/ifupdown2")),
        interfaces_sourced=sourced,
        systemd=systemd,
        ip=ip_program(),
    )


def ip_program() -> str:
    """Return the path of ``ip``, for udev, which knows no PATH."""
    return shutil.which("ip", path=_PROGRAMS) or "/sbin/ip"


def apply(steps: t.Sequence[Step[File]], journal: Journal[File] | None = None, root: str = "/") -> None:
    """Write, link and remove the files, each at once and wholly.

    :raises MacvtapError: one that cannot be, or that somebody else has changed since; others may have been.
    """
    if steps:
        _clear(root)
    for step in steps:
        path = _under(root, step.target)
        if content(_file(path, step.target) if os.path.lexists(path) else None) != content(step.before):
            raise MacvtapError(
                f"{step.target} was changed by something else while this ran. Nothing is done to it; run it again"
            )
        if journal is not None:
            journal.record(step)
        if step.after is None:
            _files.write(path, None)
            _remove_empty(root, os.path.dirname(step.target))
        elif step.after.target is not None:
            _files.write_link(path, step.after.target)
        else:
            _write(path, step.after)


def revert(steps: t.Sequence[Step[File]], root: str = "/") -> None:
    """As :func:`apply`, for the way back: goes on where one file cannot be put back.

    :raises MacvtapError: all that could not be.
    """
    failed = []
    for step in steps:
        try:
            apply([step], root=root)
        except MacvtapError as exc:
            failed.append(str(exc))
    if failed:
        raise MacvtapError(". ".join(failed))


def _remove_empty(root: str, directory: str) -> None:
    """Remove the directories of ours that have nothing in them any more."""
    if directory.endswith((".network.d", ".device.wants")) or directory.startswith(os.path.dirname(LINKS_DIR)):
        # Empty or not, says the kernel.
        with contextlib.suppress(OSError):
            os.rmdir(_under(root, directory))
            _remove_empty(root, os.path.dirname(directory))


def _clear(root: str) -> None:
    """Remove what runs that were killed had not put in place yet; the lock keeps any other from being at it."""
    for directory in {os.path.dirname(pattern) for pattern in _OURS}:
        for path in glob.glob(_under(root, f"{directory}/.macvtap-????????")):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    os.unlink(path)


def _under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))


def _write(path: str, file: File) -> None:
    if os.path.exists(path) and stat.S_IMODE(os.lstat(path).st_mode) != file.mode:
        # The content of before under the mode of after, if it ends here.
        _change_mode(path, file.mode)
    _files.write(path, file.text, mode=file.mode)


def _change_mode(path: str, mode: int) -> None:
    try:
        os.chmod(path, mode)
    except OSError as exc:
        raise MacvtapError(f"the mode of {path} cannot be changed: {exc.strerror or exc}") from exc


def _ours(root: str) -> dict[str, File]:
    found = {}
    for pattern in _OURS:
        for path in glob.glob(_under(root, pattern)):
            shown = "/" + os.path.relpath(path, root)
            found[shown] = _file(path, shown)
    return found


def _file(path: str, shown: str) -> File:
    if os.path.islink(path):
        return File(shown, target=os.readlink(path))
    if not os.path.isfile(path):
        raise MacvtapError(f"{shown} is no file; move it away")
    return File(shown, _files.read(path) or "", stat.S_IMODE(os.stat(path).st_mode))


def _text(root: str, path: str) -> str:
    try:
        return _files.read(_under(root, path)) or ""
    except MacvtapError:
        # What a manager says of a link that goes while this runs, or a source of interfaces(5) that is a directory.
        return ""


def _pairs(text: str) -> dict[str, str]:
    return {
        key.strip(): value.strip() for key, mark, value in (line.partition("=") for line in text.splitlines()) if mark
    }


def _states(root: str, manager: str) -> t.Iterator[tuple[int, dict[str, str]]]:
    for path in glob.glob(_under(root, f"{_STATES[manager]}/*")):
        name = os.path.basename(path)
        if name.isdigit():
            yield int(name), _pairs(_text(root, f"{_STATES[manager]}/{name}"))


def _networkd(root: str) -> dict[int, NetworkdLink]:
    found = {}
    for index, state in _states(root, NETWORKD):
        managed = state.get("ADMIN_STATE", "unmanaged") != "unmanaged"
        found[index] = NetworkdLink(managed, state.get("NETWORK_FILE") or None)
    return found


def _is_ours(file: str | None) -> bool:
    return file is not None and "-macvtap-" in os.path.basename(file)


def _extended(root: str) -> t.Iterator[str]:
    """Yield the links whose networkd file of ours has a drop-in that is not ours."""
    for path in glob.glob(_under(root, f"{NETWORKD_DIR}/05-macvtap-*.network.d/*.conf")):
        found = _EXTENDED.fullmatch(os.path.basename(os.path.dirname(path)))
        if found and os.path.basename(path) != DROP_IN:
            yield found[1]


def _networkmanager(root: str) -> t.Iterator[tuple[int, str]]:
    for index, state in _states(root, NETWORKMANAGER):
        if state.get("managed") == "true":
            yield index, state.get("connection-uuid", "")


def _interfaces(root: str, *, systemd: bool) -> tuple[set[str], bool]:
    """Return the names that others' interfaces(5) have brought up, and whether those read our file (or would)."""
    names: set[str] = set()
    # The file outlives the program and its unit. Without systemd it is not known what starts.
    here = any(os.path.lexists(_under(root, path)) for path in ("/sbin/ifup", "/usr/sbin/ifup"))
    starts = not systemd or (_is_enabled(root, _NETWORKING) and not _is_masked(root, _NETWORKING))
    sourced = False
    waiting = [INTERFACES]
    for path in waiting:
        for line in _text(root, path).splitlines():
            word, *rest = line.split() or [""]
            # Those of allow-hotplug udev brings up, whether or not the unit starts.
            at_boot = starts and (word in ("auto", "iface") or word.startswith("allow-"))
            if here and (at_boot or word == "allow-hotplug"):
                names.update(rest[:1] if word == "iface" else rest)
            for pattern in rest if word in ("source", "source-directory") else ():
                full = os.path.join(os.path.dirname(path), pattern) + ("/*" if word == "source-directory" else "")
                sourced = sourced or fnmatch.fnmatchcase(INTERFACES_FILE, full)
                read = ("/" + os.path.relpath(found, root) for found in sorted(glob.glob(_under(root, full))))
                waiting += [one for one in read if one not in (*waiting, INTERFACES_FILE)]
    return names, sourced


def _is_masked(root: str, unit: str) -> bool:
    path = _under(root, f"{UNIT_DIR}/{unit}")
    return os.path.islink(path) and os.readlink(path) == "/dev/null"


def _is_enabled(root: str, unit: str) -> bool:
    return any(glob.glob(_under(root, f"{above}/*.wants/{unit}")) for above in _UNITS_ABOVE)
