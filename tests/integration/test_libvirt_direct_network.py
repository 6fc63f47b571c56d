# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_network and its info module on a real libvirtd, with guests that run on the networks."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Result, domain, impacts, ok
from direct_network import Networks, network, nic_on

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


METADATA = "<metadata><x:y xmlns:x='urn:x' a='1'><portgroup name='no'/></x:y></metadata>"


def start(hv: Hypervisor, name: str = "web1", mac: str = A, portgroup: str = "") -> None:
    hv.define(domain(name, nic_on(mac, portgroup=portgroup)))
    hv.virsh("start", name)


def test_create_change_stop_and_remove(networks: Networks) -> None:
    groups = [{"name": "web", "trust_guest_rx_filters": True}, {"name": "db", "default": True}]
    declared: Result = {"name": "lan", "interfaces": ["eth0"], "portgroups": groups}
    predicted = ok(networks(check=True, **declared))
    assert networks.names() == []
    made = ok(networks(**declared))
    assert made["changes"] == predicted["changes"]
    assert made["networks"] == [{**predicted["networks"][0], "uuid": made["networks"][0]["uuid"]}]
    assert impacts(made)["state"] == "live"
    assert re.search("Active: +yes\nPersistent: +yes\nAutostart: +yes", networks.state("lan"))
    assert not ok(networks(**declared))["changed"]
    # Without guests a mode takes a restart that nobody feels; uplinks and portgroups are changed at once.
    assert impacts(ok(networks(name="lan", mode="vepa"))) == {"mode": "recreate"}
    more: Result = {"name": "lan", "interfaces": ["up1", "eth0"], "portgroups": [{"name": "web", "state": "absent"}]}
    assert set(impacts(ok(networks(**more))).values()) == {"live"}
    assert not ok(networks(**more))["changed"]
    (shown,) = networks.info()
    assert (shown["mode"], shown["interfaces"], shown["live"]["mode"]) == ("vepa", ["up1", "eth0"], "vepa")
    assert sorted(shown["live"]["interfaces"]) == ["eth0", "up1"]
    assert [one["name"] for one in shown["portgroups"]] == ["db"]
    stopped: Result = {"name": "lan", "state": "inactive", "autostart": False}
    assert impacts(ok(networks(**stopped))) == {"autostart": "config", "state": "live"}
    assert not ok(networks(**stopped))["changed"]
    assert ok(networks(name="lan", state="absent"))["changed"]
    assert networks.names() == []
    assert not ok(networks(name="lan", state="absent"))["changed"]


def test_everything_else_of_a_network_stays(networks: Networks) -> None:
    networks.define(
        f"<network trustGuestRxFilters='yes'><name>lan</name>{METADATA}<forward mode='bridge' dev='eth0'/>"
        "<portgroup name='a'/><portgroup name='b' default='yes'/></network>"
    )
    before = networks.xml("lan")
    ok(networks(name="lan", mode="private", interfaces=["up1"], portgroups=[{"name": "a", "default": True}]))
    changes = (
        ("eth0", "up1"),
        ("bridge", "private"),
        ("name='b' default='yes'", "name='b'"),
        ("'a'>", "'a' default='yes'>"),
    )
    expected = before
    for old, new in changes:
        expected = expected.replace(old, new)
    assert networks.xml("lan") == expected
    ok(networks(name="lan", mode="bridge", interfaces=["eth0"], portgroups=[{"name": "b", "default": True}]))
    assert networks.xml("lan") == before.replace("name='a' default='yes'", "name='a'")


