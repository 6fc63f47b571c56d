# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Domains that could not migrate."""

from __future__ import annotations

import pytest
from compared import H1, H2, NOTHING, U1, A, B, conflicts, macvtap, nic, only, places, web
from fleet import Values, declared, found, iface, mac, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface


@pytest.mark.parametrize(
    "other",
    [
        (declared(nic(mac=A, mode="private")), H2),
        (declared(nic(mac=A, mode="vepa"), domains_source="eth1"), found(uplink(3, "eth1"), number=2)),
        (NOTHING, found(web("web1", U1, iface(A, mode="vepa")), number=2)),
        (NOTHING, found(web("web1", U1, Iface(A, "bridge", origin="br0")), number=2)),
    ],
)
def test_a_domain_that_could_not_migrate(other: tuple[Values, Values]) -> None:
    conflict = only((declared(nic(mac=A)), H1), other)
    assert conflict.kind == "migration"
    assert f"web1 could not migrate: {A} is on eth0 in mode bridge on hv1; " in conflict.message
    assert [place.host for place in conflict.where] == ["hv1", "hv2"]


def two(one: Values, other: Values) -> list[tuple[Values, Values]]:
    """Return two hosts with eth0, eth1 and web1, which has no NIC yet, and their declarations of it."""
    return [
        (variables, found(web("web1", U1), uplink(n + 2, "eth1"), number=n)) for n, variables in ((1, one), (2, other))
    ]


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        # The addresses are derived from the sources, and so differ.
        (
            nic(),
            nic(source="eth1"),
            "an interface that is not declared by its address is on eth0 in mode bridge on hv1",
        ),
        (nic(alias="ua-lan"), nic(alias="ua-lan", source="eth1"), "ua-lan is on eth0 in mode bridge on hv1; on eth1"),
        (
            nic(alias="ua-a", target="web0"),
            nic(target="web0", source="eth1"),
            "web0 is on eth0 in mode bridge on hv1; ",
        ),
        (nic(mac=A), nic(source="eth1"), "an interface that is not declared by its address is on eth0 in mode bridge"),
    ],
)
def test_a_domain_that_could_not_migrate_whose_addresses_are_not_declared(
    one: Values, other: Values, message: str
) -> None:
    for swapped, hosts in enumerate((two(declared(one), declared(other)), two(declared(other), declared(one)))):
        conflict = only(*hosts)
        assert conflict.kind == "migration"
        assert swapped or f"web1 could not migrate: {message}" in conflict.message
        assert [place.host for place in conflict.where] == ["hv1", "hv2"]


def test_a_domain_of_unknown_uuid_that_could_not_migrate() -> None:
    hosts = [(declared(nic(mode=mode)), found(number=n, version=None)) for n, mode in ((1, "bridge"), (2, "vepa"))]
    assert "is on eth0 in mode bridge on hv1; on eth0 in mode vepa on hv2" in only(*hosts).message


def test_a_nic_that_is_declared_on_one_host_and_missing_on_another() -> None:
    conflict = only(*two(declared(nic(mac=A), nic(mac=B)), declared(nic(mac=A))))
    assert conflict.message == f"web1 could not migrate: {B} is on eth0 in mode bridge on hv1; missing on hv2"
    assert places(conflict) == [f"hv1 web1 {B} declared", "hv2 web1"]


@pytest.mark.parametrize(
    "hosts",
    [
        # Declared by its address on both, so that it gets what its host has.
        two(declared(nic(mac=A)), declared(nic(mac=A, source="eth1"))),
        # Another order, and another option that selects it.
        two(declared(nic(), nic(source="eth1")), declared(nic(source="eth1"), nic())),
        two(declared(nic(mac=A), nic(source="eth1")), declared(nic(source="eth1"), nic(mac=A))),
        two(declared(nic(mac=A)), declared(nic())),
        # Existing without being declared.
        [
            (declared(nic(mac=A), nic(mac=B)), found(web("web1", U1))),
            (declared(nic(mac=A)), found(web("web1", U1, iface(B)), number=2)),
        ],
        # Each host has generated its own address.
        [
            (declared(nic()), found(web("web1", U1, iface(A)))),
            (declared(nic()), found(web("web1", U1, iface(B)), number=2)),
        ],
        # If the domain's other NICs are unknown, or it is not declared.
        [
            (declared(nic(mac=A), nic(mac=B)), found(web("web1", U1))),
            (declared(nic(mac=A)), found(number=2, version=None)),
        ],
        [(declared(nic(mac=A)), found(web("web1", U1))), (NOTHING, found(web("web1", U1), number=2))],
        [(declared(nic(mac=A)), H1), (declared(nic(mac=A)), {"unreachable": True})],
        [
            (declared(nic(mac=A)), found(web("web1", U1, iface(A), iface(B)))),
            (declared(nic(mac=A)), found(web("web1", U1, iface(A)), number=2)),
        ],
    ],
)
def test_a_domain_that_could_migrate(hosts: list[tuple[Values, Values]]) -> None:
    assert conflicts(*hosts) == []
    assert conflicts(*reversed(hosts)) == []


def test_what_is_the_same_on_several_hosts_of_a_segment_is_one_conflict() -> None:
    bad, dmz = (declared(nic(f"w{n}", mac=mac(n), source="eth9"), segment=s) for n, s in ((1, "lan"), (2, "dmz")))
    other = declared(nic("w3", mac=mac(3), source="eth9"), segment="lan")
    got = conflicts((bad, H1), (dmz, H2), (other, found(number=3)))
    assert [(one.segment, [place.host for place in one.where]) for one in got] == [
        ("lan", ["hv1", "hv3"]),
        ("dmz", ["hv2"]),
    ]


