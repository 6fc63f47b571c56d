# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where guests go from hosts that are to be emptied, and how they come home."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible.utils.display import Display
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.filter.fleet_moves import fleet_moves

Look = t.Dict[str, t.Any]


def look(free: int | None = 8192, stored: t.Sequence[str] = (), **running: int | None) -> Look:
    domains = [{"name": name, "running": True, "memory": memory} for name, memory in running.items()]
    domains += [{"name": name, "running": False, "memory": 1024} for name in stored]
    return {"domains": domains, "links": [], "libvirt": {"available": True, "memory_free": free, "reason": None}}


def moves(looks: t.Mapping[str, Look], *sources: str, **options: t.Any) -> dict[str, str]:
    found = fleet_moves(looks, list(sources), **options)
    assert found["stuck"] == []
    return {one["domain"]: one["destination"] for one in found["moves"]}


def stuck(looks: t.Mapping[str, Look], *sources: str, **options: t.Any) -> dict[str, str]:
    return {one["domain"]: one["reason"] for one in fleet_moves(looks, list(sources), **options)["stuck"]}


def test_guests_are_spread_by_memory_the_largest_first() -> None:
    looks = {"hv1": look(web1=1024, db1=4096, web2=1024), "hv2": look(5000), "hv3": look(4500)}
    assert moves(looks, "hv1") == {"db1": "hv2", "web1": "hv3", "web2": "hv3"}
    shown = fleet_moves(looks, ["hv1"])["lines"]
    assert shown == ["db1   hv1  →  hv2", "web1  hv1  →  hv3", "web2  hv1  →  hv3"]


def test_only_guests_that_run_are_moved() -> None:
    assert moves({"hv1": look(stored=["old1"], web1=1024), "hv2": look()}, "hv1") == {"web1": "hv2"}


def test_a_guest_goes_where_it_is_declared_or_where_it_is_said_to_go() -> None:
    looks = {"hv1": look(web1=1024), "hv2": look(9000), "hv3": look(2000)}
    declared = {"hv3": [{"domain": "web1"}], "hv2": [{"domain": "web2"}, {}]}
    assert moves(looks, "hv1", declared=declared) == {"web1": "hv3"}
    assert moves(looks, "hv1", declared=declared, given={"web1": "hv2"}) == {"web1": "hv2"}
    # Not if it does not fit there.
    small = {**looks, "hv3": look(512)}
    assert moves(small, "hv1", declared=declared) == {"web1": "hv2"}
    assert "512 MiB are left" in stuck(small, "hv1", given={"web1": "hv3"})["web1"]


