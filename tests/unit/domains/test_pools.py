# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""NICs that get one of several uplinks for themselves: the first on which libvirt counts no guest of this network."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

from .networked import NETWORKS, A, B, live, on, stored, want

POOL = ("eth1", "eth2", "eth3")
Counts = t.Mapping[str, int]


def pool(counts: Counts | None) -> t.Any:
    vfs = NETWORKS["vfs"]
    return replace(vfs, interfaces=POOL, live=replace(vfs.live or vfs, interfaces=POOL, connections=counts))


def host(counts: Counts | None, uplinks: t.Mapping[str, str], taken: t.Sequence[str], own: str = "") -> Host:
    """A running guest whose NICs have these ``uplinks``, and links of the host on the uplinks ``taken``.

    ``own`` is where a NIC that is not on the network is.
    """
    place = [(mac, {"network": "vfs", "uplink": uplink}) for mac, uplink in uplinks.items()]
    texts = [live(mac, **options) for mac, options in place]
    stored_ = [stored(mac, network="vfs") for mac, _options in place]
    if own:
        texts.append(live(A, source=own, mode="bridge"))
        stored_.append(stored(A, source=own, mode="bridge"))
    made = on(stored_, texts, networks={**NETWORKS, "vfs": pool(counts)})
    shims = {
        f"shim{n}": Link(f"shim{n}", 70 + n, kind="macvlan", parent=uplink, mode="bridge", mac=f"02:00:00:00:01:0{n}")
        for n, uplink in enumerate(taken)
    }
    return replace(made, links={**(made.links or {}), **shims})


def planned(where: Host, *wanted: t.Mapping[str, t.Any], level: str | list[str] = "replug") -> str:
    """Return the refusal, or "" if there is none."""
    declared = [want(**{"mac": A, **options}) for options in wanted]
    try:
        planner.plan(declared, where, level=level)
    except MacvtapError as exc:
        return str(exc)
    return ""


ON = {"network": "vfs"}
BOTH = (ON, {"network": "vfs", "mac": B})


@pytest.mark.parametrize(
    ("counts", "taken", "wanted", "refused"),
    [
        # The first is free, or libvirt knows that it is not.
        ({}, ["eth2"], [ON], ""),
        ({"eth1": 1}, ["eth3"], [ON], ""),
        ({"eth1": 1}, ["eth1"], [ON], ""),
        ({}, [], BOTH, ""),
        # It is taken, and libvirt does not know.
        ({}, ["eth1"], [ON], "would choose eth1"),
        ({"eth1": 1}, ["eth2"], [ON], "would choose eth2"),
        # The second NIC gets the second uplink.
        ({}, ["eth2"], BOTH, "would choose eth2"),
        ({"eth2": 1}, ["eth3"], BOTH, "would choose eth3"),
        # There are none, or too few.
        ({}, POOL, [ON], "all are taken: eth1 by the link shim0, eth2 by the link shim1, eth3 by the link shim2"),
        ({"eth1": 1, "eth2": 1, "eth3": 2}, [], [ON], "all are taken: eth1 by a guest"),
        ({"eth1": 1, "eth2": 1}, [], BOTH, "has 1 left for 2 NICs, since others are taken: eth1 by a guest"),
        # Where its counts are not known, as in a report of another host, it is not said which one it would choose.
        (None, ["eth1"], [ON], ""),
        (None, POOL, [ON], "all are taken"),
    ],
)
def test_a_nic_that_is_plugged(
    counts: Counts | None, taken: t.Sequence[str], wanted: t.Sequence[t.Mapping[str, t.Any]], refused: str
) -> None:
    message = planned(host(counts, {}, taken), *wanted)
    assert refused in message
    assert bool(message) == bool(refused)
    assert not message or message.startswith("interfaces[2].network: the network 'vfs' gives each NIC an uplink")


@pytest.mark.parametrize("level", ["replug", "pause"])
@pytest.mark.parametrize(
    ("counts", "uplink", "taken", "refused"),
    [
        # It gets the first one again, which may be another.
        ({"eth2": 1}, "eth2", [], ""),
        ({"eth2": 1}, "eth2", ["eth1"], "would choose eth1"),
        ({"eth1": 1}, "eth1", ["eth2"], ""),
        ({"eth1": 1, "eth3": 1}, "eth3", ["eth1"], ""),
        # libvirt has forgotten its counts.
        ({}, "eth3", ["eth2"], ""),
        ({}, "eth3", ["eth1"], "would choose eth1"),
        ({"eth1": 1, "eth2": 1, "eth3": 1}, "eth3", [], ""),
    ],
)
def test_a_nic_that_gets_a_new_link_on_its_network(
    counts: Counts, uplink: str, taken: t.Sequence[str], refused: str, level: str
) -> None:
    where = host(counts, {A: uplink}, taken)
    # The name of its link: no field that the network or the place depends on.
    message = planned(where, {"target": "lan7"}, level=level)
    assert refused in message
    assert bool(message) == bool(refused)
    assert planned(where, {"target": "lan7"}, level="none") == ""
    assert planned(where, {"link_state": "down"}, level=level) == ""


