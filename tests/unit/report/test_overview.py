# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What an overview says of NICs and links, and what has changed between two."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace

import pytest
from fleet import Values, declared, found, iface, mac, many, network, uplink
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import undeclared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import changes, overview, text

A, B = mac(1), mac(2)


def of(variables: Values, there: Values, **more: t.Any) -> Values:
    """Return the overview of one host, as it is after writing and reading it."""
    whole = overview.overview({"hv1": {"declared": variables, "found": {**there, **more}}})
    return t.cast("Values", json.loads(json.dumps(whole)))


def rows(variables: Values, there: Values, **more: t.Any) -> list[Values]:
    return t.cast("list[Values]", of(variables, there, **more)["hosts"][0]["nics"])


def web(*stored: t.Any, live: t.Sequence[t.Any] = ()) -> Domain:
    return Domain("web1", "u1", bool(live), stored=stored, live=tuple(live))


def test_a_nic_as_declared_has_its_link_and_no_remark() -> None:
    nic = web(iface(A), live=[iface(A, target="macvtap0")])
    addresses = {"guests": [{"name": "web1", "interfaces": [{"mac": A, "addresses": [
        {"address": "192.0.2.7", "state": "confirmed"}, {"address": "192.0.2.9", "state": "stale"}]}]}]}  # fmt: skip
    guards = [{"mac": A, "policy": "drop", "counters": {"mac": {"packets": 3}, "arp": {"packets": 4}}}]
    there = found(nic, Link("macvtap0", 9, "macvtap", "eth0", 2, "bridge", A, up=True))
    (row,) = rows(declared({"domain": "web1", "mac": A}), there, addresses=addresses, guards=guards)
    assert (row["guest"], row["state"], row["link"], row["uplink"]) == ("web1", "running", "macvtap0", "eth0")
    assert (row["mode"], row["addresses"]) == ("bridge", ["192.0.2.7"])
    assert (row["guard"], row["guard_packets"]) == ("drop", 7)
    assert (row["declared"], row["drift"], row["restart"], text.declared(row)) == (True, [], [], "yes")


@pytest.mark.parametrize(
    ("entry", "stored", "drift", "word"),
    [
        ({"mode": "private"}, [iface(A)], [("mode", "private", "bridge")], "differs"),
        ({"driver": {"queues": 4}}, [iface(A)], [("driver.queues", 4, None)], "differs"),
        ({"link_state": "up"}, [iface(A)], [], "yes"),
        ({"link_state": "down"}, [iface(A)], [("link_state", "down", None)], "differs"),
        ({"trust_guest_rx_filters": False, "mode": "auto"}, [iface(A)], [], "yes"),
        ({}, [], [("state", "present", "absent")], "missing"),
        ({"state": "absent"}, [iface(A)], [("state", "absent", "present")], "to be removed"),
    ],
)
def test_each_field_that_is_not_as_declared(
    entry: Values, stored: list[t.Any], drift: list[tuple[str, t.Any, t.Any]], word: str
) -> None:
    (row,) = rows(declared({"domain": "web1", "mac": A, **entry}), found(web(*stored)))
    assert [(one["field"], one["declared"], one["current"]) for one in row["drift"]] == drift
    assert text.declared(row) == word


def test_what_the_running_guest_gets_at_its_next_start() -> None:
    nic = web(iface(A, model="virtio"), live=[iface(A, model="e1000e", target="macvtap0")])
    link = Link("macvtap0", 9, "macvtap", "eth0", 2, "bridge", A, up=True)
    (row,) = rows(declared({"domain": "web1", "mac": A}), found(nic, link))
    assert row["restart"] == [{"field": "model", "stored": "virtio", "live": "e1000e"}]
    assert text.declared(row) == "restart"
    (row,) = rows(declared(), found(web(live=[iface(A, target="macvtap0")])))
    assert row["restart"] == [{"field": "state", "stored": "absent", "live": "present"}]
    assert text.declared(row) == "no"


