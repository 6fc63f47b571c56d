# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A running guest is trusted if its port says so, whatever its network says by now."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import fake_networks
import pytest
from network_model import Guest, Model
from network_model import Nic as ModelNic

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    hostlinks,
    inspection,
    planner,
    rollback,
    xml,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.domain_reader import DomainReader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import is_set_by_guest
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import DETACHED, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Holder
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import reader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Port
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

from .networked import NETWORKS, A, due, live, on, stored, want

TRUST = "trust_guest_rx_filters"
UUID = "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c"
VRRP = "00:00:5e:00:01:0a"
GROUP = "<portgroup name='web' trustGuestRxFilters='{}'/>"
YES, NO = {"6aa": Port("lan", values={TRUST: "yes"})}, {"6aa": Port("lan")}
GONE: dict[str, Port] = {}


def lan(attribute: str = "", inside: str = "") -> t.Any:
    text = (
        f"<network{attribute}><name>lan</name><uuid>{UUID}</uuid><forward mode='bridge'><interface dev='eth0'/>"
        f"</forward>{inside}</network>"
    )
    return reader.network_of("lan", UUID, text, text)


def running(ports: t.Mapping[str, Port], network: t.Any = None, *, group: str = "", own: str = "") -> Host:
    """A host whose guest has another address on its link."""
    place = {"network": "lan", **({"portgroup": group} if group else {})}
    attribute = f" trustGuestRxFilters='{own}'" if own else ""
    texts = [text.replace("<interface", f"<interface{attribute}") for text in (stored(**place), live(**place))]
    host = on(texts[:1], texts[1:], networks={**NETWORKS, "lan": network or NETWORKS["lan"]}, ports=ports)
    domain = host.domains["web1"]
    there = (host.links or {}).items()
    links = {name: replace(link, mac=VRRP) if link.kind == "macvtap" else link for name, link in there}
    held = (Holder(1, "qemu", "web1"),)
    faulty = tuple(hostlinks._with_faults(one, domain, links, held) for one in domain.live)
    return replace(host, links=links, domains={"web1": replace(domain, live=faulty)})


@pytest.mark.parametrize(
    ("network", "group", "ports", "own", "repaired", "differs"),
    [
        # The network trusts the guest, or its portgroup does.
        (lan(" trustGuestRxFilters='yes'"), "", YES, "", False, False),
        (lan(inside=GROUP.format("yes")), "web", YES, "", False, False),
        # It did when the guest started.
        (lan(), "", YES, "", False, True),
        (lan(inside=GROUP.format("no")), "web", YES, "", False, True),
        # It does now, and the guest has not started again since.
        (lan(" trustGuestRxFilters='yes'"), "", NO, "", True, True),
        (lan(" trustGuestRxFilters='yes'", GROUP.format("no")), "web", NO, "", True, False),
        # The network was restarted, so nothing is known.
        (lan(), "", GONE, "", False, False),
        (lan(" trustGuestRxFilters='yes'"), "", GONE, "", False, False),
        # The NIC itself says it.
        (lan(), "", GONE, "yes", False, False),
        (lan(" trustGuestRxFilters='yes'"), "", GONE, "no", True, False),
    ],
)
def test_the_address_of_a_guest_that_may_be_trusted_is_not_set_back(  # noqa: PLR0917  # a row of the table
    network: t.Any, group: str, ports: t.Mapping[str, Port], own: str, repaired: bool, differs: bool
) -> None:
    host = running(ports, network, group=group, own=own)
    domain = host.domains["web1"]
    options = {"network": "lan", **({"portgroup": group} if group else {})}
    for level in ("update", "replug"):
        changes = planner.plan([want(**options)], host, level=level).changes
        assert [change.field for change in changes] == ["link.mac"] * repaired
    fields = [one["field"] for one in inspection.differences(domain.stored[0], domain.live[0], domain, host)]
    assert fields == [TRUST] * differs + ["link.mac"] * repaired
    assert due(want(**options), host) == [TRUST] * differs


def test_a_trust_that_is_declared_is_due_as_long_as_nothing_is_known() -> None:
    assert due(want(trust_guest_rx_filters=True), running(GONE)) == [TRUST]


