# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Validation of option values: numbers, names and texts, with the same errors for every option. Pure."""

from __future__ import annotations

import contextlib
import decimal
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

NAME_BYTES = 15  # IFNAMSIZ minus the final NUL
ALTNAME_BYTES = 127  # ALTIFNAMSIZ minus the final NUL
U31_MAX, U32_MAX = (1 << 31) - 1, (1 << 32) - 1
# No option takes more. It also keeps 1e999999999 from being expanded.
_DIGITS = 19
_PCI = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-7])", re.IGNORECASE)


def whole(value: t.Any, path: str) -> int:
    """Return ``value`` as a whole number. It may be an int, a text, or a float such as 1500.0.

    Ansible's own check accepts ``yes`` as 1, and fails with a traceback for infinity.

    :raises MacvtapError: ``value`` is not a whole number.
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


def replace_invalid(params: t.Any, spec: t.Mapping[str, t.Any], path: str = "") -> list[MacvtapError]:
    """Return an error for each option of type int whose value is not one, and replace the value by 0.

    ``spec`` is the argument specification of ``params``. Ansible checks everything else.
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
                errors += replace_invalid(value, rules.get("options") or {}, here)
            elif kind == "list" and isinstance(value, list):
                for index, one in enumerate(value):
                    errors += replace_invalid(one, rules.get("options") or {}, f"{here}[{index}]")
    return errors


def check_range(value: int | None, least: int, most: int, path: str) -> None:
    if value is not None and not least <= whole(value, path) <= most:
        raise MacvtapError(f"{value} is not between {least} and {most}", path=path)


def _encoded(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        # Half a surrogate pair, as "\\ud800" in YAML.
        raise MacvtapError(f"{text!r} has a character that UTF-8 cannot encode; remove it", path=path) from exc


def check_bytes(text: str, most: int, path: str) -> None:
    size = len(_encoded(text, path))
    if "\0" in text:
        raise MacvtapError(f"{text!r} has a NUL character, which ends a text for the kernel; remove it", path=path)
    if size > most:
        raise MacvtapError(f"the text has {size} bytes and the kernel allows {most}; shorten it", path=path)


def check_path(name: str, path: str) -> None:
    """Refuse what cannot be the name or the path of a file, for which Python itself raises a ValueError."""
    _encoded(name, path)
    if not name or "\0" in name:
        raise MacvtapError(f"{name!r} is not the path of a file", path=path)


def check_name(name: str, most: int, path: str) -> None:
    size = len(_encoded(name, path))
    if size > most:
        raise MacvtapError(f"'{name}' has {size} bytes and the kernel allows {most}; shorten it", path=path)
    # dev_valid_name(). Also %, because the kernel treats a new link's name as a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s\0]", name):
        raise MacvtapError(
            f"'{name}' is not a valid link name: it must not be empty, . or .., nor contain white space, / : or %",
            path=path,
        )


def check_link_name(name: str, path: str) -> None:
    """Refuse names that no link of any kind can have."""
    check_name(name, NAME_BYTES, path)
    # addrconf_sysctl_register(), devinet_sysctl_register(): there these names stand for all links.
    if name in ("all", "default"):
        raise MacvtapError(
            f"'{name}' is reserved: in net.ipv4.conf and net.ipv6.conf it stands for all links", path=path
        )
    # The kernel's isspace() reads bytes as Latin-1, where this byte is white space: "à" in UTF-8 ends with it.
    if b"\xa0" in name.encode():
        raise MacvtapError(f"'{name}' has the byte a0 in UTF-8, which the kernel takes for white space", path=path)


def check_zone(text: str, path: str) -> None:
    """Refuse an IP address with a zone (``fe80::1%eth0``). ipaddress takes any text for one."""
    if "%" in text:
        raise MacvtapError(f"{text!r} has a zone, which does not belong here. Remove the part from % on", path=path)


def pci_address(text: str) -> str | None:
    """Return a PCI address in full, ``0000:01:00.0``, or None if ``text`` is not one."""
    match = _PCI.fullmatch(text.strip())
    if match is None:
        return None
    domain, bus, slot, function = (int(part or "0", 16) for part in match.groups())
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"
