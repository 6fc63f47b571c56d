# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Changes of a macvtap link's mode, what depends on the mode, and what is recreated with all that it had."""

from __future__ import annotations

import functools
import itertools
import subprocess
import time
import typing as t

import pytest
from attributes import MACS, impacts, shown
from support import PYTHONS

if t.TYPE_CHECKING:
    from namespaces import Namespace


@pytest.mark.parametrize("state", ["up", "down"])
def test_any_mode_but_passthru_becomes_any_other_in_place(netns: Namespace, state: str) -> None:
    ways = list(itertools.permutations(("vepa", "bridge", "private", "source"), 2))
    base = {"parent": "eth0", "state": state}
    made = netns.run({**base, "links": [{"name": f"mt{n}", "mode": before} for n, (before, _after) in enumerate(ways)]})
    changed = netns.run(
        {**base, "links": [{"name": f"mt{n}", "mode": after} for n, (_before, after) in enumerate(ways)]}
    )
    assert changed["changes"] == [
        {"target": f"mt{n}", "field": "mode", "before": before, "after": after, "impact": "in_place"}
        for n, (before, after) in enumerate(ways)
    ]
    for n, (_before, after) in enumerate(ways):
        link = netns.link(f"mt{n}")
        assert (link["linkinfo"]["info_data"]["mode"], link["ifindex"]) == (after, made["links"][n]["ifindex"])
        assert ("UP" in link["flags"]) is (state == "up")


@pytest.mark.parametrize("mode", ["vepa", "bridge", "private", "source"])
def test_to_and_from_passthru_the_link_is_made_anew(netns: Namespace, lower: str, mode: str) -> None:
    base = {"name": "mt0", "parent": lower, "alias": "web", "group": 7, "altnames": ["web0"]}
    (first,) = netns.run({**base, "mode": mode, "mac": MACS[0]})["links"]
    returned = netns.run({"name": "mt0", "mode": "passthru"}, check=True)
    assert impacts(returned)["mode"] == "recreate"
    assert netns.link("mt0")["ifindex"] == first["ifindex"]
    (second,) = netns.run({"name": "mt0", "mode": "passthru"})["links"]
    assert second["ifindex"] != first["ifindex"]
    assert netns.link("mt0")["address"] == netns.link(lower)["address"]
    back = netns.run({"name": "mt0", "mode": mode})
    assert impacts(back)["mode"] == "recreate"
    assert back["links"][0]["ifindex"] != second["ifindex"]
    link = netns.link("mt0")
    assert link["address"] != netns.link(lower)["address"]
    assert (link["linkinfo"]["info_data"]["mode"], link["ifalias"], link["group"]) == (mode, "web", "7")
    assert link["altnames"] == ["web0"]


@pytest.mark.parametrize("state", ["up", "down"])
def test_flags_in_any_mode(netns: Namespace, state: str) -> None:
    modes = ("vepa", "bridge", "private", "source")
    links = [{"name": f"mt{n}", "mode": mode} for n, mode in enumerate(modes)]
    netns.run({"parent": "eth0", "state": state, "links": links})
    promiscuity = netns.link("eth0")["promiscuity"]
    for promiscuous, nodst in ((False, True), (True, False)):
        changed = netns.run({"state": state, "links": links, "promiscuous": promiscuous, "nodst": nodst})
        assert impacts(changed) == {"promiscuous": "in_place", "nodst": "in_place"}
        assert len(changed["changes"]) == 2 * len(modes)
        for n in range(len(modes)):
            seen = shown(netns, f"mt{n}")
            assert (seen["promiscuous"], seen["nodst"]) == (promiscuous, nodst)
    # Only a link in mode passthru makes its parent promiscuous.
    assert netns.link("eth0")["promiscuity"] == promiscuity