@pytest.mark.parametrize(
    ("apart", "said"),
    [
        ([["db1", "db2"]], []),
        ([["db1", "db_2"]], ["macvtap_migration_apart[0]: no host has a domain 'db_2'; did you mean db2?"]),
        ([["db1"], ["x", "db2"]], ["macvtap_migration_apart[1]: no host has a domain 'x'"]),
    ],
)
def test_a_guest_to_keep_apart_that_there_is_not_is_said(
    apart: list[list[str]], said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(Display, "warning", lambda _self, text: warnings.append(text))
    looks = {"hv1": look(db1=1024), "hv2": look(stored=["db2"]), "hv3": look()}
    assert moves(looks, "hv1", apart=apart)
    assert warnings == [f"fleet_moves: {text}" for text in said]
    # A host that cannot be asked may have it.
    warnings.clear()
    assert moves({**looks, "hv4": {"msg": "unreachable"}}, "hv1", apart=apart)
    assert warnings == []


def test_hosts_that_are_emptied_too_take_none() -> None:
    looks = {"hv1": look(web1=1024), "hv2": look(web2=1024), "hv3": look()}
    assert moves(looks, "hv1", "hv2") == {"web1": "hv3", "web2": "hv3"}
    assert moves(looks, "hv1", targets=["hv2"]) == {"web1": "hv2"}
    assert stuck(looks, "hv1", "hv2", "hv3")["web1"] == "there is no host that it may go to"


def test_guests_that_are_kept_apart_do_not_meet() -> None:
    looks = {"hv1": look(db1=1024, db2=1024), "hv2": look(db3=1024), "hv3": look()}
    assert moves(looks, "hv1", apart=[["db1", "db2"]]).keys() == {"db1", "db2"}
    assert len(set(moves(looks, "hv1", apart=[["db1", "db2"]]).values())) == 2
    reason = stuck(looks, "hv1", apart=[["db1", "db2", "db3"]])["db2"]
    assert (
        reason == "hv2: db3 runs there, from which it is kept apart; hv3: db1 runs there, from which it is kept apart"
    )


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (look(512), "hv2: it needs 1024 MiB of memory, and 512 MiB are left"),
        (look(stored=["web1"]), "hv2: it has a domain of that name"),
        ({}, "hv2: it cannot be asked, or takes no guests"),
        ({"msg": "no route", "unreachable": True}, "hv2: it cannot be asked, or takes no guests"),
        ({"domains": [], "libvirt": {"available": False}}, "hv2: it cannot be asked, or takes no guests"),
    ],
)
def test_a_guest_that_no_host_can_take(other: Look, reason: str) -> None:
    assert stuck({"hv1": look(web1=1024), "hv2": other}, "hv1") == {"web1": reason}


def test_what_is_not_known_is_not_in_the_way() -> None:
    assert moves({"hv1": look(web1=None), "hv2": look(None)}, "hv1") == {"web1": "hv2"}


@pytest.mark.parametrize(
    ("looks", "options", "message"),
    [
        ({"hv1": {"msg": "no route"}, "hv2": look()}, {}, "host hv1: its guests are not known: no route"),
        (
            {"hv2": look()},
            {},
            "host hv1: its guests are not known: it was not looked at. Is it in the group hypervisors",
        ),
        (
            {"hv1": look(web1=1), "hv2": look()},
            {"given": {"web1": "hv3"}},
            "macvtap_migration_targets.web1: 'hv3' is none",
        ),
        (
            {"hv1": look(web1=1), "hv2": look()},
            {"given": {"wep1": "hv2"}},
            "no host has a domain 'wep1'; did you mean web1?",
        ),
    ],
)
def test_what_cannot_be_decided(looks: dict[str, Look], options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError) as raised:
        fleet_moves(looks, ["hv1"], **options)
    assert message in str(raised.value)


def test_guests_go_home_from_wherever_they_run() -> None:
    looks = {"hv1": look(web3=1), "hv2": look(web1=1), "hv3": look(web2=1, web9=1, stored=["web4"])}
    homes = {"web1": "hv1", "web2": "hv2", "web3": "hv1", "web4": "hv1"}
    found = fleet_moves(looks, homes=homes)
    assert [(one["domain"], one["source"], one["destination"]) for one in found["moves"]] == [
        ("web1", "hv2", "hv1"),
        ("web2", "hv3", "hv2"),
    ]
    assert found["stuck"] == []


def test_a_guest_that_cannot_go_home_is_named() -> None:
    twice = fleet_moves({"hv1": look(web1=1), "hv2": look(web1=1)}, homes={"web1": "hv3"})
    assert twice["stuck"][0]["reason"] == "it runs on more than one host: hv1, hv2"
    away = fleet_moves({"hv1": {"msg": "no route"}, "hv2": look(web1=1)}, homes={"web1": "hv1"})
    assert away["stuck"] == [{"domain": "web1", "source": "hv2", "reason": "hv1: no route"}]
    assert away["moves"] == []
    silent = fleet_moves({"hv1": look(), "hv2": {"msg": "no route"}}, homes={"web1": "hv1"})
    assert silent["stuck"][0]["reason"] == "it may run on hv2, which cannot be asked"


