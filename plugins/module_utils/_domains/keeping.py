# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter for what libvirt has no word for: rules by which udev gives it to a guest's link at each start."""

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
# Runs a program, and returns its status and what it said; None where it is not installed.
Run = t.Callable[[t.Sequence[str]], t.Optional[t.Tuple[int, str]]]
_CONTROL = "run/udev/control"
_LOCK_SECONDS = 30


class Rules(t.NamedTuple):
    """What is written down, as Host has it.

    ``kept`` are the addresses whose links get all multicast, None where that cannot be written down, and ``unkept``
    says why; ``edited`` those whose block somebody has changed, so that it is not known what they get.
    """

    kept: frozenset[str] | None
    unkept: str = ""
    edited: frozenset[str] = frozenset()


class Keeper:
    """The rules of the links of guests on this host. All paths are below ``root``, which is / but in tests."""

    def __init__(self, run: Run | None = None, root: str = "/", ip: str | None = None) -> None:
        self._run = run
        self._root = root
        self._file = os.path.join(root, GUESTS_FILE.lstrip("/"))
        self._ip = ip or ip_program()
        # The file as it was before this run wrote it, and as this run has made it; None is no file.
        self._written: tuple[str | None, str | None] | None = None
        self.warnings: list[str] = []

    def observe(self) -> Rules:
        """Return what is written down on this host."""
        unkept = self._obstacle()
        if unkept:
            return Rules(None, unkept)
        try:
            text = self._text()
        except MacvtapError as exc:
            return Rules(None, exc.message)
        if text is None:
            said = f"{GUESTS_FILE} is somebody else's: its first line does not say that this collection has written it"
            return Rules(None, f"{said}. It is left alone; move it away")
        blocks = _managed_blocks.parse(text)[1]
        ours = frozenset(mac for mac, block in blocks.items() if block == self._block(mac))
        return Rules(ours, "", frozenset(blocks) - ours)

    def require(self, wanted: t.Mapping[str, bool], path: str) -> None:
        """Look whether this user can do what :meth:`apply` would do.

        :raises MacvtapError: with the ``path`` of the option.
        """
        if not self._differs(wanted):
            return
        for directory in (os.path.dirname(self._file), os.path.join(self._root, "run")):
            if not os.access(_nearest(directory), os.W_OK | os.X_OK):
                said = f"its rule in {GUESTS_FILE} is to change, and this user may not write there. Say become: true"
                raise MacvtapError(said, path=path)

    def apply(self, wanted: t.Mapping[str, bool], path: str = "", *, back: bool = False) -> None:
        """Write a rule for the addresses of which ``wanted`` says so, and none for the others of it.

        On the way ``back`` the file becomes what it was before this run, with what a person has written in it, if it
        still is as this run has left it.

        :raises MacvtapError: the file cannot be written, with the ``path`` of the option.
        """
        # Without the lock, which not every user can have who has nothing to write. Of what a person has written in
        # place of a rule nobody can say on the way back what it was.
        if not self._differs(wanted) and not (back and self._written):
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
                raise MacvtapError(f"{GUESTS_FILE} was written by somebody else while this ran", path=path)
            was = text if os.path.lexists(self._file) else None
            if back and self._written and self._written[1] == was:
                new, self._written = self._written[0], None
            else:
                head, blocks = _managed_blocks.parse(text)
                left = {mac: block for mac, block in blocks.items() if mac not in wanted}
                left.update((mac, self._block(mac)) for mac, on in wanted.items() if on)
                new = _managed_blocks.render(head, left) if left or head else None
                self._written = (self._written[0] if self._written and self._written[1] == was else was), new
            _files.write(self._file, new, option=path)
        self._tell_udev()

    def _differs(self, wanted: t.Mapping[str, bool]) -> bool:
        rules = self.observe() if wanted else Rules(None)
        if rules.kept is None:
            return False
        return any(mac not in rules.kept if on else mac in rules.kept | rules.edited for mac, on in wanted.items())

    def _obstacle(self) -> str:
        try:
            there = stat.S_ISSOCK(os.stat(os.path.join(self._root, _CONTROL)).st_mode)
        except OSError:
            there = False
        if not there:
            return "there is no udev on this host to set it at the next start"
        if not os.access(self._ip, os.X_OK):
            return "the program ip, by which udev would set it, is not installed (iproute2)"
        return ""

    def _block(self, mac: str) -> tuple[str, str]:
        return "guest", rule(mac, self._ip)

    def _text(self) -> str | None:
        """Return the file's text, that of an empty one where there is none; None where it is somebody else's."""
        text = _files.read(self._file)
        if text is None and not os.path.lexists(self._file):
            return f"{HEADER}\n"
        return text if text is not None and text.startswith(f"{HEADER}\n") else None

    def _tell_udev(self) -> None:
        # By itself it looks for changed rules no more than every three seconds, in which a guest may start.
        answer = self._run(["udevadm", "control", "--reload"]) if self._run else None
        if answer is not None and answer[0] != 0:
            self.warnings.append(
                f"udev reads {GUESTS_FILE} by itself within three seconds; udevadm control --reload failed: "
                f"{answer[1].strip()}"
            )


def ip_program() -> str:
    """Return the path of ``ip``, for udev, which knows no PATH."""
    return shutil.which("ip", path=_PROGRAMS) or "/sbin/ip"


def rule(mac: str, ip: str) -> str:
    """Return the rule that gives all multicast to the macvtap link that a guest's NIC gets whenever it starts.

    By the address, since libvirt makes up another name each time; and when its tap appears, which is when the link is
    there, and which no link of another kind with that address has.
    """
    # Both begin a substitution.
    command = shlex.join([ip, "link", "set", "dev"]).replace("%", "%%").replace("$", "$$")
    matches = f'ACTION=="add", SUBSYSTEM=="macvtap", SUBSYSTEMS=="net", ATTRS{{address}}=="{mac}"'
    return f'{matches}, RUN+="{command} $id allmulticast on"\n'


def _nearest(directory: str) -> str:
    """Return the directory, or the first above it that there is."""
    return directory if os.path.lexists(directory) else _nearest(os.path.dirname(directory))