def test_all_links_of_a_paused_guest_are_new() -> None:
    # Another NIC of the guest changes, and all leave their uplinks meanwhile.
    changed = {"mac": A, "mode": "private", "target": "lan7"}
    assert "would choose eth1" in planned(host({"eth3": 1}, {B: "eth3"}, ["eth1"], own="eth0"), changed, level="pause")
    assert planned(host({"eth3": 1}, {B: "eth3"}, ["eth1"], own="eth0"), changed, level="replug") == ""
    assert planned(host({"eth1": 1, "eth3": 1}, {B: "eth3"}, ["eth1"], own="eth0"), changed, level="pause") == ""


@pytest.mark.parametrize(
    "declared",
    [
        [],
        # Nothing of it changes, and it gets another link all the same.
        [{"mac": B}],
        [{"mac": B, "network": "vfs"}],
        # libvirt sets this in the running guest.
        [{"mac": B, "network": "vfs", "link_state": "down"}],
    ],
)
@pytest.mark.parametrize(
    ("counts", "taken", "refused"),
    [
        ({"eth3": 1}, ["eth1"], "would choose eth1"),
        ({"eth1": 1, "eth3": 1}, ["eth1"], ""),
        ({"eth1": 1, "eth2": 1, "eth3": 2}, [], "all are taken"),
    ],
)
def test_a_nic_of_a_paused_guest_gets_a_new_link_whether_it_is_declared_or_not(
    declared: t.Sequence[t.Mapping[str, t.Any]], counts: Counts, taken: t.Sequence[str], refused: str
) -> None:
    where = host(counts, {B: "eth3"}, taken, own="eth0")
    changed = {"mac": A, "mode": "private", "target": "lan7"}
    for wanted in ([changed, *declared], [*declared, changed]):
        message = planned(where, *wanted, level="pause")
        assert refused in message
        assert bool(message) == bool(refused)
        assert not message or message.startswith("interfaces[2]")


def test_a_nic_of_a_paused_guest_that_leaves_takes_no_uplink() -> None:
    where = host({"eth3": 1}, {B: "eth3"}, ["eth1"], own="eth0")
    changed = {"mac": A, "mode": "private", "target": "lan7"}
    for leaves in ({"mac": B, "source": "eth2", "mode": "passthrough"}, {"mac": B, "state": "absent"}):
        assert planned(where, changed, leaves, level="pause") == ""


def now_passthrough(mode: str = "passthrough", uplink: str = "eth0") -> t.Any:
    lan = NETWORKS["lan"]
    others: dict[str, t.Any] = {"mode": mode, "interfaces": (uplink,)}
    return replace(lan, **others, live=replace(lan.live or lan, **others))


@pytest.mark.parametrize("declared", [[], [{"mac": B}], [{"mac": B, "network": "lan"}]])
@pytest.mark.parametrize(
    ("network", "taken", "refused"),
    [
        # Others have given the network another mode or uplink since the guest started.
        (now_passthrough(), ["eth0"], "eth0 would have web1 52:54:00:00:00:0b in that mode and also the link shim0"),
        (now_passthrough(uplink="eth3"), ["eth3"], "eth3 would have web1"),
        (now_passthrough(), [], ""),
        (now_passthrough(uplink="eth3"), ["eth0"], ""),
        (now_passthrough("private", "eth3"), ["eth0", "eth3"], ""),
        (NETWORKS["lan"], ["eth0"], ""),
    ],
)
def test_a_new_link_has_what_the_network_gives_now(
    declared: t.Sequence[t.Mapping[str, t.Any]], network: t.Any, taken: t.Sequence[str], refused: str
) -> None:
    made = on(
        [stored(A, source="eth1", mode="bridge"), stored(B, network="lan")],
        [live(A, source="eth1", mode="bridge"), live(B, network="lan")],
        networks={**NETWORKS, "lan": network},
    )
    shims = {
        f"shim{n}": Link(f"shim{n}", 70 + n, kind="macvlan", parent=uplink, mode="bridge", mac=f"02:00:00:00:01:0{n}")
        for n, uplink in enumerate(taken)
    }
    where = replace(made, links={**(made.links or {}), **shims})
    message = planned(where, {"mac": A, "target": "lan7"}, *declared, level="pause")
    assert refused in message
    assert bool(message) == bool(refused)
    assert not message or message.startswith(
        "interfaces[2].network: " if "network" in str(declared) else "interfaces[2]: "
    )
    # By a replug only the NIC itself gets a new link.
    assert planned(where, {"mac": A, "target": "lan7"}, level="replug") == ""
    assert refused in planned(where, {"mac": B, "target": "lan7"}, level="replug")


def test_a_nic_makes_room_for_another() -> None:
    where = host({"eth1": 1, "eth2": 1, "eth3": 1}, {A: "eth2"}, ["eth1", "eth3"])
    other = on([], [], name="web2")
    where = replace(where, domains={**where.domains, **other.domains})
    joins = replace(want(**ON, mac=B), domain="web2")
    leaves = replace(want(mac=A), present=False)
    assert planner.plan([leaves, joins], where, level="update").changed
    with pytest.raises(MacvtapError, match="all are taken"):
        planner.plan([joins], where, level="update")
