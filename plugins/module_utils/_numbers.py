# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a user may write for an option that is a whole number. Pure."""

from __future__ import annotations

import contextlib
import decimal
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

# No option has room for more. It also keeps 1e999999999 from being written out.
_DIGITS = 19


def whole(value: t.Any, path: str) -> int:
    """Return ``value`` as a whole number: one as such, as a text, or as a float such as 1500.0.

    Ansible's own check takes ``yes`` for 1, and infinity ends it with a traceback.

    :raises MacvtapError: it is none.
    """
    if type(value) is int and abs(value) < 10**_DIGITS:
        return value
    number = None
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        with contextlib.suppress(decimal.InvalidOperation):
            number = decimal.Decimal(value.strip() if isinstance(value, str) else value)
    if number is None or not number.is_finite():
        raise MacvtapError(f"{value!r} is not a whole number", path=path)
    if number and number.adjusted() >= _DIGITS:
        raise MacvtapError("the number is too large for any option", path=path)
    if number != int(number):
        raise MacvtapError(f"{value!r} is not a whole number", path=path)
    return int(number)


def replace_wrong(params: t.Any, spec: t.Mapping[str, t.Any], path: str = "") -> list[MacvtapError]:
    """Return an error for each option of type int that has none, and put 0 in its place.

    ``spec`` is the argument specification of ``params``, which others check for all else.
    """
    errors: list[MacvtapError] = []
    if not isinstance(params, dict):
        return errors
    for option, rules in spec.items():
        for name in (option, *rules.get("aliases", ())):
            value = params.get(name)
            if value is None:
                continue
            here, kind = join_path(path, name), rules.get("type")
            if kind == "int":
                try:
                    params[name] = whole(value, here)
                except MacvtapError as exc:
                    errors.append(exc)
                    params[name] = 0
            elif kind == "dict":
                errors += replace_wrong(value, rules.get("options") or {}, here)
            elif kind == "list" and isinstance(value, list):
                for index, one in enumerate(value):
                    errors += replace_wrong(one, rules.get("options") or {}, f"{here}[{index}]")
    return errors
