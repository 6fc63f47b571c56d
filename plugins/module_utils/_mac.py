# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""MAC addresses: every common way of writing one, and which of them a network interface can have."""

from __future__ import annotations

import re

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_FORMS = (
    re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
    re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){5}"),
    re.compile(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}"),
    re.compile(r"[0-9a-f]{12}"),
)


def parse(text: str, *, path: str = "") -> str:
    """Return the address in lower case with colons: ``5254.00AB.CDEF`` gives ``52:54:00:ab:cd:ef``.

    :raises MacvtapError: ``text`` is not a MAC address; ``path`` is the option that it comes from.
    """
    lowered = text.strip().lower()
    if not any(form.fullmatch(lowered) for form in _FORMS):
        hint = ""
        if re.fullmatch(r"-?[0-9]+", lowered):
            # YAML 1.1 reads 52:54:00:11:22:33 as a number in base 60.
            hint = "; YAML has read it as a number: write it in quotes"
        raise MacvtapError(f"{text!r} is not a MAC address such as 52:54:00:ab:cd:ef{hint}", path=path)
    digits = re.sub(r"[^0-9a-f]", "", lowered)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def problem(mac: str) -> str | None:
    """Say why no interface can have ``mac`` (as :func:`parse` returns it), or None if one can.

    The kernel's rule is ``is_valid_ether_addr``: neither multicast nor all zero.
    """
    if mac == "ff:ff:ff:ff:ff:ff":
        return f"{mac} is the broadcast address, which no interface can have"
    if mac == "00:00:00:00:00:00":
        return f"{mac} is all zero, which no interface can have"
    first = int(mac[:2], 16)
    if first & 1:
        return (
            f"{mac} is a multicast address (the lowest bit of its first byte, {mac[:2]}, is set), "
            f"which no interface can have; {first & 0xFE:02x}{mac[2:]} would be one that it can"
        )
    return None


def require(text: str, *, path: str = "") -> str:
    """Return :func:`parse` of ``text``.

    :raises MacvtapError: it is not a MAC address, or one that no interface can have.
    """
    mac = parse(text, path=path)
    said = problem(mac)
    if said:
        raise MacvtapError(said, path=path)
    return mac
