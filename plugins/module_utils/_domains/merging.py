# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Merges desired values into the current ones of an interface. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import TABLE, VIRTIO

merged = TABLE.merged
removed_with = TABLE.removed_with
without_cleared = TABLE.without_cleared


def without_dropped(
    current: dict[str, str], desired: t.Mapping[str, str | None], before: t.Mapping[str, str]
) -> dict[str, str]:
    # libvirt drops the whole <driver> of a NIC whose model is not virtio. A desired driver is refused instead:
    # validate.py.
    if current.get("model") in VIRTIO or current.get("model") == before.get("model"):
        return current
    return {name: text for name, text in current.items() if not name.startswith("driver.") or name in desired}
