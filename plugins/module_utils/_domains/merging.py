# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Merges desired values into the current ones of an interface. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS, VIRTIO

# Fields without which the rest of their element is meaningless.
HEADS = tuple(field.name for field in FIELDS if "." in field.name and field.cleared_by is not None)


def merged(current: t.Mapping[str, str], desired: t.Mapping[str, str | None]) -> dict[str, str]:
    """Merge ``desired`` into ``current``; removing a head field removes the rest of its element."""
    removed = removed_with(current, desired)
    merged = {name: value for name, value in current.items() if not (removed and name.startswith(removed))}
    merged.update((name, value) for name, value in desired.items() if value is not None)
    for name, value in desired.items():
        if value is None:
            merged.pop(name, None)
    return merged


def removed_with(current: t.Mapping[str, str], desired: t.Mapping[str, str | None]) -> tuple[str, ...]:
    """Return the name prefixes of the fields that ``desired`` removes, directly or with their head field."""
    removed = tuple(_rest_of(name) for name, value in desired.items() if value is None and name in HEADS)
    if desired.get("network") not in {None, current.get("network")}:
        # It is a portgroup of the other network.
        removed = (*removed, "portgroup")
    if desired.get("virtualport.type") not in {None, current.get("virtualport.type")}:
        # libvirt refuses the parameters of one type in another.
        removed = (*removed, "virtualport.")
    return removed


def without_cleared(desired: t.Mapping[str, str | None]) -> dict[str, str | None]:
    """Return ``desired`` without parts of a default that it clears, such as the peak of a removed limit."""
    removed = tuple(_rest_of(name) for name, value in desired.items() if value is None and name in HEADS)
    return {
        name: value for name, value in desired.items() if name in HEADS or not (removed and name.startswith(removed))
    }


def without_dropped(
    current: dict[str, str], desired: t.Mapping[str, str | None], before: t.Mapping[str, str]
) -> dict[str, str]:
    # libvirt drops the whole <driver> of a NIC whose model is not virtio. A desired driver is refused instead:
    # validate.py.
    if current.get("model") in VIRTIO or current.get("model") == before.get("model"):
        return current
    return {name: text for name, text in current.items() if not name.startswith("driver.") or name in desired}


def _rest_of(name: str) -> str:
    return f"{name.rpartition('.')[0]}."
