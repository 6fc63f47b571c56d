# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Invalid declarations, and hosts that were not inspected."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, NOTHING, U1, U2, A, B, conflicts, fleet, macvtap, nic, only, places, web
from fleet import Values, declared, found, iface, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, table


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (declared(nic(mac="52:54:00")), r"macvtap_domains_interfaces[0].mac: '52:54:00' is not a MAC address"),
        (declared(nic(mac=3 * 60 + 5)), "YAML parsed it as a number"),
        (declared({"mac": A}), "macvtap_domains_interfaces[0].domain"),
        (declared("web1"), "macvtap_domains_interfaces[0]: must be a dictionary, not 'web1'"),  # type: ignore[arg-type]
        (declared(domains_interfaces="web1"), "macvtap_domains_interfaces: must be a list, not 'web1'"),
        (declared(links=[{"mac": A}]), "macvtap_links_links[0].name: a value is required"),
        (declared(links=[{"name": "x0", "mtu": "many"}]), "macvtap_links_links[0].mtu: 'many' is not a whole number"),
        (
            declared(links=[{"name": "x0", "mtu": float("inf")}]),
            "macvtap_links_links[0].mtu: inf is not a whole",
        ),
        (declared(links=[{"name": "x0", "mtu": True}]), "macvtap_links_links[0].mtu: True is not a whole number"),
        (declared(links=[{"name": "x0", "mac": "01:00:00:00:00:01"}]), "macvtap_links_links[0].mac: "),
        (declared(links=[{"name": "x0", "mtu": 9}]), "macvtap_links_links[0].mtu: 9 is not between 68 and 65535"),
        (declared(links=[{"name": "x0", "tap": {"mode": 440}}]), "macvtap_links_links[0].tap.mode: 440 without quotes"),
        (declared(links=[{"name": "x0", "gso_max_size": 9}]), "macvtap_links_links[0].gso_max_size: 9 is not between"),
        (
            declared(links=[{"name": "x0", "mode": "brige"}]),
            "macvtap_links_links[0].mode: 'brige' is not one of bridge,",
        ),
        (declared(links=[{"name": "x0", "lower": "eth0"}]), "macvtap_links_links[0].lower: unknown option"),
        (declared(links=[{"name": "x0", "source_macs": {"a": 1}}]), "[0].source_macs: must be a list, not"),
        (declared(nic(mac=B, driver="vhost")), "[0].driver: must be a dictionary, not 'vhost'"),
        (declared(nic(mac=B, driver={"queue": 2})), "[0].driver.queue: unknown option; did you mean queues?"),
        (declared(nic(mac=B, driver={"queues": "two"})), "[0].driver.queues: 'two' is not a whole number"),
        (declared(nic(mac=B, convert="maybe")), "[0].convert: 'maybe' is neither true nor false"),
        (declared(nic(mac=B, source=["eth0"])), "[0].source: must be a text, not ['eth0']"),
        (declared(nic(mac=B, state="gone")), "[0].state: 'gone' is not one of present, absent"),
        (declared(nic(mac=B, acpi_index=99999)), "[0].acpi_index: 99999 is not between 0 and 16383"),
        (declared(nic(mac=B), nic(mac=B, mode="private")), "[1].mac: 52:54:00:00:00:02 is declared twice: "),
        (declared(links=[{"name": "x0"}, {"name": "x0"}]), "[1].name: x0 is declared twice, here and in "),
        (
            declared(host_access_shims=2 * [{"name": "h0", "addresses": ["192.0.2.9"]}], host_access_parent="eth0"),
            "macvtap_host_access_shims[1].name: h0 is declared twice, here and in ",
        ),
        (
            declared(links_vlans=[{"parent": "eth0", "id": 9, "protocol": "x"}]),
            "[0].protocol: 'x' is not one of 802.1Q",
        ),
        (declared(domains_mode="brige"), "macvtap_domains_mode: 'brige' is not one of bridge,"),
        (declared(links_purge="banana"), "macvtap_links_purge: 'banana' is neither true nor false"),
        (declared(links_purge=True), "macvtap_links_purge: requires a group other than 0; found group None"),
        (
            declared(links_purge="yes", links_group=0),
            "macvtap_links_purge: requires a group other than 0; found group 0",
        ),
        (declared(links_mtu="big"), "macvtap_links_mtu: 'big' is not a whole number"),
    ],
)
def test_an_invalid_declaration_is_reported_and_the_others_are_compared(variables: Values, message: str) -> None:
    other = declared(nic("a", mac=A), nic("b", mac=A))
    got = conflicts((variables, H1), (other, H2))
    assert {one.kind for one in got} >= {"declaration", "mac"}
    (conflict,) = [one for one in got if one.kind == "declaration"]
    assert message in conflict.message


