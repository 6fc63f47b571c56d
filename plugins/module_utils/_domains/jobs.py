# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The states and jobs of a domain that decide whether it can be changed. Pure."""

from __future__ import annotations

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

# The values of Domain.state, beside "".
SHUTTING_DOWN, CRASHED = "shutting down", "crashed"
# The values of Domain.job that matter. During _EXCLUSIVE jobs libvirt changes no running guest.
MIGRATION, INCOMING = "migration", "incoming migration"
# It lets a running guest be changed.
BACKUP = "backup"
_EXCLUSIVE = ("save", "restore", "snapshot", "dump")


def validate_job(name: str, job: str, *, path: str, live: bool) -> None:
    """Refuse to change a domain with a ``job``; ``live`` is whether its running guest changes too.

    :raises MacvtapError: the job does not allow it.
    """
    if job == MIGRATION:
        raise MacvtapError(
            f"domain {name!r} is migrating to another host, and what is stored here now would not arrive there. "
            "Run again when the migration has ended, on the host that has the domain then",
            path=path,
        )
    if job == INCOMING:
        raise MacvtapError(
            f"domain {name!r} is migrating to this host, and its stored configuration arrives with it. Run "
            "again when the migration has ended",
            path=path,
        )
    if live and job in _EXCLUSIVE:
        raise MacvtapError(
            f"domain {name!r} has a job in progress ({job}), during which libvirt cannot change the running "
            f"guest. Run again when the job has ended (virsh domjobinfo {name}), or set live: none",
            path=path,
        )
