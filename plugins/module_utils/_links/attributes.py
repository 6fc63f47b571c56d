# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The table of link attributes that users can set: one row per attribute. Pure.

Current, desired and persistent links have the rows as their fields. From the rows come the options and their
validation, the decoding and encoding of netlink attributes, the impact of a change, what modules return, the commands
at boot, the types in the documentation, and the argument specification of the role. To add an option, add its row here,
and its text in plugins/doc_fragments/link_options.py.
"""

from __future__ import annotations

import errno
import typing as t
from dataclasses import dataclass, field, fields, replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rows, wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row, row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place, Wire
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact

# include/uapi/linux/if_link.h
MODES = {"private": 1, "vepa": 2, "bridge": 4, "passthru": 8, "source": 16}
# Of new links and NICs whose mode is not set; existing ones keep theirs. It works with every switch, unlike vepa, the
# default of the kernel and of libvirt.
DEFAULT_MODE = "bridge"
ADDRGENMODES = {"eui64": 0, "none": 1, "stable_secret": 2, "random": 3}
# include/uapi/linux/if_ether.h: ETH_P_8021Q, ETH_P_8021AD
PROTOCOLS = {"802.1Q": 0x8100, "802.1ad": 0x88A8}
STATES = ("up", "present", "down", "absent")
IFF_NOARP, IFF_ALLMULTI = 0x80, 0x200  # include/uapi/linux/if.h

_ALIAS_BYTES = 255  # IFALIASZ less the final NUL
_QUEUES_MAX = 4096  # rtnl_create_link()
_FLAGS = ("FLAGS", 2, wire.U16)


@dataclass(frozen=True)
class Attributes:
    """The attributes of a link of any kind, in the order of listed changes."""

    mode: str | None = field(
        default=None,
        metadata=row(
            "mode",
            "str",
            # passthrough is libvirt's word for passthru.
            choices=("bridge", "vepa", "private", "passthru", "passthrough", "source", "auto"),
            parse=rows.mode,
            wire=wire.of_macvlan("MODE", 1, words=MODES),
            derived=True,
            reported=True,
            ip="mode",
            with_add=True,
        ),
    )
    mac: str | None = field(
        default=None,
        metadata=row(
            "mac",
            "str",
            parse=rows.mac_address,
            wire=wire.of_link("ADDRESS", 1, wire.MAC),
            derived=True,
            reported=True,
            ip="address",
            with_add=True,
        ),
    )
    mtu: int | None = field(
        default=None,
        metadata=row(
            "mtu",
            # ETH_MIN_MTU, and the maxmtu of a macvtap link.
            range=(68, 65535),
            wire=wire.of_link("MTU", 4),
            reported=True,
            ip="mtu",
        ),
    )
    txqueuelen: int | None = field(
        default=None,
        metadata=row(
            "txqueuelen",
            aliases=("txqlen",),
            range=(0, _values.U31_MAX),
            wire=wire.of_link("TXQLEN", 13),
            ip="txqueuelen",
            with_add=True,
        ),
    )
    promiscuous: bool | None = field(
        default=None,
        metadata=row(
            "promiscuous",
            "bool",
            wire=wire.of_macvlan(*_FLAGS, bit=1, inverted=True, absent=True),
            ip="nopromisc",
            with_add=True,
        ),
    )
    nodst: bool | None = field(
        default=None,
        metadata=row(
            "nodst",
            "bool",
            wire=wire.of_macvlan(*_FLAGS, bit=2, absent=False),
            ip="nodst",
            with_add=True,
            ip_since="5.14",
            since="5.13",
            refused=errno.EINVAL,  # macvlan_validate()
        ),
    )
    bcqueuelen: int | None = field(
        default=None,
        metadata=row(
            "bcqueuelen",
            range=(0, _values.U32_MAX),
            wire=wire.of_macvlan("BC_QUEUE_LEN", 7),
            ip="bcqueuelen",
            with_add=True,
            ip_since="5.11",
            since="5.11",
        ),
    )
    bclim: int | None = field(
        default=None,
        metadata=row(
            "bclim",
            aliases=("bc_cutoff",),
            range=(-1, _values.U31_MAX),
            # The kernel omits the default, 1.
            wire=wire.of_macvlan("BC_CUTOFF", 9, wire.S32, absent=1),
            ip="bclim",
            kept=False,
            since="6.4",
        ),
    )
    source_macs: frozenset[str] | None = field(
        default=None,
        metadata=row(
            "source_macs",
            "list",
            elements="str",
            parse=rows.mac_addresses,
            wire=wire.of_macvlan("MACADDR_DATA", 5, wire.MACS, absent=frozenset()),
            derived=True,
            ip="macaddr",
        ),
    )
    group: int | None = field(
        default=None,
        metadata=row(
            "group", range=(0, _values.U31_MAX), wire=wire.of_link("GROUP", 27, absent=0), ip="group", with_add=True
        ),
    )
    alias: str | None = field(
        default=None,
        metadata=row(
            "alias",
            "str",
            max_bytes=_ALIAS_BYTES,
            # The kernel accepts it only for an existing link.
            wire=wire.of_link("IFALIAS", 20, wire.TEXT, absent=""),
            made_with=False,
            ip="alias",
        ),
    )
    altnames: frozenset[str] | None = field(
        default=None,
        metadata=row(
            "altnames",
            "list",
            elements="str",
            parse=rows.names,
            wire=wire.of_link("PROP_LIST", 52, wire.NAMES, absent=frozenset()),
            made_with=False,
            ip="altname",
            since="5.5",
            refused=errno.EOPNOTSUPP,  # rtnetlink_rcv_msg(): it has a request of its own
        ),
    )
    # On an existing link the kernel ignores another number, and reports success. The same for IFLA_LINK.
    tx_queues: int | None = field(
        default=None,
        metadata=row(
            "queues.tx",
            range=(1, _QUEUES_MAX),
            wire=wire.of_link("NUM_TX_QUEUES", 31),
            impact=Impact.RECREATE,
            ip="numtxqueues",
            with_add=True,
        ),
    )
    rx_queues: int | None = field(
        default=None,
        metadata=row(
            "queues.rx",
            range=(1, _QUEUES_MAX),
            wire=wire.of_link("NUM_RX_QUEUES", 32),
            impact=Impact.RECREATE,
            ip="numrxqueues",
            with_add=True,
        ),
    )
    gso_max_size: int | None = field(
        default=None,
        metadata=row(
            "gso_max_size",
            # Above MAX_TCP_HEADER (at most 320, by kernel configuration), up to GSO_MAX_SIZE. Before 5.19
            # macvlan_init() replaces the value of a new link by the parent's.
            range=(321, 524280),
            wire=wire.of_link("GSO_MAX_SIZE", 41),
            made_with=False,
            ip="gso_max_size",
        ),
    )
    addrgenmode: str | None = field(
        default=None,
        metadata=row(
            "addrgenmode",
            "str",
            choices=tuple(ADDRGENMODES),
            wire=Wire(Place.INET6, "IFLA_INET6_ADDR_GEN_MODE", 8, wire.U8, words=ADDRGENMODES),
            made_with=False,
            ip="addrgenmode",
        ),
    )
    allmulticast: bool | None = field(
        default=None,
        metadata=row(
            "allmulticast", "bool", wire=Wire(Place.FLAGS, "IFF_ALLMULTI", bit=IFF_ALLMULTI), ip="allmulticast"
        ),
    )
    # The host's own stack gets the frames of an up link whose tap no process holds. These keep it from answering.
    arp: bool | None = field(
        default=None,
        metadata=row("arp", "bool", wire=Wire(Place.FLAGS, "IFF_NOARP", bit=IFF_NOARP, inverted=True), ip="arp"),
    )
    accept_ra: bool | None = field(
        default=None,
        metadata=row(
            "accept_ra",
            "bool",
            # Netlink only reports it.
            wire=Wire(Place.INET6, "IFLA_INET6_CONF", 2, wire.ACCEPT_RA),
            made_with=False,
        ),
    )


@dataclass(frozen=True)
class VlanAttributes:
    """The attributes of VLAN links only. vlan_changelink() ignores another id or protocol, and reports success."""

    vlan_id: int | None = field(
        default=None,
        metadata=row(
            "id",
            aliases=("vlan_id", "vlanid"),
            wire=Wire(Place.VLAN, "IFLA_VLAN_ID", 1, wire.U16),
            impact=Impact.RECREATE,
            ip="id",
            with_add=True,
        ),
    )
    vlan_protocol: str | None = field(
        default=None,
        metadata=row(
            "protocol",
            "str",
            choices=tuple(PROTOCOLS),
            wire=Wire(Place.VLAN, "IFLA_VLAN_PROTOCOL", 5, wire.BE16, words=PROTOCOLS),
            impact=Impact.RECREATE,
            ip="protocol",
            with_add=True,
        ),
    )


def _rows(of: type) -> dict[str, Row]:
    return {one.name: replace(one.metadata["row"], field=one.name) for one in fields(of)}


# By field name.
ROWS: t.Mapping[str, Row] = _rows(Attributes)
VLAN_ROWS: t.Mapping[str, Row] = _rows(VlanAttributes)
WITH_WIRE: tuple[Row, ...] = tuple(one for one in (*ROWS.values(), *VLAN_ROWS.values()) if one.wire)
