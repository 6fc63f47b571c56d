# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that reloads systemd and the network managers, and waits for the shims' addresses."""

from __future__ import annotations

import contextlib
import glob
import os
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files, _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp.model import (
    RELOAD,
    Command,
    Lease,
    Leases,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Address, lease_of

# Runs a program with a text as its input; None if it is not installed.
Run = t.Callable[[t.Sequence[str], t.Optional[str]], t.Optional[t.Tuple[int, str]]]

# networkd's directories. A missing one may appear later.
_DIRECTORIES = tuple(f"{above}/systemd/network" for above in ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib"))
_STARTED = ("systemctl", "show", "--timestamp=unix", "--property=ExecMainStartTimestamp", "--value")
# Its ctime is when this collection last reloaded networkd.
_STAMP = "/run/linuxvirt-macvtap.networkd"
_SECONDS = 60


def unread(run: Run) -> tuple[str, ...]:
    """Return networkd's files and directories that may have changed since it read them."""
    answer = run([*_STARTED, "systemd-networkd.service"], None)
    # The second in which it started. An older systemctl prints nothing that begins with an @.
    output = answer[1].strip() if answer is not None else ""
    started = (_text.number(output[1:]) if output.startswith("@") else None) or 0
    last_read = max(started, _ctime(_STAMP) if started else 0)
    # /lib may be the same directory as /usr/lib.
    directories = dict.fromkeys(os.path.realpath(path) for path in _DIRECTORIES)
    paths = [path for top in directories for path in (top, *glob.glob(f"{top}/**/*", recursive=True))]
    return tuple(sorted(path for path in paths if _ctime(path) >= last_read))


def _ctime(path: str) -> float:
    try:
        return os.lstat(path).st_ctime
    except OSError:
        return 0.0


def activate(leases: Leases, run: Run, *, units: bool) -> t.Iterator[str]:
    """Reload systemd if there are new ``units``, and run the commands of ``leases``; yield warnings.

    :raises MacvtapError: a network manager refused to configure a shim. The files stay.
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
    """Wait until the shims have their addresses, and return these by name.

    :raises MacvtapError: a shim got no address. The files stay.
    """
    deadline = time.monotonic() + _SECONDS
    while True:
        current = {lease.name: _address(lease, addresses) for lease in leases}
        waiting = [lease for lease in leases if lease.asked and current[lease.name] is None]
        if not waiting:
            return current
        if time.monotonic() > deadline:
            names = _text.join_names([lease.name for lease in waiting])
            managers = _text.join_names(sorted({lease.manager for lease in waiting}))
            raise MacvtapError(
                f"{names} got no IPv4 address from {managers} within {_SECONDS} seconds. The request stays active. "
                "Check that a DHCP server answers on that LAN, or set addresses instead of dhcp4",
                path=waiting[0].path,
            )
        time.sleep(0.2)


def _address(lease: Lease, addresses: t.Callable[[], t.Sequence[Address]]) -> str | None:
    if lease.address is not None or lease.index is None:
        return lease.address
    return lease_of(lease.index, addresses())
