# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guards of several guests."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, A, B, conflicts, nic, only, places
from fleet import declared

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import undeclared


def guarded(name: str, mac: str, *addresses: str, **more: t.Any) -> dict[str, t.Any]:
    return nic(name, mac=mac, guard={"addresses": list(addresses), **more})


def test_two_guests_with_one_address() -> None:
    there = (declared(guarded("web2", B, "192.0.2.1", "198.51.100.0/24")), H2)
    conflict = only((declared(guarded("web1", A, "192.0.2.1", "198.51.100.0/24")), H1), there)
    assert (conflict.kind, conflict.message) == ("address", "192.0.2.1 is allowed to several guests by their guards")
    assert places(conflict) == [f"hv1 web1 {A} declared", f"hv2 web2 {B} declared"]
    allowed = declared(guarded("web1", A, "192.0.2.1"), preflight_allow=["address 192.0.2.1"])
    also = declared(guarded("web2", B, "192.0.2.1"), preflight_allow=["address 192.0.2.1"])
    assert only((allowed, H1), (also, H2)).allowed


@pytest.mark.parametrize("addresses", [["learned"], [], ["fe80::/10"]])
def test_what_many_guests_have(addresses: list[str]) -> None:
    assert conflicts((declared(guarded("web1", A, *addresses), guarded("web2", B, *addresses)), H1)) == []


def test_a_guest_that_moves_between_hosts_has_one_guard() -> None:
    def both(second: str) -> list[str]:
        first = (declared(guarded("web1", A, "192.0.2.1")), H1)
        return [one.message for one in conflicts(first, (declared(guarded("web1", A, second)), H2))]

    assert f"the guards of {A} differ" in both("192.0.2.2")
    assert f"the guards of {A} differ" not in both("192.0.2.1")


def listed(mac: str, *addresses: str, **more: t.Any) -> dict[str, t.Any]:
    return {"mac": mac, "addresses": list(addresses), **more}


def test_guards_of_the_role_count_as_those_of_nics() -> None:
    web1, web2 = guarded("web1", A, "192.0.2.1"), listed(B.upper(), "192.0.2.1")
    conflict = only((declared(web1, nic("web2", mac=B), guard_guards=[web2]), H1))
    assert conflict.message == "192.0.2.1 is allowed to several guests by their guards"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([listed(A, "192.0.2.1")], None),
        # The options that follow from defaults of the role.
        ([listed(A, "192.0.2.1", policy="count")], f"the guards of {A} differ"),
        ([listed(A, state="absent")], f"the guard of {A} is declared present and absent"),
        ([listed(B), listed(B)], "macvtap_guard_guards[1]: the NIC"),
        ([{"domain": "web1"}], "macvtap_guard_guards[0].mac: a value is required"),
        ([listed(A, "192.0.2.1", link="macvtap0")], "macvtap_guard_guards[0].link: unknown option"),
    ],
)
def test_a_guard_is_declared_once(entries: list[dict[str, t.Any]], message: str | None) -> None:
    found = conflicts((declared(guarded("web1", A, "192.0.2.1"), guard_guards=entries), H1))
    assert [one.message.startswith(message or "") for one in found] == ([True] if message else [])


def test_undeclared_guards_are_listed() -> None:
    found = {**H1, "guards": [{"mac": A}, {"mac": B}]}
    both = declared(guard_guards=[listed(A, state="absent")])
    assert undeclared.lines({"hv1": {"declared": both, "found": found}}) == [f"hv1: guard of {B}"]


def test_a_guard_that_cannot_be_is_a_conflict_of_its_declaration() -> None:
    conflict = only((declared(guarded("web1", A, "192.0.2.300")), H1))
    assert conflict.kind == "declaration"
    assert conflict.message.startswith("macvtap_domains_interfaces[0].guard.addresses[0]: ")
