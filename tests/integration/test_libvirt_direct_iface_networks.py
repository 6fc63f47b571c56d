# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Interfaces on direct networks of libvirt: by what a running guest has, and from and to any other interface."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, guest_has, impacts, nic, ok
from direct_network import info, network, nic_on, source

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def test_a_running_nic_on_a_network_is_a_direct_one(nets: Hypervisor, module: Module) -> None:
    nets.define(domain("web1", nic_on(A, "lan", portgroup="web"), nic_on(B, "nat")))
    nets.virsh("start", "web1")
    (found,) = info(nets)["interfaces"]
    assert found["stored"] == {"network": "lan", "portgroup": "web", **found["stored"]}
    assert (found["live"]["network"], found["live"]["source"], found["live"]["mode"]) == ("lan", "eth0", "bridge")
    assert (found["differences"], found["link"]["parent"], found["held_by_domain"]) == ([], "eth0", True)
    assert not ok(module(domain="web1", mac=A, network="lan"))["changed"]
    assert not ok(module(domain="web1", network="lan"))["changed"]
    done = ok(module(domain="web1", mac=A, link_state="down", allmulticast=True))
    assert impacts(done) == {"link_state": "live", "allmulticast": "live"}
    assert source(nets, live=True) == "direct network=lan portgroup=web dev=eth0 mode=bridge"
    assert not ok(module(domain="web1", mac=A, link_state="down", allmulticast=True))["changed"]
    assert "B" not in str(ok(module(purge=True, live="none", interfaces=[{"domain": "web1", "mac": A}]))["changes"])


def test_the_trust_of_a_portgroup_is_known_although_libvirt_does_not_show_it(nets: Hypervisor, module: Module) -> None:
    nets.define(domain("web1", nic_on(A, "lan", portgroup="trusted")))
    nets.virsh("start", "web1")
    (found,) = info(nets)["interfaces"]
    assert (found["differences"], found["live"]["trust_guest_rx_filters"]) == ([], True)
    done = ok(module(domain="web1", mac=A, portgroup="web"))
    assert impacts(done) == {"portgroup": "restart", "trust_guest_rx_filters": "restart"}
    assert done["restart_required"][0]["fields"] == ["trust_guest_rx_filters", "portgroup"]
    assert "allmulticast and trust" in module(domain="web1", mac=A, portgroup="trusted", allmulticast=True)["msg"]


@pytest.mark.parametrize("by", ["network", "portgroup"])
def test_a_guest_is_trusted_until_it_stops_whatever_its_network_says_by_then(
    nets: Hypervisor, module: Module, by: str
) -> None:
    trusting, group = network("mine", "bridge", "eth0"), ""
    if by == "network":
        trusting = trusting.replace("<network>", "<network trustGuestRxFilters='yes'>")
    else:
        group = "all"
        trusting = network("mine", "bridge", "eth0", more="<portgroup name='all' trustGuestRxFilters='yes'/>")
    nets.virsh("net-define", "/dev/stdin", stdin=trusting)
    nets.virsh("net-start", "mine")
    nets.define(domain("web1", nic_on(A, "mine", portgroup=group)))
    nets.virsh("start", "web1")
    (found,) = info(nets)["interfaces"]
    link = found["link"]["name"]
    assert (found["differences"], found["live"]["trust_guest_rx_filters"]) == ([], True)
    # As of a guest with an address of VRRP.
    nets.run("ip", "link", "set", link, "address", "00:00:5e:00:01:0a")
    options: Result = {"network": "mine", **({"portgroup": group} if group else {})}
    assert not ok(module(domain="web1", mac=A, **options))["changed"]
    if by == "portgroup":
        less = "<portgroup name='all' trustGuestRxFilters='no'/>"
        nets.virsh("net-update", "mine", "modify", "portgroup", less, "--live", "--config")
        done = ok(module(domain="web1", mac=A, **options))
        assert (done["changed"], done["restart_required"][0]["fields"]) == (False, ["trust_guest_rx_filters"])
    # Its port is gone then, and nothing is known.
    nets.virsh("net-destroy", "mine")
    nets.virsh("net-start", "mine")
    done = ok(module(domain="web1", mac=A, **options))
    assert (done["changed"], done["restart_required"]) == (False, [])
    (found,) = info(nets)["interfaces"]
    assert (found["differences"], found["link"]["mac"]) == ([], "00:00:5e:00:01:0a")