def test_a_guest_whose_link_is_gone_has_no_network_until_its_restart() -> None:
    there = found(web(iface(A), live=[iface(A, target="macvtap0", link="absent")]))
    overview_of = of(declared({"domain": "web1", "mac": A}), there)
    assert f"hv1: web1 {A}: link is absent until the guest is stopped and started, then present" in text.table(
        overview_of
    )


def test_a_nic_on_a_network_has_what_the_network_gives_it() -> None:
    stored = iface(A)
    on_lan = type(stored)(A, values={"network": "lan"})
    (row,) = rows(declared(), found(web(on_lan), network("lan", "eth0", mode="private")))
    assert (row["network"], row["uplink"], row["mode"]) == ("lan", "eth0", "private")


def test_links_of_nobody_and_of_the_role() -> None:
    link = Link("spare0", 10, "macvtap", "eth0", 2, "vepa", A, 1500)
    (row,) = rows(declared(links=[{"name": "spare0", "mode": "bridge"}]), found(link))
    assert (row["guest"], row["link"], row["drift"][0]["field"]) == ("", "spare0", "mode")
    (row,) = rows(declared(), found(link))
    assert (row["mac"], text.declared(row)) == (A, "no")
    (row,) = rows(declared(links=[{"name": "spare0"}]), found())
    assert (row["state"], text.declared(row)) == ("missing", "missing")
    assert rows(declared(links=[{"name": "spare0", "state": "absent"}]), found()) == []


@pytest.mark.parametrize("parent", ["02:00:00:00:00:01", "lan", "0000:03:00.0"])
def test_a_link_is_on_its_uplink_whatever_that_is_declared_by(parent: str) -> None:
    eth0 = uplink(1, altnames=frozenset({"lan"}), pci="0000:03:00.0")
    link = Link("spare0", 10, "macvtap", "eth0", 2, "bridge", A, 1500)
    variables = declared(links=[{"name": "spare0", "parent": parent}])
    (row,) = rows(variables, found(eth0, link))
    assert (row["drift"], row["uplink"]) == ([], "eth0")
    (row,) = rows(variables, found(eth0))
    assert (text.declared(row), row["uplink"]) == ("missing", "eth0")
    (row,) = rows(variables, found(eth0, replace(link, parent="eth1")))
    assert [tuple(one.values()) for one in row["drift"]] == [("parent", parent, "eth1")]


def test_what_could_not_be_gathered_is_no_empty_column_without_a_word() -> None:
    unread = {"guards": None, "guards_reason": "python3-nftables is missing"}
    unasked = {"addresses": {"guests": None, "reason": "may not read it\nat all"}}
    (host,) = of(declared(), found(web(iface(A))), **unread, **unasked)["hosts"]
    assert host["notes"] == [
        "its guests' addresses are not known: may not read it",
        "its guests' guards are not known: python3-nftables is missing",
    ]


def test_that_a_host_has_no_libvirt_is_said_once() -> None:
    without = {"uri": "qemu:///system", "available": False, "version": None, "reason": "cannot connect"}
    there = {**found(), "libvirt": without, "addresses": {"guests": None, "reason": "cannot connect"}}
    (host,) = of(declared({"domain": "web1", "mac": A}), there)["hosts"]
    assert host["notes"] == ["its guests are not known: cannot connect"]


def test_a_host_whose_libvirt_does_not_answer_is_no_host_without_guests() -> None:
    there = found(version=None)
    (host,) = of(declared(), there)["hosts"]
    assert host["notes"] == ["its guests are not known: no daemon"]
    assert "hv1: its guests are not known: no daemon" in text.table(of(declared(), there))
    missing = {**there["libvirt"], "reason": "the Python library libvirt is missing: apt install python3-libvirt"}
    (host,) = of(declared(), {**there, "libvirt": missing})["hosts"]
    assert host["notes"] == [f"its guests are not known: {missing['reason']}"]


def test_a_host_that_was_not_reached_is_no_host_without_nics() -> None:
    whole = of(declared({"domain": "web1", "mac": A}), {"unreachable": True, "msg": "no route to host"})
    (host,) = whole["hosts"]
    assert host["notes"] == ["cannot be reached: no route to host"]
    assert [(row["state"], row["drift"]) for row in host["nics"]] == [("unknown", [])]
    assert whole["summary"]["not_inspected"] == 1
    assert "1 host not inspected" in text.table(whole)


