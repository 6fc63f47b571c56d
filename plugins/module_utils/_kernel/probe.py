# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that creates and removes a macvtap, in a child process's own network namespace."""

from __future__ import annotations

import errno
import os
import struct
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import Probe
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink

# include/uapi/linux/if_link.h
_IFLA_IFNAME, _IFLA_LINK, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 5, 18, 1
_PARENT = 1000
# /dev/tapN is named after the ifindex, and all namespaces share /dev. No host has used indexes this high.
_FIRST, _COUNT = 0x30000000, 0x10000000
_NOT_ALLOWED = {errno.EPERM, errno.EACCES}


def try_macvtap(parents: t.Sequence[str] = ("veth", "dummy"), kind: str = "macvtap") -> Probe:
    """Create a link of ``kind`` on the first kind of ``parents`` that can be created, and remove both.

    The kernel loads the modules that this needs.
    """
    result = _child.run(lambda: _work(parents, kind))
    return Probe(*result) if result else Probe(None, "the probing process ended without a result")


def _work(parents: t.Sequence[str], kind: str) -> tuple[bool | None, str]:
    try:
        _child.unshare(_child.CLONE_NEWNET)
        sock = rtnetlink.open_socket()
    except OSError as exc:
        return None, f"creating a network namespace: {_describe(exc)}"
    errors = []
    for parent in parents:
        refusal = rtnetlink.transact(sock, [_create(_PARENT, "parent", parent)])[0]
        if not refusal:
            break
        errors.append(f"creating a {parent} link as its parent: {_describe(refusal)}")
    else:
        return None, "; ".join(errors)
    index = _FIRST + int.from_bytes(os.urandom(4), "big") % _COUNT
    lower = rtnetlink.attribute(_IFLA_LINK, struct.pack("=I", _PARENT))
    refusal = rtnetlink.transact(sock, [_create(index, "probe", kind, lower)])[0]
    # The end of the namespace would remove them, too, but the node in /dev only some time later.
    removal_error = rtnetlink.transact(sock, [_message(rtnetlink.RTM_DELLINK, 0, _PARENT)])[0]
    if refusal:
        works = None if refusal.code in _NOT_ALLOWED else False
        return works, f"creating a {kind} link on a {parent} link: {_describe(refusal)}"
    if removal_error:
        return False, f"removing the {parent} link with the {kind} link on it: {_describe(removal_error)}"
    return True, f"a {kind} link was created on a {parent} link and removed, in a separate network namespace"


def _create(index: int, name: str, kind: str, attributes: bytes = b"") -> bytes:
    info = rtnetlink.attribute(_IFLA_INFO_KIND, kind.encode())
    attributes += rtnetlink.attribute(_IFLA_IFNAME, name.encode() + b"\0") + rtnetlink.attribute(_IFLA_LINKINFO, info)
    return _message(rtnetlink.RTM_NEWLINK, rtnetlink.NLM_F_CREATE | rtnetlink.NLM_F_EXCL, index, attributes)


def _message(kind: int, flags: int, index: int, attributes: bytes = b"") -> bytes:
    flags |= rtnetlink.NLM_F_REQUEST | rtnetlink.NLM_F_ACK
    length = rtnetlink.HEADER.size + rtnetlink.IFINFO.size + len(attributes)
    return rtnetlink.HEADER.pack(length, kind, flags, 0, 0) + rtnetlink.IFINFO.pack(0, 0, index, 0, 0) + attributes


def _describe(refusal: OSError | rtnetlink.Refusal) -> str:
    if isinstance(refusal, OSError):
        refusal = rtnetlink.Refusal(refusal.errno or 0, "")
    hint = ". A probe requires root: become: true, and in a container CAP_SYS_ADMIN and CAP_NET_ADMIN"
    return f"{refusal}{hint if refusal.code in _NOT_ALLOWED else ''}"