def test_the_name_of_a_network_changes_nothing_of_a_running_guest(nets: Hypervisor, module: Module) -> None:
    nets.define(domain("web1", nic(A)))
    nets.virsh("start", "web1")
    other: Result = {"domain": "web1", "mac": B, "source": "up1", "model": "nonsense"}
    connects = nets.release >= 11
    for level in ("replug", "update"):
        done = ok(module(domain="web1", network="lan", live=level))
        assert impacts(done) == {"network": "live" if connects else "config", "source": "config", "mode": "config"}
        assert done["restart_required"] == done["pending"] == []
        name = "network=lan " if connects else ""
        assert (source(nets), source(nets, live=True)) == ("network network=lan", f"direct {name}dev=eth0 mode=bridge")
        assert len(nets.virsh("net-port-list", "lan").split()) == connects
        again = ok(module(domain="web1", network="lan", live=level))
        assert (again["changed"], again["restart_required"]) == (False, [])
        (found,) = info(nets)["interfaces"]
        assert found["differences"] == ([] if connects else [{"field": "network", "stored": "lan", "live": None}])
        ok(module(domain="web1", source="eth0", live=level))
        assert source(nets) == source(nets, live=True) == "direct dev=eth0 mode=bridge"
        assert nets.virsh("net-port-list", "lan") == ""
        # A rollback takes it back.
        failed = module(interfaces=[{"domain": "web1", "network": "lan"}, other], live=level)
        assert "as it was before" in failed["msg"], failed
        assert source(nets) == source(nets, live=True) == "direct dev=eth0 mode=bridge"
    # A mode is changed on the link itself. libvirt does not know of it.
    done = ok(module(domain="web1", network="vepa"))
    assert impacts(done)["mode"] == "live"
    assert done["restart_required"] == []
    assert not ok(module(domain="web1", network="vepa"))["changed"]
    assert ok(module(domain="web1", mac=A, network="lan1"))["restart_required"] == [
        {"domain": "web1", "mac": A, "fields": ["network", "source"]}
    ]


def test_a_nic_is_converted_between_all_that_a_guest_can_be_connected_to(nets: Hypervisor, module: Module) -> None:
    """The guest's own kernel keeps its NIC, in the same slot."""
    nets.define_guest("web1", nic_on(A, "nat"))
    nets.virsh("start", "web1")
    guest = nets
    assert guest_has(guest, "web1", {A})
    address = re.search("<address type='pci'.*?>", element(guest.dump("web1"), A))
    assert address
    ways: list[tuple[dict[str, t.Any], str, str]] = [
        ({"network": "lan1", "convert": True}, "network network=lan1", "direct network=lan1 dev=up1 mode=bridge"),
        ({"source": "eth0"}, "direct dev=eth0 mode=bridge", "direct dev=eth0 mode=bridge"),
        ({"network": "pass"}, "network network=pass", "direct network=pass dev=up1 mode=passthrough"),
        ({"network": "lan", "portgroup": "db"}, "{} network=lan portgroup=db{}", "{} network=lan portgroup=db{}"),
    ]
    for options, stored, live in ways:
        done = ok(module(domain="web1", mac=A, live="replug", timeout=120, **options))
        assert "replug" in impacts(done).values()
        assert done["restart_required"] == done["pending"] == []
        assert source(guest) == stored.format("network", "")
        assert source(guest, live=True) == live.format("direct", " dev=eth0 mode=bridge")
        for document in (guest.dump("web1"), guest.dump("web1", live=True)):
            assert address[0] in element(document, A)
        assert guest_has(guest, "web1", {A})
        assert not ok(module(domain="web1", mac=A, live="replug", timeout=120, **options))["changed"]
    assert len(guest.virsh("net-port-list", "lan").split()) == 1
    assert guest.virsh("net-port-list", "lan1") == ""


