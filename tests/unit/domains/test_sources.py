# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Sources by MAC address, PCI address and alternative name."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import auto, planner, sources
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.declare import declare
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan

A, B = "52:54:00:00:00:01", "52:54:00:00:00:02"
LONG = "the-uplink-of-the-lan"
ETH0 = Link("eth0", 2, mac="02:00:00:00:00:01", altnames=frozenset({"lan0", LONG}), pci="0000:01:00.0")
ETH1 = Link("eth1", 3, mac="02:00:00:00:00:02", pci="0000:02:00.0")
# Twelve digits are a name as well as an address.
DIGITS = Link("020000000002", 4, mac="02:00:00:00:00:04")
LINKS = {link.name: link for link in (ETH0, ETH1, DIGITS)}
ADDRESSES = ("02:00:00:00:00:01", "02-00-00-00-00-01", "0200.0000.0001", "0000:01:00.0", "01:00.0", LONG)


def iface(mac: str, source: str, **values: str) -> Iface:
    return Iface(mac, values={"source": source, "mode": "bridge", "model": "virtio", **values}, xml="<interface/>")


def host(*stored: Iface, **more: t.Any) -> Host:
    return Host("qemu:///system", {"web1": Domain("web1", "u1", stored=stored)}, ("web1",), **{"links": LINKS, **more})


def desired(**options: t.Any) -> Desired:
    (one,) = declare([("interfaces[0]", {"domain": "web1", "mode": "bridge", **options})])
    return one


def planned(on: Host, *declared: Desired) -> Plan[Nic]:
    return planner.plan(sources.validated(declared, on), on)


def stored_source(plan: Plan[Nic]) -> str | None:
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.stored is not None
    return step.after.stored.get("source")


@pytest.mark.parametrize(
    ("source", "stored"),
    [
        *((address, "eth0") for address in ADDRESSES),
        # libvirt finds the link by these itself.
        ("lan0", "lan0"),
        ("eth0", "eth0"),
        ("020000000002", "020000000002"),
    ],
)
def test_a_name_that_libvirt_can_use_is_stored(source: str, stored: str) -> None:
    assert stored_source(planned(host(), desired(mac=A, source=source))) == stored


@pytest.mark.parametrize("source", ADDRESSES)
@pytest.mark.parametrize("name", ["eth0", "lan0"])
@pytest.mark.parametrize("selector", [{"mac": A}, {}])
def test_an_interface_on_that_link_stays_as_it_is(source: str, name: str, selector: dict[str, str]) -> None:
    on = host(iface(A, name), iface(B, "eth1"))
    assert not planned(on, desired(source=source, **selector)).changed
    # It moves from another link, also from one that has gone.
    assert stored_source(planned(host(iface(A, "eth1")), desired(mac=A, source=source))) == "eth0"
    assert stored_source(planned(host(iface(A, "old0")), desired(mac=A, source=source))) == "eth0"


@pytest.mark.parametrize("source", ADDRESSES)
def test_the_source_selects_an_interface(source: str) -> None:
    on = host(iface(A, "lan0"), iface(B, "eth1"))
    (step,) = planned(on, desired(source=source, model="e1000")).steps
    assert step.target == f"web1 {A}"
    (step,) = planned(on, desired(source=source, state="absent")).steps
    assert step.target == f"web1 {A}"
    # Mode auto too: it is on this link already, and the switch is not asked.
    (case,) = auto.cases(sources.named([desired(source=source, mode="auto")], on), on, check=False)
    assert (case.parent, case.had) == ("eth0", "bridge")


@pytest.mark.parametrize(("one", "other"), [(ADDRESSES[0], ADDRESSES[3]), ("eth0", ADDRESSES[3]), ("lan0", LONG)])
@pytest.mark.parametrize("stored", [(), (iface(A, "eth0"),)])
def test_two_names_of_one_link_select_the_same_interface(one: str, other: str, stored: tuple[Iface, ...]) -> None:
    with pytest.raises(MacvtapError, match=r"selects the same interface|selects another one|would be ambiguous"):
        planned(host(*stored), desired(source=one), replace(desired(source=other), path="interfaces[1]"))


