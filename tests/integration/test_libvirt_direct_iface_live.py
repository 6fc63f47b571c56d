# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a running guest feels of libvirt_direct_iface: nothing, a replug, or nothing until its restart."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, element, guest_has, impacts, nic, ok
from support import run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS


def run_info(hv: Hypervisor) -> Result:
    return run_module("libvirt_direct_iface_info", {"domains": ["web1"]}, prefix=hv.prefix)


def live(result: Result) -> Result:
    (interface,) = result["interfaces"]
    assert interface["live"] is not None
    return t.cast("Result", interface["live"])


def test_a_mode_changes_under_the_running_guest(started: Hypervisor, module: Module) -> None:
    link = live(ok(module(domain="web1", mac=A)))["target"]
    predicted = ok(module(check=True, domain="web1", mac=A, mode="private"))
    done = ok(module(domain="web1", mac=A, mode="private"))
    assert predicted["changes"] == done["changes"]
    assert impacts(done) == {"mode": "live"}
    assert done["restart_required"] == []
    assert "macvtap mode private" in started.run("ip", "-d", "link", "show", link)
    assert "mode='private'" in element(started.dump("web1"), A)
    # libvirt does not notice, and the module says so.
    assert "mode='bridge'" in element(started.dump("web1", live=True), A)
    assert "shows another mode than private" in str(done["warnings"])
    again = ok(module(domain="web1", mac=A, mode="private"))
    assert (again["changed"], again.get("warnings", []), live(again)["mode"]) == (False, [], "private")


def test_a_mode_that_was_changed_by_other_means_is_restored(started: Hypervisor, module: Module) -> None:
    link = live(ok(module(domain="web1", mac=A)))["target"]
    started.run("ip", "link", "set", link, "type", "macvtap", "mode", "vepa")
    assert ok(module(domain="web1", mac=A))["restart_required"] == [{"domain": "web1", "mac": A, "fields": ["mode"]}]
    assert impacts(ok(module(domain="web1", mac=A, mode="bridge"))) == {"mode": "live"}
    assert "macvtap mode bridge" in started.run("ip", "-d", "link", "show", link)


def test_a_link_that_keeps_its_guest_off_the_network_is_mended(started: Hypervisor, module: Module) -> None:
    link = live(ok(module(domain="web1", mac=A)))["target"]
    started.run("ip", "link", "set", link, "down")
    assert ok(module(domain="web1", mac=A, live="none"))["restart_required"] == [
        {"domain": "web1", "mac": A, "fields": ["link.state"]}
    ]
    assert impacts(ok(module(domain="web1", mac=A))) == {"link.state": "live"}
    assert "state UP" in started.run("ip", "link", "show", link) or ",UP" in started.run("ip", "link", "show", link)
    started.run("ip", "link", "set", link, "address", "52:54:00:00:00:77")
    (returned,) = ok(run_info(started))["domains"][0]["interfaces"]
    assert {"field": "link.mac", "stored": A, "live": "52:54:00:00:00:77"} in returned["differences"]
    assert impacts(ok(module(domain="web1", mac=A, mode="private"))) == {"link.mac": "live", "mode": "live"}
    assert A in started.run("ip", "link", "show", link)
    assert "macvtap mode private" in started.run("ip", "-d", "link", "show", link)
    ok(module(domain="web1", mac=A, mode="bridge"))
    # A rollback does not cut the guest off again, and says so.
    started.run("ip", "link", "set", link, "down")
    other: Result = {"domain": "web1", "mac": B, "source": "up1", "model": "nonsense"}
    failed = module(interfaces=[{"domain": "web1", "mac": A}, other], mode="bridge")
    assert f"web1 {A}: the guest's link was down, and is left as the guest needs it" in failed["msg"]
    assert "as it was before" not in failed["msg"]
    assert ",UP" in started.run("ip", "link", "show", link)
    # libvirt sets it down itself while the guest is paused.
    started.virsh("suspend", "web1")
    try:
        assert not ok(module(domain="web1", mac=A))["changed"]
    finally:
        started.virsh("resume", "web1")
    assert not ok(module(domain="web1", mac=A))["changed"]