@pytest.mark.parametrize("python", PYTHONS)
def test_the_source_list_is_a_set(netns: Namespace, python: str) -> None:
    run = functools.partial(netns.run, python=python)
    wanted = {"name": "mt0", "parent": "eth0", "mode": "source"}
    run({**wanted, "source_macs": [MACS[2], MACS[0], MACS[1], MACS[0]]})
    assert shown(netns, "mt0")["source_macs"] == MACS[:3]
    assert impacts(run({**wanted, "source_macs": [MACS[1], MACS[2], MACS[0].upper()]})) == {}
    with subprocess.Popen(
        ["ip", "-n", netns.name, "-d", "monitor", "link"], stdout=subprocess.PIPE, text=True
    ) as output:
        time.sleep(0.3)
        changed = run({**wanted, "source_macs": MACS[1:4]})
        time.sleep(0.3)
        output.terminate()
        # Each change of the kernel's list is one message of its own: one to add, one to remove, none to flush.
        returned = output.stdout.read() if output.stdout else ""
    (change,) = changed["changes"]
    assert (change["field"], change["impact"]) == ("source_macs", "in_place")
    assert (change["before"], change["after"]) == (MACS[:3], MACS[1:4])
    counts = [line.split("remotes (")[1].split(")")[0] for line in returned.splitlines() if "remotes (" in line]
    assert set(counts) <= {"3", "4"}, returned
    assert shown(netns, "mt0")["source_macs"] == MACS[1:4]
    assert impacts(run({**wanted})) == {}
    assert shown(netns, "mt0")["source_macs"] == MACS[1:4]
    assert impacts(run({**wanted, "source_macs": []})) == {"source_macs": "in_place"}
    assert shown(netns, "mt0")["source_macs"] == []


def test_leaving_the_mode_source_empties_the_list_and_coming_back_fills_it(netns: Namespace) -> None:
    netns.run({"name": "mt0", "parent": "eth0", "mode": "source", "source_macs": MACS[:2]})
    left = netns.run({"name": "mt0", "mode": "bridge"})
    returned = {change["field"]: change["after"] for change in left["changes"]}
    assert returned == {"mode": "bridge", "source_macs": []}
    netns.refuses({"name": "mt0", "source_macs": MACS[:2]}, "^source_macs: .* would be in mode bridge")
    netns.run({"name": "mt0", "mode": "source"})
    assert shown(netns, "mt0")["source_macs"] == []
    netns.run({"name": "mt0", "mode": "bridge"})
    netns.run({"name": "mt0", "mode": "source", "source_macs": MACS[:2]})
    assert shown(netns, "mt0")["source_macs"] == MACS[:2]


def test_promiscuity_of_the_lower_follows_a_passthru_link_and_never_goes_below_zero(
    netns: Namespace, lower: str
) -> None:
    wanted = {"name": "mt0", "parent": lower, "mode": "passthru"}
    # What the lower's promiscuity is to be, by (up, promiscuous).
    expected = {("up", True): 1, ("up", False): 0, ("down", True): 0, ("down", False): 0}
    states = list(expected)
    # A way along which each of the four becomes each other one.
    for number in (0, 1, 0, 2, 0, 3, 1, 2, 1, 3, 2, 3, 0):
        state, promiscuous = states[number]
        result = netns.run({**wanted, "state": state, "promiscuous": promiscuous})
        assert "failed" not in result, result["msg"]
        assert netns.link(lower)["promiscuity"] == expected[state, promiscuous]
        assert shown(netns, "mt0")["promiscuous"] is promiscuous
    assert netns.run({"name": "mt0", "state": "absent"})["changed"]
    assert netns.link(lower)["promiscuity"] == 0


def test_thousands_of_source_addresses(netns: Namespace) -> None:
    macs = [f"52:54:00:01:{n >> 8:02x}:{n & 255:02x}" for n in range(5400)]
    links = [
        {"name": "mt0", "source_macs": macs},
        *({"name": f"mt{n}", "source_macs": macs[:700]} for n in range(1, 40)),
    ]
    wanted = {"parent": "eth0", "mode": "source", "links": links}
    assert len(netns.run(wanted)["changes"]) == 40
    assert not netns.run(wanted)["changed"]
    shown = netns.run({}, "macvtap_link_info")["links"]
    assert [len(link["attributes"]["source_macs"]) for link in shown] == [5400, *[700] * 39]
    # No link is left out behind the large one.
    assert all(link["counters"] for link in shown)
    netns.refuses({"name": "mt1", "source_macs": [*macs, "52:54:00:00:00:01"]}, "^source_macs: 5401 addresses exceed")
