# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that tells systemd and the managers what has been written, and waits for companions' addresses."""

from __future__ import annotations

import contextlib
import glob
import os
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._access.model import Address, lease_of
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import (
    RELOAD,
    Command,
    Lease,
    Leases,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.host import Run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import join_names

# Where networkd reads; what is not there yet may come.
_DIRECTORIES = tuple(f"{above}/systemd/network" for above in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_STARTED = ("systemctl", "show", "--timestamp=unix", "--property=ExecMainStartTimestamp", "--value")
# Its time is when this module last had networkd read its files.
_STAMP = "/run/linuxvirt-macvtap.networkd"
_SECONDS = 60


def unread(run: Run) -> tuple[str, ...]:
    """Return the files and directories of networkd's that may have changed since it read them."""
    answer = run([*_STARTED, "systemd-networkd.service"], None)
    # The second that it started in; nothing that an older systemctl would say begins with an @.
    told = answer[1].strip() if answer is not None else ""
    started = int(told[1:]) if told[:1] == "@" and told[1:].isdigit() else 0
    read = max(started, _changed(_STAMP) if started else 0)
    # Of /lib and /usr/lib one may be the other.
    above_all = dict.fromkeys(os.path.realpath(path) for path in _DIRECTORIES)
    found = [path for above in above_all for path in (above, *glob.glob(f"{above}/**/*", recursive=True))]
    return tuple(sorted(path for path in found if _changed(path) >= read))


def _changed(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return 0.0


def tell(leases: Leases, run: Run, *, units: bool) -> t.Iterator[str]:
    """Tell systemd of new ``units``, and the managers what ``leases`` say; yield warnings.

    :raises MacvtapError: one that is to get a companion an address does not take it. The files stay.
    """
    if units:
        yield from _try(("systemctl", "daemon-reload"), run)
    for command in leases.commands:
        if command == RELOAD:
            with contextlib.suppress(MacvtapError):
                _files.write(_STAMP, "")
        yield from _try(command, run)
    for lease in leases.leases:
        for command in lease.commands:
            answer = run(command, None) if command != RELOAD else (0, "")
            if answer is None or answer[0] != 0:
                why = "is not installed" if answer is None else f"failed: {answer[1].strip()}"
                raise MacvtapError(f"{lease.name} gets no address: {' '.join(command)} {why}", path=lease.path)


def _try(command: Command, run: Run) -> t.Iterator[str]:
    answer = run(command, None)
    if answer is not None and answer[0] != 0:
        yield f"{' '.join(command)} failed: {answer[1].strip()}"


def wait(leases: t.Sequence[Lease], addresses: t.Callable[[], t.Sequence[Address]]) -> dict[str, str | None]:
    """Return the companions' addresses once they have them.

    :raises MacvtapError: one gets none. The files stay.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        found = {lease.name: _address(lease, addresses) for lease in leases}
        waiting = [lease for lease in leases if lease.asked and found[lease.name] is None]
        if not waiting:
            return found
        if time.monotonic() > deadline:
            names = join_names([lease.name for lease in waiting])
            managers = join_names(sorted({lease.manager for lease in waiting}))
            raise MacvtapError(
                f"{names} got no IPv4 address from {managers} within a minute, which goes on asking. Check that a DHCP "
                "server answers on that LAN, or use addresses in place of dhcp4",
                path=waiting[0].path,
            )
        time.sleep(0.2)


def _address(lease: Lease, addresses: t.Callable[[], t.Sequence[Address]]) -> str | None:
    if lease.address is not None or lease.index is None:
        return lease.address
    return lease_of(lease.index, addresses())
