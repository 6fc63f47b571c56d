# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for udev rules, which set allmulticast on a guest's link at each start."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files, _lock, _managed_blocks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER

GUESTS_FILE = "/etc/udev/rules.d/90-macvtap-domains.rules"
_PROGRAMS = "/sbin:/usr/sbin:/bin:/usr/bin"
# Runs a program, and returns its exit status and output; None if it is not installed.
Run = t.Callable[[t.Sequence[str]], t.Optional[t.Tuple[int, str]]]
_CONTROL = "run/udev/control"
_LOCK_SECONDS = 30


class Rules(t.NamedTuple):
    """The rules on this host, as in Host.

    ``managed_rules`` are the MAC addresses with a rule, None where rules are not supported; ``rules_unsupported`` is
    the reason. ``modified_rules`` are those whose block was edited by hand, so that its effect is unknown.
    """

    managed_rules: frozenset[str] | None
    rules_unsupported: str = ""
    modified_rules: frozenset[str] = frozenset()


class RuleStore:
    """The udev rules for guests' links on this host. All paths are below ``root``, which is / except in tests."""

    def __init__(self, run: Run | None = None, root: str = "/", ip: str | None = None) -> None:
        self._run = run
        self._root = root
        self._file = os.path.join(root, GUESTS_FILE.lstrip("/"))
        self._ip = ip or ip_program()
        self.warnings: list[str] = []
        self.begin()

    def begin(self) -> None:
        """Forget what an earlier attempt at the run has written."""
        # The file before this attempt wrote it, and as the attempt wrote it; None is no file.
        self._written: tuple[str | None, str | None] | None = None

    def observe(self) -> Rules:
        """Return the rules on this host."""
        rules_unsupported = self._unsupported_reason()
        if rules_unsupported:
            return Rules(None, rules_unsupported)
        try:
            text = self._text()
        except MacvtapError as exc:
            return Rules(None, exc.message)
        if text is None:
            message = f"{GUESTS_FILE} is not managed by this collection: its first line is not the collection's header"
            return Rules(None, f"{message}. Move it away")
        blocks = _managed_blocks.parse(text)[1]
        ours = frozenset(mac for mac, block in blocks.items() if block == self._block(mac))
        return Rules(ours, "", frozenset(blocks) - ours)

    def require(self, desired: t.Mapping[str, bool], path: str) -> None:
        """Check whether this user can do what :meth:`apply` would do.

        :raises MacvtapError: with the ``path`` of the option.
        """
        if not self._differs(desired):
            return
        for directory in (os.path.dirname(self._file), os.path.join(self._root, "run")):
            nearest = _nearest(directory)
            if not os.access(nearest, os.W_OK | os.X_OK):
                # Root may write, unless nothing may.
                root = os.geteuid() == 0
                why = f"{nearest} is read-only" if root else "this user may not write it. Set become: true"
                raise MacvtapError(f"the rule is to change in {GUESTS_FILE}, and {why}", path=path)

    def apply(self, desired: t.Mapping[str, bool], path: str = "", *, restore: bool = False) -> None:
        """Write or remove the rule of each address in ``desired``.

        ``restore`` restores the whole file as it was before this run, if it is unchanged since.

        :raises MacvtapError: the file cannot be written, with the ``path`` of the option.
        """
        # Without the lock, which a user who has nothing to write may not be able to take. A rule edited by hand can
        # only be restored with the whole file.
        if not self._differs(desired) and not (restore and self._written):
            return
        held = _lock.held(
            "rules",
            timeout=_LOCK_SECONDS,
            directory=os.path.join(self._root, "run"),
            doing="writing rules for guests' links",
            option=path,
        )
        with held:
            text = self._text()
            if text is None:
                raise MacvtapError(f"{GUESTS_FILE} was changed by another process while this ran", path=path)
            was = text if os.path.lexists(self._file) else None
            if restore and self._written and self._written[1] == was:
                new, self._written = self._written[0], None
            else:
                head, blocks = _managed_blocks.parse(text)
                remaining = {mac: block for mac, block in blocks.items() if mac not in desired}
                remaining.update((mac, self._block(mac)) for mac, on in desired.items() if on)
                new = _managed_blocks.render(head, remaining) if remaining or head else None
                first = self._written[0] if self._written and self._written[1] == was else was
                # What is put back is not put back once more: that would be what the attempt has written.
                self._written = None if restore else (first, new)
            _files.write(self._file, new, option=path)
        self._reload_udev()

    def _differs(self, desired: t.Mapping[str, bool]) -> bool:
        rules = self.observe() if desired else Rules(None)
        if rules.managed_rules is None:
            return False
        return any(
            mac not in rules.managed_rules if on else mac in rules.managed_rules | rules.modified_rules
            for mac, on in desired.items()
        )

    def _unsupported_reason(self) -> str:
        try:
            there = stat.S_ISSOCK(os.stat(os.path.join(self._root, _CONTROL)).st_mode)
        except OSError:
            there = False
        if not there:
            return "this host has no udev to set it at the next start"
        if not os.access(self._ip, os.X_OK):
            return "the program ip, which udev would run, is not installed (iproute2)"
        return ""

    def _block(self, mac: str) -> tuple[str, str]:
        return "guest", rule(mac, self._ip)

    def _text(self) -> str | None:
        """Return the file's text, a mere header if there is no file; None if it is not managed by this collection."""
        text = _files.read(self._file)
        if text is None and not os.path.lexists(self._file):
            return f"{HEADER}\n"
        return text if text is not None and text.startswith(f"{HEADER}\n") else None

    def _reload_udev(self) -> None:
        # udev checks for changed rules only every three seconds, and a guest may start before.
        answer = self._run(["udevadm", "control", "--reload"]) if self._run else None
        if answer is not None and answer[0] != 0:
            self.warnings.append(
                f"udev reads {GUESTS_FILE} by itself within three seconds; udevadm control --reload failed: "
                f"{answer[1].strip()}"
            )


def ip_program() -> str:
    """Return the path of ``ip``: udev has no PATH."""
    return shutil.which("ip", path=_PROGRAMS) or "/sbin/ip"


def rule(mac: str, ip: str) -> str:
    """Return the rule that sets allmulticast on the macvtap link of a guest's NIC at each start.

    It matches the address, because libvirt generates a new name each time. It matches the tap: when that appears, the
    link exists, and no other kind of link has one.
    """
    # Both characters begin a substitution.
    command = shlex.join([ip, "link", "set", "dev"]).replace("%", "%%").replace("$", "$$")
    matches = f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{mac}"'
    return f'{matches}, RUN+="{command} $id allmulticast on"\n'


def _nearest(directory: str) -> str:
    """Return the directory, or its nearest existing parent."""
    return directory if os.path.lexists(directory) else _nearest(os.path.dirname(directory))
