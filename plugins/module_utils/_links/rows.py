# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a row of the table of attributes is (attributes.py), and what is made of values that are no plain ones. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# IFLA_MACVLAN_MACADDR_DATA takes 12 bytes for each, and it and the two that it is in say their length in 16 bits.
_SOURCE_MACS_MAX = 5400


@dataclass(frozen=True)
class Row:
    """What there is to say of an attribute.

    ``option`` is what users set, ``type``, ``choices``, ``elements`` and ``aliases`` are what Ansible is told of it,
    and ``range`` and ``max_bytes`` what the kernel takes. ``parse`` makes of the option's value, and its path, the
    attribute's. ``wire`` is where the kernel's messages have it. ``made_with`` says that a link can be made with it, as
    opposed to be given it when it exists; ``impact`` is what another value costs a link that exists. Where ``derived``,
    what a link is to have follows from more than the option: see planner.py. ``reported`` are in what macvtap_link
    returns of a link, and all in what macvtap_link_info does.

    ``ip`` is iproute2's word, by which the link is made at the next boot whichever manager has the uplink; ``with_add``
    says that it stands in the command that makes the link. Where not ``kept``, it is not written down: that is what all
    links of a parent share. ``since`` is the first Linux that has it, "" where that is older than all that the modules
    run on.
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
    kept: bool = True
    since: str = ""
    field: str = ""

    def value(self, given: t.Any, path: str) -> t.Any:
        """Return what ``given`` in the option ``path`` means; None stays None.

        :raises MacvtapError: the kernel takes no such value.
        """
        if self.range is not None:
            _values.check_range(given, *self.range, path)
        if given is None:
            return None
        if self.max_bytes:
            _values.check_bytes(given, self.max_bytes, path)
        return given if self.parse is None else self.parse(given, path)

    def specification(self) -> dict[str, t.Any]:
        """Return the option as Ansible's argument specifications have it."""
        more = {"choices": list(self.choices), "elements": self.elements, "aliases": list(self.aliases)}
        return {"type": self.type, **{key: value for key, value in more.items() if value}}

    def shown(self, link: t.Any) -> t.Any:
        """Return the link's value as modules return it: a plain one that JSON has."""
        value = getattr(link, self.field)
        return sorted(value) if isinstance(value, frozenset) else value


def row(option: str, kind: str = "int", **more: t.Any) -> dict[str, Row]:
    """Return what an attribute's field says of it. None in it is "as it is", of a new link the kernel's default."""
    return {"row": Row(option, kind, **more)}


def mac_address(given: str, path: str) -> str:
    return _mac.require(given, path=path)


def mac_addresses(given: t.Sequence[str], path: str) -> frozenset[str]:
    found = frozenset(_mac.require(mac, path=f"{path}[{index}]") for index, mac in enumerate(given))
    if len(found) > _SOURCE_MACS_MAX:
        raise MacvtapError(
            f"{len(found)} addresses are more than the kernel can return of a link ({_SOURCE_MACS_MAX}), so that "
            "nobody could tell what it has. Divide them among links",
            path=path,
        )
    return found


def names(given: t.Sequence[str], path: str) -> frozenset[str]:
    for index, name in enumerate(given):
        _values.check_name(name, _values.ALTNAME_BYTES, f"{path}[{index}]")
    return frozenset(given)
