# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that has the managers take up what is written of a companion, and waits for its address."""

from __future__ import annotations

import glob
import os
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Address, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import refusals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.lease import (
    RELOAD,
    Command,
    Lease,
    Leases,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.validators import Run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

# Where networkd reads; what is not there yet may come.
_DIRECTORIES = tuple(f"{above}/systemd/network" for above in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_STARTED = ("systemctl", "show", "--timestamp=unix", "--property=ExecMainStartTimestamp", "--value")
# As long as NetworkManager is waited for.
_SECONDS = 60


def unread(run: Run) -> tuple[str, ...]:
    """Return the files and directories of networkd's that have changed since it started, or may have.

    It may have read them again since then: that nobody can tell.
    """
    answer = run([*_STARTED, "systemd-networkd.service"], None)
    # The second that it started in; nothing that an older systemctl would say begins with an @.
    said = answer[1].strip() if answer is not None else ""
    started = int(said[1:]) if said[:1] == "@" and said[1:].isdigit() else 0
    # Of /lib and /usr/lib one may be the other.
    above_all = dict.fromkeys(os.path.realpath(path) for path in _DIRECTORIES)
    found = [path for above in above_all for path in (above, *glob.glob(f"{above}/**/*", recursive=True))]
    return tuple(sorted(path for path in found if _changed(path) >= started))


def _changed(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return 0.0


class Taking:
    """Writes the files of a run, and has the managers take up what they say of companions."""

    def __init__(self, run: Run, addresses: t.Callable[[], t.Sequence[Address]]) -> None:
        self.leases: Leases | None = None
        self._run = run
        self._addresses = addresses
        self._begun = False
        self._changed = False
        self.warnings: list[str] = []

    def write(self, steps: t.Sequence[Step[File]], journal: Journal[File] | None = None) -> None:
        """Write the files, and tell networkd between the companions' own and the others.

        :raises MacvtapError: a file cannot be written, or networkd does not read them.
        """
        journal = journal or Journal()
        for step in steps:
            journal.record(step)
        self._changed = bool(steps)
        leases = self.leases or Leases()
        # Once: who goes back disturbs nobody again.
        if not self._begun:
            self._begun = True
            for command in leases.before:
                self._try(command)
            if leases.first:
                host.apply([step for step in steps if step.target in leases.first])
                self._tell(RELOAD, "networkd does not know what is new of companions")
                steps = [step for step in steps if step.target not in leases.first]
        host.apply(steps)

    def finish(self) -> dict[str, str | None]:
        """Tell the other managers, and return the companions' addresses once they have them.

        :raises MacvtapError: one gets none. The files stay.
        """
        if not self._begun:
            self.write(())
        leases = self.leases or Leases()
        for command in leases.after:
            self._try(command)
        for lease in leases.leases:
            for command in lease.commands:
                if command != RELOAD:
                    self._tell(command, f"{lease.name} gets no address for it. What has been written stays")
        return self._wait(leases.leases)

    def _wait(self, leases: t.Sequence[Lease]) -> dict[str, str | None]:
        deadline = time.monotonic() + _SECONDS
        while True:
            found = {lease.name: self._address(lease) for lease in leases}
            waiting = [lease for lease in leases if lease.asked and found[lease.name] is None]
            if not waiting:
                return found
            if time.monotonic() > deadline:
                raise MacvtapError(_failed(waiting), path=waiting[0].path, changed=self._changed)
            time.sleep(0.2)

    def _address(self, lease: Lease) -> str | None:
        if lease.address is not None or lease.index is None:
            return lease.address
        return lease_of(lease.index, self._addresses())

    def _try(self, command: Command) -> None:
        answer = self._run(command, None)
        if answer is not None and answer[0] != 0:
            self.warnings.append(f"{' '.join(command)} failed: {answer[1].strip()}")

    def _tell(self, command: Command, else_: str) -> None:
        answer = self._run(command, None)
        if answer is None:
            raise MacvtapError(f"{command[0]} is not installed, and {else_}", changed=self._changed)
        if answer[0] != 0:
            said = answer[1].strip()
            raise MacvtapError(f"{' '.join(command)} failed, and {else_}: {said}", changed=self._changed)
        self._changed = True


def _failed(leases: t.Sequence[Lease]) -> str:
    names = refusals.some([lease.name for lease in leases])
    managers = refusals.some(sorted({lease.manager for lease in leases}))
    return (
        f"{names} got no IPv4 address from {managers} within a minute. What has been written stays, and the manager "
        "goes on asking. See that a DHCP server answers on that LAN, or leave dhcp4 out and say addresses"
    )
