# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the program of guards makes of what others have changed in nftables: afterwards guards drop what they should."""

from __future__ import annotations

import typing as t

import direct_iface
import guarded_links
import pytest
from guarded_links import GuardedLinks
from guest_frames import MAC
from support import PYTHON, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
TABLE = "netdev linuxvirt_macvtap"
CHAIN = f"guard_{MAC.replace(':', '')}"
DOCUMENT = f"<domain><devices><interface><mac address='{MAC}'/><target dev='LINK'/></interface></devices></domain>"
FORBIDDEN, ALLOWED = ["mac"], "own ip4"


@pytest.fixture
def guest(hv: Hypervisor) -> t.Iterator[GuardedLinks]:
    yield from guarded_links.made(hv)


def start(guest: GuardedLinks, words: str, link: str = "guest0") -> None:
    """Do what the unit, udev or libvirt's hook does."""
    if words == "hook":
        command = (PYTHON, "/etc/linuxvirt-macvtap/guard", "qemu", "web1", "start", "begin", "-")
        guest.hv.run(*command, stdin=DOCUMENT.replace("LINK", link))
    else:
        guest.program(*words.split())


@pytest.mark.parametrize("words", ["load", "link guest0", "hook"])
@pytest.mark.parametrize(
    "change",
    [
        f"flush table {TABLE}",
        f"flush chain {TABLE} dropped_mac",
        f"insert rule {TABLE} dropped_mac accept",
        f"insert rule {TABLE} {CHAIN} accept",
        f"flush chain {TABLE} {CHAIN}",
        f"add table {TABLE} {{ flags dormant; }}",
    ],
    ids=["table", "recorder", "before-recorder", "before-guard", "guard", "dormant"],
)
def test_what_loads_guards_has_them_drop_what_they_should(guest: GuardedLinks, change: str, words: str) -> None:
    assert guest.passes("guest0", *FORBIDDEN, ALLOWED) == [ALLOWED]
    guest.hv.nft(change)
    assert guest.passes("guest0", *FORBIDDEN, ALLOWED) == [*FORBIDDEN, ALLOWED]
    start(guest, words)
    assert guest.passes("guest0", *FORBIDDEN, ALLOWED) == [ALLOWED]
    # A guest that starts gets what its own guard uses.
    assert guest.run(mac=MAC)["changes"] == [] or (words != "load" and "flush table" in change)


@pytest.mark.parametrize("words", ["task", "load", "link guest2", "hook"])
@pytest.mark.parametrize("new", [True, False])
def test_a_dormant_table_is_woken_for_links_that_were_there_and_for_new_ones(
    guest: GuardedLinks, words: str, new: bool
) -> None:
    guest.hv.nft(f"add table {TABLE} {{ flags dormant; }}")
    link = "guest2" if new else "guest0"
    if new:
        guest.ip("del", "guest0")
        guest.add(link, MAC)
    found = direct_iface.ok(run_module("macvtap_guard_info", {"macs": [MAC]}, prefix=guest.hv.prefix))["guards"]
    assert [(one["rules"], one["links"]) for one in found] == [("modified", [])]
    assert guest.passes(link, *FORBIDDEN, ALLOWED) == [*FORBIDDEN, ALLOWED]
    if words == "task":
        assert {one["field"] for one in guest.run(mac=MAC)["changes"]} == {"rules", "links"}
    else:
        start(guest, words.replace("guest2", link), link)
    assert guest.passes(link, *FORBIDDEN, ALLOWED) == [ALLOWED]
    assert guest.run(mac=MAC)["changes"] == []


def test_what_is_whole_keeps_its_counters(guest: GuardedLinks) -> None:
    guest.passes("guest0", *FORBIDDEN)
    for words in ("load", "link guest0", "hook"):
        start(guest, words)
    assert "packets 1" in guest.hv.nft(f"list chain {TABLE} {CHAIN}")


# Where the program of a test waits for a task: the ends of lines of its text.
LOCK, REPLACED = "def _is_task_running() -> bool:\n", " if former is None else []\n"
WAIT = "import os, subprocess; os.path.exists('/run/task') and subprocess.run(['sh', '/run/task'], check=True)"


@pytest.mark.parametrize(
    ("moment", "change"),
    [
        (LOCK, f"insert rule {TABLE} {CHAIN} accept"),
        (REPLACED, f"insert rule {TABLE} {CHAIN} accept"),
        (REPLACED, f"flush chain {TABLE} {CHAIN}"),
        (REPLACED, "flush ruleset"),
    ],
    ids=["lock", "changed", "empty", "missing"],
)
def test_what_a_task_loads_meanwhile_is_not_replaced(guest: GuardedLinks, moment: str, change: str) -> None:
    """The task is played by another program and another file, which has a guard that only counts."""
    file, program = "/etc/linuxvirt-macvtap/guards.json", "/etc/linuxvirt-macvtap/guard"
    former = guest.hv.run("cat", file)
    guest.run(mac=MAC, policy="count")
    other, text = guest.hv.run("cat", file), guest.hv.run("cat", program)
    guest.hv.run("tee", file, stdin=former)
    guest.program("load")
    assert text.count(moment) == 1
    slow = text.replace(moment, f"{moment}    {WAIT}\n")
    guest.hv.run("tee", "/run/slow", stdin=slow)
    guest.hv.run("tee", "/run/other.json", stdin=other)
    guest.hv.run("tee", "/run/task", stdin=f"set -e; rm /run/task; cp /run/other.json {file}; {PYTHON} {program} load")
    guest.hv.nft(change)
    guest.hv.run("sh", "-c", f"{PYTHON} /run/slow load")
    guest.hv.run("sh", "-c", "test ! -e /run/task && rm /run/slow /run/other.json")
    assert guest.passes("guest0", *FORBIDDEN, ALLOWED) == [*FORBIDDEN, ALLOWED]
    assert guest.run(mac=MAC, policy="count")["changes"] == []


@pytest.mark.parametrize("words", ["task", "load", "link guest0", "hook"])
def test_a_link_that_is_named_as_another_links_index_gets_no_guard_of_it(guest: GuardedLinks, words: str) -> None:
    index = guest.index("guest0")
    guest.ip("add", index, "type", "veth", "peer", "name", "beside1")
    try:
        guest.flush()
        if words == "task":
            guest.run(mac=MAC)
        else:
            start(guest, words)
        assert guest.passes("guest0", *FORBIDDEN, ALLOWED) == [ALLOWED]
        assert guest.run(mac=MAC)["changes"] == []
    finally:
        guest.ip("del", index)