def test_what_a_broken_off_move_has_left_goes_where_the_guest_is() -> None:
    there = look(web1=1024)
    stored, here = look(stored=["web1"]), look(web1=1024)
    for one in (stored, here, there):
        one["domains"][0]["uuid"] = "uuid-1"
    assert moves({"hv1": here, "hv2": look(), "hv3": there}, "hv1") == {"web1": "hv3"}
    # That may be meant so, unless it was moved away from there.
    looks = {"hv1": stored, "hv2": look(), "hv3": there}
    assert moves(looks, "hv1") == {}
    assert moves(looks, "hv1", begun={"web1": "hv2"}) == {}
    assert moves(looks, "hv1", begun={"web1": "hv1"}) == {"web1": "hv3"}
    shown = fleet_moves(looks, ["hv1"], begun={"web1": "hv1"})
    assert shown["lines"] == []
    assert shown["rests"] == ["web1: what is left of it on hv1 is removed. It runs on hv3"]


def test_what_a_move_home_has_left_is_looked_for() -> None:
    looks = {"hv1": look(web1=1, web2=1, web3=1), "hv2": look(stored=["web1"]), "hv3": {"msg": "no route"}}
    homes = dict.fromkeys(("web1", "web2", "web3"), "hv1")
    found = fleet_moves(looks, homes=homes, begun={"web1": "hv2", "web2": "hv2", "web3": "hv3"})
    assert [(one["domain"], one["source"], one["destination"]) for one in found["moves"]] == [
        ("web1", "hv2", "hv1"),
        ("web2", "hv2", "hv1"),
    ]
    assert (len(found["rests"]), found["lines"]) == (1, [])
    assert fleet_moves(looks, homes=homes)["moves"] == []


def test_what_a_guest_that_has_moved_has_left_is_looked_for_and_not_shown_as_a_move() -> None:
    looks = {"hv1": look(), "hv2": look(web1=1024), "hv3": look(web2=1024, web3=1)}
    begun = {"web1": "hv1", "web2": "hv1", "web3": "hv2", "gone1": "hv1"}
    found = fleet_moves(looks, ["hv1"], targets=["hv2"], begun=begun)
    assert found["moves"] == [{"domain": "web1", "source": "hv1", "destination": "hv2"}]
    assert found["lines"] == []


def connected(source: str, mode: str = "bridge", mac: str = "52:54:00:00:01:01") -> Look:
    one = look(web1=1024)
    one["domains"][0]["interfaces"] = [{"mac": mac, "live": {"type": "direct", "source": source, "mode": mode}}]
    return one


def on(name: str, *, reflects: bool | None = None, network: str = "") -> Look:
    networks = [{"name": "lan", "mode": network, "interfaces": [name], "portgroups": []}] if network else []
    return {**look(), "links": [{"name": name, "reflective_relay": reflects}], "networks": networks}


def test_a_guest_goes_to_no_host_on_which_it_would_be_in_another_segment() -> None:
    looks = {"hv1": connected("eth0"), "hv2": on("lan0"), "hv3": on("enp7s0")}
    uplinks = {"hv1": "eth0", "hv2": "lan0", "hv3": "enp7s0"}
    segments: dict[str, t.Any] = {"hv1": "rack1", "hv2": {"enp7s0": "rack1"}, "hv3": "rack1"}
    assert moves(looks, "hv1", uplinks=uplinks, segments=segments) == {"web1": "hv3"}
    reason = stuck(looks, "hv1", uplinks=uplinks, segments=segments, targets=["hv2"])["web1"]
    assert reason.startswith("hv2: 52:54:00:00:01:01 is in the segment rack1 on hv1 (eth0), and would be in all on hv2")
    with pytest.raises(AnsibleFilterError, match="host hv3: macvtap_segment: must be a segment's name"):
        fleet_moves(looks, ["hv1"], segments={"hv3": ["rack1"]})