def test_values_are_read_as_ansible_reads_options() -> None:
    there = found(version="8.2.0")
    conflict = only((declared(nic(mac=A, driver="name=vhost,rss=yes", trust_guest_rx_filters="no")), there))
    assert conflict.message == "libvirt 8.2.0 does not support driver.rss, which requires 8.3.0"
    assert conflicts((declared(nic(mac=A), links=[{"name": "x0", "mtu": "1500", "altnames": "a,b"}]), H1)) == []


def test_an_entry_with_an_unknown_option_is_still_compared() -> None:
    got = conflicts((declared(nic(mac=A, comment="x")), H1), (declared(nic("db1", mac=A)), H2))
    assert [one.kind for one in got] == ["declaration", "mac"]


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        (Domain("web1", U1, True, persistent=False), "domain web1 is transient: libvirt stores no configuration of it"),
        (Domain("web1", U1, saved=()), "domain web1 has a managed save: its next start restores the NICs"),
    ],
)
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_declaration_without_effect_yet_is_not_a_conflict(there: Domain, reason: str, state: str) -> None:
    variables = declared(nic("web1", mac=A, state=state))
    data = {
        "hv1": {"declared": variables, "found": found(there)},
        "hv2": {"declared": variables, "found": found(number=2)},
    }
    assert [places(one) for one in compare.conflicts(data)] == [[f"hv2 web1 {A} declared"]] * (state == "present")
    (gap,) = compare.gaps(data)
    assert (gap["host"], gap["what"]) == ("hv1", "domain")
    assert gap["reason"].startswith(reason)
    assert table.table([], [gap]) == f"Note: hv1: {gap['reason']}"
    # Other domains are not declared.
    assert compare.gaps({"hv1": {"declared": declared(nic("db1", mac=A)), "found": found(there)}}) == []


@pytest.mark.parametrize(
    ("variables", "there", "message"),
    [
        (nic("wbe1", mac=A), web("web1"), "[0].domain: no domain 'wbe1' on qemu:///system (known: web1)"),
        (nic(mac=A, source=None), web(), f"[0].source: is required, since domain 'web1' has no interface {A} yet"),
        (nic(mac=A), web("web1", U1, Iface(A, "bridge")), f"[0].mac: domain 'web1' has {A} as an interface of type"),
        (nic(mac=A, state="absent"), web("web1", U1, Iface(A, "bridge")), "[0].mac: domain 'web1' has"),
    ],
)
def test_declarations_that_libvirt_direct_iface_would_refuse(variables: Values, there: Domain, message: str) -> None:
    whole = declared(variables, domains_source=variables.pop("source", "eth0"))
    data = {"hv1": {"declared": whole, "found": found(there)}}
    (conflict,) = compare.conflicts(data)
    assert conflict.kind == "declaration"
    assert message in conflict.message
    assert ("define the domain" in conflict.message) == ("no domain" in message)
    assert places(conflict) == [f"hv1 {variables['domain']} {A} declared"]
    # On a host that was not inspected, it may exist.
    assert compare.conflicts({"hv1": {"declared": whole, "found": found(version=None)}}) == []


