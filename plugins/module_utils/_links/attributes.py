# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Every attribute of a link that can be declared: one row says all of it. Pure.

What is observed of a link, what is declared of one and what is written down for the next boot have the rows as their
fields. Out of them come the options, what is refused of their values, what is read of the kernel's messages and asked
for in them, what a change costs, what modules return, how the link is made at boot, the documentation's types, and the
argument specification of the role. To add an option is to add its row here, and its text in
plugins/doc_fragments/link_options.py.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, fields, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place, Wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# include/uapi/linux/if_link.h
MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
ADDRGENMODES = {"eui64": 0, "none": 1, "stable_secret": 2, "random": 3}
# include/uapi/linux/if_ether.h: ETH_P_8021Q, ETH_P_8021AD
PROTOCOLS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}
STATES = ("up", "present", "down", "absent")
IFF_ALLMULTI = 0x200  # include/uapi/linux/if.h

_ALIAS_BYTES = 255  # IFALIASZ less the final NUL
_QUEUES_MAX = 4096  # rtnl_create_link()
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


def row(option: str, kind: str = "int", **more: t.Any) -> t.Any:
    """Return the field of an attribute; None means "leave it as it is" (a new link: the kernel's default)."""
    return field(default=None, metadata={"row": Row(option, kind, **more)})


def _mac_address(given: str, path: str) -> str:
    return _mac.require(given, path=path)


def _mac_addresses(given: t.Sequence[str], path: str) -> frozenset[str]:
    found = frozenset(_mac.require(mac, path=f"{path}[{index}]") for index, mac in enumerate(given))
    if len(found) > _SOURCE_MACS_MAX:
        raise MacvtapError(
            f"{len(found)} addresses are more than the kernel can return of a link ({_SOURCE_MACS_MAX}), so that "
            "nobody could tell what it has. Divide them among links",
            path=path,
        )
    return found


def _names(given: t.Sequence[str], path: str) -> frozenset[str]:
    for index, name in enumerate(given):
        _values.check_name(name, _values.ALTNAME_BYTES, f"{path}[{index}]")
    return frozenset(given)


def _link(name: str, number: int, codec: wire.Codec = wire.U32, **more: t.Any) -> Wire:
    return Wire(Place.LINK, f"IFLA_{name}", number, codec, **more)


def _macvlan(name: str, number: int, codec: wire.Codec = wire.U32, **more: t.Any) -> Wire:
    return Wire(Place.MACVLAN, f"IFLA_MACVLAN_{name}", number, codec, **more)


_FLAGS = ("FLAGS", 2, wire.U16)


@dataclass(frozen=True)
class Attributes:
    """The attributes of a link of any kind, in the order in which changes are listed."""

    mode: str | None = row(
        "mode",
        "str",
        choices=("vepa", "bridge", "private", "passthru", "source", "auto"),
        wire=_macvlan("MODE", 1, words=MODES),
        derived=True,
        reported=True,
        ip="mode",
        with_add=True,
    )
    mac: str | None = row(
        "mac",
        "str",
        aliases=("address",),
        parse=_mac_address,
        wire=_link("ADDRESS", 1, wire.MAC),
        derived=True,
        reported=True,
        ip="address",
        with_add=True,
    )
    mtu: int | None = row(
        "mtu",
        # ETH_MIN_MTU, and what the kernel shows as a macvtap link's maxmtu.
        range=(68, 65535),
        wire=_link("MTU", 4),
        reported=True,
        ip="mtu",
    )
    txqueuelen: int | None = row(
        "txqueuelen",
        aliases=("txqlen",),
        range=(0, _values.U31_MAX),
        wire=_link("TXQLEN", 13),
        ip="txqueuelen",
        with_add=True,
    )
    promiscuous: bool | None = row(
        "promiscuous",
        "bool",
        wire=_macvlan(*_FLAGS, bit=1, inverted=True, absent=True),
        ip="nopromisc",
        with_add=True,
    )
    nodst: bool | None = row(
        "nodst", "bool", wire=_macvlan(*_FLAGS, bit=2, absent=False), ip="nodst", with_add=True, since="5.13"
    )
    bcqueuelen: int | None = row(
        "bcqueuelen",
        range=(0, _values.U32_MAX),
        wire=_macvlan("BC_QUEUE_LEN", 7),
        ip="bcqueuelen",
        with_add=True,
        since="5.11",
    )
    bclim: int | None = row(
        "bclim",
        aliases=("bc_cutoff",),
        range=(-1, _values.U31_MAX),
        # It is left out where it is 1, the default.
        wire=_macvlan("BC_CUTOFF", 9, wire.S32, absent=1),
        ip="bclim",
        kept=False,
        since="6.4",
    )
    source_macs: frozenset[str] | None = row(
        "source_macs",
        "list",
        elements="str",
        parse=_mac_addresses,
        wire=_macvlan("MACADDR_DATA", 5, wire.MACS, absent=frozenset()),
        derived=True,
        ip="macaddr",
    )
    group: int | None = row(
        "group",
        range=(0, _values.U31_MAX),
        wire=_link("GROUP", 27, absent=0),
        ip="group",
        with_add=True,
    )
    alias: str | None = row(
        "alias",
        "str",
        max_bytes=_ALIAS_BYTES,
        # The kernel takes it only for a link that exists.
        wire=_link("IFALIAS", 20, wire.TEXT, absent=""),
        made_with=False,
        ip="alias",
    )
    altnames: frozenset[str] | None = row(
        "altnames",
        "list",
        elements="str",
        parse=_names,
        wire=_link("PROP_LIST", 52, wire.NAMES, absent=frozenset()),
        made_with=False,
        ip="altname",
        since="5.5",
    )
    # The kernel answers "success" to another number and ignores it, as it does to another IFLA_LINK.
    tx_queues: int | None = row(
        "queues.tx",
        range=(1, _QUEUES_MAX),
        wire=_link("NUM_TX_QUEUES", 31),
        impact=Impact.RECREATE,
        ip="numtxqueues",
        with_add=True,
    )
    rx_queues: int | None = row(
        "queues.rx",
        range=(1, _QUEUES_MAX),
        wire=_link("NUM_RX_QUEUES", 32),
        impact=Impact.RECREATE,
        ip="numrxqueues",
        with_add=True,
    )
    gso_max_size: int | None = row(
        "gso_max_size",
        # MAX_TCP_HEADER, by the kernel's configuration up to 320, and GSO_MAX_SIZE. Before 5.19 macvlan_init() puts the
        # parent's in the place of what a link is made with.
        range=(321, 524280),
        wire=_link("GSO_MAX_SIZE", 41),
        made_with=False,
        ip="gso_max_size",
    )
    addrgenmode: str | None = row(
        "addrgenmode",
        "str",
        choices=tuple(ADDRGENMODES),
        wire=Wire(Place.INET6, "IFLA_INET6_ADDR_GEN_MODE", 8, wire.U8, words=ADDRGENMODES),
        made_with=False,
        ip="addrgenmode",
    )
    allmulticast: bool | None = row(
        "allmulticast",
        "bool",
        wire=Wire(Place.FLAGS, "IFF_ALLMULTI", bit=IFF_ALLMULTI),
        ip="allmulticast",
    )


