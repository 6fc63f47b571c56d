# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What guides show of changes, as they stand on the page, on a hypervisor with a running guest."""

from __future__ import annotations

import errno
import re
import typing as t

import direct_iface
import pytest
import readme
import yaml
from direct_iface import Module, domain, nic, ok
from support import until

if t.TYPE_CHECKING:
    from libvirtd_fixture import Hypervisor

pytestmark = direct_iface.MARKS

DAY_2 = "docs/day-2.md"
HOST_ACCESS = "docs/host-access.md"
FIRST = "52:54:00:00:01:01"


def declared(heading: str) -> list[dict[str, t.Any]]:
    return t.cast("list[dict[str, t.Any]]", yaml.safe_load(readme.file(heading, DAY_2))["macvtap_domains_interfaces"])


def shown(heading: str) -> list[str]:
    """Return what the page shows of the diff under a heading, without what it leaves out."""
    texts = [block for under, block in readme.blocks("text", DAY_2) if under == heading]
    return [line.rstrip("…") for block in texts for line in re.findall(r"(?m)^\+\+\+ after: (.*)$", block)]


@pytest.fixture
def eth1(hv: Hypervisor) -> t.Iterator[None]:
    hv.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far9")
    yield
    hv.run("ip", "link", "del", "eth1")


@pytest.mark.usefixtures("eth1")
def test_the_changes_of_a_guests_nics_are_what_their_page_shows(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(FIRST)))
    hv.virsh("start", "web1")
    for heading in ("Add one", "Change one, or move it to another uplink"):
        result = ok(module(interfaces=declared(heading), source="eth0"))
        headers = [one["after_header"] for one in result["diff"]]
        assert shown(heading)
        assert len(headers) == len(shown(heading))
        assert all(header.startswith(line) for header, line in zip(headers, shown(heading)))
    assert [(one["mac"], one["fields"]) for one in result["restart_required"]] == [("52:54:00:00:01:03", ["source"])]
    # What is no longer in the entry stays.
    result = ok(module(interfaces=[{"domain": "web1", "mac": FIRST}], source="eth0"))
    assert not result["changed"]
    hv.virsh("destroy", "web1")
    ok(module(interfaces=declared("Remove one"), source="eth0"))
    assert re.findall("mac address='(.*)'", hv.dump("web1")) == [FIRST]
    ok(module(interfaces=declared("Give it another MAC address"), source="eth0"))
    assert re.findall("mac address='(.*)'", hv.dump("web1")) == ["52:54:00:00:01:0a"]


def test_a_guard_goes_and_its_nic_stays_as_their_page_shows(hv: Hypervisor, module: Module) -> None:
    heading = "Guard it, and stop doing so"
    hv.define(domain("web1", nic(FIRST)))
    ok(module(domain="web1", mac=FIRST, guard={"policy": "drop"}))
    result = ok(module(interfaces=declared(heading), source="eth0"))
    assert [one["after_header"] for one in result["diff"]] == shown(heading)
    assert re.findall("mac address='(.*)'", hv.dump("web1")) == [FIRST]
    assert not ok(module(interfaces=[{"domain": "web1", "mac": FIRST}], source="eth0"))["changed"]


@pytest.mark.usefixtures("eth1")
def test_a_guest_whose_uplink_was_made_anew_waits_for_its_restart(hv: Hypervisor, module: Module) -> None:
    hv.define(domain("web1", nic(FIRST, source="eth1")))
    hv.virsh("start", "web1")
    entry: direct_iface.Result = {"domain": "web1", "mac": FIRST, "source": "eth1"}
    assert ok(module(**entry))["restart_required"] == []
    hv.run("ip", "link", "del", "eth1")
    hv.run("ip", "link", "add", "eth1", "type", "veth", "peer", "name", "far9")
    result = ok(module(**entry))
    assert not result["changed"]
    assert result["restart_required"] == [{"domain": "web1", "mac": FIRST, "fields": ["link"]}]
    hv.virsh("destroy", "web1")
    hv.virsh("start", "web1")
    assert ok(module(**entry))["restart_required"] == []


def test_a_host_reaches_its_guest_by_a_network_of_its_own(hv: Hypervisor, module: Module) -> None:
    heading = "Without a shim: a network of its own"
    ((_heading, network),) = [one for one in readme.blocks("xml", HOST_ACCESS) if one[0] == heading]
    (((define, *others)),) = readme.commands(heading, HOST_ACCESS)
    hv.define_guest("web1", nic(FIRST))
    hv.run("sh", "-ec", define.replace("host-only.xml", "/dev/stdin"), stdin=network)
    for command in others:
        # The guest does not run: it has the NIC from its start on.
        hv.run("sh", "-ec", command.replace("--live ", ""))
    hv.virsh("start", "web1")

    def address() -> str:
        (found,) = re.findall(r"ipv4 +([\d.]+)/", hv.virsh("net-dhcp-leases", "host-only")) or [""]
        return found

    assert until(lambda: bool(address()), 30)
    # Refused is reached: nothing listens there.
    code = "import socket, sys; print(socket.socket().connect_ex((sys.argv[1], 9)))"
    assert int(hv.run("python3", "-c", code, address())) == errno.ECONNREFUSED
    # It is none of the interfaces that the module removes.
    ok(module(interfaces=[{"domain": "web1", "mac": FIRST}], source="eth0", purge=True))
    assert "<source network='host-only'" in hv.dump("web1")
