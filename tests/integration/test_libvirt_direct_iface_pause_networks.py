# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Pauses between all that a guest can be connected to, which keeps its NIC and answers; and the NICs beside it."""

from __future__ import annotations

import re
import signal
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, Module, Result, domain, element, guest_has, impacts, nic, ok
from guest_traffic import watched
from interrupted import KILL, at_moment, is_whole, wait
from paused_guest import BRIDGED, check_nothing_left, start, uplinks, uptime

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

NETWORKS = {
    "old": "<bridge name='virbr7'/><ip address='10.79.0.1' prefix='24'/>",
    "lan0": "<forward mode='bridge'><interface dev='eth0'/></forward>",
    "lan1": "<forward mode='bridge'><interface dev='up1'/></forward>",
    "lan2": "<forward mode='bridge'><interface dev='up2'/></forward>"
    "<portgroup name='web'/><portgroup name='trusted' trustGuestRxFilters='yes'/>",
    "pass": "<forward mode='passthrough'><interface dev='up1'/></forward>",
}


def on(mac: str, name: str) -> str:
    return nic(mac).replace("type='direct'", "type='network'").replace("dev='eth0' mode='bridge'", f"network='{name}'")


def place(hv: Hypervisor, *, live: bool = True) -> str:
    """Return what the NIC A is connected to, without the number of its port."""
    text = element(hv.dump("web1", live=live), A)
    kind, source = re.search("type='(.*?)'", text), re.search("<source (.*?)/>", text)
    assert kind
    assert source
    return f"{kind[1]} {re.sub(' portid=.[-0-9a-f]*.', '', source[1])}".replace("'", "")


def test_a_guest_answers_on_whatever_it_is_paused_to(hv: Hypervisor, module: Module) -> None:
    for name, inside in NETWORKS.items():
        hv.virsh("net-define", "/dev/stdin", stdin=f"<network><name>{name}</name>{inside}</network>")
        hv.virsh("net-start", name)
    steps: list[tuple[Result, str, str]] = [
        ({"network": "lan1", "convert": True}, "direct network=lan1 dev=up1 mode=bridge", "network network=lan1"),
        ({"network": "lan2", "portgroup": "web"}, "direct network=lan2 portgroup=web dev=up2 mode=bridge", ""),
        ({"portgroup": "trusted"}, "direct network=lan2 portgroup=trusted dev=up2 mode=bridge", ""),
        ({"source": "up1", "mode": "bridge"}, "direct dev=up1 mode=bridge", "direct dev=up1 mode=bridge"),
        ({"network": "lan2", "portgroup": "web"}, "direct network=lan2 portgroup=web dev=up2 mode=bridge", ""),
        (
            {"source": "up2", "mode": "passthrough"},
            "direct dev=up2 mode=passthrough",
            "direct dev=up2 mode=passthrough",
        ),
        ({"network": "pass"}, "direct network=pass dev=up1 mode=passthrough", "network network=pass"),
        ({"source": "up2", "mode": "bridge"}, "direct dev=up2 mode=bridge", "direct dev=up2 mode=bridge"),
    ]
    with uplinks(hv):
        start(
            hv,
            on(A, "old"),
            BRIDGED.replace(A, B),
        )
        before, alias = uptime(hv), element(hv.dump("web1", live=True), A).partition("<alias")[2].partition("/>")[0]
        other: Result = {"domain": "web1", "mac": B, "network": "lan0", "convert": True}
        for options, live, stored in steps:
            entries: list[Result] = [{"domain": "web1", "mac": A, **options}, other]
            predicted = ok(module(check=True, interfaces=entries, live="pause"))
            done = ok(module(interfaces=entries, live="pause"))
            assert done["changes"] == predicted["changes"]
            assert "pause" in impacts(done).values()
            assert set(impacts(done).values()) <= {"pause", "config"}, done["changes"]
            assert (done["restart_required"], done["pending"], len(done["pauses"])) == ([], [], 1)
            assert place(hv) == live
            assert not stored or place(hv, live=False) == stored
            # It answers.
            with watched(hv.prefix, "10.77.0.2"):
                pass
            again = ok(module(interfaces=entries, live="pause"))
            assert (again["changed"], again["restart_required"]) == (False, [])
            assert uptime(hv) >= before
        assert guest_has(hv, "web1", {A, B})
        assert alias in hv.dump("web1", live=True)
        assert [len(hv.virsh("net-port-list", name).split()) for name in NETWORKS] == [0, 1, 0, 0, 0]
        check_nothing_left(hv)


REFUSED = "subprocess.run(['ip', 'link', 'del', 'up1'])"


@pytest.mark.parametrize("action", ["", REFUSED, KILL])
def test_the_links_of_all_nics_have_again_what_libvirt_does_not_know(
    hv: Hypervisor, module: Module, action: str
) -> None:
    hv.define(domain("web1", nic(A), nic(B)))
    hv.virsh("start", "web1")
    # libvirt goes on showing the former mode.
    ok(module(domain="web1", mac=B, mode="private", allmulticast=True))
    moment = ("managedSaveDefineXML", "after")
    code = at_moment(moment, action or "pass")
    params: Result = {"domain": "web1", "mac": A, "source": "up1", "live": "pause"}
    try:
        done = direct_iface.run_beside(hv, code, params)
    except AssertionError:
        done = {"rc": -signal.SIGKILL}
    assert done["rc"] == (0 if not action else 1 if action == REFUSED else -signal.SIGKILL), done
    wait(lambda: is_whole(hv))
    wait(lambda: "linuxvirt.macvtap:pause" not in hv.dump("web1", live=True) or action == KILL)
    target = re.search("<target dev='(.*?)'", element(hv.dump("web1", live=True), B))
    assert target
    assert "mode private" in hv.run("ip", "-d", "link", "show", target[1])
    wait(lambda: "ALLMULTI" in hv.run("ip", "link", "show", target[1]))
    if action == REFUSED:
        hv.add_up1()
    assert not ok(module(check=True, domain="web1", mac=B, mode="private", allmulticast=True))["changed"]


def test_a_guest_whose_other_nic_could_not_be_connected_again_is_not_paused(hv: Hypervisor, module: Module) -> None:
    hv.virsh("net-define", "/dev/stdin", stdin=f"<network><name>lan0</name>{NETWORKS['lan0']}</network>")
    hv.virsh("net-start", "lan0")
    hv.define(domain("web1", nic(A), on(B, "lan0")))
    hv.virsh("start", "web1")
    hv.virsh("net-destroy", "lan0")
    before = hv.virsh("domid", "web1")
    moved, other = {"domain": "web1", "mac": A, "source": "up1"}, {"domain": "web1", "mac": B}
    for entries in ([moved], [moved, other]):
        refused = module(interfaces=entries, live="pause")
        assert f"its NIC {B} is on the network 'lan0', which is not active" in refused["msg"]
        assert hv.virsh("domid", "web1") == before
