# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""libvirt_direct_iface against a real libvirtd and real QEMU guests."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, B, C, Module, Result, domain, element, impacts, nic, ok

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor


pytestmark = direct_iface.MARKS


def test_a_stopped_domain_gets_its_interface_and_keeps_everything_else(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    before = hv.dump("web1")
    declared: Result = {"domain": "web1", "mac": B.upper(), "source": "up1", "mode": "passthru"}

    predicted = ok(module(check=True, **declared))
    assert hv.dump("web1") == before
    done = ok(module(**declared))
    assert predicted["changed"]
    assert predicted["changes"] == done["changes"]
    assert predicted["diff"] == done["diff"]
    assert set(impacts(done).values()) == {"config"}
    assert done["interfaces"] == [
        {
            "domain": "web1",
            "mac": B,
            "state": "present",
            "stored": {
                "trust_guest_rx_filters": False,
                "source": "up1",
                "mode": "passthrough",
                "model": "virtio",
                "link_state": "up",
                "pci_address": "0000:02:00.0",
            },
            "live": None,
        }
    ]

    after = hv.dump("web1")
    assert after.replace("\n    " + element(after, B), "") == before
    assert "passwd='s3cret'" in after

    again = ok(module(**declared))
    assert (again["changed"], again["changes"], again["diff"]) == (False, [], [])

    gone = ok(module(domain="web1", mac=B, state="absent"))
    assert gone["changed"]
    assert hv.dump("web1") == before
    assert not ok(module(domain="web1", mac=B, state="absent"))["changed"]


def test_a_change_touches_the_given_fields_of_the_one_element(hv: Hypervisor, module: Module) -> None:
    kept = "<driver name='vhost' queues='2'/><boot order='1'/><alias name='ua-lan'/>"
    hv.define(domain("web1", nic(A), nic(B, more=kept), nic(C)))
    before = hv.dump("web1")
    changed = ok(module(domain="web1", mac=B, mode="private"))
    assert [(c["field"], c["before"], c["after"], c["impact"]) for c in changed["changes"]] == [
        ("mode", "bridge", "private", "config")
    ]
    edited = element(before, B).replace("mode='bridge'", "mode='private'")
    assert hv.dump("web1") == before.replace(element(before, B), edited)
    (diff,) = changed["diff"]
    assert set(diff["before"].splitlines()) ^ set(diff["after"].splitlines()) == {
        "  <source dev='eth0' mode='bridge'/>",
        "  <source dev='eth0' mode='private'/>",
    }
    assert "s3cret" not in str(changed)


def test_a_running_guest_gets_a_new_interface_at_once(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    hv.virsh("start", "web1")
    declared: Result = {"domain": "web1", "mac": B, "source": "up1", "mode": "bridge"}
    done = ok(module(**declared))
    assert set(impacts(done).values()) == {"live"}
    assert (done["restart_required"], done["pending"]) == ([], [])
    (returned,) = done["interfaces"]
    link = returned["live"]["target"]
    assert {name: returned["live"][name] for name in ("source", "mode", "model")} == {
        "source": "up1",
        "mode": "bridge",
        "model": "virtio",
    }
    assert f"{link}@up1" in hv.run("ip", "-br", "link")
    address = re.compile(r"<address type='pci'.*?/>")
    stored, live = (element(hv.dump("web1", live=live), B) for live in (False, True))
    assert address.findall(stored) == address.findall(live) != []
    assert not ok(module(**declared))["changed"]


def test_a_slot_that_is_taken_is_not_fatal(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    hv.virsh("start", "web1")
    hv.virsh("attach-device", "web1", "/dev/stdin", "--live", stdin=nic(C))
    done = ok(module(domain="web1", mac=B, source="eth0", mode="bridge"))
    assert "did not accept it in its stored slot" in str(done["warnings"])
    assert done["interfaces"][0]["live"] is not None
    assert not ok(module(domain="web1", mac=B))["changed"]


def test_stored_and_running_are_brought_in_line(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A)))
    hv.virsh("start", "web1")
    hv.virsh("attach-device", "web1", "/dev/stdin", "--config", stdin=nic(B))
    plugged = ok(module(domain="web1", mac=B))
    assert impacts(plugged) == {"live": "live"}
    assert plugged["diff"][0]["after"].startswith("<interface")
    hv.virsh("attach-device", "web1", "/dev/stdin", "--live", stdin=nic(C))
    stored = ok(module(domain="web1", mac=C, source="eth0", mode="bridge"))
    assert set(impacts(stored).values()) == {"config"}
    assert stored["restart_required"] == []
    assert C in hv.dump("web1")


def test_what_needs_a_restart_is_stored_and_reported_until_then(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A, mode="vepa")))
    hv.virsh("start", "web1")
    declared: Result = {"domain": "web1", "mac": A, "model": "e1000e", "source": "up1"}
    due = [{"domain": "web1", "mac": A, "fields": ["source", "model"]}]
    predicted = ok(module(check=True, **declared))
    done = ok(module(**declared))
    again = ok(module(**declared))
    assert impacts(done) == {"source": "restart", "model": "restart"}
    assert predicted["restart_required"] == done["restart_required"] == again["restart_required"] == due
    assert not again["changed"]
    assert again["interfaces"][0]["stored"]["model"] == "e1000e"
    assert again["interfaces"][0]["live"]["model"] == "virtio"
    hv.virsh("destroy", "web1")
    hv.virsh("start", "web1")
    restarted = ok(module(**declared))
    assert (restarted["changed"], restarted["restart_required"]) == (False, [])


