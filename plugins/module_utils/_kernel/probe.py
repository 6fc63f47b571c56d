# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that makes a macvtap, in a network namespace that only a child process ever sees, and removes it."""

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
# /dev/tapN is named after the link's index, and /dev is one for all namespaces: no host has come this far.
_FIRST, _COUNT = 0x30000000, 0x10000000
_NOT_ALLOWED = {errno.EPERM, errno.EACCES}


def try_macvtap(parents: t.Sequence[str] = ("veth", "dummy"), kind: str = "macvtap") -> Probe:
    """Make a link of ``kind`` on one of the first of ``parents`` that can be made, and remove both.

    The kernel loads the modules that it lacks for that.
    """
    told = _child.run(lambda: _work(parents, kind))
    return Probe(*told) if told else Probe(None, "the process that was to try it ended without a word")


def _work(parents: t.Sequence[str], kind: str) -> tuple[bool | None, str]:
    try:
        _child.unshare(_child.CLONE_NEWNET)
        sock = rtnetlink.open_socket()
    except OSError as exc:
        return None, f"making a network namespace: {_say(exc)}"
    refused = []
    for parent in parents:
        refusal = rtnetlink.transact(sock, [_create(_PARENT, "parent", parent)])[0]
        if not refusal:
            break
        refused.append(f"making a {parent} link as its parent: {_say(refusal)}")
    else:
        return None, "; ".join(refused)
    index = _FIRST + int.from_bytes(os.urandom(4), "big") % _COUNT
    lower = rtnetlink.attribute(_IFLA_LINK, struct.pack("=I", _PARENT))
    refusal = rtnetlink.transact(sock, [_create(index, "probe", kind, lower)])[0]
    # The namespace's end would remove them too, but the node in /dev only a while after this has ended.
    left = rtnetlink.transact(sock, [_message(rtnetlink.RTM_DELLINK, 0, _PARENT)])[0]
    if refusal:
        works = None if refusal.code in _NOT_ALLOWED else False
        return works, f"making a {kind} link on a {parent} link: {_say(refusal)}"
    if left:
        return False, f"removing the {parent} link with the {kind} link on it: {_say(left)}"
    return True, f"a {kind} link was made on a {parent} link and removed, in a network namespace of their own"


def _create(index: int, name: str, kind: str, attributes: bytes = b"") -> bytes:
    info = rtnetlink.attribute(_IFLA_INFO_KIND, kind.encode())
    attributes += rtnetlink.attribute(_IFLA_IFNAME, name.encode() + b"\0") + rtnetlink.attribute(_IFLA_LINKINFO, info)
    return _message(rtnetlink.RTM_NEWLINK, rtnetlink.NLM_F_CREATE | rtnetlink.NLM_F_EXCL, index, attributes)


def _message(kind: int, how: int, index: int, attributes: bytes = b"") -> bytes:
    flags = rtnetlink.NLM_F_REQUEST | rtnetlink.NLM_F_ACK | how
    length = rtnetlink.HEADER.size + rtnetlink.IFINFO.size + len(attributes)
    return rtnetlink.HEADER.pack(length, kind, flags, 0, 0) + rtnetlink.IFINFO.pack(0, 0, index, 0, 0) + attributes


def _say(refusal: OSError | rtnetlink.Refusal) -> str:
    if isinstance(refusal, OSError):
        refusal = rtnetlink.Refusal(refusal.errno or 0, "")
    needs = ". It needs root: become: true, and in a container CAP_SYS_ADMIN and CAP_NET_ADMIN"
    return f"{refusal}{needs if refusal.code in _NOT_ALLOWED else ''}"
