# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The row type of the attribute table (attributes.py), and parsers of values that are not plain. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# Each takes 12 bytes in IFLA_MACVLAN_MACADDR_DATA, whose length, and that of the two around it, has 16 bits.
_SOURCE_MACS_MAX = 5400


@dataclass(frozen=True)
class Row:
    """Everything about one attribute.

    ``option`` is the user's option. ``type``, ``choices``, ``elements`` and ``aliases`` are its argument specification;
    ``range`` and ``max_bytes`` are the kernel's limits. ``parse`` turns the option's value, and its path, into the
    attribute's value. ``wire`` is its place in netlink messages. ``made_with``: it can be set in the request that
    creates the link, not only later. ``impact`` is the cost of a change on an existing link. ``derived``: the desired
    value depends on more than the option, see planner.py. ``reported``: macvtap_link returns it; macvtap_link_info
    returns all.

    ``ip`` is iproute2's keyword, used to create the link at boot. ``with_add``: the keyword is part of ``ip link add``.
    An iproute2 before ``ip_since`` does not know the keyword, "" if those of all supported releases do. Without
    ``kept`` it is not persistent, because all links of a parent share it. ``since`` is the first Linux that supports
    it, "" if all supported versions do. An older one refuses it with the error ``refused`` (errno) and no text, or
    ignores it (0); distributions may have it in an older one.
    """

    option: str
    type: str = "int"
    aliases: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    elements: str = ""
    range: tuple[int, int] | None = None
    max_bytes: int = 0
    parse: t.Callable[[t.Any, str], t.Any] | None = None
    wire: Wire | None = None
    made_with: bool = True
    impact: Impact = Impact.IN_PLACE
    derived: bool = False
    reported: bool = False
    ip: str = ""
    with_add: bool = False
    ip_since: str = ""
    kept: bool = True
    since: str = ""
    refused: int = 0
    field: str = ""

    def value(self, given: t.Any, path: str) -> t.Any:
        """Return the attribute's value for ``given`` in the option ``path``; None stays None.

        :raises MacvtapError: the kernel does not accept the value.
        """
        if self.range is not None:
            _values.check_range(given, *self.range, path)
        if given is None:
            return None
        if self.max_bytes:
            _values.check_bytes(given, self.max_bytes, path)
        return given if self.parse is None else self.parse(given, path)

    def specification(self) -> dict[str, t.Any]:
        """Return the option's argument specification."""
        more = {"choices": list(self.choices), "elements": self.elements, "aliases": list(self.aliases)}
        return {"type": self.type, **{key: value for key, value in more.items() if value}}

    def shown(self, link: t.Any) -> t.Any:
        """Return the link's value as modules return it: a JSON value."""
        value = getattr(link, self.field)
        return sorted(value) if isinstance(value, frozenset) else value


def row(option: str, kind: str = "int", **more: t.Any) -> dict[str, Row]:
    """Return the metadata of an attribute's field. A value of None means "keep", for a new link the default."""
    return {"row": Row(option, kind, **more)}


def mode(given: str, _path: str) -> str:
    return "passthru" if given == "passthrough" else given


def mac_address(given: str, path: str) -> str:
    return _mac.require(given, path=path)


def mac_addresses(given: t.Sequence[str], path: str) -> frozenset[str]:
    found = frozenset(_mac.require(mac, path=f"{path}[{index}]") for index, mac in enumerate(given))
    if len(found) > _SOURCE_MACS_MAX:
        raise MacvtapError(
            f"{len(found)} addresses exceed the {_SOURCE_MACS_MAX} that the kernel can report for a link, so they "
            "could not be verified. Distribute them over several links",
            path=path,
        )
    return found


def names(given: t.Sequence[str], path: str) -> frozenset[str]:
    for index, name in enumerate(given):
        _values.check_name(name, _values.ALTNAME_BYTES, f"{path}[{index}]")
    return frozenset(given)