def test_a_guest_goes_to_no_host_on_which_it_would_be_in_another_mode_unless_it_is_declared_there() -> None:
    looks = {"hv1": connected("eth0", "vepa"), "hv2": on("eth0", reflects=False), "hv3": on("eth0", reflects=True)}
    looks["hv1"]["links"] = [{"name": "eth0", "reflective_relay": True}]
    assert moves(looks, "hv1") == {"web1": "hv3"}
    entry = {"domain": "web1", "mac": "5254.0000.0101", "mode": "bridge"}
    assert moves(looks, "hv1", declared={"hv2": [entry]}) == {"web1": "hv2"}
    on_network = {**connected("eth0"), "networks": on("eth0", network="bridge")["networks"]}
    on_network["domains"][0]["interfaces"][0]["live"]["network"] = "lan"
    others = {"hv2": on("lan0", network="vepa"), "hv3": on("lan0", network="bridge")}
    assert moves({"hv1": on_network, **others}, "hv1") == {"web1": "hv3"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"apart": ["db1"]}, "macvtap_migration_apart[0]: 'db1' is not a list"),
        ({"targets": "hv2"}, "macvtap_migration_to: 'hv2' is not a list"),
        ({"targets": ["hv3"]}, "macvtap_migration_to: 'hv3' is none of the hosts; did you mean"),
        ({"given": ["web1"]}, "macvtap_migration_targets: ['web1'] is not a dictionary"),
        ({"given": {"web1": None}}, "macvtap_migration_targets.web1: None is not a name"),
        ({"given": {"web1": ["hv2"]}}, "macvtap_migration_targets.web1: ['hv2'] is not a name"),
        ({"apart": [["web1", ["web2"]]]}, "macvtap_migration_apart[0][1]: ['web2'] is not a name"),
        ({"targets": ["hv2", {}]}, "macvtap_migration_to[1]: {} is not a name"),
        ({"begun": {"web1": False}}, "macvtap_migration_file.web1: False is not a name"),
        ({"declared": True}, "macvtap_domains_interfaces: True is not a dictionary"),
    ],
)
def test_values_of_other_types_are_refused(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleFilterError) as raised:
        fleet_moves({"hv1": look(web1=1), "hv2": look()}, ["hv1"], **options)
    assert message in str(raised.value)
    with pytest.raises(AnsibleFilterError, match="macvtap_migration_file"):
        fleet_moves({"hv1": look()}, homes=t.cast("dict[str, str]", ["web1"]))


def test_what_hosts_declare_may_be_anything() -> None:
    looks = {"hv1": look(web1=1024), "hv2": look()}
    odds: list[t.Any] = [None, "web1", [None, "web1"], {}]
    for odd in odds:
        assert moves(looks, "hv1", declared={"hv2": odd}) == {"web1": "hv2"}


@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8),
    st.lists(st.integers(0, 12), min_size=1, max_size=4),
    st.sets(st.frozensets(st.integers(0, 7), min_size=2, max_size=3), max_size=3),
)
def test_no_host_gets_more_than_it_can_take(
    sizes: list[int], room: list[int], groups: t.AbstractSet[frozenset[int]]
) -> None:
    guests = {f"g{n}": size for n, size in enumerate(sizes)}
    targets = {f"t{n}": look(free) for n, free in enumerate(room)}
    apart = [[f"g{n}" for n in group] for group in groups]
    found = fleet_moves({"hv1": look(0, (), **guests), **targets}, ["hv1"], apart=apart)
    went = {one["domain"]: one["destination"] for one in found["moves"]}
    assert went.keys() | {one["domain"] for one in found["stuck"]} == guests.keys()
    assert len(found["moves"]) + len(found["stuck"]) == len(guests)
    for n, free in enumerate(room):
        there = {name for name, host in went.items() if host == f"t{n}"}
        assert sum(guests[name] for name in there) <= free
        assert not [group for group in apart if len(there & set(group)) > 1]