def test_link_state_changes_under_the_running_guest(hv: Hypervisor, module: Module) -> None:
    hv.define_guest("web1", nic(A))
    hv.virsh("start", "web1")
    for state, carrier in (("down", "0"), ("up", "1")):
        done = ok(module(domain="web1", mac=A, link_state=state))
        assert impacts(done) == {"link_state": "live"}
        assert live(done)["link_state"] == state
        assert hv.in_guest("web1", "cat", "/sys/class/net/eth0/carrier").strip() == carrier
        assert not ok(module(domain="web1", mac=A, link_state=state))["changed"]


def test_bandwidth_changes_under_the_running_guest(started: Hypervisor, module: Module) -> None:
    declared: Result = {
        "domain": "web1",
        "mac": A,
        "bandwidth": {"inbound": {"average": 1000, "peak": 2000, "burst": 100}, "outbound": {"average": 500}},
    }
    before = started.dump("web1"), started.dump("web1", live=True)
    done = module(**declared)
    if done["rc"]:
        # Kernels without the queueing disciplines that libvirt uses. It is as it was then.
        assert re.search(r"^cannot change .*\((\S*/)?tc .*The host is as it was before$", done["msg"], re.DOTALL)
        assert (started.dump("web1"), started.dump("web1", live=True)) == before
        pytest.skip(f"this kernel has no sfq or police: {done['msg'][:200]}")
    assert set(impacts(done).values()) == {"live"}
    assert "rate 8Mbit" in started.run("tc", "class", "show", "dev", live(done)["target"])
    assert not ok(module(**declared))["changed"]
    gone = ok(module(domain="web1", mac=A, bandwidth={"inbound": {"average": 0}}))
    assert set(impacts(gone).values()) == {"live"}
    assert "outbound" in live(gone)["bandwidth"]
    assert "inbound" not in element(started.dump("web1", live=True), A)


def test_nothing_is_felt_with_live_none(started: Hypervisor, module: Module) -> None:
    before = started.dump("web1", live=True)
    entries: list[Result] = [{"domain": "web1", "mac": A, "mode": "private"}, {"domain": "web1", "mac": B}]
    done = ok(module(interfaces=entries, source="eth0", live="none"))
    assert set(impacts(done).values()) == {"restart"}
    assert [r["fields"] for r in done["restart_required"]] == [["mode"], ["state"]]
    assert started.dump("web1", live=True) == before
    again = ok(module(interfaces=entries, source="eth0", live="none"))
    assert not again["changed"]
    assert again["restart_required"] == done["restart_required"]


def test_trust_is_never_reported_as_changed_where_libvirt_does_not_change_it(
    started: Hypervisor, module: Module
) -> None:
    trusts = "trustGuestRxFilters='yes'"
    done = ok(module(domain="web1", mac=A, trust_guest_rx_filters=True))
    does = started.release >= 10
    assert impacts(done) == {"trust_guest_rx_filters": "live" if does else "restart"}
    assert [due["fields"] for due in done["restart_required"]] == ([] if does else [["trust_guest_rx_filters"]])
    assert trusts in element(started.dump("web1"), A)
    assert (trusts in element(started.dump("web1", live=True), A)) == does
    again = ok(module(domain="web1", mac=A, trust_guest_rx_filters=True))
    assert (again["changed"], again["restart_required"]) == (False, done["restart_required"])
    # libvirt 10.0 forgets by such a change whose link it is, and leaves it behind.
    link = live(again)["target"]
    started.virsh("destroy", "web1")
    assert link not in started.run("ip", "-br", "link")
    started.virsh("start", "web1")


