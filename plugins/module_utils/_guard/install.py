# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that installs the program of loader.py, and what starts it: libvirt, udev and systemd."""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import sys
import types
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import (
    checksum_program,
    checksums,
    guard_commands,
    guard_library,
    guard_links,
    guard_recorders,
    guard_table,
    loader,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER

PROGRAM = "/etc/linuxvirt-macvtap/guard"
# What the program imports.
PARTS = {
    f"/etc/linuxvirt-macvtap/{module.__name__.rpartition('.')[2]}.py": module
    for module in (
        checksum_program,
        checksums,
        guard_commands,
        guard_library,
        guard_links,
        guard_recorders,
        guard_table,
    )
}
HOOK = "/etc/libvirt/hooks/qemu.d/macvtap-guard"
RULES = "/etc/udev/rules.d/91-macvtap-guard.rules"
UNIT = "/etc/systemd/system/macvtap-guard.service"
WANTS = "/etc/systemd/system/multi-user.target.wants/macvtap-guard.service"
NFTABLES = "/etc/systemd/system/nftables.service.d/macvtap-guard.conf"
# What udev and systemd have still to read: of a run that was killed, the next one lets them.
UNREAD = "/run/linuxvirt-macvtap/unread"
_REMOVED = (HOOK, RULES, UNIT, NFTABLES, PROGRAM, *PARTS)
# Runs a program, and returns its exit status and output; None if it is not installed.
Run = t.Callable[[t.Sequence[str]], t.Optional[t.Tuple[int, str]]]

# libvirt refuses to start a guest if its hook fails, so it fails only for a guest that must have a guard.
_HOOK = """#!/bin/sh
{header}
# A guest starts only if its guard is on its links. Other guests are not affected.
case "$2 $3" in
"start begin") ;;
*) exit 0 ;;
esac
[ -e {store} ] && [ -x {python} ] || exit 0
exec {python} {program} qemu "$@"
"""
_UNIT = """{header}
[Unit]
Description=Guards of guests on macvtap links
Before=libvirtd.service virtqemud.service libvirt-guests.service
After=nftables.service
ConditionPathExists={store}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={python} {program} load
ExecReload={python} {program} load

[Install]
WantedBy=multi-user.target
"""
# That service removes all tables whenever it starts, stops or is reloaded, and firewalld stops it to take its place.
# This is a part of it, so that no job ends before the guards are back. It runs outside of the service's sandbox (+),
# and whether it fails does not matter to the service (-).
_NFTABLES = """{header}
[Service]
ExecStartPost=-+{python} {program} load
ExecReload=-+{python} {program} load
ExecStopPost=-+{python} {program} load
"""


def texts(macs: t.Iterable[str], python: str) -> dict[str, tuple[str, int]]:
    """Return the files with their texts and modes, for guards of these NICs, in the order in which they are written.

    The program is written after its parts, and so never there without them.
    """
    values = {"header": HEADER, "store": loader.STORE, "program": PROGRAM, "python": shlex.quote(python)}
    # Both characters begin a substitution of udev.
    command = f"{python} {PROGRAM}".replace("%", "%%").replace("$", "$$")
    run = f'RUN+="{command} link $id"'
    # A kernel takes the chain off a link that gets another name.
    renamed = f'ACTION=="move", SUBSYSTEM=="net", TEST=="macvtap", RUN+="{command} link $name"\n'
    rules = renamed + "".join(
        f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{mac}", {run}\n'
        for mac in sorted(macs)
    )
    return {
        **{path: (f"{HEADER}\n{_source(module)}", 0o644) for path, module in {**PARTS, PROGRAM: loader}.items()},
        HOOK: (_HOOK.format(**values), 0o755),
        RULES: (f"{HEADER}\n{rules}", 0o644),
        UNIT: (_UNIT.format(**values), 0o644),
        NFTABLES: (_NFTABLES.format(**values), 0o644),
    }


def _source(module: types.ModuleType) -> str:
    source: t.Any = module.__loader__
    return str(source.get_source(module.__name__))


class Installer:
    """The files that load guards, below ``root``, which is / except in tests."""

    def __init__(self, run: Run | None = None, root: str = "/") -> None:
        self._run, self._root = run, root
        self._changed: set[str] = set()

    def outdated(self, macs: t.Iterable[str]) -> bool:
        """Return whether :meth:`install` would write anything: a file was removed or changed, or is an older one.

        Or what was written was not read yet.
        """
        if _files.read(self._path(UNREAD)) is not None:
            return True
        for path, (text, _mode) in self._texts(macs).items():
            before = _files.read(self._path(path))
            if before is None or (before != text and HEADER in before.splitlines()[:2]):
                return True
        return False

    def _texts(self, macs: t.Iterable[str]) -> dict[str, tuple[str, int]]:
        has_libvirt = os.path.isdir(self._path("/etc/libvirt"))
        found = texts(macs, sys.executable)
        return {path: one for path, one in found.items() if path != HOOK or has_libvirt}

    def install(self, macs: t.Iterable[str]) -> list[str]:
        """Write what is missing or differs, and return warnings of what does not work on this host."""
        warnings, differing = [], {}
        for path, found in self._texts(macs).items():
            before = _files.read(self._path(path))
            if before is not None and HEADER not in before.splitlines()[:2]:
                warnings.append(f"{path} is not managed by this collection, and stays. Move it away")
            elif before != found[0]:
                differing[path] = found
        unread = {*(_files.read(self._path(UNREAD)) or "").split()}
        changed = {*differing} | unread
        if changed != unread:
            _files.write(self._path(UNREAD), "\n".join(sorted(changed)), mode=0o600)
        for path, (text, mode) in differing.items():
            _files.write(self._path(path), text, mode=mode)
        self._changed = changed
        if HOOK in changed:
            warnings.append(
                f"libvirt reads {HOOK} only when its daemon starts. Restart libvirtd or virtqemud once, which does not "
                "affect guests. Until then only udev puts guards on the links of guests that start"
            )
        return warnings

    def start(self) -> None:
        """Let udev and systemd read what :meth:`install` has written, once the guards are stored."""
        changed = self._changed
        if RULES in changed and self._exists("/run/udev/control", stat.S_ISSOCK):
            self._command("udevadm", "control", "--reload")
        if {UNIT, NFTABLES} & changed and self._exists("/run/systemd/system", stat.S_ISDIR):
            _files.write_link(self._path(WANTS), "../macvtap-guard.service")
            self._command("systemctl", "daemon-reload")
            # It loads nothing that is there already.
            self._command("systemctl", "start", "--no-block", "macvtap-guard.service")
        _files.write(self._path(UNREAD), None)

    def installed(self) -> bool:
        """Return whether anything is there that :meth:`remove` would remove."""
        return any(HEADER in (_files.read(self._path(path)) or "").splitlines()[:2] for path in _REMOVED)

    def remove(self) -> None:
        """Remove what :meth:`install` has written: there is no guard any more."""
        for path in (WANTS, UNREAD, *_REMOVED):
            text = _files.read(self._path(path)) or ""
            if path in (WANTS, UNREAD) or HEADER in text.splitlines()[:2]:
                _files.write(self._path(path), None)
        for path in (PROGRAM, NFTABLES):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(self._path(path)))

    def _command(self, *words: str) -> None:
        if self._run is not None:
            self._run(words)

    def _exists(self, path: str, kind: t.Callable[[int], bool]) -> bool:
        with contextlib.suppress(OSError):
            return kind(os.stat(self._path(path)).st_mode)
        return False

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))
