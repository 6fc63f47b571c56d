# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that puts the stored guard on the link of a NIC that was just attached: libvirt calls no hook for it."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader


def has_guard(mac: str) -> bool:
    """Whether a guard is stored for the NIC, also if what is stored cannot be read."""
    try:
        return mac in loader.stored()
    except (OSError, ValueError, KeyError, TypeError):
        return True


def put_on(link: str, mac: str) -> t.Iterator[str]:
    """Put the guard on the link, and yield a warning if that fails."""
    try:
        loader.Loader(loader.stored()).on([(link, mac)])
    except Exception as exc:  # pylint: disable=broad-except  # the NIC is attached, whatever this fails by
        yield (
            f"{link}, the link of {mac}, has no guard, and the guest may send anything: {exc}. Run macvtap_guard for "
            "it, or detach the NIC"
        )
