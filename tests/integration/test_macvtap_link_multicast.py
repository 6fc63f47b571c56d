# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a link lets through that is for others' MAC addresses, or for groups that the host has not joined."""

from __future__ import annotations

import subprocess
import sys
import typing as t

import pytest

if t.TYPE_CHECKING:
    from namespaces import Namespace

pytestmark = pytest.mark.root

STRANGER, NEIGHBOURS = "02:00:00:00:00:99", "33:33:00:00:00:01"
# Foreign ones. Several, since the kernel knows a link's groups by a hash of 256 values (mc_hash() of macvlan), so that
# now and then one gets through.
GROUPS = {"33:33:00:00:4d:63", "33:33:00:01:4d:64", "01:00:5e:00:4d:65"}
NAME, PARENT = "mt0", "low0"

# Opens the tap, sends from behind the parent to each address, and says which of them came.
_TALK = """
import fcntl, os, select, socket, struct, sys, time
name, far, *addresses = sys.argv[1:]
tap = os.open(f"/dev/tap{socket.if_nametoindex(name)}", os.O_RDWR | os.O_NONBLOCK)
fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"", 0x1002))  # TUNSETIFF: IFF_TAP, IFF_NO_PI
out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
out.bind((far, 0))
for address in addresses:
    out.send((bytes.fromhex(address.replace(":", "")) + b"\\2\\0\\0\\0\\0\\x77\\x88\\xb5test").ljust(60, b"\\0"))
until = time.monotonic() + 0.5
while time.monotonic() < until:
    if select.select([tap], [], [], 0.1)[0]:
        frame = os.read(tap, 2000)
        if frame[12:18] == b"\\x88\\xb5test":
            print(frame[:6].hex(":"))
"""


def heard(netns: Namespace) -> set[str]:
    """The addresses, beside the link's own, for which frames get through; of the groups all, or else none."""
    mac = str(netns.link(NAME)["address"])
    command = [*netns.prefix, sys.executable, "-c", _TALK, NAME, "lowfar0", mac, *GROUPS, STRANGER, NEIGHBOURS]
    done = {*subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()}
    # What everybody hears was heard, so that nobody else's silence is of another kind.
    assert {mac, NEIGHBOURS} <= done
    return done - {mac, NEIGHBOURS} - (set() if done >= GROUPS else GROUPS)


def parent(netns: Namespace) -> tuple[bool, bool]:
    """Whether the parent takes in frames for others, and all groups."""
    flags = netns.links("dev", PARENT)[0]
    return flags["promiscuity"] > 0, flags["allmulti"] > 0


@pytest.mark.parametrize("mode", ["bridge", "vepa", "private"])
def test_a_link_hears_foreign_groups_with_allmulticast_alone(netns: Namespace, lower: str, mode: str) -> None:
    for on in (False, True, False):
        done = netns.run({"name": NAME, "parent": lower, "mode": mode, "allmulticast": on})
        assert done["rc"] == 0, done
        assert heard(netns) == (GROUPS if on else set())
        assert parent(netns)[1] is on


def test_a_promiscuous_link_hears_what_allmulticast_gives_it_and_no_more(netns: Namespace, lower: str) -> None:
    netns.run({"name": NAME, "parent": lower, "mode": "bridge"})
    netns.ip("link", "set", NAME, "promisc", "on")
    assert heard(netns) == GROUPS
    assert parent(netns) == (True, False)


@pytest.mark.parametrize("promiscuous", [True, False])
def test_passthru_is_no_way_to_hear_foreign_groups(netns: Namespace, lower: str, promiscuous: bool) -> None:
    declared = {"name": NAME, "parent": lower, "mode": "passthru", "promiscuous": promiscuous}
    assert netns.run(declared)["rc"] == 0
    # The parent, a veth link, lets in everything in any case.
    assert heard(netns) == {STRANGER}
    assert parent(netns) == (promiscuous, False)
    assert netns.run({**declared, "allmulticast": True})["rc"] == 0
    assert heard(netns) == {*GROUPS, STRANGER}
    assert parent(netns) == (promiscuous, True)


def allmulti(netns: Namespace) -> int:
    return int(netns.links("dev", PARENT)[0]["allmulti"])


def ok(done: dict[str, t.Any]) -> dict[str, str]:
    assert done["rc"] == 0, done
    return {change["field"]: change["impact"] for change in done["changes"]}


def test_the_parents_count_follows_a_passthru_link_and_never_goes_below_zero(netns: Namespace, lower: str) -> None:
    link = {"name": NAME, "parent": lower, "mode": "passthru"}
    ok(netns.run({**link, "allmulticast": True}))
    assert allmulti(netns) == 1
    assert ok(netns.run({**link, "allmulticast": False})) == {"allmulticast": "in_place"}
    assert allmulti(netns) == 0
    ok(netns.run({**link, "allmulticast": True}))
    # What is set down leaves nothing behind, nor what is removed or made anew.
    assert ok(netns.run({**link, "state": "down"})) == {"state": "in_place", "allmulticast": "in_place"}
    assert allmulti(netns) == 0
    ok(netns.run({**link, "allmulticast": True}))
    assert ok(netns.run({**link, "queues": {"tx": 2, "rx": 2}}))["queues.tx"] == "recreate"
    assert allmulti(netns) == 1
    ok(netns.run({"name": NAME, "state": "absent"}))
    assert allmulti(netns) == 0
    netns.refuses({**link, "allmulticast": True, "state": "down"}, r"^allmulticast: .*Set state: up")


def test_a_flag_that_a_passthru_link_got_while_it_was_down_does_not_break_the_parent(
    netns: Namespace, lower: str
) -> None:
    def without_effect(*, up: bool) -> None:
        netns.run({"name": NAME, "state": "absent"})
        netns.ip("link", "add", "link", lower, "name", NAME, "type", "macvtap", "mode", "passthru")
        netns.ip("link", "set", NAME, "allmulticast", "on")
        if up:
            netns.ip("link", "set", NAME, "up")
        assert allmulti(netns) == 0

    without_effect(up=False)
    ok(netns.run({"name": NAME}))
    assert ("ALLMULTI" in netns.link(NAME)["flags"], allmulti(netns)) == (True, 1)
    without_effect(up=True)
    assert ok(netns.run({"name": NAME, "allmulticast": False})) == {"allmulticast": "recreate"}
    assert allmulti(netns) == 0
    without_effect(up=True)
    result = netns.run({"name": NAME, "allmulticast": True})
    assert (result["changed"], "no more multicast groups than before" in str(result["warnings"])) == (False, True)
    ok(netns.run({"name": NAME, "state": "down", "allmulticast": False}))
    assert ("ALLMULTI" in netns.link(NAME)["flags"], allmulti(netns)) == (False, 0)
    ok(netns.run({"name": NAME, "allmulticast": True}))
    assert allmulti(netns) == 1
    # As the kernel alone has it.
    without_effect(up=True)
    netns.ip("link", "set", NAME, "allmulticast", "off")
    assert allmulti(netns) == 4294967295
    netns.ip("link", "del", NAME)
    netns.refuses(
        {"name": NAME, "parent": lower, "mode": "bridge"}, rf"^parent: the allmulti count of {lower} is 4294967295"
    )