def test_running_guests_keep_what_they_have_and_get_the_rest_at_their_next_start(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0", "up1"], portgroups=[{"name": "web"}]))
    start(hv, portgroup="web")
    links = hv.macvtaps()
    other: Result = {"name": "lan", "mode": "private", "interfaces": ["up1"], "portgroups": [{"name": "db"}]}
    predicted = ok(networks(check=True, **other))
    done = ok(networks(**other))
    assert impacts(done) == {"mode": "restart", "interfaces": "restart", "portgroups.db": "live"}
    nic_of = {"network": "lan", "domain": "web1", "mac": A, "fields": ["mode", "interfaces"]}
    network = {"network": "lan", "domain": None, "mac": None, "fields": ["mode", "interfaces"]}
    assert done["restart_required"] == predicted["restart_required"] == [network, nic_of]
    assert hv.macvtaps() == links
    # The uplink that the guest is on stays as long, because libvirt would keep its port for ever.
    assert networks.info()[0]["live"]["interfaces"] == ["eth0", "up1"]
    again = ok(networks(**other))
    assert (again["changed"], again["restart_required"]) == (False, [network, nic_of])
    hv.virsh("destroy", "web1")
    assert hv.virsh("net-port-list", "lan").split() == []
    assert set(impacts(ok(networks(**other))).values()) == {"recreate"}
    hv.virsh("start", "web1")
    assert "dev='up1' mode='private'" in hv.dump("web1", live=True)
    assert ok(networks(**other))["restart_required"] == []


def test_a_network_that_guests_use_is_not_taken_from_them(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0"], portgroups=[{"name": "web"}]))
    hv.define(domain("web1", nic_on(A, portgroup="web")))
    for state, what in (("absent", "removed"), ("inactive", "stopped")):
        networks.refused(
            rf"state: network 'lan' is used by web1 \({A}, not running\)\. .* once it is {what}",
            name="lan",
            state=state,
        )
    gone: Result = {"name": "lan", "portgroups": [{"name": "web", "state": "absent"}]}
    networks.refused(r"portgroups\[0\].state: portgroup 'web' of network 'lan' is used by web1", **gone)
    hv.virsh("start", "web1")
    hv.virsh("undefine", "web1")
    networks.refused("used by web1 .*running", name="lan", state="absent", timeout=1)
    (one,) = networks.info(networks=["lan"])[0]["used_by"]
    assert (one["domain"], one["stored"], one["live"], one["uplink"]) == ("web1", False, True, "eth0")
    done = ok(networks(name="lan", state="absent", force=True))
    assert impacts(done) == {"state": "restart"}
    assert "running" in hv.virsh("list")


def test_a_portgroup_in_use_that_others_have_removed_stays_active(networks: Networks) -> None:
    hv = networks.hv
    ok(networks(name="lan", interfaces=["eth0"], portgroups=[{"name": "web", "trust_guest_rx_filters": True}]))
    start(hv, portgroup="web")
    text = networks.xml("lan")
    networks.define(re.sub(r"\s*<portgroup name='web'.*?(/>|</portgroup>)", "", text, flags=re.S))
    fields = ["portgroups.web", "portgroups.web.trust_guest_rx_filters"]
    web = {"network": "lan", "domain": None, "mac": None, "fields": fields}
    runs: list[Result] = [{"name": "lan"}, {"name": "lan", "portgroups": [{"name": "db", "default": True}]}]
    for declared in runs:
        done = ok(networks(**declared))
        assert web in done["restart_required"]
        assert not ok(networks(**declared))["changed"]
        (shown,) = networks.info(networks=["lan"])
        assert "web" in [one["name"] for one in shown["live"]["portgroups"]]
        assert "web" not in [one["name"] for one in shown["portgroups"]]
    hv.virsh("destroy", "web1")
    hv.virsh("undefine", "web1")
    assert impacts(ok(networks(name="lan"))).get("portgroups.web") == "live"
    assert ok(networks(name="lan"))["restart_required"] == []


def test_a_portgroup_that_a_guest_has_in_any_way_is_not_removed(networks: Networks) -> None:
    hv = networks.hv
    groups: list[Result] = [{"name": "web"}, {"name": "db", "default": True}]
    ok(networks(name="lan", interfaces=["eth0"], portgroups=groups))
    gone: dict[str, Result] = {
        name: {"name": "lan", "portgroups": [{"name": name, "state": "absent"}]} for name in ("web", "db")
    }
    used = r"portgroups\[0\].state: portgroup '{}' of network 'lan' is used by web1 .*, {}\)"
    # It runs with one, and another one is stored.
    start(hv, portgroup="web")
    hv.define(hv.dump("web1").replace("portgroup='web'", "portgroup='db'"))
    networks.refused(used.format("web", "running"), **gone["web"])
    networks.refused(used.format("db", "running"), **gone["db"])
    # It is saved with one.
    hv.virsh("managedsave", "web1")
    networks.refused(used.format("web", "saved"), **gone["web"])
    hv.virsh("managedsave-remove", "web1")
    assert ok(networks(**gone["web"]))["changed"]
    # A NIC without a choice has the default one.
    hv.define(hv.dump("web1").replace(" portgroup='db'", ""))
    networks.refused(used.format("db", "not running"), **gone["db"])
    hv.virsh("undefine", "web1")
    assert ok(networks(**gone["db"]))["changed"]


def test_what_a_guest_has_from_the_network_itself_is_no_difference(networks: Networks) -> None:
    hv = networks.hv
    # No virtual port: libvirtd 9.0 hangs when it associates one on a veth link.
    networks.define(network("lan", "bridge", "eth0").replace("<network>", "<network trustGuestRxFilters='yes'>"))
    ok(networks(name="lan"))
    start(hv)
    done = ok(networks(name="lan"))
    assert (done["changed"], done["restart_required"]) == (False, [])
    assert done["networks"][0]["trust_guest_rx_filters"] is True


def test_a_pool_of_whole_uplinks_keeps_its_accounts(networks: Networks) -> None:
    hv = networks.hv
    hv.run("ip", "link", "add", "up2", "type", "veth", "peer", "name", "far2")
    for link in ("up2", "far2"):
        hv.run("ip", "link", "set", link, "up")
    hv.run("ip", "address", "add", "198.51.100.7/32", "dev", "up2")
    networks.refused("mode: up2 has addresses of the host", name="lan", mode="passthrough", interfaces=["up2"])
    hv.run("ip", "address", "del", "198.51.100.7/32", "dev", "up2")
    pool: Result = {"name": "lan", "mode": "passthrough", "interfaces": ["up1", "up2"]}
    ok(networks(**pool))
    start(hv)
    changed: Result = {**pool, "portgroups": [{"name": "web"}]}
    assert impacts(ok(networks(**changed))) == {"portgroups.web": "restart"}
    # The second guest gets the free one, since libvirt still knows of the first.
    start(hv, "web2", B)
    assert {one["uplink"] for one in networks.info()[0]["used_by"]} == {"up1", "up2"}


def test_a_network_of_others_does_not_take_the_uplink_from_the_host(networks: Networks) -> None:
    networks.hv.run("ip", "addr", "add", "192.0.2.5/24", "dev", "eth0")
    networks.define(network("lan", "passthrough", "eth0"))
    message = r"^{}: eth0 has addresses of the host \(192\.0\.2\.5/24.*\), .* or set allow_host_disconnect: true$"
    networks.refused(message.format("state"), name="lan")
    networks.refused(message.format("state"), name="lan", state="inactive", autostart=True)
    networks.refused(message.format("mode"), name="lan", mode="passthrough")
    assert ok(networks(name="lan", allow_host_disconnect=True))["changed"]
    assert not ok(networks(name="lan"))["changed"]


@pytest.mark.parametrize(
    "inner", ["", "<forward mode='open'/><ip address='10.9.9.1'/>", "<forward mode='bridge'/><bridge name='br0'/>"]
)
def test_other_networks_are_left_alone(networks: Networks, inner: str) -> None:
    networks.define(f"<network><name>lan</name>{inner}</network>")
    for state in ("active", "absent"):
        networks.refused("name: network 'lan' exists and is not a direct network", name="lan", state=state)
    assert networks.info() == []


def test_a_transient_network_becomes_persistent(networks: Networks) -> None:
    networks.hv.virsh(
        "net-create", "/dev/stdin", stdin="<network><name>lan</name><forward mode='vepa' dev='eth0'/></network>"
    )
    done = ok(networks(name="lan"))
    assert impacts(done) == {"persistent": "config", "autostart": "config"}
    assert (done["networks"][0]["mode"], done["networks"][0]["active"]) == ("vepa", True)
    assert not ok(networks(name="lan"))["changed"]


def test_the_switch_decides_the_mode(networks: Networks) -> None:
    declared: Result = {"name": "lan", "mode": "auto", "interfaces": ["eth0"]}
    assert ok(networks(**declared))["networks"][0]["mode"] == "bridge"
    networks.hv.hairpin(True)
    assert not ok(networks(**declared))["changed"]
    done = ok(networks(**declared, auto="always"))
    assert (impacts(done), done["reflective_relay"][0]["reflective_relay"]) == ({"mode": "recreate"}, True)
    networks.hv.hairpin(False)
