# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that installs the program of loader.py, and what starts it: libvirt, udev and systemd."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import start_files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.start_files import (
    HOOK,
    NFTABLES,
    PARTS,
    PROGRAM,
    RULES,
    START,
    UNIT,
    WANTS,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER

# What udev and systemd have still to read: of a run that was killed, the next one lets them.
UNREAD = "/run/linuxvirt-macvtap/unread"
_REMOVED = (HOOK, RULES, UNIT, NFTABLES, START, PROGRAM, *PARTS)
# Runs a program, and returns its exit status and output; None if it is not installed.
Run = t.Callable[[t.Sequence[str]], t.Optional[t.Tuple[int, str]]]


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
        for path, (text, mode) in start_files.texts(macs, start_files.interpreter()).items():
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

    @contextlib.contextmanager
    def storing(
        self, macs: t.Collection[str], warnings: list[str], stored: t.Callable[[], t.Collection[str]]
    ) -> t.Iterator[None]:
        """Have the guards of these NICs loaded, which the block stores, or none of them.

        If that fails, those are loaded that are ``stored`` then: the former ones, or those of the block if the failure
        came after it had stored them.
        """
        try:
            # Before they are stored: a program without guards does nothing.
            warnings += self.install(macs) if macs else []
            yield
        except BaseException:
            with contextlib.suppress(MacvtapError):
                self._restore(stored(), macs)
            raise
        if macs:
            warnings += self.start()
        else:
            self.remove()

    def _restore(self, stored: t.Collection[str], macs: t.Collection[str]) -> None:
        if not stored:
            self.remove()
        elif macs:
            self.install(stored)
            self.start()

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