@pytest.mark.parametrize(
    "damage",
    [
        {"networks": [{"name": "lan", "mode": "bridge", "interfaces": [7], "portgroups": []}]},
        {"links": [{"name": "tap0", "kind": "macvtap", "parent": ["eth0"]}]},
        {"guards": [{"mac": ["x"], "policy": "drop"}]},
        {"guards": [{"mac": None, "policy": "drop"}]},
        # What identifies something is not there.
        {"links": [{"name": None, "kind": "macvtap", "parent": "eth0"}]},
        {"networks": [{"name": None, "mode": "bridge", "interfaces": ["eth0"], "portgroups": []}]},
        {"domains": [{"name": None, "interfaces": []}]},
        {
            "domains": found(web(iface(A)))["domains"],
            "addresses": {"guests": [{"name": "web1", "interfaces": [{"mac": A, "addresses": [{"address": None}]}]}]},
        },
        {"written": [{"name": "tap0", "kind": "bond"}]},
        {"kernel": "6.1"},
        {"domains": [{"name": "web1", "interfaces": [{"mac": A, "stored": {"type": "direct", "source": 7}}]}]},
        # Only the report reads it.
        {"pending": [{"domain": "web1", "mac": A, "state": "held"}], "domains": found(web(iface(A)))["domains"]},
    ],
)
def test_a_damaged_result_of_one_host_leaves_the_others_in_the_report(damage: Values) -> None:
    variables = declared({"domain": "web1", "mac": A})
    data = {"declared": variables, "found": found(web(iface(A)))}
    fleet = {"hv1": {"declared": variables, "found": {**found(), **damage}}, "hv2": data}
    bad, good = overview.overview(fleet)["hosts"]
    assert good == overview.overview({"hv2": data})["hosts"][0] | {"conflicts": good["conflicts"]}
    (note,) = [one for one in bad["notes"] if one.startswith("its data is not what macvtap_host_info returns (")]
    assert "\n" not in note
    assert [(row["guest"], row["mac"], row["state"]) for row in bad["nics"]] == [("web1", A, "unknown")]
    assert undeclared.by_host(fleet)["hv2"] == []


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3))
def test_every_nic_that_is_found_or_declared_has_one_row(hosts: int, half: int) -> None:
    whole = overview.overview(many(hosts, 2 * half))
    nics = [row for host in whole["hosts"] for row in host["nics"]]
    assert len({(row["host"], row["mac"]) for row in nics}) == len(nics) == 2 * half * hosts
    # Half of them are only declared.
    assert [text.declared(row) for row in nics].count("missing") == half * hosts
    assert whole["summary"]["drift"] == half * hosts


def test_the_table_has_no_empty_columns_and_no_control_characters() -> None:
    evil = Domain("\x1b[31mweb\u202e", "u1", stored=(iface(A),))
    shown = text.table(of(declared(), found(evil)))
    assert "network" not in shown.splitlines()[0]
    assert not set(shown) & {"\x1b", "\u202e"}
    assert "�[31mweb�" in shown


REQUEST = {"domain": "web1", "mac": A, "state": "held", "since": "today", "error": None, "returns": {"source": "eth0"}}


@pytest.mark.parametrize(
    ("request_", "remark"),
    [
        (REQUEST, "asked to release it since today and still holds it. It is attached again when it is released"),
        ({**REQUEST, "returns": None}, "still holds it. It is removed when it is released"),
        ({**REQUEST, "state": "saved"}, "and was saved with it"),
        ({**REQUEST, "state": "released", "error": "no eth9"}, "and it is not attached again yet: no eth9"),
    ],
)
def test_a_request_that_a_guest_has_not_answered_is_pending(request_: Values, remark: str) -> None:
    there = found(web(iface(A), live=[iface(A)]))
    there["pending"] = [request_]
    whole = of(declared({"domain": "web1", "mac": A}), there)
    assert text.declared(whole["hosts"][0]["nics"][0]) == "pending"
    shown = text.table(whole)
    assert remark in shown
    assert "1 request not answered" in shown


