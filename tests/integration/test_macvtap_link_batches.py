# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Many links in a run: purged, put back when a step fails, removed at once, and one run at a time."""

from __future__ import annotations

import concurrent.futures
import fcntl
import os
import pathlib
import re
import typing as t

import pytest
from support import PYTHONS

if t.TYPE_CHECKING:
    from namespaces import Namespace

LOCK = pathlib.Path("/run/linuxvirt.macvtap.links.lock")
MACS = [f"52:54:00:00:00:{n:02x}" for n in range(1, 8)]
# Refused by the kernel where nobody has set a secret, which only the kernel knows: a failure in the middle of a run.
REFUSED = {"name": "bad0", "addrgenmode": "stable_secret"}


def without_index(links: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Return the links in the order of their names, less what a link that was made again has of its own."""
    kept = [{key: value for key, value in link.items() if key not in ("ifindex", "qdisc")} for link in links]
    for link in kept:
        link.get("linkinfo", {}).get("info_data", {}).get("macaddr_data", []).sort()
        link.get("altnames", []).sort()
    return sorted(kept, key=lambda link: str(link["ifname"]))


@pytest.mark.parametrize("python", PYTHONS)
def test_purge_removes_the_macvtap_links_of_the_group_that_are_not_declared_and_nothing_else(
    netns: Namespace, lower: str, python: str
) -> None:
    own = [{"name": f"own{n}"} for n in range(4)]
    netns.run({"parent": "eth0", "mode": "bridge", "group": 7, "links": own})
    others = [{"name": "libvirt0"}, {"name": "other8", "group": 8}]
    netns.run({"parent": "eth0", "mode": "bridge", "links": others})
    netns.ip("link", "add", "link", "eth0", "name", "mv7", "group", "7", "type", "macvlan", "mode", "bridge")
    netns.ip("link", "add", "br7", "group", "7", "type", "bridge")
    netns.ip("link", "set", lower, "group", "7")
    everything = {link["ifname"] for link in netns.links()}

    purge = {"parent": "eth0", "mode": "bridge", "group": 7, "purge": True}
    netns.refuses({**purge, "group": 0, "links": own[:1]}, "^purge: requires a group other than 0", python=python)
    netns.refuses({**purge, "group": None, "links": own[:1]}, "^purge: requires a group", python=python)
    assert not netns.run({**purge, "links": own}, python=python)["changed"]

    wanted = {**purge, "links": [{"name": "own1"}, {"name": "new0"}]}
    returned = netns.run(wanted, check=True, python=python)
    assert {link["ifname"] for link in netns.links()} == everything
    done = netns.run(wanted, python=python)
    assert done["changes"] == returned["changes"]
    removed = {change["target"] for change in done["changes"] if change["after"] == "absent"}
    assert removed == {"own0", "own2", "own3"}
    assert {link["ifname"] for link in netns.links()} == everything - removed | {"new0"}
    assert not netns.run(wanted, python=python)["changed"]

    assert netns.run({**purge, "links": []}, python=python)["changed"]
    assert netns.names() == {"libvirt0", "other8"}


def test_purge_does_not_cut_off_who_holds_a_link(netns: Namespace) -> None:
    made = netns.run({"parent": "eth0", "mode": "bridge", "group": 7, "links": [{"name": "own0"}, {"name": "own1"}]})
    purge = {"parent": "eth0", "mode": "bridge", "group": 7, "purge": True, "links": [{"name": "own0"}]}
    with pathlib.Path(made["links"][1]["tap"]["path"]).open("rb+", buffering=0):
        netns.refuses(purge, rf"^purge: removing own1 would disconnect pid {os.getpid()}")
        assert netns.run({**purge, "force": True})["changed"]
    assert netns.names() == {"own0"}


def some_of_everything(netns: Namespace) -> dict[str, t.Any]:
    """Make links, and return a task that removes, recreates, changes and makes some, and fails in the middle."""
    old = {
        "mac": MACS[0],
        "alias": "web",
        "group": 7,
        "altnames": ["web0", "web1"],
        "mode": "source",
        "source_macs": MACS[4:],
        "txqueuelen": 77,
        "mtu": 1400,
        "nodst": True,
        "promiscuous": False,
        "bcqueuelen": 500,
        "addrgenmode": "none",
        "allmulticast": True,
        "queues": {"tx": 3, "rx": 2},
        "tap": {"owner": "nobody", "group": "kvm", "mode": "0660"},
    }
    links = [
        {"name": "removed0", **old},
        {"name": "moved0", "mode": "bridge", "mac": MACS[1], "alias": "moved", "tap": {"mode": "0640"}},
        {"name": "changed0", "mode": "source", "source_macs": MACS[4:6], "mac": MACS[2], "altnames": ["db0", "db1"]},
        {"name": "changed1", "mode": "bridge", "mac": MACS[3], "altnames": ["db2"], "state": "down"},
        {"name": "left0", "mode": "vepa"},
    ]
    netns.run({"parent": "eth0", "links": links})
    return {
        "parent": "eth0",
        "links": [
            {"name": "removed0", "state": "absent"},
            {"name": "moved0", "parent": "eth1", "mode": "private"},
            # Addresses and names that change places, so that putting them back needs the same care.
            {"name": "changed0", "mode": "bridge", "mac": MACS[3], "altnames": ["db2"], "mtu": 1300, "group": 9},
            {"name": "changed1", "mac": MACS[2], "altnames": ["db0"], "state": "up", "alias": "x"},
            {"name": "new0", "mode": "bridge", "mac": MACS[0], "altnames": ["web0"]},
            {**REFUSED, "mode": "bridge"},
            {"name": "new1", "mode": "bridge"},
        ],
    }


@pytest.mark.parametrize("python", PYTHONS)
def test_what_fails_in_the_middle_is_put_back_with_all_that_it_had(netns: Namespace, python: str) -> None:
    task = some_of_everything(netns)
    before = netns.links()
    kept = {link["ifindex"] for link in before if link["ifname"] not in ("removed0", "moved0")}
    failed = netns.run(task, python=python)
    assert re.search(
        r"^links\[5\]: the kernel refused to create bad0 on eth0: .*\(EINVAL\)\. "
        r"The run was rolled back as far as possible\. "
        r"removed0, moved0: recreated during the rollback, with another index and /dev/tapN$",
        failed["msg"],
    ), failed["msg"]
    after = netns.links()
    assert without_index(after) == without_index(before)
    assert kept <= {link["ifindex"] for link in after}
    for name, tap in (
        ("removed0", {"owner": "nobody", "group": "kvm", "mode": "0660"}),
        ("moved0", {"owner": "root", "group": "root", "mode": "0640"}),
    ):
        (link,) = netns.run({"name": name})["links"]
        assert link["tap"] | {"own": True} | tap == link["tap"]


def test_what_fails_in_the_middle_is_kept_if_asked_for(netns: Namespace) -> None:
    task = some_of_everything(netns)
    failed = netns.run({**task, "on_error": "keep"})
    assert failed["msg"].startswith("links[5]: the kernel refused to create bad0 on eth0:")
    assert failed["msg"].endswith("The changes made so far were kept, as requested")
    assert "removed0" not in netns.names()
    assert netns.link("changed0")["address"] == MACS[3]
    assert netns.link("moved0")["link"] == "eth1"
    assert netns.link("new0")["address"] == MACS[0]
    # What was left is done by the next run.
    links = [{**link, "addrgenmode": "none"} if link["name"] == "bad0" else link for link in task["links"]]
    done = netns.run({**task, "links": links})
    assert done["changed"]
    assert not netns.run({**task, "links": links})["changed"]


@pytest.mark.parametrize("python", PYTHONS)
def test_many_links_go_at_once_and_nothing_else(netns: Namespace, python: str) -> None:
    numbers = range(300)
    stay = {"parent": "eth0", "mode": "bridge", "links": [{"name": f"stay{n}", "group": n} for n in range(3)]}
    netns.run(stay)
    netns.ip("link", "add", "link", "eth0", "name", "mv0", "type", "macvlan", "mode", "bridge")
    before = netns.links()
    many = {"parent": "eth0", "mode": "bridge", "state": "present", "links": [{"name": f"mt{n}"} for n in numbers]}
    made = netns.run(many, python=python)
    nodes = {link["tap"]["path"] for link in made["links"]}
    assert len(nodes & {str(path) for path in pathlib.Path("/dev").glob("tap*")}) == len(numbers)
    assert netns.run({"state": "absent", "links": many["links"]}, python=python)["changed"]
    assert netns.links() == before
    assert nodes & {str(path) for path in pathlib.Path("/dev").glob("tap*")} == set()
    assert not netns.run(stay)["changed"]


def test_a_run_waits_for_another_and_then_names_it(netns: Namespace) -> None:
    task = {"name": "mt0", "parent": "eth0", "mode": "bridge"}
    with LOCK.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        message = rf"^lock_timeout: another run \(pid {os.getpid()}\) is changing links on this host and holds {LOCK}"
        netns.refuses({**task, "lock_timeout": 1}, message)
        # It looks and tells all the same.
        assert netns.run(task, check=True)["changed"]
    assert netns.run({**task, "lock_timeout": 1})["changed"]


def test_two_runs_at_once_do_not_interleave(netns: Namespace) -> None:
    def task(mode: str) -> dict[str, t.Any]:
        links = [{"name": f"mt{n}", "mac": f"52:54:00:00:01:{n:02x}"} for n in range(60)]
        return {"parent": "eth0", "mode": mode, "links": links}

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda mode: netns.run(task(mode)), ["bridge", "private", "bridge", "private"]))
    assert [result.get("msg") for result in results] == [None] * 4
    # Each run has seen the links as one of the others had left them whole.
    changed = [[change["field"] for change in result["changes"]] for result in results]
    assert changed.count(["state"] * 60) == 1
    assert all(fields in (["mode"] * 60, [], ["state"] * 60) for fields in changed)
    assert len({netns.link(f"mt{n}")["linkinfo"]["info_data"]["mode"] for n in range(60)}) == 1
