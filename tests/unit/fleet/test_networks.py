# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Direct networks of one host: their uplinks, and the NICs on them."""

from __future__ import annotations

import typing as t

import pytest
from compared import H1, H2, U1, A, B, conflicts, macvtap, nic, on_lan, only, places, vlan, web
from fleet import Values, declared, found, iface, mac, network, uplink

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import compare, undeclared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Address, Reach

from .networked import LAN1, lan, on


@pytest.mark.parametrize(
    ("entry", "there", "kind", "message"),
    [
        (lan("eth9"), [], "parent", "there is no link eth9 on this host; did you mean eth0?"),
        (lan("eth0", "br0"), [uplink(4, "p0", master="br0"), uplink(5, "br0", kind="bridge")], None, ""),
        (lan("p0"), [uplink(4, "p0", master="br0"), uplink(5, "br0", kind="bridge")], "parent", "is a port of the"),
        (lan("eth1"), [uplink(4, "eth1", up=False)], "parent", "the uplink eth1 of network lan is down"),
        (lan("eth1", state="inactive"), [uplink(4, "eth1", up=False)], None, ""),
        (lan("eth1", state="absent"), [], None, ""),
        (
            lan("eth0", "eth1"),
            [uplink(4, "eth1", mtu=9000)],
            "mtu",
            "the uplinks of network lan differ in their MTU: 1500 (eth0), 9000 (eth1). A guest gets any of them",
        ),
        (lan(mode="vepa"), [], "vepa", "mode vepa on eth0, whose switch port does not reflect"),
        (lan(pf="eth7"), [], "parent", "there is no link eth7 on this host"),
        # By another name, or an address.
        (lan("lan0", "02:00:00:00:00:05"), [uplink(4, "a", altnames=frozenset({"lan0"})), uplink(5, "b")], None, ""),
        # One that is created in the same run.
        (lan("eth0.20"), [], None, ""),
    ],
)
def test_the_uplinks_of_a_network(entry: Values, there: list[t.Any], kind: str | None, message: str) -> None:
    variables = on(networks=[entry], links_vlans=[{"parent": "eth0", "id": 20}])
    got = conflicts((variables, found(*there, relay={"eth0": False})))
    assert [one.kind for one in got] == ([kind] if kind else [])
    assert message in "".join(one.message for one in got)
    assert {place for one in got for place in places(one)} <= {"hv1 lan declared"}


def test_the_uplinks_of_a_network_are_in_one_segment() -> None:
    variables = on(networks=[lan("eth0", "eth1")], segment={"default": "office", "eth1": "dmz"})
    conflict = only((variables, found(uplink(4, "eth1"))))
    assert conflict.message == "the uplinks of network lan are in several segments: office (eth0), dmz (eth1)"


@pytest.mark.parametrize(
    ("there", "variables", "message"),
    [
        ([], on(nic(mac=A)), "there is no network lan on this host"),
        ([network("lna", "eth0")], on(nic(mac=A)), "there is no network lan on this host; did you mean lna?"),
        ([network(mode="")], on(nic(mac=A)), "network lan has no uplinks of its own: it is nat"),
        ([network("lan", "eth0", active=False)], on(nic(mac=A)), "network lan is not active, so guests on it cannot"),
        (
            [network("lan", "eth0", groups="slow fast")],
            on(nic(mac=A, portgroup="slwo")),
            "network lan has no portgroup slwo (known: slow, fast), and libvirt ignores unknown ones",
        ),
        (
            [network("lan", "eth0", groups="slow")],
            on(nic(mac=A, portgroup="slow"), networks=[lan(portgroups=[{"name": "slow", "state": "absent"}])]),
            "network lan has no portgroup slow, and",
        ),
    ],
)
def test_a_nic_on_a_network_that_does_not_serve_it(there: list[t.Any], variables: Values, message: str) -> None:
    conflict = only((variables, found(*there)))
    assert (conflict.kind, places(conflict)) == ("network", [f"hv1 web1 {A} declared"])
    assert message in conflict.message


