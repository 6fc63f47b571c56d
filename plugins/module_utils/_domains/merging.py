# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What an interface's values become by what is given, and what goes with what is taken away. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS, VIRTIO

# Fields without which the rest of their element makes no sense.
HEADS = tuple(field.name for field in FIELDS if "." in field.name and field.cleared_by is not None)


def merged(values: t.Mapping[str, str], given: t.Mapping[str, str | None]) -> dict[str, str]:
    """Give ``values`` what is ``given``; what is taken away takes the rest of its element along."""
    gone = gone_with(values, given)
    merged = {name: value for name, value in values.items() if not (gone and name.startswith(gone))}
    merged.update((name, value) for name, value in given.items() if value is not None)
    for name, value in given.items():
        if value is None:
            merged.pop(name, None)
    return merged


def gone_with(values: t.Mapping[str, str], given: t.Mapping[str, str | None]) -> tuple[str, ...]:
    """Return how the names of all fields begin that what is ``given`` takes away (None), or leaves no sense in."""
    gone = tuple(_rest_of(name) for name, value in given.items() if value is None and name in HEADS)
    if given.get("virtualport.type") not in {None, values.get("virtualport.type")}:
        # libvirt refuses the parameters of one type in another.
        gone = (*gone, "virtualport.")
    return gone


def exempted(given: t.Mapping[str, str | None]) -> dict[str, str | None]:
    """Return ``given`` without what is left in it of a default that it takes away: the peak of a limit of none, say."""
    gone = tuple(_rest_of(name) for name, value in given.items() if value is None and name in HEADS)
    return {name: value for name, value in given.items() if name in HEADS or not (gone and name.startswith(gone))}


def without_dropped(
    values: dict[str, str], given: t.Mapping[str, str | None], was: t.Mapping[str, str]
) -> dict[str, str]:
    # libvirt drops the whole <driver> of a card that becomes another than virtio. What was asked for is refused
    # instead: fitness.py.
    if values.get("model") in VIRTIO or values.get("model") == was.get("model"):
        return values
    return {name: text for name, text in values.items() if not name.startswith("driver.") or name in given}


def _rest_of(name: str) -> str:
    return f"{name.rpartition('.')[0]}."
