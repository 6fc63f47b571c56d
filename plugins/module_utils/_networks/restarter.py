# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The guard's program: it starts networks again that a run has stopped and, because it was killed, not started.

Standard library only, libvirt is a parameter: the program is the source of this file.
"""

from __future__ import annotations

import sys
import time
import typing as t

# What a run writes to it: a word and the UUID of a network, or that it has ended by itself.
STOPS, STARTED, ENDED = "stops", "started", "ended"
# What it writes when it is ready.
READY = "ready"
# How long a request of the killed run to stop a network may still be under way.
_SECONDS = 5.0
_PAUSE = 0.02


def main(arguments: t.Sequence[str]) -> None:
    """Run as ``URI PATH…``, with what the run writes as input; PATH finds libvirt."""
    uri, *paths = arguments
    sys.path += paths
    import libvirt  # pylint: disable=import-outside-toplevel  # only the program needs it, and must not run without

    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(uri)
    sys.stdout.write(f"{READY}\n")
    sys.stdout.flush()
    stopped = read(sys.stdin)
    until = time.monotonic() + _SECONDS
    while stopped and time.monotonic() < until:
        restart(libvirt, connection, stopped)
        time.sleep(_PAUSE)


def read(lines: t.Iterable[str]) -> set[str]:
    """Return the networks that the run has left stopped when its ``lines`` end, as UUIDs."""
    stopped: set[str] = set()
    for line in lines:
        word, _space, uuid = line.strip().partition(" ")
        if word == ENDED:
            return set()
        if word == STOPS:
            stopped.add(uuid)
        elif word == STARTED:
            stopped.discard(uuid)
    return stopped


def restart(libvirt: t.Any, connection: t.Any, stopped: set[str]) -> None:
    """Start those of the networks that are inactive now, and take them and missing ones out of ``stopped``."""
    for uuid in sorted(stopped):
        try:
            network = connection.networkLookupByUUIDString(uuid)
            # One that is still active may be about to be stopped.
            if network.isActive():
                continue
            network.create()
        except libvirt.libvirtError as exc:
            # Any other refusal may be a matter of the moment.
            if exc.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                continue
        stopped.discard(uuid)
