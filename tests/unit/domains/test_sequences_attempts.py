# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A run that starts over, because another editor has changed what it had read: the next attempt begins anew."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.hypervisor import Hypervisor
from torture.actions import Action
from torture.guests import OTHERS
from torture.sequence import Sequence
from torture.world import World

from .sequences import A, B, C, D, during, macs, nic

SLOW = {"inbound": {"average": 1000}}
# What a run knows as a whole. Another attribute has to be of one attempt, or be listed here.
OF_THE_RUN = {
    "_connection": {
        *("libvirt", "handle", "uri", "url", "local", "_read_only", "_bounded", "_has_given_up"),
        # A guest that an attempt has paused is the same one for the next.
        "continued",
    },
    "_requests": {
        *("_uri", "_local", "_library", "_directory", "_systemd", "_held", "readable", "_unwatched", "warnings"),
        "continued",
        # register() makes it anew for the NICs that it registers.
        "_was",
    },
    # "_written" is of one attempt, and replaced with each.
    "_rules": {"_run", "_root", "_file", "_ip", "warnings", "_written"},
    **dict.fromkeys(
        ("_timeout", "_version", "_local", "_manages_rules", "_earlier_warnings"), t.cast("set[str]", set())
    ),
}


def stored_and_live(stored: tuple[str, ...], live: tuple[str, ...] = ()) -> Sequence:
    """A host with the running guests web2, which has the NIC B, and web1, which has these."""
    world = World()
    guest = world.add("web1", [nic(mac) for mac in stored])
    world.start(guest)
    for mac in live:
        world.attach(guest, nic(mac), OTHERS)
    world.start(world.add("web2", [nic(B)]))
    return Sequence(world)


@pytest.mark.parametrize("stale", [0, 1, 2])
@pytest.mark.parametrize("going", [{"mac": D, "state": "absent"}, {"mac": D, "source": "eth1", "mode": "bridge"}])
def test_a_nic_that_a_later_attempt_has_asked_for_comes_back(stale: int, going: dict[str, str]) -> None:
    sequence = stored_and_live((A,), (D,))
    sequence.act(Action("hang", "web1"))
    outcome = sequence.run(
        {
            "interfaces": [
                {"domain": "web1", "mac": A, "bandwidth": SLOW},
                {"domain": "web1", **going},
                {"domain": "web2", "mac": B, "bandwidth": SLOW},
                {"domain": "web2", "mac": C, "source": "eth0", "mode": "bridge", "model": "nonsense"},
            ],
            "live": "replug",
            "timeout": 2,
        },
        # Of a failed attempt, the second define is the rollback's.
        events=[during("define", "edit_mode", "web2", B, nth=2 * nth, side="after") for nth in range(stale)],
    )
    assert "nonsense" in outcome.message
    assert [one["mac"] for one in outcome.result["pending"]] == [D]
    sequence.act(Action("answer", "web1"))
    assert macs(sequence, "web1")[1] == [A, D]


PAUSED: list[dict[str, t.Any]] = [
    {"domain": "web1", "mac": A, "source": "eth1"},
    {"domain": "web1", "mac": C, "bandwidth": SLOW},
]
# It cannot be changed then, and the next attempt attaches it.
TAKEN = during("restore", "detach", "web1", C, side="after")


@pytest.mark.parametrize("fails", [False, True])
def test_a_guest_that_is_paused_again_gets_what_is_declared(fails: bool) -> None:
    sequence = stored_and_live((A, C))
    refused = {"domain": "web1", "mac": D, "source": "eth0", "mode": "bridge", "model": "nonsense"}
    entries = [*PAUSED, *([refused] if fails else [])]
    outcome = sequence.run({"interfaces": entries, "live": "pause"}, events=[TAKEN])
    guest = sequence.world.named("web1")
    assert guest is not None
    assert outcome.rc == int(fails)
    assert [(one.mac, one.source) for one in guest.stored or ()] == [(A, "eth0" if fails else "eth1"), (C, "eth0")]
    live = [(one.nic.mac, one.nic.source) for one in guest.live or ()]
    assert live == ([(A, "eth0")] if fails else [(A, "eth1"), (C, "eth0")])
    # Each attempt pauses it once, and so does each rollback.
    assert guest.boot == (5 if fails else 4)


def test_nothing_else_of_an_attempt_is_known_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[dict[str, t.Any], dict[str, t.Any]]] = []
    begin = Hypervisor.begin

    def noted(self: Hypervisor) -> None:
        before = dict(vars(self))
        begin(self)
        begun.append((before, dict(vars(self))))

    monkeypatch.setattr(Hypervisor, "begin", noted)
    sequence = stored_and_live((A, C))
    sequence.run({"interfaces": PAUSED, "live": "pause"}, events=[TAKEN])
    assert len(begun) == 2
    before, after = begun[1]
    same = {name for name in after if after[name] is before[name]}
    assert same == OF_THE_RUN.keys()
    assert {name: set(vars(after[name])) for name in OF_THE_RUN if name in {"_connection", "_requests", "_rules"}} == {
        name: known for name, known in OF_THE_RUN.items() if known
    }
    assert after["_rules"]._written is None
