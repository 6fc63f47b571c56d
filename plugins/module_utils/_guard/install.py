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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
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
# What starts the program, but for the hook.
START = "/etc/linuxvirt-macvtap/guard-start"
HOOK = "/etc/libvirt/hooks/qemu.d/macvtap-guard"
RULES = "/etc/udev/rules.d/91-macvtap-guard.rules"
UNIT = "/etc/systemd/system/macvtap-guard.service"
WANTS = "/etc/systemd/system/multi-user.target.wants/macvtap-guard.service"
NFTABLES = "/etc/systemd/system/nftables.service.d/macvtap-guard.conf"
# What udev and systemd have still to read: of a run that was killed, the next one lets them.
UNREAD = "/run/linuxvirt-macvtap/unread"
_REMOVED = (HOOK, RULES, UNIT, NFTABLES, START, PROGRAM, *PARTS)
# The distribution's Python, by the name that it keeps over an upgrade.
_PYTHON = "/usr/bin/python3"
# Runs a program, and returns its exit status and output; None if it is not installed.
Run = t.Callable[[t.Sequence[str]], t.Optional[t.Tuple[int, str]]]

# libvirt refuses to start a guest if its hook fails, so it fails only for a guest that must have a guard.
_HOOK = r"""#!/bin/sh
{header}
# A guest starts only if its guard is on its links. Other guests are not affected.
case "$2 $3" in
"start begin") ;;
*) exit 0 ;;
esac
[ -e {store} ] || exit 0
if [ -e {program} ]; then
    for python in {pythons}; do
        [ -x "$python" ] && exec "$python" {program} qemu "$@"
    done
fi
# As after an upgrade of the distribution. Guests without a guard, and those that are only watched, start all the same.
found=$(grep -Eo "<mac address='[0-9a-f:]+'")
[ $? -le 1 ] || exit 1
for word in $found; do
    mac=${{word#*\'}}
    mac=${{mac%\'}}
    grep -qE "\"$mac\": [{{]" {store}
    [ $? -eq 1 ] && continue
    grep -qE "\"$mac\": [{{][^{{}}]*[{{][^{{}}]*[}}], \"required\": false" {store} && continue
    echo "linuxvirt.macvtap: no guard for $mac: {program} or its Python is missing. Run macvtap_guard on this host" >&2
    exit 1
done
exit 0
"""
_START = """#!/bin/sh
{header}
# The Python that has installed the program may be gone after an upgrade of the distribution.
for python in {pythons}; do
    [ -x "$python" ] && exec "$python" {program} "$@"
done
echo "linuxvirt.macvtap: no guards are loaded: the Python of {program} is missing. Run macvtap_guard on this host" >&2
exit 1
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
ExecStart=/bin/sh {start} load
ExecReload=/bin/sh {start} load

[Install]
WantedBy=multi-user.target
"""
# That service removes all tables whenever it starts, stops or is reloaded, and firewalld stops it to take its place.
# This is a part of it, so that no job ends before the guards are back. It runs outside of the service's sandbox (+),
# and whether it fails does not matter to the service (-).
_NFTABLES = """{header}
[Service]
ExecStartPost=-+/bin/sh {start} load
ExecReload=-+/bin/sh {start} load
ExecStopPost=-+/bin/sh {start} load
"""


def texts(macs: t.Iterable[str], python: str) -> dict[str, tuple[str, int]]:
    """Return the files with their texts and modes, for guards of these NICs, in the order in which they are written.

    The program is written after its parts, and so never there without them.
    """
    pythons = " ".join(shlex.quote(one) for one in dict.fromkeys((python, _PYTHON)))
    values = {"header": HEADER, "store": loader.STORE, "program": PROGRAM, "start": START, "pythons": pythons}
    command = f"/bin/sh {START}"
    run = f'RUN+="{command} link $id"'
    # A kernel takes the chain off a link that gets another name.
    renamed = f'ACTION=="move", SUBSYSTEM=="net", TEST=="macvtap", RUN+="{command} link $name"\n'
    rules = renamed + "".join(
        f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{mac}", {run}\n'
        for mac in sorted(macs)
    )
    return {
        **{path: (f"{HEADER}\n{_source(module)}", 0o644) for path, module in {**PARTS, PROGRAM: loader}.items()},
        START: (_START.format(**values), 0o644),
        HOOK: (_HOOK.format(**values), 0o755),
        RULES: (f"{HEADER}\n{rules}", 0o644),
        UNIT: (_UNIT.format(**values), 0o644),
        NFTABLES: (_NFTABLES.format(**values), 0o644),
    }


def _source(module: types.ModuleType) -> str:
    source: t.Any = module.__loader__
    return str(source.get_source(module.__name__))


def interpreter() -> str:
    """Return the Python that runs this, by the distribution's own name if it is that one.

    An upgrade of the distribution removes the name with the version.
    """
    with contextlib.suppress(OSError):
        if sys.prefix == sys.base_prefix and os.path.samefile(_PYTHON, sys.executable):
            return _PYTHON
    return sys.executable


