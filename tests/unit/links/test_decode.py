# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is read out of messages that this machine's kernel does not send, written by hand after the kernel's headers."""

from __future__ import annotations

import socket
import struct

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode, rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.vlan_model import OWNER_ALIAS, fields, is_managed

# include/uapi/linux/if_link.h
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_LINK_NETNSID = 1, 3, 4, 5, 18, 20, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_VLAN_ID, IFLA_VLAN_FLAGS, IFLA_VLAN_PROTOCOL = 1, 2, 1, 2, 5
IFA_ADDRESS, IFA_LOCAL = 1, 2
MAC = b"\x02\0\0\0\0\2"


def attr(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload.ljust((len(payload) + 3) & ~3, b"\0")


def message(index: int, name: str, flags: int, *attrs: bytes) -> bytes:
    common = (
        attr(IFLA_IFNAME, name.encode() + b"\0") + attr(IFLA_ADDRESS, MAC) + attr(IFLA_MTU, struct.pack("=I", 1500))
    )
    return rtnetlink.IFINFO.pack(0, 1, index, flags, 0) + common + b"".join(attrs)


def vlan(vid: int, protocol: int, *more: bytes) -> bytes:
    data = attr(IFLA_VLAN_ID, struct.pack("=H", vid)) + attr(IFLA_VLAN_FLAGS, struct.pack("=II", 1, 0xFFFFFFFF))
    data += attr(IFLA_VLAN_PROTOCOL, struct.pack(">H", protocol))
    info = attr(IFLA_INFO_KIND, b"vlan\0") + attr(IFLA_INFO_DATA, data)
    return attr(IFLA_LINK, struct.pack("=I", 2)) + attr(IFLA_LINKINFO, info) + b"".join(more)


def test_vlan_links() -> None:
    bodies = [
        message(2, "eth0", 1),
        message(10, "eth0.20", 1, vlan(20, 0x8100, attr(IFLA_IFALIAS, OWNER_ALIAS.encode()))),
        message(11, "outer", 0, vlan(4094, 0x88A8)),
    ]
    found = decode.links(bodies, ())
    common = {"parent": "eth0", "mac": "02:00:00:00:00:02", "mtu": 1500}
    assert fields(found["eth0.20"]) == {**common, "id": 20, "protocol": "802.1Q", "state": "up"}
    assert fields(found["outer"]) == {**common, "id": 4094, "protocol": "802.1ad", "state": "down"}
    assert (is_managed(found["eth0.20"]), is_managed(found["outer"])) == (True, False)
    assert found["eth0"].vlan_id is None


def test_a_link_whose_own_message_is_the_same_has_the_present_name_of_its_parent() -> None:
    memory: decode.Memory = {}
    tagged = message(10, "v20", 1, vlan(20, 0x8100))
    assert decode.links([message(2, "eth0", 1), tagged], (), memory)["v20"].parent == "eth0"
    found = decode.links([message(2, "lan0", 1), tagged], (), memory)
    assert (set(found), found["v20"].parent) == ({"lan0", "v20"}, "lan0")
    # The parent was moved to another namespace.
    assert decode.links([tagged], (), memory)["v20"].parent is None
    assert set(memory) == {tagged}


def test_a_vlan_whose_parent_is_in_another_namespace_is_on_no_link_of_this_one() -> None:
    bodies = [message(2, "eth0", 1), message(10, "v20", 1, vlan(20, 0x8100, attr(IFLA_LINK_NETNSID, b"\0\0\0\0")))]
    assert decode.links(bodies, ())["v20"].parent is None


def test_addresses_less_those_that_each_link_has() -> None:
    v4 = rtnetlink.IFADDR.pack(socket.AF_INET, 24, 0, 0, 10)
    v4 += attr(IFA_ADDRESS, bytes((192, 0, 2, 2))) + attr(IFA_LOCAL, bytes((192, 0, 2, 1)))
    link_local = rtnetlink.IFADDR.pack(socket.AF_INET6, 64, 0, 253, 10) + attr(IFA_ADDRESS, b"\xfe\x80" + 14 * b"\1")
    v6 = rtnetlink.IFADDR.pack(socket.AF_INET6, 64, 0, 0, 11) + attr(
        IFA_ADDRESS, b"\x20\x01\x0d\xb8" + 11 * b"\0" + b"\1"
    )
    assert decode.addresses([v4, link_local, v6]) == {10: ["192.0.2.1/24"], 11: ["2001:db8::1/64"]}


def bridge(index: int, name: str, filtering: int) -> bytes:
    info = attr(IFLA_INFO_KIND, b"bridge\0") + attr(IFLA_INFO_DATA, attr(7, bytes([filtering])))
    return message(index, name, 1, attr(IFLA_LINKINFO, info))


def bridge_vlans(index: int, master: int, *vids: int) -> bytes:
    vlans = b"".join(attr(2, struct.pack("=HH", 0, vid)) for vid in vids)
    return message(index, "any", 1, attr(10, struct.pack("=I", master)), attr(26, vlans))


def test_the_vlans_that_a_bridge_has_itself() -> None:
    found = decode.links([bridge(4, "br0", 1), bridge(5, "br1", 0), message(6, "port0", 1)])
    decode.with_bridge_vlans(found, [bridge_vlans(6, 4, 1, 20, 30), bridge_vlans(4, 4, 1, 20), bridge_vlans(5, 5, 1)])
    assert (found["br0"].bridge_vlans, found["br1"].bridge_vlans) == (frozenset({1, 20}), None)


def test_a_vxlan_is_under_the_link_that_it_goes_with() -> None:
    info = attr(IFLA_INFO_KIND, b"vxlan\0") + attr(IFLA_INFO_DATA, attr(3, struct.pack("=I", 2)))
    found = decode.links([message(2, "eth0", 1), message(9, "vx0", 1, attr(IFLA_LINKINFO, info))])
    assert (found["vx0"].under, found["vx0"].parent) == (2, None)


def test_links_that_are_much_alike_are_each_what_their_own_message_says() -> None:
    def macvtap(index: int, name: str, flags: int = 1, *more: bytes, mode: int = 4, mac: bytes = MAC) -> bytes:
        info = attr(IFLA_INFO_KIND, b"macvtap\0") + attr(IFLA_INFO_DATA, attr(1, struct.pack("=I", mode)))
        inet6 = attr(2, bytes(12) + struct.pack("=i", index % 2)) + attr(5, struct.pack("=IIII", 0, index, 7, 0))
        af_spec = attr(26, attr(socket.AF_INET6, inet6 + attr(8, bytes([index % 3]))))
        statistics = attr(7, bytes([index]) * 8) + attr(23, bytes([index]) * 8)
        text = message(index, name, flags, statistics, attr(IFLA_LINKINFO, info), af_spec, *more)
        return text.replace(MAC, mac)

    bodies = [
        macvtap(10, "a0"),
        macvtap(11, "a1", mac=b"\2\0\0\0\0\x0a"),
        macvtap(12, "a2"),
        # Each of these differs in one thing from those of the same length.
        macvtap(13, "a3", 0),
        macvtap(14, "a4", mode=8),
        macvtap(15, "a5", 1, attr(27, struct.pack("=I", 5))),
        macvtap(16, "a6", 1, attr(27, struct.pack("=I", 6))),
        macvtap(17, "longer"),
        macvtap(18, "a8"),
        message(19, "a9", 1),
    ]
    found = decode.links(bodies)
    assert [link.name for link in found.values()] == ["a0", "a1", "a2", "a3", "a4", "a5", "a6", "longer", "a8", "a9"]
    assert [link.index for link in found.values()] == list(range(10, 20))
    assert (found["a1"].mac, found["a2"].mac) == ("02:00:00:00:00:0a", "02:00:00:00:00:02")
    assert (found["a3"].up, found["a4"].mode, found["a5"].group, found["a6"].group) == (False, "passthru", 5, 6)
    assert [found[name].accept_ra for name in ("a0", "a1", "a2", "longer")] == [False, True, False, True]
    for body in bodies:
        decode._layouts.clear()
        assert list(decode.links([body]).values()) == [found[decode.links([body]).popitem()[0]]]
