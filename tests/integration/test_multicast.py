# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A guest with an IPv6 address of its own making, and in a multicast group: who hears what, by each way out."""

from __future__ import annotations

import re
import typing as t

import direct_iface
import pytest
from direct_iface import A, Module, Result, impacts, nic, ok
from multicast_guest import Guest
from support import run_module, until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

ANOTHER = "2001:db8:1::c0de:cafe:2"


@pytest.fixture
def guest(hv: Hypervisor) -> Guest:
    hv.define_guest("web1", nic(A))
    hv.virsh("start", "web1")
    return Guest(hv)


def restarted(hv: Hypervisor) -> Guest:
    hv.virsh("destroy", "web1")
    hv.virsh("start", "web1")
    return Guest(hv)


def link(result: Result) -> str:
    return str(result["interfaces"][0]["live"]["target"])


def test_a_running_guest_receives_its_groups_only_with_allmulticast(guest: Guest, module: Module) -> None:
    assert (guest.answers(), guest.hears()) == (False, False)
    predicted = ok(module(check=True, domain="web1", mac=A, allmulticast=True))
    assert (guest.answers(), guest.hears()) == (False, False)
    done = ok(module(domain="web1", mac=A, allmulticast=True))
    assert done["changes"] == predicted["changes"]
    assert impacts(done) == {"allmulticast": "live"}
    assert "\nallmulticast: yes" in done["diff"][0]["after"]
    assert (guest.answers(), guest.hears()) == (True, True)
    assert done["interfaces"][0]["live"]["allmulticast"] is True
    (returned,) = run_module("libvirt_direct_iface_info", {}, prefix=guest.hv.prefix)["domains"]
    assert returned["interfaces"][0]["live"]["allmulticast"] is True
    assert returned["interfaces"][0]["differences"] == []
    # This hypervisor has no udev, which would set it at the next start.
    assert "lasts only until the guest stops: this host has no udev" in str(done["warnings"])
    again = ok(module(domain="web1", mac=A, allmulticast=True))
    assert (again["changed"], again["restart_required"]) == (False, [])
    assert impacts(ok(module(domain="web1", mac=A, allmulticast=False))) == {"allmulticast": "live"}
    assert (guest.answers(), guest.hears()) == (False, False)


def test_an_attached_interface_has_it_at_once_and_again_after_a_replug(guest: Guest, module: Module) -> None:
    ok(module(domain="web1", mac=A, state="absent"))
    added: Result = {"domain": "web1", "mac": A, "source": "eth0", "mode": "bridge", "allmulticast": True}
    assert ok(module(**added))["interfaces"][0]["live"]["allmulticast"] is True
    done = ok(module(**added, alias="ua-lan", live="replug"))
    assert set(impacts(done).values()) == {"replug"}
    assert "ALLMULTI" in guest.hv.run("ip", "link", "show", link(done))
    # Where nobody asks for it either: what was plugged in had it.
    done = ok(module(domain="web1", mac=A, alias="ua-uplink", live="replug"))
    assert impacts(done) == {"alias": "replug"}
    assert "ALLMULTI" in guest.hv.run("ip", "link", "show", link(done))


def test_a_failed_run_takes_it_back(guest: Guest, module: Module) -> None:
    before = link(ok(module(domain="web1", mac=A)))
    failed = module(
        interfaces=[
            {"domain": "web1", "mac": A, "allmulticast": True},
            {"domain": "web1", "mac": direct_iface.B, "source": "up1", "model": "nonsense"},
        ]
    )
    assert failed["msg"].endswith("The host is as it was before")
    assert "ALLMULTI" not in guest.hv.run("ip", "link", "show", before)
    assert not guest.answers()


def test_a_guest_that_is_trusted_sets_its_link_itself(guest: Guest, module: Module) -> None:
    done = ok(module(domain="web1", mac=A, trust_guest_rx_filters=True))
    hv = guest.hv
    if hv.release < 10:
        assert impacts(done) == {"trust_guest_rx_filters": "restart"}
        assert (guest.answers(), guest.hears()) == (False, False)
        guest = restarted(hv)
    else:
        # libvirt waits for the guest to change something, and the module says so.
        assert "Until then the link receives no more than before" in str(done["warnings"])
        assert (guest.answers(), guest.hears()) == (False, False)
        guest.sh(f"ip -6 address add {ANOTHER}/64 dev eth0")
        assert until(lambda: guest.answers(ANOTHER))
    assert (guest.answers(), guest.hears()) == (True, True)
    groups = hv.run("ip", "maddr", "show", "dev", link(ok(module(domain="web1", mac=A))))
    assert "33:33:ff:fe:00:01" in groups
    assert "33:33:00:00:4d:63" in groups


def test_a_trusted_guest_in_mode_passthrough_receives_its_groups(hv: Hypervisor) -> None:
    passing = nic(A, mode="passthrough")
    hv.define_guest("web1", passing)
    hv.virsh("start", "web1")
    untrusted = Guest(hv)
    assert (untrusted.answers(), untrusted.hears()) == (False, False)
    hv.virsh("destroy", "web1")
    hv.virsh("undefine", "web1")
    hv.define_guest("web1", passing.replace("type='direct'", "type='direct' trustGuestRxFilters='yes'", 1))
    hv.virsh("start", "web1")
    guest = Guest(hv)
    assert (guest.answers(), guest.hears()) == (True, True)


def test_libvirt_takes_allmulticast_off_the_link_of_a_guest_that_it_trusts(hv: Hypervisor, module: Module) -> None:
    hv.define_guest("web1", nic(A).replace("type='direct'", "type='direct' trustGuestRxFilters='yes'", 1))
    hv.virsh("start", "web1")
    guest = Guest(hv)
    name = link(ok(module(domain="web1", mac=A)))
    refused = module(domain="web1", mac=A, allmulticast=True)
    assert re.match(r"allmulticast: allmulticast and trust_guest_rx_filters exclude each other", refused["msg"])
    hv.run("ip", "link", "set", name, "allmulticast", "on")
    guest.sh(f"ip -6 address add {ANOTHER}/64 dev eth0")
    assert until(lambda: "ALLMULTI" not in hv.run("ip", "link", "show", name))


def test_a_nic_that_does_not_report_its_filters_cannot_be_trusted(hv: Hypervisor, module: Module) -> None:
    hv.define(direct_iface.domain("web1", nic(A).replace("virtio", "e1000e")))
    assert "QEMU does not report" in module(domain="web1", mac=A, trust_guest_rx_filters=True)["msg"]
    hv.virsh("start", "web1")
    message = hv.virsh("qemu-monitor-command", "web1", '{"execute": "query-rx-filter"}')
    assert "e1000e" not in message
    assert '"return":[]' in message.replace(" ", "")