@pytest.mark.parametrize(
    ("there", "variables"),
    [
        ([network("lan", "eth0")], on(nic(mac=A))),
        ([network("lan", "eth0", active=False)], LAN1),
        # It was stored before, and its network is created now.
        ([web("web1", U1, Iface(A, "network", {"network": "lan"}, origin="lan"))], LAN1),
        ([], on(nic(mac=A, portgroup="slow"), networks=[lan(portgroups=[{"name": "slow"}])])),
        # A NIC of its own, although the others are on the network.
        ([], on(nic(mac=A, source="eth0"))),
        ([], on(nic(mac=A, state="absent"))),
    ],
)
def test_a_nic_on_a_network_that_serves_it(there: list[t.Any], variables: Values) -> None:
    assert conflicts((variables, found(*there))) == []


def test_without_libvirts_answer_nothing_is_known_of_networks() -> None:
    assert conflicts((on(nic(mac=A)), found(version=None))) == []


def pool(*interfaces: str, **options: t.Any) -> Values:
    return lan(*interfaces, mode="passthrough", **options)


NICS = [nic(f"web{number}", mac=mac(number)) for number in (1, 2)]
SPARE = (uplink(4, "eth1"), uplink(5, "eth2"))


@pytest.mark.parametrize("uplinks", [1, 2])
def test_a_pool_with_more_nics_than_uplinks(uplinks: int) -> None:
    there = found(*SPARE, web("web2", "of web2", on_lan(mac(2))))
    variables = on(NICS[0], networks=[pool("eth1", "eth2"[: 4 * (uplinks - 1)] or "eth1")])
    variables["macvtap_networks_networks"][0]["interfaces"] = ["eth1", "eth2"][:uplinks]
    got = conflicts((variables, there))
    message = "network lan in mode passthrough has 1 uplink for 2 NICs, each of which takes one"
    assert [(one.kind, one.message) for one in got] == ([("network", message)] if uplinks == 1 else [])


@pytest.mark.parametrize(
    ("there", "variables", "others"),
    [
        ([macvtap("x0", B, parent="eth1")], {}, "x0"),
        ([vlan(20, "eth1", index=9)], {}, "eth1.20"),
        ([], {"links": [{"name": "x1", "parent": "eth1"}]}, "x1"),
        ([], {"links": [{"name": "x1", "parent": "02:00:00:00:00:04"}]}, "x1"),
        ([network("dmz", "eth1")], {}, "network dmz"),
        ([web("web9", U1, iface(B, "eth1"))], {}, f"web9 {B}"),
        # What goes in the same run, and the guests on the network itself.
        ([macvtap("x0", B, parent="eth1")], {"links": [{"name": "x0", "state": "absent"}]}, ""),
        (
            [
                web("web9", U1, on_lan(B), live=[on_lan(B, live="eth1", target="macvtap0")]),
                macvtap("macvtap0", B, "passthru", parent="eth1"),
            ],
            {},
            "",
        ),
    ],
)
def test_the_uplinks_of_a_pool_serve_nothing_else(there: list[t.Any], variables: Values, others: str) -> None:
    got = conflicts((on(networks=[pool("eth1")], **variables), found(uplink(4, "eth1", index=4), *there)))
    message = f"eth1 is an uplink of network lan in mode passthrough, and also of {others}"
    assert [one.message for one in got if one.kind == "network"] == ([message] if others else [])


def test_the_uplinks_of_a_pool_are_not_the_hosts_own() -> None:
    reach = Reach((Address("192.0.2.5", 24, index=2),))
    there = found(reach=reach)
    conflict = only((on(networks=[pool("eth0")]), there))
    assert conflict.kind == "disconnect"
    assert conflict.message.startswith("network lan: eth0 has addresses of the host (192.0.2.5/24), and")
    assert conflict.remedy == "Use another uplink, or set macvtap_networks_allow_host_disconnect: true"
    allowed = on(networks=[pool("eth0")], networks_allow_host_disconnect=True)
    assert conflicts((allowed, there)) == []
    # It has been so before.
    before = found(network("lan", "eth0", mode="passthrough"), reach=reach)
    assert conflicts((on(networks=[pool("eth0")]), before)) == []
    # In the other modes the host keeps them.
    assert conflicts((on(networks=[lan("eth0")]), there)) == []
    # One that is not active has not taken it yet.
    inactive = found(network("lan", "eth0", mode="passthrough", active=False, autostart=True), reach=reach)
    assert "disconnect" in [one.kind for one in conflicts((on(networks=[pool("eth0")]), inactive))]