@pytest.mark.parametrize(
    "before",
    [
        nic_on(B, "nat"),
        f"<interface type='bridge'><mac address='{B}'/><source bridge='br0'/><model type='virtio'/></interface>",
    ],
)
def test_other_interfaces_are_converted_to_a_network(nets: Hypervisor, module: Module, before: str) -> None:
    nets.run("sh", "-c", "ip link add br0 type bridge; ip link set br0 up")
    nets.define(domain("web1", before))
    refused = module(domain="web1", mac=B, network="lan")
    assert "Set convert: true" in refused["msg"]
    done = ok(module(domain="web1", mac=B, network="lan", portgroup="web", convert=True))
    assert source(nets, B) == "network network=lan portgroup=web"
    assert not ok(module(domain="web1", mac=B, network="lan", convert=True))["changed"]
    assert done["interfaces"][0]["stored"]["portgroup"] == "web"
    nets.virsh("start", "web1")
    assert source(nets, B, live=True) == "direct network=lan portgroup=web dev=eth0 mode=bridge"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "lam"}, r"^network: there is no network 'lam' on qemu:///system. Did you mean lan"),
        ({"network": "nat"}, r"^network: 'nat' is not a direct network: it is isolated"),
        ({"network": "off"}, r"^network: the network 'off' is not active.*net-start off"),
        (
            {"network": "lan", "portgroup": "wbe"},
            r"^portgroup: the network 'lan' has no portgroup 'wbe'.* It has web, db, trusted",
        ),
        ({"network": "lan", "vlan": 5}, r"^vlan: .*mode bridge"),
        ({"network": "lan", "source": "eth0"}, r"^network: excludes source"),
    ],
)
def test_a_network_that_gives_no_link_is_refused(
    nets: Hypervisor, module: Module, options: dict[str, t.Any], message: str
) -> None:
    nets.define(domain("web1"))
    for check in (True, False):
        failed = module(check=check, domain="web1", mac=A, **options)
        assert re.search(message, failed["msg"]), failed["msg"]
    assert A not in nets.dump("web1")


def test_what_a_network_gives_is_in_use_and_is_purged(nets: Hypervisor, module: Module) -> None:
    nets.define(domain("web1", nic(A)))
    nets.define(domain("web2"))
    for name in ("web1", "web2"):
        nets.virsh("start", name)
    nets.virsh("attach-device", "web1", "/dev/stdin", "--live", stdin=nic_on(B, "lan1"))
    address = nets.run("cat", "/sys/class/net/up1/address")
    taking: list[Result] = [{"network": "pass"}, {"source": "up1", "mode": "passthrough"}]
    for options in taking:
        failed = module(domain="web2", mac=C, **options)
        assert "must be the only one on its parent; up1 would have web2" in failed["msg"], failed
    assert nets.run("cat", "/sys/class/net/up1/address") == address
    done = ok(module(interfaces=[{"domain": "web1", "mac": A}], purge=True, timeout=0))
    assert [one["mac"] for one in done["pending"]] == [B]


def test_a_pool_gives_each_guest_an_uplink_for_itself(nets: Hypervisor, module: Module) -> None:
    nets.run("sh", "-c", "ip link add up2 type veth peer name far2; ip link set up2 up; ip link set far2 up")
    nets.virsh("net-create", "/dev/stdin", stdin=network("pool", "passthrough", "up1", "up2"))
    nets.define(domain("web1"))
    nets.virsh("start", "web1")
    for number, mac in enumerate((A, B)):
        ok(module(domain="web1", mac=mac, network="pool"))
        assert source(nets, mac, live=True) == f"direct network=pool dev=up{number + 1} mode=passthrough"
    # libvirt chooses an uplink again for any other update, and finds none.
    assert impacts(ok(module(domain="web1", mac=A, link_state="down"))) == {"link_state": "live"}
    assert source(nets, A, live=True) == "direct network=pool dev=up1 mode=passthrough"
    failed = module(domain="web1", mac=C, network="pool")
    assert "all are taken: up1 by web1" in failed["msg"], failed


def test_an_uplink_of_a_pool_that_libvirt_does_not_know_to_be_taken(nets: Hypervisor, module: Module) -> None:
    more = "ip link add up2 type veth peer name far2; ip link set up2 up; ip link set far2 up"
    nets.run("sh", "-c", f"{more}; ip link add link up1 name shim0 type macvlan mode bridge")
    nets.virsh("net-create", "/dev/stdin", stdin=network("pool", "passthrough", "up1", "up2"))
    nets.define(domain("web1", nic_on(A, "lan")))
    nets.virsh("start", "web1")
    address = nets.run("cat", "/sys/class/net/up1/address")
    ways: list[Result] = [{"mac": B}, {"mac": A, "live": "replug"}]
    for options in ways:
        failed = module(domain="web1", network="pool", **options)
        assert (
            "libvirt would choose up1, because it does not know that this is taken by the link shim0" in failed["msg"]
        )
    assert source(nets, A, live=True).startswith("direct network=lan ")
    assert nets.run("cat", "/sys/class/net/up1/address") == address
    nets.run("ip", "link", "del", "shim0")
    ok(module(domain="web1", mac=B, network="pool"))
    assert source(nets, B, live=True) == "direct network=pool dev=up1 mode=passthrough"
    # libvirt knows of this one, and gives the next.
    ok(module(domain="web1", mac=C, network="pool"))
    assert source(nets, C, live=True) == "direct network=pool dev=up2 mode=passthrough"
