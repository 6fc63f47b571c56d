# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How addresses and routes of the kernel's messages are written."""

from __future__ import annotations

import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import decode
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink

# include/uapi/linux/rtnetlink.h
RT_TABLE_COMPAT, RT_TABLE_LOCAL, RTA_TABLE, RTA_OIF = 252, 255, 15, 4
octets = st.one_of(
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=16, max_size=16),
    st.lists(st.sampled_from([b"\0\0", b"\0\1", b"\xff\xff", b"\xfe\x80"]), min_size=8, max_size=8).map(b"".join),
)


def attr(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload


@given(octets)
def test_an_address_has_the_options_canonical_form(data: bytes) -> None:
    family = socket.AF_INET if len(data) == 4 else socket.AF_INET6
    body = rtnetlink.IFADDR.pack(family, 8, 0x80, 0, 2) + attr(1, data)
    assert [one.address for one in decode.addresses([body])] == [str(ipaddress.ip_address(data))]


@pytest.mark.parametrize(
    ("table", "more", "found"), [(RT_TABLE_LOCAL, 255, []), (RT_TABLE_COMPAT, 511, [511]), (254, 254, [254])]
)
def test_routes_of_all_tables_but_local(table: int, more: int, found: list[int]) -> None:
    head = rtnetlink.RTMSG.pack(socket.AF_INET, 0, 0, 0, table, 4, 0, 1, 0)
    body = head + attr(RTA_TABLE, struct.pack("=I", more)) + attr(RTA_OIF, struct.pack("=I", 2))
    assert [route.table for route in decode.routes([body])] == found