def test_a_replug_keeps_what_the_guest_identifies_the_nic_by(hv: Hypervisor, module: Module) -> None:
    kept = "<boot order='1'/><alias name='ua-lan'/>"
    hv.define_guest("web1", nic(A, more=kept), nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    before = hv.in_guest("web1", "readlink", "/sys/class/net/eth0/device")
    entries = [{"domain": "web1", "mac": A, "source": "up1", "model": "virtio-non-transitional"}]
    assert set(impacts(ok(module(interfaces=entries))).values()) == {"restart"}
    done = ok(module(interfaces=entries, live="replug"))
    assert impacts(done) == {"source": "replug", "model": "replug"}
    assert (done["pending"], done["restart_required"]) == ([], [])
    assert guest_has(hv, "web1", {A, B})
    now = live(done)
    assert (now["source"], now["alias"], now["boot_order"]) == ("up1", "ua-lan", 1)
    assert f"{now['target']}@up1" in hv.run("ip", "-br", "link")
    address = re.compile(r"<address type='pci'.*?/>")
    assert address.findall(element(hv.dump("web1"), A)) == address.findall(element(hv.dump("web1", live=True), A))
    assert hv.in_guest("web1", "readlink", "/sys/class/net/eth0/device") == before
    assert not ok(module(interfaces=entries, live="replug"))["changed"]


def test_a_replug_that_the_guest_does_not_answer_is_pending(started: Hypervisor, module: Module) -> None:
    declared: Result = {"domain": "web1", "mac": A, "model": "e1000e", "live": "replug", "timeout": 1}
    for _run in range(2):
        done = ok(module(**declared))
        assert done["changed"]
        assert impacts(done) == {"model": "replug"}
        assert [p["mac"] for p in done["pending"]] == [A]
        assert "As soon as it does, the NIC is attached again as it is stored" in str(done["warnings"])
    assert "virtio" in element(started.dump("web1", live=True), A)
    assert "e1000e" in element(started.dump("web1"), A)


def test_a_failed_run_takes_back_what_it_did_to_running_guests(hv: Hypervisor, module: Module) -> None:
    hv.define_guest("web1", nic(A), nic(B))
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A, B})
    link = live(ok(module(domain="web1", mac=A)))["target"]
    hv.define(hv.dump("web1"))
    before = hv.dump("web1")
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": A, "mode": "private"},
            {"domain": "web1", "mac": B, "source": "up1", "link_state": "down"},
            {"domain": "web1", "mac": C, "source": "up1", "model": "nonsense"},
        ],
        live="replug",
    )
    assert failed["msg"].startswith("interfaces[2]: cannot add 52:54:00:00:00:0c to the running domain 'web1': ")
    assert failed["msg"].endswith("The host is as it was before")
    assert hv.dump("web1") == before
    assert "macvtap mode bridge" in hv.run("ip", "-d", "link", "show", link)
    assert guest_has(hv, "web1", {A, B})
    back = live(ok(module(domain="web1", mac=B)))
    assert (back["source"], back["mode"], back["link_state"]) == ("eth0", "bridge", "up")


def test_a_bridges_interface_is_converted_in_the_running_guest(hv: Hypervisor, module: Module) -> None:
    hv.run("ip", "link", "add", "br7", "type", "bridge")
    bridged = nic(A).replace("type='direct'", "type='bridge'").replace("dev='eth0' mode='bridge'", "bridge='br7'")
    hv.define_guest("web1", bridged)
    hv.virsh("start", "web1")
    assert guest_has(hv, "web1", {A})
    declared: Result = {"domain": "web1", "mac": A, "source": "eth0", "mode": "bridge"}
    refused = module(**declared)
    assert "of type 'bridge'; this module changes only interfaces of type 'direct'. Set convert: true" in refused["msg"]
    stored = ok(module(convert=True, **declared))
    assert stored["restart_required"][0]["fields"][0] == "type"
    done = ok(module(convert=True, live="replug", **declared))
    assert set(impacts(done).values()) == {"replug"}
    assert guest_has(hv, "web1", {A})
    assert f"{live(done)['target']}@eth0" in hv.run("ip", "-br", "link")
    assert not ok(module(convert=True, **declared))["changed"]
    hv.run("ip", "link", "del", "br7")