def test_requests_that_nobody_may_read_are_no_proof_that_there_are_none() -> None:
    there = found(web(iface(A)))
    there["pending"] = None
    assert of(declared(), there)["hosts"][0]["notes"] == ["outstanding requests to its guests are not known"]


def test_what_a_guard_has_caught_and_which_multicast_a_nic_receives() -> None:
    def nic(address: str, **values: str) -> Domain:
        return Domain(address, address, stored=(iface(address, **values),))

    guard = {"policy": "drop", "counters": {"mac": {"packets": 2}, "arp": {"packets": 1}}}
    guards = [{"mac": A, **guard}, {"mac": B, **guard, "policy": "count"}, {"mac": mac(3), "policy": "drop"}]
    there = found(nic(A, allmulticast="yes"), nic(B, trust_guest_rx_filters="yes"), nic(mac(3)))
    got = rows(declared(), there, guards=guards)
    assert [text.guard(row) for row in got] == ["drop (3 dropped)", "count (3 counted)", "drop"]
    assert [row["multicast"] for row in got] == ["all", "as the guest asks", None]


@pytest.mark.parametrize(
    ("live", "differs"), [({"allmulticast": "yes"}, False), ({"allmulticast": "no"}, True), (None, False)]
)
def test_a_host_that_cannot_store_allmulticast_is_compared_by_the_running_link(live: Values, differs: bool) -> None:
    there = found(web(iface(A), live=[] if live is None else [iface(A, target="macvtap0", **live)]))
    (row,) = rows(declared({"domain": "web1", "mac": A, "allmulticast": True}), there)
    assert [one["field"] for one in row["drift"]] == (["allmulticast"] if differs else [])
    stored = found(web(iface(A, allmulticast="no"), live=[iface(A, target="macvtap0", allmulticast="yes")]))
    (row,) = rows(declared({"domain": "web1", "mac": A, "allmulticast": True}), stored)
    assert [one["field"] for one in row["drift"]] == ["allmulticast"]


@pytest.mark.parametrize(
    ("number", "shown"), [(None, ""), (100, "100 Mbit/s"), (2500, "2.5 Gbit/s"), (10000, "10 Gbit/s")]
)
def test_speeds_are_shown_as_on_a_switch(number: int | None, shown: str) -> None:
    assert text.speed(number) == shown


def test_markdown_of_hostile_names_is_text() -> None:
    evil = Domain("[x](javascript:1)|<b>", "u1", stored=(iface(A),))
    shown = text.markdown(of(declared(), found(evil)))
    assert r"\[x\]\(javascript\:1\)\|\<b\>" in shown


def test_what_has_changed_since_the_last_report() -> None:
    before = of(declared(), found(web(iface(A), live=[iface(A, target="macvtap0")])))
    nic = web(iface(A), live=[iface(A, mode="private", target="macvtap0")])
    after = of(declared(), found(nic, Link("stray", 10, "macvtap", "eth0", 2, "bridge", B, 1500)))
    got = list(text.changed(changes.changes(before, after)))
    assert got == [f"hv1 web1 {A}: mode bridge → private", "hv1 link stray: state absent → present"]
    assert changes.changes(after, after) == []
    first, second = after, before
    assert list(text.changed(changes.changes(first, second)))[1] == "hv1 link stray: state present → absent"


def test_a_host_that_cannot_be_reached_has_not_lost_its_nics() -> None:
    before = of(declared({"domain": "web1", "mac": A}), found(web(iface(A))))
    after = of(declared({"domain": "web1", "mac": A}), {"unreachable": True})
    for one, other in ((before, after), (after, before)):
        assert {change["what"] for change in changes.changes(one, other)} == {""}


@pytest.mark.parametrize("earlier", ["text", [], {}, {"version": 0, "hosts": []}])
def test_another_file_is_no_earlier_report(earlier: t.Any) -> None:
    with pytest.raises(MacvtapError, match="not the JSON of a report of version 1"):
        changes.changes(earlier, of(declared(), found()))
