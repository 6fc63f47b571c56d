# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run that is killed at any moment leaves a host that the next run brings where it was to be."""

from __future__ import annotations

import json
import random
import signal
import typing as t

import lan as lans
import pytest
from lan import ACCESS, Lan
from support import ROOT_ONLY, STOPPED_IN_SEND, Killed, running_module

pytestmark = ROOT_ONLY

KILLS = 16
# IPv4 alone: the detection of IPv6 duplicates takes seconds in which nothing else happens.
SIDES: t.Dict[str, t.List[t.Dict[str, t.Any]]] = {
    "a": [
        {"name": "host0", "parent": "eth0", "addresses": ["192.0.2.250"], "guests": ["192.0.2.77", "192.0.2.78"]},
        {"name": "host1", "parent": "eth0", "addresses": ["192.0.2.251"], "guests": ["192.0.2.80/29"]},
        {"name": "host2", "state": "absent"},
    ],
    "b": [
        {"name": "host0", "parent": "eth0", "addresses": ["192.0.2.249"], "guests": ["192.0.2.77"], "mtu": 1400},
        {"name": "host1", "state": "absent"},
        {"name": "host2", "parent": "eth0", "addresses": ["192.0.2.251"], "guests": ["192.0.2.78", "192.0.2.80/29"]},
    ],
}


@pytest.fixture(scope="module")
def lan() -> t.Iterator[Lan]:
    with lans.made() as made:
        yield made


def task(side: str) -> dict[str, t.Any]:
    return {"shims": SIDES[side], "lock_timeout": 1}


def ordinary(lan: Lan) -> list[str]:
    """What the host is managed by."""
    return [
        lan.host.ip("-o", "address", "show", "dev", "eth0"),
        lan.host.ip("route", "show", "dev", "eth0"),
        *(str(lan.host.sysctl("eth0", f"ipv4/{name}")) for name in ("arp_filter", "arp_announce")),
    ]


def shown(lan: Lan) -> list[str]:
    """What the shims are, but for what the kernel chooses."""
    there = json.loads(lan.host.ip("-j", "link", "show", "type", "macvlan"))
    links = [link["ifname"] + str("UP" in link["flags"]) for link in there if link]
    addresses = [" ".join(line.split()[1:4]) for line in lan.host.ip("-4", "-o", "address").splitlines()]
    return sorted([*links, *addresses, *lan.host.ip("route").splitlines()])


def killed_at_the_first_change(lan: Lan, side: str) -> bool:
    before = shown(lan)
    with running_module("macvtap_host_access", task(side), prefix=lan.host.prefix) as process:
        while shown(lan) == before and process.poll() is None:
            pass
        process.kill()
    return process.returncode == -signal.SIGKILL


def test_a_run_killed_at_any_moment(lan: Lan) -> None:
    whole = {}
    run = Killed("macvtap_host_access", lan.host.prefix)
    for side in "aba":
        duration = run.whole(task(side))
        whole[side] = shown(lan)
    uplink = ordinary(lan)
    chance, killed, halfway = random.Random(5), 0, 0
    moments = [duration * (number + chance.random()) / KILLS for number in range(KILLS)]
    chance.shuffle(moments)
    for number, moment in enumerate(moments):
        side, other = ("ab", "ba")[number % 2]
        # Half of them as soon as anything is changed, when it waits for others' answers; the others at any moment.
        killed += run.after(moment, task(side)) if number % 4 < 2 else killed_at_the_first_change(lan, side)
        assert ordinary(lan) == uplink
        halfway += shown(lan) not in (whole[side], whole[other])
        lan.done(task(side))
        assert not lan.done(task(side))["changed"]
        assert shown(lan) == whole[side]
        assert ordinary(lan) == uplink
    # Else it would not have shown anything.
    assert killed >= KILLS // 2
    assert halfway >= 3
    lan.done({"state": "absent", "shims": [{"name": name} for name in ("host0", "host1", "host2")]})
    assert "host" not in lan.host.ip("link", "show")


def test_one_that_was_left_half_made_is_finished_or_removed(lan: Lan) -> None:
    for wanted in (ACCESS, {"name": "host0", "state": "absent"}):
        lan.host.ip(
            "link", "add", "host0", "link", "eth0", "group", str(0x6D766C6E), "type", "macvlan", "mode", "bridge"
        )
        assert lan.done(wanted)["changed"]
        assert not lan.done(wanted)["changed"]
        if wanted is ACCESS:
            assert "group default" in lan.host.ip("link", "show", "host0")
            lan.done({"name": "host0", "state": "absent"})


# host1 had been removed.
RECREATED = (
    "The run was rolled back as far as possible. host1: recreated during the rollback, with another index; its "
    "settings below /proc/sys/net that are not managed by this collection are those of a new link"
)
# Another one makes a link of the same name, after any request of the run's.
REMADE = """
import subprocess
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
sent, send = [], rtnetlink.transact_at_once
def transact(*what, **how):
    answers = send(*what, **how)
    sent.append(1)
    if len(sent) == {number}:
        subprocess.run(['ip', 'link', 'del', 'host0']).returncode or subprocess.run(
            ['ip', 'link', 'add', 'host0', 'link', 'eth0', 'type', 'macvlan', 'mode', 'private'], check=True
        )
    return answers
rtnetlink.transact_at_once = transact
"""


def settled(lan: Lan) -> list[str]:
    """What the shims are; that one is up the kernel says a moment after it has come up."""
    return [line.replace("UNKNOWN", "UP") for line in shown(lan)]


def test_a_run_that_a_signal_stops_after_any_request_puts_back(lan: Lan) -> None:
    lan.done(task("a"))
    before, uplink = settled(lan), ordinary(lan)
    for number in range(1, 40):
        result = lan.access(task("b"), patch=STOPPED_IN_SEND.format(number=number))
        if not result.get("failed"):
            break
        message = result["msg"].replace(RECREATED, "The host is as it was before")
        assert message == "stopped by SIGTERM. The host is as it was before", number
        assert (settled(lan), ordinary(lan)) == (before, uplink), number
    assert number > 5
    lan.done({"state": "absent", "shims": [{"name": name} for name in ("host0", "host1", "host2")]})


def test_a_link_that_others_have_made_of_the_same_name_meanwhile_stays_theirs(lan: Lan) -> None:
    for number in range(1, 40):
        result = lan.access({"shims": SIDES["a"][:1]}, patch=REMADE.format(number=number))
        links = json.loads(lan.host.ip("-j", "-d", "link", "show", "type", "macvlan"))
        mode = [link["linkinfo"]["info_data"]["mode"] for link in links if link["ifname"] == "host0"]
        if mode == ["private"]:
            assert result.get("failed"), number
            (theirs,) = links
            assert "ifalias" not in theirs, number
            assert lan.host.ip("-4", "-o", "address", "show", "dev", "host0") == "", number
        if mode:
            lan.host.ip("link", "del", "host0")
        if not result.get("failed"):
            break
    assert number > 3