TWIN = replace(ETH1, name="eth2", index=5, mac=ETH0.mac)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("02:00:00:00:00:09", "no link with the MAC address 02:00:00:00:00:09 on this host"),
        ("0000:09:00.0", "no link with the PCI address 0000:09:00.0 on this host"),
        ("02:00:00:00:00:01", "several links have the MAC address 02:00:00:00:00:01: eth0, eth2. Use the name of one"),
        ("the-uplink-of-the-lam", f"there is no link the-uplink-of-the-lam on this host; did you mean {LONG}"),
    ],
)
def test_a_source_that_is_not_one_link(source: str, message: str) -> None:
    on = host(iface(A, "eth1"), links={**LINKS, "eth2": TWIN})
    for declared in (desired(mac=A, source=source), desired(source=source), desired(source=source, state="absent")):
        with pytest.raises(MacvtapError) as caught:
            planned(on, declared)
        assert str(caught.value).startswith(f"interfaces[0].source: {message}")
    # It is another task's default, or there is nothing to remove it from.
    (step,) = planned(on, desired(mac=A, source=source, state="absent")).steps
    assert step.target == f"web1 {A}"
    assert not planned(replace(on, domains={}), desired(source=source, state="absent")).changed


@pytest.mark.parametrize("why", ["no host's links are read with xml_file", "uri qemu+ssh://hv2/system may lead"])
@pytest.mark.parametrize("source", ["02:00:00:00:00:01", "020000000002", "01:00.0", LONG])
def test_only_names_are_known_without_the_links_of_a_host(why: str, source: str) -> None:
    on = host(iface(A, "eth0"), links=None, links_unknown=why)
    with pytest.raises(MacvtapError) as caught:
        planned(on, desired(mac=A, source=source))
    assert str(caught.value).startswith(
        f"interfaces[0].source: {source!r} is not a name that libvirt can use, and {why}"
    )
    assert str(caught.value).endswith(". Set the name that the link has there")
    assert not planned(on, desired(mac=A, source="eth0")).changed


def test_a_new_interface_has_the_same_address_however_its_source_is_declared() -> None:
    addresses = {planned(host(), desired(source=source)).steps[0].target for source in (*ADDRESSES, "eth0")}
    assert len(addresses) == 1


def test_a_nic_is_found_by_its_own_address_while_a_guest_has_given_it_another() -> None:
    passed = replace(ETH1, mac=A, permanent_mac=ETH1.mac)
    on = host(iface(A, "eth1", mode="passthrough"), links={**LINKS, "eth1": passed})
    assert not planned(on, desired(mac=A, mode="passthrough", source=ETH1.mac)).changed
    # A VLAN link keeps an address that it was given, whatever becomes of the NIC.
    vlan = Link("eth1.5", 6, "vlan", "eth1", ETH1.index, mac=ETH1.mac)
    assert not planned(
        replace(on, links={**LINKS, "eth1": passed, "eth1.5": vlan}),
        desired(mac=A, mode="passthrough", source=ETH1.mac),
    ).changed


@pytest.mark.parametrize("kind", ["", "bridge", "veth"])
def test_no_interface_moves_to_a_link_that_has_got_the_address_of_its_nic(kind: str) -> None:
    """As a trusted guest can give it to the NIC below its own link."""
    links = {**LINKS, "eth1": replace(ETH1, mac=A, permanent_mac=ETH1.mac), "eth3": Link("eth3", 6, kind, mac=ETH1.mac)}
    on = host(iface(A, "eth1", mode="passthrough"), links=links)
    with pytest.raises(
        MacvtapError, match=rf"^interfaces\[0\]\.source: several links have .* {ETH1.mac}: eth3, eth1\. Use"
    ):
        planned(on, desired(mac=A, source=ETH1.mac))


def test_a_port_of_a_bond_is_found_by_its_own_address_and_refused() -> None:
    ports = {n: replace(LINKS[n], mac=ETH0.mac, permanent_mac=LINKS[n].mac, master="bond0") for n in ("eth0", "eth1")}
    on = host(links={**ports, "bond0": Link("bond0", 7, "bond", mac=ETH0.mac)})
    with pytest.raises(MacvtapError, match=r"^interfaces\[0\]\.source: eth1 is a port of the bond bond0"):
        planned(on, desired(mac=B, source=ETH1.mac))
    with pytest.raises(MacvtapError, match=r"^interfaces\[0\]\.source: several links have the MAC address"):
        planned(on, desired(mac=B, source=ETH0.mac))
