# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A hypervisor and its real guests reach each other through a shim, and not without."""

from __future__ import annotations

import concurrent.futures
import functools
import typing as t

import direct_iface
from direct_iface import A, B, nic
from labkit import guest, model
from lan import TOOL
from support import PYTHON, run_module

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

ORDINARY, OWN = "192.0.2.10", ("192.0.2.251", "2001:db8:1::fa")


def test_host_and_guests_reach_each_other(hv: Hypervisor) -> None:
    hv.run("ip", "address", "add", f"{ORDINARY}/24", "dev", "eth0")
    macs = {"web1": A, "web2": B}
    for name, mac in macs.items():
        hv.define_guest(name, nic(mac))
        hv.virsh("start", name)
    lab = model.require(hv.cell.lab)
    addresses: list[tuple[str, str]] = []
    for name in macs:
        (card,) = guest.wait(lab, hv.cell, name, timeout=180)
        addresses += [(name, card["ipv4"]), (name, card["ipv6"])]

    def reached() -> dict[str, bool]:
        # All at once but for what one guest does: most wait in vain.
        with concurrent.futures.ThreadPoolExecutor() as pool:
            return {way: there for found in pool.map(lambda ask: ask(), asked) for way, there in found.items()}

    def from_host(name: str, address: str) -> dict[str, bool]:
        return {f"host to {name}, {address}": pings(hv, address)}

    def from_guest(name: str) -> dict[str, bool]:
        return {f"{name} to {to}": guest_pings(hv, name, to) for to in (*OWN, ORDINARY)}

    asked = [functools.partial(from_host, *pair) for pair in addresses]
    asked += [functools.partial(from_guest, name) for name in macs]

    def access(**params: t.Any) -> dict[str, t.Any]:
        result = run_module("macvtap_host_access", {"name": "host0", **params}, prefix=hv.prefix)
        assert not result.get("failed"), result
        return result

    assert set(reached().values()) == {False}
    wanted = {"parent": "eth0", "addresses": OWN, "guests": [address for _name, address in addresses]}
    assert access(**wanted)["changed"]
    assert {name for name, there in reached().items() if not there} == set()
    assert not access(**wanted)["changed"]
    # The router, which is on the LAN, as before.
    assert pings(hv, "192.0.2.1")
    assert guest_pings(hv, "web1", "192.0.2.1")
    assert access(state="absent")["changed"]
    assert set(reached().values()) == {False}


def pings(hv: Hypervisor, address: str) -> bool:
    message = hv.run("sh", "-c", f"{PYTHON} {TOOL} ping {address} && echo yes || echo no")
    return message.strip() == "yes"


def guest_pings(hv: Hypervisor, name: str, address: str) -> bool:
    command = ["ping", "-6" if ":" in address else "-4", "-c", "1", "-W", "3", address]
    return guest.execute(hv.cell, name, command)["status"] == 0
