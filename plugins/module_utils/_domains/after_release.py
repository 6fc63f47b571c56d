# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads domains once guests have released the NICs that they were asked to release."""

from __future__ import annotations

import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import SAVED, UNGUARDED, Host

_PAUSE_SECONDS = 0.2


class _Hypervisor(t.Protocol):
    def observe(self, names: t.Iterable[str] | None) -> Host:
        """Return the domains of these names (None: all)."""

    def outstanding(self, host: Host) -> list[dict[str, t.Any]]:
        """Return the requests to guests that are not completed."""


def observe(hv: _Hypervisor, names: t.Iterable[str] | None, timeout: float) -> tuple[Host, list[dict[str, t.Any]]]:
    """Return the domains ``names`` (None: all), and the requests that are still outstanding after ``timeout`` seconds.

    :raises MacvtapError: libvirt or the requests cannot be read.
    """
    until = time.monotonic() + timeout
    while True:
        host = hv.observe(names)
        outstanding = hv.outstanding(host)
        if time.monotonic() >= until or not any(map(_is_awaited, outstanding)):
            return host, outstanding
        time.sleep(_PAUSE_SECONDS)


def _is_awaited(request: t.Mapping[str, t.Any]) -> bool:
    """Whether waiting can complete a request: not that of a guest that does not run, nor one that no keeper handles."""
    return request["state"] not in (SAVED, UNGUARDED) and not (request["returns"] and request["pid"] is None)