@pytest.mark.parametrize(("ports", "fault"), [(YES, False), (NO, True), (GONE, False)])
def test_what_an_unknown_trust_means_for_the_link(ports: t.Mapping[str, Port], fault: bool) -> None:
    host = running(ports)
    (iface,) = host.domains["web1"].live
    checked = hostlinks.link_fault(iface, "web1", replace(host, holders={"macvtap10": (Holder(1, "qemu", "web1"),)}))
    assert bool(checked) == fault
    assert is_set_by_guest("allmulticast", replace(iface, values={**iface.values, "allmulticast": "yes"})) != fault


@pytest.mark.parametrize(("was", "now"), [(YES, GONE), (GONE, YES), (GONE, NO), (NO, GONE)])
def test_a_rollback_replugs_no_nic_over_a_trust_that_is_not_known(
    was: t.Mapping[str, Port], now: t.Mapping[str, Port]
) -> None:
    # The run had asked for the NIC, which the guest has kept; and others have restarted the network.
    (before,), (after,) = (running(ports).domains["web1"].live for ports in (was, now))
    host = running(now)
    nic = Nic("web1", A, host.domains["web1"].stored[0], before)
    journal: Journal[Nic] = Journal()
    journal.record(Step(f"web1 {A}", nic, replace(nic, live=None), ()), DETACHED)
    assert rollback.undo(journal, host).steps == ()
    assert after.values.keys() >= {"source"}


@pytest.mark.parametrize("trusted", ["yes", "no", ""])
def test_the_ports_of_running_guests_are_read(trusted: str) -> None:
    model = Model()
    attribute = f" trustGuestRxFilters='{trusted}'" if trusted else ""
    uuid = model.define(
        f"<network><name>lan</name><uuid>{UUID}</uuid><forward mode='bridge'><interface dev='eth0'/></forward>"
        f"<portgroup name='web'{attribute}/></network>"
    )
    model.create(uuid)
    guest = "00000000-0000-0000-0000-000000000001"
    model.guests[guest] = Guest("web1", guest, ModelNic(guest, A, "lan", portgroup="web"))
    model.start(guest)
    libvirt = fake_networks.module(model)
    connection: t.Any = Connection(libvirt, libvirt.open(""), "qemu:///system", read_only=True)
    ifaces = xml.interfaces(connection.handle.listAllDomains()[0].XMLDesc(0))
    host = DomainReader(connection, t.cast("t.Any", None)).with_networks(
        Host("", {"web1": Domain("web1", running=True, live=ifaces)})
    )
    (iface,) = ifaces
    assert host.ports[iface.port].values == ({TRUST: trusted} if trusted else {})
    assert [one.id for one in reader.ports(connection, "lan")] == [iface.port]
    # Each takes a call, so only those of the domains in question are read.
    assert reader.ports(connection, "lan", {"another"}) == ()
    # One that is not active any more has none.
    model.destroy(uuid)
    again = DomainReader(connection, t.cast("t.Any", None)).with_networks(replace(host, networks=None, ports={}))
    assert again.ports == {}


def test_an_interface_has_the_id_of_its_port() -> None:
    (one,) = xml.interfaces(f"<domain><devices>{live(network='lan')}</devices></domain>")
    assert one.port == "6aa"
    assert Iface(A).port == ""


QBG = "<virtualport type='802.1Qbg'><parameters managerid='1' typeid='2' typeidversion='3'{}/></virtualport>"
INSTANCE = " instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'"
VLAN = "<vlan><tag id='42'/></vlan>"


@pytest.mark.parametrize(
    ("inside", "got", "fields"),
    [
        (QBG.format(""), QBG.format(INSTANCE), []),
        (QBG.format(INSTANCE.replace("4f'", "50'")), QBG.format(INSTANCE), ["virtualport.instanceid"]),
        (VLAN, VLAN, []),
        (VLAN, "", ["vlan"]),
        ("", VLAN, ["vlan"]),
    ],
)
def test_what_a_running_guest_has_from_the_network_itself(inside: str, got: str, fields: list[str]) -> None:
    known = {**NETWORKS, "lan": lan(inside=inside)}
    host = on([stored(network="lan")], [live(network="lan", more=got)], networks=known)
    domain = host.domains["web1"]
    found = inspection.differences(domain.stored[0], domain.live[0], domain, host)
    assert [one["field"] for one in found] == fields
    assert due(want(network="lan"), host, "replug") == fields
