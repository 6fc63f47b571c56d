# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Migrations in which a module, a daemon or a connection is killed: the guest runs once, and the next run moves it."""

from __future__ import annotations

import typing as t

import direct_iface
import killed_moves
import moved_guests
import pytest
from direct_iface import ok
from killed_moves import AFTER, ANSWERING, BEFORE, CONFIRMING, DURING, SENT, Move
from moved_guests import Hosts, Where, move

pytestmark = direct_iface.MARKS


def kill_module(made: Move) -> None:
    made.kill()


def stop_module(made: Move) -> None:
    made.kill("TERM")


def kill_source(made: Move) -> None:
    made.hosts.source.restart()


def kill_destination(made: Move) -> None:
    made.hosts.destination.restart()


def kill_ssh(made: Move) -> None:
    made.hosts.source.run("sh", "-c", "kill -KILL $(pidof ssh)")


# At other moments nothing else is under way.
WHEN = {
    kill_module: (DURING, SENT, AFTER),
    stop_module: (BEFORE, DURING, SENT),
    kill_source: (BEFORE, DURING, SENT, ANSWERING, CONFIRMING),
    kill_destination: (DURING, SENT, ANSWERING, AFTER),
    kill_ssh: (DURING, SENT, ANSWERING),
}
CASES = [pytest.param(what, moment, id=f"{what.__name__}, {moment}") for what, when in WHEN.items() for moment in when]


@pytest.mark.parametrize(("what", "moment"), CASES)
def test_whatever_is_killed_the_guest_runs_once_and_the_next_run_moves_it(
    hosts: Hosts, what: t.Callable[[Move], None], moment: str
) -> None:
    guest = moved_guests.start(hosts)
    with killed_moves.held(hosts, moment) as made:
        what(made)
        made.go_on()
        result = made.end()
    place = killed_moves.runs_once(hosts, guest)
    if what is not kill_module:
        assert_true(hosts, result, place)
    # That is libvirt's own doing.
    assert not made.twice or "libvirt let it go on here as well" in str(result.get("warnings"))
    ok(move(*hosts.all))
    moved_guests.assert_whole(hosts, guest, hosts.destination)


def assert_true(hosts: Hosts, result: t.Mapping[str, t.Any], place: str) -> None:
    """Check that what the module says of the guest's place is so."""
    if not result.get("failed"):
        assert place == "hv2", result
    elif "The host is as it was before" in result["msg"]:
        assert moved_guests.where(hosts, "web1") == Where(["hv1"], [], ["hv1"])
    else:
        assert place == "hv2"
        assert result["msg"].endswith("The guest is on hv2 (running), and stays there")
