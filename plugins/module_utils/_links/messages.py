# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Encodes the requests that create, change and remove links, with pyroute2 (0.5.14, as in Debian 11, or newer).

The attributes of RTM_NEWLINK are declared here with pyroute2's base classes, from attributes.py: its own ``ifinfmsg``
knows different attributes in each version, and silently drops the others.
"""

from __future__ import annotations

import functools
import socket
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import WITH_WIRE
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rtnetlink import (
    HEADER,
    IFINFO,
    IFINFO_END,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELLINKPROP,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWLINKPROP,
    RTM_NEWROUTE,
    attribute,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.wire import Place

_IFLA_GROUP = 27
_IFINFOMSG = "ifinfomsg"
_NLA_F_NESTED = 1 << 15  # include/uapi/linux/netlink.h

# Nested tuples: (name, value), where value may be such attributes again.
Attributes = t.Tuple[t.Tuple[str, t.Any], ...]


def require() -> None:
    """Load pyroute2 early, so that a run without it changes nothing.

    :raises MissingLibraryError: pyroute2 is not installed.
    :raises MacvtapError: it is too old.
    """
    _message_class(_IFINFOMSG)


def create(attrs: Attributes, flags: int, mask: int, *, index: int = 0) -> bytes:
    """Return the request for a new link; ``mask`` selects which of ``flags`` are set."""
    # Without EXCL the request would change an existing link of this name, and ignore its parent.
    return _link(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, {"index": index, "flags": flags, "change": mask}, attrs)


def change(index: int, attrs: Attributes = (), flags: int = 0, mask: int = 0) -> bytes:
    return _link(RTM_NEWLINK, 0, {"index": index, "flags": flags, "change": mask}, attrs)


def delete(index: int) -> bytes:
    return _link(RTM_DELLINK, 0, {"index": index})


def move(index: int, group: int) -> bytes:
    """Move the link to a link group; the kernel answers only errors."""
    return _in_group(RTM_NEWLINK, NLM_F_REQUEST, index, group)


def delete_group(group: int) -> bytes:
    return _in_group(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 0, group)


def _in_group(message: int, how: int, index: int, group: int) -> bytes:
    # Without pyroute2, which removing links does not need.
    body = IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attribute(_IFLA_GROUP, struct.pack("=I", group))
    return HEADER.pack(HEADER.size + len(body), message, how, 0, 0) + body


def altname(index: int, name: str, *, add: bool) -> bytes:
    attrs = (("IFLA_PROP_LIST", (("IFLA_ALT_IFNAME", name),)),)
    if add:
        return _link(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL, {"index": index}, attrs)
    return _link(RTM_DELLINKPROP, 0, {"index": index}, attrs)


def kind(name: str, *data: tuple[str, t.Any]) -> tuple[str, Attributes]:
    """Return the attribute with the kind of the link and its kind-specific data."""
    return ("IFLA_LINKINFO", (("IFLA_INFO_KIND", name), ("IFLA_INFO_DATA", data)))


def addrgenmode(mode: int) -> tuple[str, Attributes]:
    return ("IFLA_AF_SPEC", (("AF_INET6", (("IFLA_INET6_ADDR_GEN_MODE", mode),)),))


def address(index: int, given: str, prefix: int, *, add: bool) -> bytes:
    """Return the request to add or remove the IP address on the link ``index``."""
    head = {"family": _family(given), "prefixlen": prefix, "index": index}
    attrs = (("IFA_LOCAL", given), ("IFA_ADDRESS", given))
    how = NLM_F_CREATE | NLM_F_EXCL if add else 0
    return _encode(RTM_NEWADDR if add else RTM_DELADDR, how, "ifaddrmsg", head, attrs)


def route(head: t.Mapping[str, int], attrs: Attributes, *, add: bool) -> bytes:
    """Return the request to add or remove a route; ``head`` has the fields of rtmsg by pyroute2's names."""
    how = NLM_F_CREATE | NLM_F_EXCL if add else 0
    return _encode(RTM_NEWROUTE if add else RTM_DELROUTE, how, "rtmsg", head, attrs)


def _family(given: str) -> int:
    return socket.AF_INET6 if ":" in given else socket.AF_INET


