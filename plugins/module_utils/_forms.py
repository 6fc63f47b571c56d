# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Checks the form of what a host reports, before anything is made of it. Pure."""

from __future__ import annotations

import typing as t

Values = t.Mapping[str, t.Any]


def checked(data: Values, kinds: t.Mapping[str, t.Any], needs: str = "") -> Values:
    """Return ``data`` if its values are of these types, or None, which the one that it ``needs`` must not be.

    :raises TypeError: one is not.
    """
    for name, kind in kinds.items():
        value = data.get(name)
        if value is not None and not isinstance(value, kind):
            raise TypeError(f"{name} is {repr(value)[:60]}")
    if needs and data.get(needs) is None:
        raise TypeError(f"{needs} is None")
    return data


def texts(data: Values, name: str) -> tuple[str, ...]:
    """Return a list of texts of ``data``, () if there is none.

    :raises TypeError: it is not such a list.
    """
    found = checked(data, {name: (list, tuple)}).get(name) or ()
    if not all(isinstance(one, str) for one in found):
        raise TypeError(f"{name} is {repr(found)[:60]}")
    return tuple(found)


def check_found(found: Values) -> None:
    """Check the parts of a host's result that have a form of their own.

    :raises TypeError: one has another form.
    """
    checked(found, {"kernel": t.Mapping, "libvirt": t.Mapping})
    checked(found.get("libvirt") or {}, {"uri": str, "version": str})