def test_declarations_that_libvirt_direct_iface_accepts() -> None:
    absent = {"declared": declared(nic("gone", mac=A, state="absent")), "found": H1}
    assert compare.conflicts({"hv1": absent}) == []
    for live in ([], [Iface(A, "bridge", {"target": "vnet0"}, "br0")]):
        there = found(web("web1", U1, Iface(A, "bridge", origin="br0"), live=live))
        assert conflicts((declared(nic(mac=A, convert=True)), there)) == []
        assert conflicts((declared(nic(mac=A, convert=True, mode="auto", allmulticast=True)), there)) == []


def test_a_nic_that_is_declared_twice_by_different_options() -> None:
    conflict = only((declared(nic(mac=A), nic()), found(web("web1", U1, iface(A)))))
    assert "[1].source: this selects the same interface (web1 52:54:00:00:00:01) as" in conflict.message


def test_a_new_link_needs_a_parent() -> None:
    orphan = declared(links=[{"name": "x0"}], links_parent=None)
    conflict = only((orphan, H1))
    assert conflict.message.startswith("macvtap_links_links[0].parent: the link does not exist yet, so its parent")
    assert places(conflict) == ["hv1 x0 declared"]
    assert conflicts((orphan, found(macvtap("x0", A)))) == []
    assert conflicts((orphan, {"unreachable": True})) == []


@pytest.mark.parametrize(
    ("role", "name", "meant"),
    [
        ("domains", "parrent", "source"),
        ("domains", "parent", "source"),
        ("domains", "targt", "target"),
        ("links", "sorce", "parent"),
        ("links", "uplnk", "parent"),
    ],
)
def test_an_unknown_option_gets_a_suggestion(role: str, name: str, meant: str) -> None:
    entry = {name: "eth0"}
    variables = declared(nic(mac=A, **entry)) if role == "domains" else declared(links=[{"name": "x0", **entry}])
    assert f".{name}: unknown option; did you mean {meant}?" in only((variables, H1)).message


def test_a_transient_domain_is_not_an_error_in_a_variable() -> None:
    fleeting = Domain("web1", U1, True, persistent=False, live=(iface(A),))
    for entry in (nic(mac=A), nic(mac=A, state="absent"), nic(mac=B)):
        assert conflicts((declared(entry), found(fleeting))) == []


def test_an_entry_that_selects_several_interfaces() -> None:
    there = found(web("web1", U1, iface(A), iface(B)))
    assert "Select one by its MAC address" in only((declared(nic()), there)).message


def test_entries_that_would_select_each_others_interface_next_time() -> None:
    there = found(web("web1", U1, iface(A)))
    conflict = only((declared(nic(), nic(mac=B)), there))
    assert "would have 2 direct interfaces with source eth0" in conflict.message
    # The one is moved away by its address, so that the other one makes a new one.
    assert (
        conflicts((declared(nic(mac=A, source="eth1"), nic()), found(uplink(3, "eth1"), web("web1", U1, iface(A)))))
        == []
    )


@pytest.mark.parametrize(
    ("there", "reason"),
    [
        ({"unreachable": True, "msg": "Failed to connect\nmore"}, "cannot be reached: Failed to connect"),
        ({"failed": True, "msg": "Task failed: no Python"}, "could not be checked: no Python"),
        ({}, "could not be checked"),
    ],
)
def test_a_host_that_was_not_inspected_is_listed_and_its_declarations_are_compared(there: Values, reason: str) -> None:
    hosts = ((declared(nic(mac=A, source="eth9")), there), (declared(nic("db1", mac=A)), H2))
    assert only(*hosts).kind == "mac"
    assert compare.gaps(fleet(*hosts)) == [{"host": "hv1", "what": "host", "reason": reason}]


def test_a_host_whose_libvirt_does_not_answer_is_listed() -> None:
    hosts = ((declared(nic()), found(version=None)), (NOTHING, H2))
    assert conflicts(*hosts) == []
    assert compare.gaps(fleet(*hosts)) == [{"host": "hv1", "what": "libvirt", "reason": "no daemon"}]