def test_a_guest_that_does_not_release_a_nic_is_pending(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(A), nic(B)))
    hv.virsh("start", "web1")
    removal: Result = {"domain": "web1", "mac": B, "state": "absent", "timeout": 1}
    for again in (False, True):
        done = ok(module(**removal))
        assert done["changed"]
        assert ("live" if again else "state") in impacts(done)
        assert [p["mac"] for p in done["pending"]] == [B]
        assert "still holds it" in str(done["warnings"])
        assert B not in hv.dump("web1")
        assert B in hv.dump("web1", live=True)
    hv.virsh("destroy", "web1")
    gone = ok(module(**removal))
    assert (gone["changed"], gone["pending"]) == (False, [])


def test_no_free_slot_is_explained_and_everything_put_back(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web0", nic(C)))
    hv.define(domain("web1", nic(A), ports=1))
    hv.virsh("start", "web1")
    before = [hv.dump(name) for name in ("web0", "web1")]
    live = hv.dump("web1", live=True)
    extra = [{"domain": "web1", "mac": f"52:54:00:00:01:{i:02x}"} for i in range(40)]
    failed = module(
        interfaces=[{"domain": "web0", "mac": C, "mode": "vepa"}, *extra], source="eth0", mode="bridge", timeout=1
    )
    assert failed["rc"] == 1
    assert re.match(r"interfaces\[\d+\]: cannot add 52:54:00:00:01:.. to the running domain 'web1': ", failed["msg"])
    assert "No more available PCI slots" in failed["msg"]
    assert "pcie-root-port" in failed["msg"]
    assert [hv.dump(name) for name in ("web0", "web1")] == before
    assert hv.dump("web1", live=True).count("<interface") >= live.count("<interface")


def test_many_domains_in_one_task(hv: Hypervisor, module: Module) -> None:
    names = [f"web{i}" for i in range(6)]
    for name in names:
        hv.define(domain(name))
    entries = [
        {"domain": name, "mac": f"52:54:00:00:{j:02x}:{i:02x}", **({"source": "up1"} if j else {})}
        for i, name in enumerate(names)
        for j in range(2)
    ]
    declared: Result = {"interfaces": entries, "source": "eth0", "mode": "bridge"}
    assert len(ok(module(**declared))["diff"]) == 12
    again = ok(module(**declared))
    assert not again["changed"]
    assert [i["stored"]["source"] for i in again["interfaces"]] == ["eth0", "up1"] * 6
    assert ok(module(interfaces=[{**e, "state": "absent"} for e in entries]))["changed"]
    assert not ok(module(interfaces=entries, state="absent"))["changed"]


CDROM = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><boot order='{order}'/></disk>"


def test_if_one_domain_is_refused_the_others_are_put_back(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web0", nic(A)))
    # libvirt refuses the same place in the boot order twice.
    hv.define(domain("web1", nic(B), CDROM.format(order=1)))
    before = [hv.dump(f"web{i}") for i in range(2)]
    failed = module(
        interfaces=[
            {"domain": "web0", "mac": A, "mode": "private"},
            {"domain": "web0", "mac": C, "source": "eth0"},
            {"domain": "web1", "mac": B, "model": "virtio", "boot_order": 1},
        ]
    )
    assert failed["rc"] == 1
    assert failed["msg"].startswith("interfaces[2]: libvirt refuses the configuration of domain 'web1': ")
    assert failed["msg"].endswith("The host is as it was before")
    assert [hv.dump(f"web{i}") for i in range(2)] == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"domain": "web2", "mac": A},
            r"^domain: no domain 'web2' on qemu:///system \(known: web1\)\. Correct the name, or define",
        ),
        (
            {"interfaces": [{"domain": "web1", "mac": A}, {"domain": "x", "mac": B}]},
            r"^interfaces\[1\]\.domain: no domain 'x'",
        ),
        ({"domain": "web1", "mac": "53:54:00:00:00:01", "source": "eth0"}, r"^mac: .*multicast"),
        ({"domain": "web1", "mac": "00:00:00:00:00:00", "source": "eth0"}, r"^mac: .*zero"),
        ({"domain": "web1", "mac": B}, r"^source: is required, since domain 'web1' has no interface"),
        ({"domain": "web1", "mac": C}, r"^mac: .*of type 'user'"),
        ({"domain": "web1"}, r"^mac: a selector is required: set mac, alias, target, source or network"),
        ({"interfaces": [{"mac": A}]}, r"^interfaces\[0\]\.domain: a domain name is required"),
        ({"domain": "web1", "mac": A, "mtu": 9000}, r"^mtu: libvirt refuses an MTU .* Set it on the source"),
        ({"domain": "web1", "mac": A, "vlan": 20}, r"^vlan: .*Use a VLAN interface"),
        ({"domain": "web1", "mac": A, "source": "eth00"}, r"^source: there is no link eth00 .*did you mean eth0"),
        ({}, r"one of the following is required: domain, interfaces"),
        ({"domain": "web1", "mac": A, "interfaces": []}, r"mutually exclusive"),
        ({"domain": "web1", "mac": A, "uri": "qemu:///nonsense"}, r"^uri: cannot connect to 'qemu:///nonsense'"),
        (
            {"domain": "web1", "mac": A, "uri": "qemu+unix:///system?socket=/none"},
            r"^uri: .*/none.* Start libvirtd\.socket",
        ),
    ],
)
def test_errors_are_clear_and_change_nothing(hv: Hypervisor, module: Module, params: Result, message: str) -> None:
    hv.define(domain("web1", nic(A), f"<interface type='user'><mac address='{C}'/></interface>"))
    before = hv.dump("web1")
    failed = module(**params)
    assert failed["rc"] == 1
    assert re.search(message, failed["msg"]), failed["msg"]
    assert "exception" not in failed
    assert hv.dump("web1") == before


