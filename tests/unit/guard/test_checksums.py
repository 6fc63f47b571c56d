# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where a guest may have checksums written, and what the program has to know of the kernel."""

from __future__ import annotations

import struct
import sys

import bpf_machine
import guest_checksums
import pytest
from guest_frames import IP4, IP6, arp, ether, extension, fragment, icmp6, ip4, ip6, udp

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import checksum_program
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.checksum_program import Field

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the machine of the tests is little-endian")
TCP, UDP, ICMP6 = 6, 17, 58
_SEGMENT = guest_checksums.tcp(bytes(9))
_LONG_HEADER = ether(0x0800, b"\x4f" + ip4(IP4, bytes(40) + udp(1000, 53))[1:])
_AUTHENTICATED = ether(0x86DD, ip6(IP6, bytes((UDP, 4)) + bytes(22) + udp(1000, 53), 51))


def chain(count: int) -> bytes:
    """Return UDP behind so many extension headers of IPv6."""
    body, following = udp(1000, 53), UDP
    for _number in range(count):
        body, following = extension(following, body), 60
    return ether(0x86DD, ip6(IP6, body, following))


def first_allowed(frame: bytes) -> int | None:
    """Return the first place from 20 on where the guest may have two bytes written, None if there is none."""
    code = checksum_program.program(bpf_machine.LAYOUT, checksum_program.DROP, 5)
    found = [at for at in range(20, 120) if bpf_machine.Machine(code, frame).run((20, at - 20)) == -1]
    # Where it begins does not matter.
    for at in (20, 61):
        same = [one for one in range(at, 120) if bpf_machine.Machine(code, frame).run((at, one - at)) == -1]
        assert same == [one for one in found if one >= at]
    assert found in ([], [*range(found[0], 120)] if found else [], found[:1])
    return found[0] if found else None


@pytest.mark.parametrize(
    ("frame", "first"),
    [
        (arp(1, "52:54:00:00:0a:01", IP4, IP4), None),
        (ether(0x0800, ip4(IP4, _SEGMENT, TCP)), 34),
        (ether(0x0800, ip4(IP4, udp(1000, 53))), 38),
        (_LONG_HEADER, 78),
        (ether(0x0800, ip4(IP4, bytes(30), 132)), 34),
        (ether(0x86DD, ip6(IP6, _SEGMENT, TCP)), 54),
        (ether(0x86DD, ip6(IP6, udp(1000, 53))), 58),
        # The checksum of ICMPv6, and nothing else.
        (ether(0x86DD, ip6(IP6, icmp6(128, bytes(60)), ICMP6)), 56),
        (chain(1), 66),
        (chain(6), 106),
        # More than anything sends.
        (chain(8), None),
        (ether(0x86DD, ip6(IP6, fragment(UDP, udp(1000, 53)), 44)), 66),
        (_AUTHENTICATED, 82),
        # A header that is not there.
        (ether(0x86DD, ip6(IP6, b"", 60)), None),
        (ether(0x0800, bytes(8)), None),
        # Within tags only the first bytes are checked.
        (ether(0x8100, b"\0\5\x08\0" + ip4(IP4, udp(1000, 53))), 20),
        (ether(0x88CC, bytes(40)), 20),
    ],
)
def test_what_a_guard_checks_is_not_written_to(frame: bytes, first: int | None) -> None:
    assert first_allowed(frame) == first


@pytest.mark.parametrize(("policy", "verdict"), [("drop", 2), ("count", -1)])
def test_a_forged_frame_is_counted_once(policy: str, verdict: int) -> None:
    machine = bpf_machine.Machine(checksum_program.program(bpf_machine.LAYOUT, policy, 5), ether(0x0806, bytes(28)))
    assert (machine.run((20, 10)), machine.counted, machine.last) == (verdict, 1, bpf_machine.TIME)
    # One that is complete, whatever it claims, is for nftables.
    assert (machine.run(None), machine.counted) == (-1, 1)


def test_policies_have_names_of_their_own_that_the_kernel_takes() -> None:
    names = {checksum_program.name(policy) for policy in ("drop", "count")}
    assert len(names) == 2
    assert all(len(name) <= 15 and name.startswith(checksum_program.PREFIX) for name in names)


def types(*members: tuple[str, int, int], outer: tuple[tuple[str, int], ...] = (("head", 64), ("data", 128))) -> bytes:
    """Return BTF with a struct sk_buff: ``members`` with bits and offset in a union without a name, at bit 256."""
    strings = b"\0"

    def text(name: str) -> int:
        nonlocal strings
        strings += name.encode() + b"\0"
        return len(strings) - len(name) - 1

    # 1: an integer, 2: the members, 3: the struct, 4: a function's type, 5: the function.
    found = struct.pack("<IIII", text("int"), 1 << 24, 4, 32)
    found += struct.pack("<III", 0, 1 << 31 | 5 << 24 | len(members), 64)
    found += b"".join(struct.pack("<III", text(name), 1, bits << 24 | offset) for name, bits, offset in members)
    found += struct.pack("<III", text("sk_buff"), 1 << 31 | 4 << 24 | len(outer) + 1, 128)
    found += b"".join(struct.pack("<III", text(name), 1, offset) for name, offset in outer)
    found += struct.pack("<III", 0, 2, 256)
    found += struct.pack("<III", 0, 13 << 24, 1) + struct.pack("<III", text("bpf_cast_to_kern_ctx"), 12 << 24, 4)
    return struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(found), len(found), len(strings)) + found + strings


_MEMBERS = (("ip_summed", 2, 13), ("csum_start", 0, 32), ("csum_offset", 0, 48))


def test_the_kernels_types_say_where_its_fields_are() -> None:
    layout = checksum_program.layout_of(types(*_MEMBERS))
    assert layout.function == 5
    assert layout.fields == {
        "ip_summed": Field(33, 5, 2),
        "csum_start": Field(36),
        "csum_offset": Field(38),
        "head": Field(8),
        "data": Field(16),
    }


@pytest.mark.parametrize(
    "btf",
    [
        b"",
        types(*_MEMBERS)[:-30],
        types(*_MEMBERS[1:]),
        types(("ip_summed", 0, 13), *_MEMBERS[1:]),
        types(*_MEMBERS, outer=(("data", 128),)),
        types(*_MEMBERS).replace(b"cast", b"caste"),
    ],
    ids=["empty", "cut", "no-field", "no-bits", "no-head", "no-function"],
)
def test_another_kernel_is_refused(btf: bytes) -> None:
    """A program that read another field would let everything pass."""
    with pytest.raises(ValueError, match="the kernel's types lack what is needed"):
        checksum_program.layout_of(btf)
