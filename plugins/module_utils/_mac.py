# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""MAC addresses: every common way of writing one, and which of them a network interface can have."""

from __future__ import annotations

import hashlib
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_FORMS = (
    re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
    re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){5}"),
    re.compile(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}"),
    re.compile(r"[0-9a-f]{12}"),
)


def canonical(text: str) -> str | None:
    """Return what :func:`parse` does, or None where ``text`` is no MAC address."""
    lowered = text.strip().lower()
    if not any(form.fullmatch(lowered) for form in _FORMS):
        return None
    digits = re.sub(r"[^0-9a-f]", "", lowered)
    return ":".join(digits[i : i + 2] for i in range(0, 12, 2))


def parse(text: str, *, path: str = "") -> str:
    """Return the address in lower case with colons: ``5254.00AB.CDEF`` gives ``52:54:00:ab:cd:ef``.

    :raises MacvtapError: ``text`` is not a MAC address; ``path`` is the option that it comes from.
    """
    mac = canonical(text)
    if mac is None:
        hint = ""
        if re.fullmatch(r"-?[0-9]+", text.strip()):
            # YAML 1.1 reads 52:54:00:11:22:33 as a number in base 60.
            hint = "; YAML has read it as a number: write it in quotes"
        raise MacvtapError(f"{text!r} is not a MAC address such as 52:54:00:ab:cd:ef{hint}", path=path)
    return mac


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


def stable(seed: str, *, prefix: str = "52:54:00", taken: t.Collection[str] = ()) -> str:
    """Return an address that begins with ``prefix`` (1 to 5 bytes, as :func:`require_prefix` returns it).

    The same ``seed`` gives the same address again, and another one only where that is among ``taken``.
    """
    missing = 6 - len(prefix.split(":"))
    for attempt in range(1 << 16):
        digest = hashlib.sha256(f"{attempt}/{seed}".encode()).digest()
        mac = f"{prefix}:{digest[:missing].hex(':')}"
        if mac not in taken and problem(mac) is None:
            return mac
    raise MacvtapError(f"no address beginning with {prefix} is left; choose a shorter prefix")


def require_prefix(text: str, *, path: str = "") -> str:
    """Return the first bytes of addresses, 1 to 5 of them: ``52-54-00`` gives ``52:54:00``.

    :raises MacvtapError: they are no such bytes, are those of multicast addresses, or belong to a manufacturer: those
        for local use have the second lowest bit of the first byte set. 52:54:00, libvirt's, has.
    """
    said = text.strip().lower().replace("-", ":").strip(":")
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,4}", said):
        raise MacvtapError(f"{text!r} is not the first 1 to 5 bytes of a MAC address, such as 52:54:00", path=path)
    first = int(said[:2], 16)
    if first & 1:
        raise MacvtapError(
            f"{text!r} is what multicast addresses begin with; {first & 0xFE | 2:02x}{said[2:]} would do", path=path
        )
    if not first & 2:
        raise MacvtapError(
            f"{text!r} belongs to a manufacturer; addresses that are for local use have the second lowest bit of their "
            f"first byte set, as {first | 2:02x}{said[2:]} and libvirt's own 52:54:00",
            path=path,
        )
    return said