def test_a_nic_on_a_pool_that_nothing_declares_disconnects_the_host() -> None:
    reach = Reach((Address("192.0.2.5", 24, index=2),))
    running = web("web1", U1, on_lan(A), live=[on_lan(A, live="eth0", target="macvtap0")])
    pools = [network("lan", "eth0", mode="passthrough")]
    variables = on(nic(mac=A))
    conflict = only((variables, found(*pools, reach=reach)))
    assert (conflict.kind, places(conflict)) == ("disconnect", [f"hv1 web1 {A} declared"])
    assert conflict.remedy.endswith("or set macvtap_domains_allow_host_disconnect: true")
    # It has been so before.
    assert conflicts((variables, found(*pools, running, reach=reach))) == []


def test_a_shim_beside_guests_of_a_network_that_it_does_not_reach() -> None:
    shims = [{"name": "host0", "addresses": ["192.0.2.9"], "guests": ["192.0.2.0/24"]}]
    variables = on(nic(mac=A), networks=[lan(mode="private")], host_access_shims=shims)
    (gap,) = compare.gaps({"hv1": {"declared": variables, "found": found(web("web1", U1))}})
    assert gap["reason"].startswith("host0: ")
    assert f"web1 {A} (private)" in gap["reason"]


def test_addresses_on_a_network_are_in_the_segment_of_its_uplink() -> None:
    separate = {"segment": {"default": "office", "eth1": "dmz"}}
    there = found(uplink(4, "eth1"))
    variables = on(
        nic("web1", mac=A), nic("db1", mac=A, network="dmz"), networks=[lan(), {"name": "dmz", "interfaces": ["eth1"]}]
    )
    assert only((variables, there)).message == f"{A} is used twice on one network"
    conflict = only(({**variables, "macvtap_segment": separate["segment"]}, there))
    assert conflict.message == f"{A} is used by 2 domains of one host, which libvirt_direct_iface always refuses"


def test_a_passthrough_link_beside_a_guest_of_a_network() -> None:
    running = web("web9", U1, on_lan(B), live=[on_lan(B, live="eth0", target="macvtap0")])
    there = found(network("lan", "eth0"), running, macvtap("macvtap0", B))
    conflict = only((declared(links=[{"name": "p0", "mode": "passthru"}]), there))
    assert conflict.message == "a link in mode passthru must be the only one on its parent, but eth0 would have 2 links"
    assert places(conflict) == ["hv1 p0 declared", f"hv1 web9 {B} stored, live"]


def test_undeclared_networks_are_listed() -> None:
    there = found(
        network("lan", "eth0"), network("dmz", "eth0"), network("default", mode=""), web("web1", U1, on_lan(A))
    )
    fleet = {"hv1": {"declared": on(networks=[lan()]), "found": there}}
    assert undeclared.lines(fleet) == [f"hv1: NIC {A} of web1 on network lan, network dmz on eth0"]


def test_another_type_of_network_is_left_alone() -> None:
    there = found(network("default", mode=""), web("web1", U1, Iface(A, "network", origin="default")))
    assert conflicts((on(), there), (on(), {**there, "links": H2["links"]})) == []
    assert undeclared.lines({"hv1": {"declared": on(), "found": there}}) == []


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"interfaces": ["eth0"]}], "macvtap_networks_networks[0].name: "),
        ([lan(), lan()], "macvtap_networks_networks[1].name: the network lan is declared twice, here and in"),
        ([lan(parent="eth0")], "macvtap_networks_networks[0].parent: unknown option"),
        ([lan(portgroups=[{"name": "slow", "vlan": "x"}])], "[0].portgroups[0].vlan: 'x' is not a whole number"),
        (
            [lan(portgroups=[{"name": "slow", "bandwidth": {"inbound": {"average": 1}}}])],
            "[0].portgroups[0].bandwidth: libvirt refuses bandwidth in a portgroup of a direct network",
        ),
        ([lan("eth0", pf="eth1")], "[0].pf: set either pf or interfaces, not both"),
    ],
)
def test_an_invalid_network_is_reported_as_the_module_would(entries: list[Values], message: str) -> None:
    conflict = only((on(networks=entries), H1))
    assert conflict.kind == "declaration"
    assert message in conflict.message
