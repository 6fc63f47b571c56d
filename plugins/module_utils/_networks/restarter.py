# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The program of the restart watch: it starts networks that a killed run has stopped and not started again.

Standard library only, libvirt is a parameter: the program is the source of this file.
"""

from __future__ import annotations

import sys
import time
import typing as t

# What a run writes to it: a word and the UUID of a network, or that it has ended by itself.
STOPS, STOPPED, STARTED, ENDED = "stops", "stopped", "started", "ended"
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
    left = read(sys.stdin)
    until = time.monotonic() + _SECONDS
    while left and time.monotonic() < until:
        restart(libvirt, connection, left)
        time.sleep(_PAUSE)


def read(lines: t.Iterable[str]) -> dict[str, bool]:
    """Return the networks that the run has left when its ``lines`` end: the UUID of each, and whether it was stopped.

    Otherwise its request to stop it may be under way.
    """
    left: dict[str, bool] = {}
    for line in lines:
        word, _space, uuid = line.strip().partition(" ")
        if word == ENDED:
            return {}
        if word in {STOPS, STOPPED}:
            left[uuid] = word == STOPPED
        elif word == STARTED:
            left.pop(uuid, None)
    return left


def restart(libvirt: t.Any, connection: t.Any, left: dict[str, bool]) -> None:
    """Start those of the networks that are inactive now, and take what needs nothing any more out of ``left``."""
    for uuid, stopped in sorted(left.items()):
        try:
            network = connection.networkLookupByUUIDString(uuid)
            if network.isActive():
                # The run, or others, have started it again. Otherwise it may be about to be stopped.
                if stopped:
                    del left[uuid]
                continue
            network.create()
        except libvirt.libvirtError as exc:
            # Any other refusal may be a matter of the moment.
            if exc.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                continue
        del left[uuid]