@pytest.mark.parametrize(
    "message",
    [
        "'nowhere' is undefined",
        "Task failed: Finalization of task args for 'ansible.builtin.set_fact' failed: Error while resolving value for "
        "'macvtap_preflight_host': 'nowhere' is undefined\nmore",
    ],
)
def test_a_host_with_unreadable_variables_is_a_conflict_and_its_state_is_compared(message: str) -> None:
    hosts = fleet((declared(nic(mac=A)), H1))
    hosts["hv2"] = {"found": found(web("db1", U2, iface(A)), number=2), "unreadable": message}
    hosts["hv3"] = {"found": {}, "unreadable": message}
    got = compare.conflicts(hosts)
    assert [(one.kind, [place.host for place in one.where]) for one in got] == [
        ("declaration", ["hv2", "hv3"]),
        ("mac", ["hv1", "hv2"]),
    ]
    assert got[0].message == "a variable cannot be read: 'nowhere' is undefined"
    assert compare.gaps(hosts) == []


def of_db1(there: str, **variables: t.Any) -> dict[str, Values]:
    """Return two hosts that declare the guest db1, of which the first has none and the second has ``there``."""
    declares = declared(nic("db1", mac=A), **variables)
    return {
        "hv1": {"declared": declares, "found": found()},
        "hv2": {"declared": declares, "found": found(web(there, U2), number=2)},
    }


def test_a_guest_that_another_host_has_is_no_conflict() -> None:
    hosts = of_db1("db1", domains_on_missing="skip")
    assert compare.conflicts(hosts) == []
    assert compare.gaps(hosts) == []


def test_a_guest_whose_name_is_a_number_is_found() -> None:
    # YAML takes it for one, and the module does not.
    hosts = of_db1("100", domains_on_missing="skip")
    for one in hosts.values():
        one["declared"]["macvtap_domains_interfaces"][0]["domain"] = 100
    assert compare.gaps(hosts) == []


def test_an_entry_without_a_domain_is_none_that_no_host_has() -> None:
    hosts = of_db1("db1", domains_on_missing="skip")
    hosts["hv1"]["declared"]["macvtap_domains_interfaces"].append({"mac": B})
    assert compare.gaps(hosts) == []


def test_a_guest_that_no_host_has_is_told_of() -> None:
    hosts = of_db1("web9", domains_on_missing="skip")
    assert compare.conflicts(hosts) == []
    reason = "no host that was looked at has a domain 'db1'"
    assert compare.gaps(hosts) == [{"host": host, "what": "nowhere", "reason": reason} for host in ("hv1", "hv2")]


def test_without_the_libvirt_of_one_host_others_are_told_of_all_the_same() -> None:
    hosts = of_db1("web9", domains_on_missing="skip")
    hosts["hv2"]["found"] = found(version=None, number=2)
    assert [(gap["host"], gap["what"]) for gap in compare.gaps(hosts)] == [("hv2", "libvirt"), ("hv1", "nowhere")]


def test_many_guests_that_may_be_on_another_host_are_one_line() -> None:
    declares = declared(nic("db1", mac=A), nic("db2", mac=B), domains_on_missing="skip")
    hosts = {"hv1": {"declared": declares, "found": found()}, "hv2": {"declared": declares, "outside": True}}
    reason = "no host that was looked at has 2 of its domains, such as 'db1'"
    assert [gap["reason"] for gap in compare.gaps(hosts) if gap["what"] == "nowhere"] == [reason]


def test_a_host_that_does_not_skip_guests_must_have_them() -> None:
    (conflict,) = compare.conflicts(of_db1("db1"))
    assert (places(conflict), "no domain 'db1'" in conflict.message) == ([f"hv1 db1 {A} declared"], True)


def test_an_empty_fleet() -> None:
    assert compare.conflicts({}) == []
    assert compare.gaps({}) == []
