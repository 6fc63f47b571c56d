# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The requests that make, change and remove links, written by pyroute2 (0.7 as distributions have it, and newer)."""

from __future__ import annotations

import functools
import socket
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rtnetlink import (
    HEADER,
    IFADDR,
    IFINFO,
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
    RTMSG,
    attribute,
)

_IFLA_GROUP = 27

# Nested tuples, so that an encoded request can be kept: (name, value), where value may be such attributes again.
Attributes = t.Tuple[t.Tuple[str, t.Any], ...]


def require() -> None:
    """Load what writes requests, so that a run for which it is missing does nothing at all.

    :raises MissingLibraryError: pyroute2 is not installed.
    :raises MacvtapError: it is too old.
    """
    _message_class("ifinfmsg")


def create(attrs: Attributes, flags: int, mask: int, *, index: int = 0) -> bytes:
    # Without EXCL, creating a link whose name is taken changes that one, and ignores its parent.
    return _encode(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, index, attrs, (flags, mask))


def change(index: int, attrs: Attributes = (), flags: int = 0, mask: int = 0) -> bytes:
    return _encode(RTM_NEWLINK, 0, index, attrs, (flags, mask))


def delete(index: int) -> bytes:
    return _encode(RTM_DELLINK, 0, index)


def move(index: int, group: int) -> bytes:
    """Put the link into a link group; the kernel answers only if it refuses."""
    return _in_group(RTM_NEWLINK, NLM_F_REQUEST, index, group)


def delete_group(group: int) -> bytes:
    return _in_group(RTM_DELLINK, NLM_F_REQUEST | NLM_F_ACK, 0, group)


def _in_group(message: int, how: int, index: int, group: int) -> bytes:
    # Not by pyroute2, which removing links does not need.
    body = IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0) + attribute(_IFLA_GROUP, struct.pack("=I", group))
    return HEADER.pack(HEADER.size + len(body), message, how, 0, 0) + body


def altname(index: int, name: str, *, add: bool) -> bytes:
    attrs = (("IFLA_PROP_LIST", (("IFLA_ALT_IFNAME", name),)),)
    if add:
        return _encode(RTM_NEWLINKPROP, NLM_F_CREATE | NLM_F_EXCL, index, attrs)
    return _encode(RTM_DELLINKPROP, 0, index, attrs)


def kind(name: str, *data: tuple[str, t.Any]) -> tuple[str, Attributes]:
    """Return the attribute that says the kind of the link and what is particular to it."""
    return ("IFLA_LINKINFO", (("IFLA_INFO_KIND", name), ("IFLA_INFO_DATA", data)))


def macvlan(name: str, *data: tuple[str, t.Any]) -> tuple[str, Attributes]:
    """As :func:`kind` for macvtap or macvlan, which have the same attributes under names of their own: ``MODE``."""
    return kind(name, *((f"IFLA_{name.upper()}_{attribute}", value) for attribute, value in data))


def addrgenmode(mode: int) -> tuple[str, Attributes]:
    return ("IFLA_AF_SPEC", (("AF_INET6", (("IFLA_INET6_ADDR_GEN_MODE", mode),)),))


def address(index: int, given: str, prefix: int, *, add: bool) -> bytes:
    """Ask for the IP address on the link ``index``, or for its removal."""
    head = IFADDR.pack(_family(given), prefix, 0, 0, index)
    attrs = (("IFA_LOCAL", given), ("IFA_ADDRESS", given))
    how = NLM_F_CREATE | NLM_F_EXCL if add else 0
    return _whole(RTM_NEWADDR if add else RTM_DELADDR, how, head, "ifaddrmsg", attrs)


def route(head: t.Sequence[int], attrs: Attributes, *, add: bool) -> bytes:
    """Ask for a route, or for its removal; ``head`` are the fields of rtmsg."""
    how = NLM_F_CREATE | NLM_F_EXCL if add else 0
    return _whole(RTM_NEWROUTE if add else RTM_DELROUTE, how, RTMSG.pack(*head), "rtmsg", attrs)


def _family(given: str) -> int:
    return socket.AF_INET6 if ":" in given else socket.AF_INET


def _encode(message: int, how: int, index: int, attrs: Attributes = (), bits: tuple[int, int] = (0, 0)) -> bytes:
    """Return a whole message; ``bits`` are the link's flags and which of them are meant."""
    return _whole(message, how, IFINFO.pack(socket.AF_UNSPEC, 0, index, *bits), "ifinfmsg", attrs)


def _whole(message: int, how: int, head: bytes, what: str, attrs: Attributes) -> bytes:
    body = head + b"".join(_attribute(what, head[0], len(head), *attr) for attr in attrs)
    return HEADER.pack(HEADER.size + len(body), message, NLM_F_REQUEST | NLM_F_ACK | how, 0, 0) + body


# A batch mostly asks the same of each link, its name and its address apart.
@functools.lru_cache(maxsize=1024)
def _attribute(what: str, family: int, size: int, name: str, value: t.Any) -> bytes:
    """Return one attribute of a message with a head of ``size`` bytes; how addresses are written goes by ``family``."""
    message = _message_class(what)()
    message["family"] = family
    message["attrs"] = _nested(((name, value),))
    message.encode()
    encoded = bytes(message.data)[HEADER.size + size :]
    # The attribute is padded if it is not the last of a message, and here each is.
    return encoded.ljust((len(encoded) + 3) & ~3, b"\0")


def _nested(attrs: Attributes) -> list[list[t.Any]]:
    return [[name, {"attrs": _nested(value)} if isinstance(value, tuple) else value] for name, value in attrs]


@functools.cache
def _message_class(what: str) -> t.Any:
    try:
        return _taught(what)
    except MissingLibraryError:
        raise
    except Exception as exc:  # pylint: disable=broad-except  # older ones lack this and that
        _deps.check_version("pyroute2", (0, 7, 2), exc)
        raise


def _taught(what: str) -> t.Any:
    """Return pyroute2's message, taught the attributes of macvtap that it does not know and would drop in silence."""
    if what != "ifinfmsg":
        return getattr(_deps.load_part("pyroute2", f"netlink.rtnl.{what}"), what)
    ifinfmsg = _deps.load_part("pyroute2", "netlink.rtnl.ifinfmsg").ifinfmsg
    base = ifinfmsg.ifinfo.macvtap_data
    known = list(base.nla_map)
    # include/uapi/linux/if_link.h, in the order of their numbers: those up to 6 are known to every pyroute2.
    newer = [
        ("IFLA_MACVTAP_BC_QUEUE_LEN", "uint32"),
        ("IFLA_MACVTAP_BC_QUEUE_LEN_USED", "uint32"),
        ("IFLA_MACVTAP_BC_CUTOFF", "int32"),
    ]
    complete = type("macvtap_data", (base,), {"nla_map": known[:7] + newer})
    ifinfmsg.ifinfo.register_link_kind(module={"macvtap": complete})
    # Without the final NUL that pyroute2 appends: the kernel takes an alias for bytes and counts it among the 255.
    nla_map = tuple((name, "string" if name == "IFLA_IFALIAS" else how) for name, how in ifinfmsg.nla_map)
    return type("ifinfmsg", (ifinfmsg,), {"nla_map": nla_map})