def _link(message: int, how: int, head: t.Mapping[str, int], attrs: Attributes = ()) -> bytes:
    body = IFINFO.pack(socket.AF_UNSPEC, 0, head.get("index", 0), head.get("flags", 0), head.get("change", 0))
    body += b"".join(_attribute(name, value) for name, value in attrs)
    return HEADER.pack(HEADER.size + len(body), message, NLM_F_REQUEST | NLM_F_ACK | how, 0, 0) + body


@functools.lru_cache(maxsize=512)
def _attribute(name: str, value: t.Any) -> bytes:
    """Return one attribute of RTM_NEWLINK. The links of a run have most in common, and each takes pyroute2 its time."""
    encoded = _encode(0, 0, _IFINFOMSG, {}, ((name, value),))[IFINFO_END:]
    return encoded.ljust((len(encoded) + 3) & ~3, b"\0")


def _encode(message: int, how: int, what: str, head: t.Mapping[str, int], attrs: Attributes) -> bytes:
    """Return a whole message; ``head`` has its non-zero fields."""
    encoded = _message_class(what)()
    for name, *_format in encoded.fields:
        encoded[name] = head.get(name, 0)
    encoded["header"].update(type=message, flags=NLM_F_REQUEST | NLM_F_ACK | how)
    encoded["attrs"] = _nested(attrs)
    encoded.encode()
    return bytes(encoded.data)


def _nested(attrs: Attributes) -> list[list[t.Any]]:
    return [[name, {"attrs": _nested(value)} if isinstance(value, tuple) else value] for name, value in attrs]


@functools.cache
def _message_class(what: str) -> t.Any:
    try:
        if what == _IFINFOMSG:
            return _link_message(_deps.load_part("pyroute2", "netlink"))
        return getattr(_deps.load_part("pyroute2", f"netlink.rtnl.{what}"), what)
    except MissingLibraryError:
        raise
    except Exception as exc:  # pylint: disable=broad-except  # older versions lack parts
        _deps.check_version("pyroute2", (0, 5, 14), exc)
        raise


def _link_message(netlink: t.Any) -> t.Any:
    """Return the class of RTM_NEWLINK's messages: include/uapi/linux/rtnetlink.h, if_link.h."""

    def nested(*nla_map: tuple[int, str, str], **inner: t.Any) -> t.Any:
        return type("nested", (netlink.nla,), {"nla_map": nla_map, **inner})

    macvlan = nested(
        *_numbers(Place.MACVLAN),
        (3, "IFLA_MACVLAN_MACADDR_MODE", "uint32"),
        (4, "IFLA_MACVLAN_MACADDR", "l2addr"),
        macs=nested((4, "IFLA_MACVLAN_MACADDR", "l2addr")),
    )
    data = {"macvlan": macvlan, "macvtap": macvlan, "vlan": nested(*_numbers(Place.VLAN))}
    info = nested(
        (1, "IFLA_INFO_KIND", "asciiz"),
        (2, "IFLA_INFO_DATA", "of_kind"),
        of_kind=staticmethod(lambda self, **_more: data[self.get_attr("IFLA_INFO_KIND")]),
    )
    attributes = (
        *_numbers(Place.LINK),
        (3, "IFLA_IFNAME", "asciiz"),
        (5, "IFLA_LINK", "uint32"),
        (18, "IFLA_LINKINFO", "info"),
        (26, "IFLA_AF_SPEC", "families"),
        (28, "IFLA_NET_NS_FD", "uint32"),
    )
    families = nested((socket.AF_INET6, "AF_INET6", "inet6"), inet6=nested(*_numbers(Place.INET6)))
    # rtnl_linkprop() requires the flag.
    names = nested((53, "IFLA_ALT_IFNAME", "asciiz"), nla_flags=_NLA_F_NESTED)
    head = (("family", "B"), ("__align", "x"), ("type", "H"), ("index", "i"), ("flags", "I"), ("change", "I"))
    inner = {"info": info, "families": families, "names": names}
    return type(_IFINFOMSG, (netlink.nlmsg,), {"fields": head, "nla_map": attributes, **inner})


def _numbers(place: Place) -> t.Iterable[tuple[int, str, str]]:
    """Return the attributes of ``place``, each once: number, name, and pyroute2's type."""
    wires = (row.wire for row in WITH_WIRE if row.wire and row.wire.place is place)
    # One without a name is only read.
    return dict.fromkeys((wire.number, wire.name, wire.codec.name) for wire in wires if wire.codec.name)
