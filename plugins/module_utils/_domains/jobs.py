# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The states and jobs of a domain that a change of it depends on. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# What Domain.state has beside "".
SHUTTING_DOWN, CRASHED = "shutting down", "crashed"
# What Domain.job has beside "" and what does not matter; under the others libvirt changes nothing of a running guest.
MIGRATION, INCOMING = "migration", "incoming migration"
_EXCLUSIVE = ("save", "restore", "snapshot", "dump")


def refuse(name: str, job: str, *, path: str, live: bool) -> None:
    """Refuse to change a domain under a ``job``; ``live`` is whether its running guest is to be changed as well.

    :raises MacvtapError: the job does not allow it.
    """
    if job == MIGRATION:
        raise MacvtapError(
            f"domain {name!r} is migrating to another host, where what is stored here now would not arrive. Run again "
            "when that has ended, on the host where it is then",
            path=path,
        )
    if job == INCOMING:
        raise MacvtapError(
            f"domain {name!r} is migrating to this host, and what is stored for it arrives with it. Run again when "
            "that has ended",
            path=path,
        )
    if live and job in _EXCLUSIVE:
        raise MacvtapError(
            f"domain {name!r} is under a job ({job}) during which libvirt changes nothing in the running guest. Run "
            f"again when it has ended (virsh domjobinfo {name}), or set live: none",
            path=path,
        )
