# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Values that a user gives: numbers, names and texts, refused in one way wherever they are given. Pure."""

from __future__ import annotations

import contextlib
import decimal
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

NAME_BYTES = 15  # IFNAMSIZ less the final NUL
ALTNAME_BYTES = 127  # ALTIFNAMSIZ less the final NUL
U31_MAX, U32_MAX = (1 << 31) - 1, (1 << 32) - 1
# No option has room for more. It also keeps 1e999999999 from being written out.
_DIGITS = 19
_PCI = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])", re.IGNORECASE)


def whole(value: t.Any, path: str) -> int:
    """Return ``value`` as a whole number: one as such, as a text, or as a float such as 1500.0.

    Ansible's own check takes ``yes`` for 1, and infinity ends it with a traceback.

    :raises MacvtapError: it is none.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**_DIGITS:
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


def check_range(value: int | None, least: int, most: int, path: str) -> None:
    if value is not None and not least <= whole(value, path) <= most:
        raise MacvtapError(f"{value} is not between {least} and {most}", path=path)


def check_bytes(text: str, most: int, path: str) -> None:
    size = len(text.encode())
    if size > most:
        raise MacvtapError(f"it has {size} bytes and the kernel allows {most}; shorten it", path=path)


def check_name(name: str, most: int, path: str) -> None:
    size = len(name.encode())
    if size > most:
        raise MacvtapError(f"'{name}' has {size} bytes and the kernel allows {most}; shorten it", path=path)
    # dev_valid_name(), and % because the kernel takes a new link's name for a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s\0]", name):
        raise MacvtapError(f"'{name}' cannot name a link: no white space, no / : % and not . or ..", path=path)


def check_link_name(name: str, path: str) -> None:
    """Refuse what no link can be called, of whatever kind it is."""
    check_name(name, NAME_BYTES, path)
    # addrconf_sysctl_register(), devinet_sysctl_register(): there they stand for every link.
    if name in ("all", "default"):
        raise MacvtapError(f"the kernel's settings call every link '{name}', so that none can be called so", path=path)
    # To the kernel's isspace(), which takes bytes for Latin-1, that byte is white space: "à" in UTF-8 ends with it.
    if b"\xa0" in name.encode():
        raise MacvtapError(f"'{name}' has the byte a0 in UTF-8, which the kernel takes for white space", path=path)


def pci_address(text: str) -> str | None:
    """Return a PCI address with all its digits, ``0000:01:00.0``, or None where ``text`` is none."""
    match = _PCI.fullmatch(text.strip())
    if match is None:
        return None
    domain, bus, slot, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