class _Lacking(t.NamedTuple):
    """What :meth:`Installer.install` has to do: files with texts and modes, and whether the unit is not enabled.

    ``foreign`` are files that are not this collection's, and stay.
    """

    files: dict[str, tuple[str, int]]
    foreign: list[str]
    enabled: bool


class Installer:
    """The files that load guards, below ``root``, which is / except in tests."""

    def __init__(self, run: Run | None = None, root: str = "/") -> None:
        self._run, self._root = run, root
        self._changed: set[str] = set()

    def outdated(self, macs: t.Iterable[str]) -> bool:
        """Return whether :meth:`install` would do anything: a file was removed or changed, or is an older one.

        Or it would have no effect: it is not executable, or not enabled, or what was written was not read yet.
        """
        lacking = self._lacking(macs)
        return bool(lacking.files) or not lacking.enabled or _files.read(self._path(UNREAD)) is not None

    def _lacking(self, macs: t.Iterable[str]) -> _Lacking:
        has_libvirt = os.path.isdir(self._path("/etc/libvirt"))
        files, foreign = {}, []
        for path, (text, mode) in texts(macs, interpreter()).items():
            before = _files.read(self._path(path))
            if path == HOOK and not has_libvirt:
                continue
            if before is not None and HEADER not in before.splitlines()[:2]:
                foreign.append(path)
            elif before != text or not self._is_executable(path, mode):
                files[path] = text, mode
        # Whoever has masked the unit does not want it.
        enabled = UNIT in foreign or _files.target(self._path(WANTS)) is not None
        return _Lacking(files, foreign, enabled)

    def _is_executable(self, path: str, mode: int) -> bool:
        """Return whether a file is as executable as with this mode. libvirt passes over a hook that is not."""
        return not mode & stat.S_IXUSR or self._exists(path, lambda current: bool(current & stat.S_IXUSR))

    def install(self, macs: t.Iterable[str]) -> list[str]:
        """Write what is missing or differs, and return warnings of what does not work on this host."""
        lacking = self._lacking(macs)
        warnings = [f"{one} is not managed by this collection, and stays. Move it away" for one in lacking.foreign]
        unread = {*(_files.read(self._path(UNREAD)) or "").split()}
        changed = {*lacking.files, *([] if lacking.enabled else [WANTS])} | unread
        if changed != unread:
            _files.write(self._path(UNREAD), "\n".join(sorted(changed)), mode=0o600)
        for path, (text, mode) in lacking.files.items():
            _files.write(self._path(path), text, mode=mode)
            if not self._is_executable(path, mode):
                # A file that was there keeps its mode.
                self._make_executable(path, mode)
        if not lacking.enabled:
            # Also where systemd does not run now: this may be an image, or the host may lose power before start().
            _files.write_link(self._path(WANTS), "../macvtap-guard.service")
        self._changed = changed
        if HOOK in changed:
            warnings.append(
                f"libvirt reads {HOOK} only when its daemon starts. Restart libvirtd or virtqemud once, which does not "
                "affect guests. Until then only udev puts guards on the links of guests that start"
            )
        return warnings

    def _make_executable(self, path: str, mode: int) -> None:
        try:
            os.chmod(self._path(path), mode)
        except OSError as exc:
            raise MacvtapError(f"{path} cannot be made executable: {exc.strerror or exc}") from exc

    def start(self) -> list[str]:
        """Let udev and systemd read what :meth:`install` has written, once the guards are stored.

        Return warnings of what could not be read. Of that of systemd, the next run tries it again.
        """
        warnings, unread = [], set()
        if RULES in self._changed and self._exists("/run/udev/control", stat.S_ISSOCK):
            failure = self._failure("udevadm", "control", "--reload")
            warnings += [f"udev reads {RULES} by itself within three seconds; {failure}"] if failure else []
        of_systemd = {UNIT, NFTABLES, WANTS} & self._changed
        if of_systemd and self._exists("/run/systemd/system", stat.S_ISDIR):
            # The second loads nothing that is there already.
            failure = self._failure("systemctl", "daemon-reload") or self._failure(
                "systemctl", "start", "--no-block", "macvtap-guard.service"
            )
            unread = of_systemd if failure else set()
            warnings += [f"systemd has not read {UNIT}: {failure}. Run this task again"] if failure else []
        _files.write(self._path(UNREAD), "\n".join(sorted(unread)) or None, mode=0o600)
        self._changed = unread
        return warnings

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

    def _failure(self, *words: str) -> str:
        """Run a program, and return why it failed, "" if it did not."""
        answer = self._run(words) if self._run is not None else (0, "")
        if answer is not None and answer[0] == 0:
            return ""
        why = "it is not installed" if answer is None else answer[1].strip() or f"exit status {answer[0]}"
        return f"{' '.join(words)} failed: {why}"

    def _exists(self, path: str, kind: t.Callable[[int], bool]) -> bool:
        with contextlib.suppress(OSError):
            return kind(os.stat(self._path(path)).st_mode)
        return False

    def _path(self, path: str) -> str:
        return os.path.join(self._root, path.lstrip("/"))
