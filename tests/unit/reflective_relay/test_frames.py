# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The frames that ask a switch, and what their answers mean."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import frames, judge
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay.model import ProbeReplies, report

MINE, OTHERS = b"a" * 16, b"a" * 15 + b"b"
MAC = "02:00:00:00:00:02"
ETH0 = Link("eth0", 2, mac=MAC, up=True, carrier=True)


def test_a_frame_is_a_whole_one_of_the_experimental_ethertype() -> None:
    frame = frames.write(MAC, "02:00:00:00:00:03", MINE, 7)
    assert len(frame) == 60
    assert frame[:14].hex() == "020000000003" + "020000000002" + "88b5"


def test_only_the_own_frames_are_answers() -> None:
    frame = frames.write(MAC, MAC, MINE, 7)
    assert frames.read(frame, MINE) == 7
    assert frames.read(frame, OTHERS) is None
    assert frames.read(frame[:30], MINE) is None
    assert frames.read(frame[:12] + b"\x08\x00" + frame[14:], MINE) is None


def test_the_sockets_filter_jumps_within_itself() -> None:
    program = list(struct.iter_unpack("=HBBI", frames.socket_filter(MINE)))
    for at, (_code, if_true, if_false, _value) in enumerate(program[:-1]):
        assert at + 1 + max(if_true, if_false) < len(program)


@pytest.mark.parametrize(
    ("link", "method", "why"),
    [
        (ETH0, "lower", None),
        (replace(ETH0, up=False, carrier=False), "lower", "eth0 is down"),
        (replace(ETH0, carrier=False), "endpoints", "eth0 has no carrier"),
        (replace(ETH0, kind="bridge"), "lower", "is a bridge"),
        (replace(ETH0, kind="bridge"), "endpoints", None),
        (replace(ETH0, loopback=True, hardware=772), "lower", "not an Ethernet link"),
        (replace(ETH0, kind="macvtap", parent="eth1"), "lower", "probe eth1 instead"),
    ],
)
def test_where_no_switch_can_be_asked(link: Link, method: str, why: str | None) -> None:
    found = judge.blocker(link, method)
    assert (found is None) == (why is None)
    assert (why or "") in (found or "")


@pytest.mark.parametrize(
    ("echoes", "reflects", "reason"),
    [
        (ProbeReplies(MAC, MAC, 3, (0.1,)), True, None),
        (ProbeReplies(MAC, MAC, 3), False, "none of 3 frames came back within 25 ms"),
        (ProbeReplies(MAC, MAC, 1), False, "the frame did not come back within 25 ms"),
        (ProbeReplies(failure="the network is down"), None, "the network is down"),
    ],
)
def test_what_an_answer_means(echoes: ProbeReplies, reflects: bool | None, reason: str | None) -> None:
    result = report(judge.verdict(ETH0, "lower", echoes, 25))
    assert (result["parent"], result["reflective_relay"], result["reason"]) == ("eth0", reflects, reason)
    assert result["sent"]["frames"] == echoes.sent
