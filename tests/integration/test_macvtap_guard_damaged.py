# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One guard that cannot be loaded leaves no other guest without its own, at boot and when nftables is loaded again."""

from __future__ import annotations

import typing as t

import direct_iface
import guarded_links
import pytest
from guarded_links import GuardedLinks
from guest_frames import MAC, NEIGHBOUR
from support import PYTHON

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS
STORE = "/etc/linuxvirt-macvtap/guards.json"
NICS = [("guest0", MAC), ("guest1", NEIGHBOUR)]
INTERFACES = [f"<interface><mac address='{mac}'/><target dev='{link}'/></interface>" for link, mac in NICS]
START = ("qemu", "web1", "start", "begin", "-")
ODD = "\"$(printf 'w\\377')\""


@pytest.fixture
def guest(hv: Hypervisor) -> t.Iterator[GuardedLinks]:
    yield from guarded_links.made(hv)


def edit(guest: GuardedLinks, code: str) -> None:
    """Change an entry of the file, NEIGHBOUR's."""
    lines = (
        "import json, pathlib",
        f"path = pathlib.Path({STORE!r})",
        "found = json.loads(path.read_text())",
        f"one = found['guards'][{NEIGHBOUR!r}]",
        code,
        "path.write_text(json.dumps(found))",
    )
    guest.hv.run(PYTHON, "-c", "\n".join(lines))


def program(guest: GuardedLinks, *words: str) -> tuple[str, str]:
    """Run the program after nftables was flushed, and return its exit status and what it has to say."""
    guest.flush()
    command = f"{PYTHON} /etc/linuxvirt-macvtap/guard {' '.join(words)} 2>&1; echo $?"
    document = f"<domain><devices>{''.join(INTERFACES)}</devices></domain>" if words == START else ""
    message, _newline, status = guest.hv.run("sh", "-c", command, stdin=document).rstrip().rpartition("\n")
    return status, message


@pytest.mark.parametrize("words", [("load",), START], ids=["load", "hook"])
@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("del one['sets']", "is damaged ('sets' is missing)"),
        ("del one['chain']", "is damaged ('chain' is missing)"),
        ("one['rules'][0]['expr'] = [{'unheard': 1}]", "unheard"),
        ("one['rules'] = 5", "int"),
    ],
    ids=["sets", "chain", "rule", "rules"],
)
def test_one_damaged_guard_leaves_no_other_guest_without_its_own(
    guest: GuardedLinks, code: str, why: str, words: tuple[str, ...]
) -> None:
    edit(guest, code)
    try:
        status, message = program(guest, *words)
        assert status == "1"
        assert message.startswith(f"linuxvirt.macvtap: no guard for {NEIGHBOUR}: ")
        assert why in message
        assert MAC not in message
        assert guest.passes("guest0", "mac", "own ip4") == ["own ip4"]
        # One that only counts is no reason to refuse the guest.
        edit(guest, "one['required'] = False")
        assert program(guest, *words)[0] == "0"
    finally:
        guest.hv.run("rm", STORE)


def test_a_link_with_an_odd_name_leaves_no_other_guest_without_its_guard(guest: GuardedLinks) -> None:
    guest.hv.run("sh", "-c", f"ip link add {ODD} link up1 address {NEIGHBOUR} type macvtap mode bridge")
    try:
        status, message = program(guest, "load")
        assert (status, MAC in message) == ("1", False)
        assert guest.passes("guest0", "mac", "own ip4") == ["own ip4"]
    finally:
        guest.hv.run("sh", "-c", f"ip link del {ODD}")