def test_a_transient_domain_has_what_its_guest_can_have(hv: Hypervisor, module: Module) -> None:
    hv.virsh("create", "/dev/stdin", stdin=domain("fleeting", nic(A)))
    hv.define(domain("web1", nic(B)))
    entries: list[Result] = [
        {"domain": "fleeting", "mac": A, "mode": "private", "model": "e1000"},
        {"domain": "fleeting", "mac": C, "source": "up1", "mode": "bridge"},
        {"domain": "web1", "mac": B, "mode": "private"},
    ]
    done = ok(module(interfaces=entries))
    assert [one["state"] for one in done["interfaces"]] == ["present"] * 3
    assert "is transient" in str(done["warnings"])
    assert "does not get model" in str(done["warnings"])
    assert done["restart_required"] == []
    link = done["interfaces"][0]["live"]["target"]
    assert "macvtap mode private" in hv.run("ip", "-d", "link", "show", link)
    assert "mode='private'" in element(hv.dump("web1"), B)
    again = ok(module(interfaces=entries))
    assert not again["changed"]
    assert "does not get model" in str(again["warnings"])
    # What is not there need not be removed.
    assert not ok(module(domain="fleeting", mac=B, state="absent"))["changed"]
    assert not ok(module(domain="fleeting", mac="52:54:00:00:00:0d", source="up1", live="none"))["changed"]
