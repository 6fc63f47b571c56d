# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""MAC addresses: parsing all common notations, and which addresses a network interface can have."""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

_FORMS = (
    re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}"),
    re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){5}"),
    re.compile(r"[0-9a-f]{4}(\.[0-9a-f]{4}){2}"),
    re.compile(r"[0-9a-f]{12}"),
)
_DIGITS = 12


def canonical(text: str) -> str | None:
    """Return what :func:`parse` does, or None if ``text`` is not a MAC address."""
    # Most addresses are in this form already, and most other texts are too short.
    if _FORMS[0].fullmatch(text):
        return text
    lowered = text.strip().lower()
    if len(lowered) < _DIGITS or not any(form.fullmatch(lowered) for form in _FORMS):
        return None
    return with_colons(re.sub(r"[^0-9a-f]", "", lowered))


def with_colons(digits: str) -> str:
    """Return the address of these 12 digits, with colons."""
    return ":".join(map("".join, zip(digits[::2], digits[1::2])))


def parse(text: str, *, path: str = "") -> str:
    """Return the address in lower case with colons: ``5254.00AB.CDEF`` gives ``52:54:00:ab:cd:ef``.

    :raises MacvtapError: ``text`` is not a MAC address. ``path`` is the option's path.
    """
    mac = canonical(text)
    if mac is None:
        hint = ""
        if re.fullmatch(r"-?[0-9]+", text.strip()):
            # YAML 1.1 parses 52:54:00:11:22:33 as a base-60 number.
            hint = "; YAML parsed it as a number: put it in quotes"
        raise MacvtapError(f"{text!r} is not a MAC address such as 52:54:00:ab:cd:ef{hint}", path=path)
    return mac


def problem(mac: str) -> str | None:
    """Return why no interface can have ``mac`` (as :func:`parse` returns it), or None if one can.

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
            f"which no interface can have. {first & 0xFE:02x}{mac[2:]} would be valid"
        )
    return None


def require(text: str, *, path: str = "") -> str:
    """Return :func:`parse` of ``text``.

    :raises MacvtapError: it is not a MAC address, or one that no interface can have.
    """
    mac = parse(text, path=path)
    message = problem(mac)
    if message:
        raise MacvtapError(message, path=path)
    return mac


def stable(seed: str, *, prefix: str = "52:54:00", taken: t.Collection[str] = ()) -> str:
    """Return an address that begins with ``prefix`` (1 to 5 bytes, as :func:`require_prefix` returns it).

    The same ``seed`` always gives the same address, unless it is among ``taken``.
    """
    missing = 6 - len(prefix.split(":"))
    for attempt in range(1 << 16):
        digest = hashlib.sha256(f"{attempt}/{seed}".encode()).digest()
        mac = f"{prefix}:{digest[:missing].hex(':')}"
        if mac not in taken and problem(mac) is None:
            return mac
    raise MacvtapError(f"all addresses with the prefix {prefix} are taken; use a shorter prefix")


@functools.lru_cache(maxsize=64)
def require_prefix(text: str, *, path: str = "") -> str:
    """Return an address prefix of 1 to 5 bytes: ``52-54-00`` gives ``52:54:00``.

    :raises MacvtapError: it is not a prefix, or is one of multicast addresses or of a manufacturer. In locally
        administered addresses, such as libvirt's 52:54:00, the second lowest bit of the first byte is set.
    """
    prefix = text.strip().lower().replace("-", ":").strip(":")
    if not re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){0,4}", prefix):
        raise MacvtapError(f"{text!r} is not the first 1 to 5 bytes of a MAC address, such as 52:54:00", path=path)
    first = int(prefix[:2], 16)
    if first & 1:
        raise MacvtapError(
            f"{text!r} is a prefix of multicast addresses. Use {first & 0xFE | 2:02x}{prefix[2:]} instead", path=path
        )
    if not first & 2:
        raise MacvtapError(
            f"{text!r} is the prefix of a manufacturer. Use a locally administered one, such as "
            f"{first | 2:02x}{prefix[2:]} or libvirt's 52:54:00 (the second lowest bit of its first byte is set)",
            path=path,
        )
    return prefix


def eui64(mac: str, network: ipaddress.IPv6Network) -> str:
    """Return the address that a NIC forms of its MAC address in a /64 network (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    interface = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return str(network.network_address + int.from_bytes(interface, "big"))
