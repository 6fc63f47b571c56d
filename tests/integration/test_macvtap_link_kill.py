# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run that is killed at any moment leaves a host that the next run brings where it was to be."""

from __future__ import annotations

import random
import typing as t

from support import Killed

if t.TYPE_CHECKING:
    from namespaces import Namespace

KILLS = 50
BYSTANDERS = [{"name": f"other{n}", "mac": f"52:54:00:00:ff:{n:02x}"} for n in range(5)]
STAYING = range(110)
MOVING = range(110, 140)
ONLY = {"a": range(140, 170), "b": range(170, 200)}
# What the links that stay are to have, and the parent of those that move.
SIDES: dict[str, dict[str, t.Any]] = {
    "a": {"mode": "bridge", "mtu": 1400, "parent": "eth0"},
    "b": {"mode": "private", "mtu": 1300, "parent": "eth1"},
}

Seen = t.Dict[str, t.Tuple[int, str, str, int, str]]


def task(side: str) -> dict[str, t.Any]:
    """Return a task of 200 links, which from the other side changes, recreates, makes and removes some."""
    own, other = SIDES[side], ONLY["b" if side == "a" else "a"]
    links: list[dict[str, t.Any]] = []
    for number in range(200):
        link: dict[str, t.Any] = {"name": f"mt{number}", "mac": mac(number)}
        if number in STAYING:
            link |= {"parent": "eth0", "mode": own["mode"], "mtu": own["mtu"]}
        elif number in MOVING:
            link |= {"parent": own["parent"], "mode": "bridge"}
        elif number in other:
            link = {"name": link["name"], "state": "absent"}
        else:
            link |= {"parent": "eth0", "mode": "vepa"}
        links.append(link)
    random.Random(7).shuffle(links)
    return {"links": links, "lock_timeout": 1}


def mac(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


def expected(side: str) -> dict[str, tuple[str, str, int, str]]:
    """Return what is to be: parent, mode, MTU and address by name."""
    own = SIDES[side]
    found = {f"mt{n}": ("eth0", own["mode"], own["mtu"], mac(n)) for n in STAYING}
    found |= {f"mt{n}": (own["parent"], "bridge", 1500, mac(n)) for n in MOVING}
    return found | {f"mt{n}": ("eth0", "vepa", 1500, mac(n)) for n in ONLY[side]}


def seen(netns: Namespace) -> Seen:
    return {
        link["ifname"]: (
            link["ifindex"],
            link["link"],
            link["linkinfo"]["info_data"]["mode"],
            link["mtu"],
            link["address"],
        )
        for link in netns.links("type", "macvtap")
        if link
    }


def test_a_run_killed_at_any_moment(roomy_netns: Namespace) -> None:
    netns = roomy_netns
    assert "failed" not in netns.run({"parent": "eth1", "mode": "bridge", "links": BYSTANDERS})
    bystanders = seen(netns)
    assert "failed" not in netns.run(task("a"))
    run = Killed("macvtap_link", netns.prefix)
    durations = [run.whole(task(side)) for side in ("b", "a")]
    chance = random.Random(11)
    # Over the whole time that a run takes, in any order, and more of them late: at first it only imports.
    moments = [min(durations) * ((n + chance.random()) / KILLS) ** 0.5 for n in range(KILLS)]
    chance.shuffle(moments)

    before, killed, halfway = seen(netns), 0, 0
    for number, moment in enumerate(moments):
        side = "ba"[number % 2]
        killed += run.after(moment, task(side))
        after = seen(netns)
        stay = {f"mt{n}" for n in STAYING}
        for name in (*stay, *bystanders):
            # The same link, not one made again.
            assert after[name][0] == before[name][0], (name, moment)
        assert after.keys() - bystanders.keys() <= expected("a").keys() | expected("b").keys()
        wanted = expected(side)
        facts = {name: link[1:] for name, link in after.items() if name not in bystanders}
        halfway += facts not in ({name: link[1:] for name, link in before.items() if name not in bystanders}, wanted)

        # The lock went with the killed run: this one does not wait a second for it.
        done = netns.run(task(side))
        assert "failed" not in done, (done["msg"], moment)
        before = seen(netns)
        assert {name: link[1:] for name, link in before.items() if name not in bystanders} == wanted
        assert {name: before[name] for name in bystanders} == bystanders
        if number % 10 == 0:
            assert not netns.run(task(side))["changed"]
    # Else it would not have shown anything.
    assert killed >= KILLS // 2
    assert halfway >= 3
