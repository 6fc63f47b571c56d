# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What macvtap_guard_info knows of the frames that a guard has dropped or counted."""

from __future__ import annotations

import subprocess
import sys
import time
import typing as t

import guarded
import pytest
from guarded import ADDRESSES, Guarded, add_link
from guest_frames import MAC
from support import ROOT, ROOT_ONLY, ansible_path

pytestmark = ROOT_ONLY


@pytest.fixture
def guest() -> t.Iterator[Guarded]:
    with guarded.made() as netns, guarded.links(netns) as made:
        yield made


@pytest.mark.parametrize("policy", ["drop", "count"])
def test_when_the_last_frame_of_a_kind_was_sent(guest: Guarded, policy: str) -> None:
    def ages() -> dict[str, t.Any]:
        return {kind: one["last_age"] for kind, one in guest.info()["counters"].items()}

    guest.run(addresses=ADDRESSES, policy=policy)
    assert {*ages().values()} == {None}
    begin = time.monotonic()
    guest.passes("mac", "own ip4")
    first = ages()
    assert [kind for kind, age in first.items() if age is not None] == ["mac"]
    assert 0 <= first["mac"] <= time.monotonic() - begin + 0.1
    assert guest.run(addresses=ADDRESSES, policy=policy)["changed"] is False
    assert ages()["mac"] >= first["mac"]
    guest.passes("mac", "arp-reply")
    third = ages()
    assert [kind for kind, age in third.items() if age is not None] == ["mac", "arp"]
    # With another link of the guest it begins anew, and the counters go on.
    guest.netns.ip("link", "del", "macvtap0")
    add_link(guest.netns, "macvtap0", MAC)
    guest.run(addresses=ADDRESSES, policy=policy)
    assert guest.counted() == {"mac": 2, "arp": 1}
    assert {*ages().values()} == {None}


_FORMER = """
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_commands, guard_table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import options, parsing, rules
guard = options.desired("", {"mac": MAC, "addresses": ADDRESSES}).guard(MAC)
commands = guard_commands.add_guard(rules.chain_name(MAC), [], parsing.as_formerly(guard))
guard_table.GuardTable().run(commands)
"""


def test_what_an_earlier_version_has_loaded_works_and_is_replaced(guest: Guarded) -> None:
    guest.run(addresses=ADDRESSES)
    code = f"MAC, ADDRESSES = {MAC!r}, {ADDRESSES!r}\n{_FORMER}"
    path = f"PYTHONPATH={ROOT / '.collections'}:{ansible_path()}"
    subprocess.run([*guest.netns.prefix, "env", path, sys.executable, "-c", code], check=True)
    assert guest.info()["rules"] == "outdated"
    assert guest.info()["addresses"][0] == ADDRESSES[0]
    assert guest.passes("mac", "own ip4") == ["own ip4"]
    assert guest.counted() == {"mac": 1}
    (change,) = guest.run(addresses=ADDRESSES)["changes"]
    assert (change["field"], change["before"], change["after"]) == ("rules", "outdated", "loaded")
    assert guest.run(addresses=ADDRESSES)["changed"] is False


def test_what_is_forbidden_is_dropped_where_nothing_can_be_recorded(guest: Guarded) -> None:
    table = "netdev linuxvirt_macvtap"
    last = f"add set {table} dropped_mac {{ type iface_index; size 1; flags dynamic,timeout; timeout 1h; }}"
    commands = f'flush ruleset; add table {table}; {last}; add element {table} dropped_mac {{ "lo" }}'
    code = "import nftables, sys; code, _, error = nftables.Nftables().cmd(sys.argv[1]); sys.exit(error or code)"
    subprocess.run([*guest.netns.prefix, sys.executable, "-c", code, commands], check=True)
    guest.run(addresses=ADDRESSES)
    assert guest.passes("mac", "own ip4") == ["own ip4"]
    counted = guest.info()["counters"]["mac"]
    assert (counted["packets"], counted["last_age"]) == (1, None)