@dataclass(frozen=True)
class VlanAttributes:
    """What VLAN links alone have. vlan_changelink() answers "success" to another id or protocol and ignores it."""

    vlan_id: int | None = row(
        "id",
        wire=Wire(Place.VLAN, "IFLA_VLAN_ID", 1, wire.U16),
        impact=Impact.RECREATE,
        ip="id",
        with_add=True,
    )
    vlan_protocol: str | None = row(
        "protocol",
        "str",
        choices=tuple(PROTOCOLS),
        wire=Wire(Place.VLAN, "IFLA_VLAN_PROTOCOL", 5, wire.BE16, words=PROTOCOLS),
        impact=Impact.RECREATE,
        ip="protocol",
        with_add=True,
    )


def _rows(of: type) -> dict[str, Row]:
    return {one.name: replace(one.metadata["row"], field=one.name) for one in fields(of)}


# By the names of the fields.
ROWS: t.Mapping[str, Row] = _rows(Attributes)
VLAN_ROWS: t.Mapping[str, Row] = _rows(VlanAttributes)
WITH_WIRE: tuple[Row, ...] = tuple(one for one in (*ROWS.values(), *VLAN_ROWS.values()) if one.wire)

# What is no attribute of the kernel's: where the link is, whether it is up, and its tap.
_STATE = Row("state", "str", choices=STATES)
_PARENT = Row("parent", "str", aliases=("link", "lower", "base_iface"), impact=Impact.RECREATE)
_NETNS = Row("netns", "str")
_TAP = (Row("tap.owner", "str"), Row("tap.group", "str"), Row("tap.mode", "raw"), Row("tap.repair", "bool"))

_OPTIONS = {one.option: one for one in (_STATE, _PARENT, *ROWS.values(), *VLAN_ROWS.values(), _NETNS, *_TAP)}
# What of it a new value makes anew.
RECREATES = frozenset(name for name, one in _OPTIONS.items() if one.impact is Impact.RECREATE)


def specification(*options: str) -> dict[str, t.Any]:
    """Return the argument specification of ``options``: ``queues.tx`` is ``tx`` under ``queues``."""
    spec: dict[str, t.Any] = {}
    for option in options:
        *outer, last = option.split(".")
        inner = spec
        for part in outer:
            inner = inner.setdefault(part, {"type": "dict", "options": {}})["options"]
        inner[last] = _OPTIONS[option].specification()
    return spec


def row_of(option: str) -> Row:
    return _OPTIONS[option]


# By the options' names; those of a macvtap link, and those of a VLAN link, which has a name of its own to leave out.
LINK_OPTIONS: t.Mapping[str, t.Any] = specification(
    "state", "parent", *(one.option for one in ROWS.values()), "netns", *(one.option for one in _TAP)
)