def test_what_is_declared_counts_for_a_migration_and_not_what_is_stored_so_far() -> None:
    there = found(web("web1", U1, iface(A, mode="vepa")), number=2)
    assert (
        conflicts((declared(nic(mac=A, mode="passthru")), H1), (declared(nic(mac=A, mode="passthrough")), there)) == []
    )


def test_a_mode_that_the_switch_decides_is_not_known_yet() -> None:
    auto, there = (declared(nic(mac=A, mode="auto")), H1), found(web("web1", U1, iface(A, mode="vepa")), number=2)
    assert conflicts(auto, (NOTHING, there)) == []
    assert conflicts(auto, (declared(nic(mac=A, mode="auto")), there)) == []
    elsewhere = declared(nic(mac=A, source="eth1"))
    assert only(auto, (elsewhere, found(uplink(3, "eth1"), number=2))).kind == "migration"


def test_a_mode_that_auto_leaves_as_it_is_counts() -> None:
    auto = declared(nic(mac=A, mode="auto"))
    vepa, bridge = found(web("web1", U1, iface(A, mode="vepa"))), found(web("web1", U1, iface(A)), number=2)
    assert only((auto, vepa), (auto, bridge)).kind == "migration"
    # If the switch decides for all of them, they may become the same.
    follow = declared(nic(mac=A, mode="auto"), domains_auto="always")
    assert conflicts((follow, vepa), (follow, bridge)) == []
    private = found(web("web1", U1, iface(A, mode="private")), number=2)
    assert only((follow, vepa), (follow, private)).kind == "migration"


@pytest.mark.parametrize("follow", ["new", "always"])
def test_a_mode_that_auto_leaves_as_it_is_needs_a_switch_that_reflects(follow: str) -> None:
    links = [{"name": "x0", "mode": "auto"}]
    variables = declared(nic(mac=A, mode="auto"), links=links, domains_auto=follow, links_auto=follow)
    there = found(
        web("web1", U1, iface(A, mode="vepa")), macvtap("x0", B, "vepa"), uplink(3, "eth1"), relay={"eth0": False}
    )
    got = conflicts((variables, there))
    assert [one.kind for one in got] == (["vepa"] if follow == "new" else [])
    assert [places(one) for one in got] == [["hv1 x0 declared", f"hv1 web1 {A} declared, stored"]] * len(got)
    # On another parent, another switch decides.
    assert conflicts(({**variables, "macvtap_domains_source": "eth1", "macvtap_links_parent": "eth1"}, there)) == []


def test_a_passthru_link_that_auto_leaves_as_it_is_has_its_parents_address() -> None:
    own = uplink(1).mac or ""
    for follow in ("new", "always"):
        nics = declared(nic(mac=own, mode="auto"), domains_auto=follow)
        assert conflicts((nics, found(web("web1", U1, iface(own, mode="passthrough"))))) == []
        links = declared(links=[{"name": "x0", "mode": "auto"}], links_auto=follow)
        assert conflicts((links, found(macvtap("x0", own, "passthru")))) == []


def test_interfaces_of_other_types_are_not_checked() -> None:
    hosts = [(NOTHING, found(web("web1", U1, Iface(A, "bridge", origin=f"br{n}")), number=n)) for n in (1, 2)]
    assert conflicts(*hosts) == []


@pytest.mark.parametrize("kind", ["bridge", "user", "null", "direct"])
def test_interfaces_of_other_types_are_not_checked_for_their_segment(kind: str) -> None:
    one, other = ({"macvtap_segment": segment} for segment in ("lan", "dmz"))
    sides = [Iface(A, kind, {"source": "eth0"} if kind == "direct" else {}, origin="br0") for _n in (1, 2)]
    got = conflicts(*((v, found(web("web1", U1, i), number=n)) for n, (v, i) in enumerate(zip((one, other), sides), 1)))
    assert bool(got) == (kind == "direct")
    # It is on no wire.
    got = conflicts(
        (one, found(web("web1", U1, iface(A)))), (other, found(web("web1", U1, Iface(A, "user")), number=2))
    )
    assert not any("in the segment" in conflict.message for conflict in got)


def test_a_nic_in_two_segments_may_be_missing_on_a_third_host() -> None:
    def host(number: int, segment: str, *nics: Values) -> tuple[Values, Values]:
        return declared(*nics, segment=segment), found(web("web1", U1), number=number)

    conflict = only(
        host(1, "lan", nic(mac=A), nic(mac=B)), host(2, "lan", nic(mac=A), nic(mac=B)), host(3, "lan", nic(mac=A))
    )
    assert conflict.message.endswith("missing on hv3")
    third = (declared(nic(mac=A), segment="lan"), found(web("web1", U1), number=3))
    got = conflicts(host(1, "lan", nic(mac=A), nic(mac=B)), host(2, "dmz", nic(mac=A), nic(mac=B)), third)
    assert any(
        f"{B} is in the segment lan on hv1; in the segment dmz on hv2; missing on hv3" in one.message for one in got
    )


def test_a_nic_in_two_segments_is_one_conflict() -> None:
    one = declared(nic("web1", mac=A, mode="bridge"), segment={"eth0": "lan"})
    other = declared(nic("web1", mac=A, mode="vepa"), segment={"eth0": "dmz"})
    conflict = only((one, H1), (other, H2))
    assert conflict.message == (f"web1 could not migrate: {A} is in the segment lan on hv1; in the segment dmz on hv2")
    assert conflict.remedy.endswith("give them one name in macvtap_segment")
