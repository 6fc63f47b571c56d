# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""An interface of any other type, with all that such a one can have, becomes one that libvirt takes."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, element, planner, schema
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface

A = "52:54:00:00:00:0a"
COMMON = (
    "<model type='virtio'/><driver name='vhost' queues='2'/><link state='up'/><boot order='2'/><alias name='ua-a'/>"
    "<rom bar='on'/><acpi index='4'/><address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>"
)
LIMITS = "<bandwidth><inbound average='5' peak='7' floor='200'/><outbound average='1'/></bandwidth>"
OTHERS = {
    "bridge": (
        "<source bridge='br0'/><script path='/etc/x'/><downscript path='/etc/y'/><target dev='web0'/><mtu size='9000'/>"
        "<virtualport type='openvswitch'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport>"
        "<vlan trunk='yes'><tag id='4'/><tag id='5'/></vlan><filterref filter='clean-traffic'/><port isolated='yes'/>"
        "<coalesce><rx><frames max='7'/></rx></coalesce><tune><sndbuf>1600</sndbuf></tune><backenddomain name='x'/>"
    ),
    "network": f"<source network='default' portgroup='lan'/>{LIMITS}<teaming type='persistent'/>",
    "network with a floor only": "<source network='default'/><bandwidth><inbound floor='200'/></bandwidth>",
    "network with a floor and more": (
        "<source network='default'/><bandwidth><inbound floor='200' peak='300'/><outbound average='9'/></bandwidth>"
    ),
    "ethernet": (
        "<target dev='mt0' managed='no'/><script path='/etc/x'/><downscript path='/etc/y'/><guest dev='eth7'/>"
        "<source><ip address='192.0.2.1' prefix='24'/><route address='0.0.0.0' gateway='192.0.2.9'/></source>"
        "<ip address='192.0.2.2' family='ipv4' prefix='24'/><route address='0.0.0.0' gateway='192.0.2.1'/>"
    ),
    "user": (
        "<source dev='eth0'/><backend type='passt' logFile='/var/log/x'/><ip family='ipv4' address='192.0.2.2'/>"
        "<portForward proto='tcp'><range start='2022' to='22'/></portForward>"
        "<portForward proto='udp' address='192.0.2.1' dev='eth0'><range start='53'/></portForward>"
    ),
    "vhostuser": (
        "<source type='unix' path='/run/x.sock' mode='client'><reconnect enabled='yes' timeout='10'/></source>"
    ),
    "vdpa": "<source dev='/dev/vhost-vdpa-0'/>",
    "hostdev": (
        "<driver name='vfio'/>"
        "<source><address type='pci' domain='0x0000' bus='0x03' slot='0x00' function='0x1'/></source>"
        "<vlan><tag id='42'/></vlan><virtualport type='802.1Qbh'><parameters profileid='x'/></virtualport>"
        "<teaming type='transient' persistent='ua-b'/>"
    ),
    "mcast": "<source address='239.0.0.1' port='5558'/>",
    "udp": "<source address='127.0.0.1' port='1'><local address='127.0.0.1' port='2'/></source>",
    "server": "<source address='127.0.0.1' port='1'/>",
    "client": "<source address='127.0.0.1' port='1'/>",
    "internal": "<source name='x'/>",
}


def read(what: str) -> Iface:
    kind = what.split(maxsplit=1)[0]
    managed = " managed='yes'" if kind == "hostdev" else ""
    common = COMMON if kind != "hostdev" else COMMON[COMMON.index("<link") :]
    return element.read(f"<interface type='{kind}'{managed}><mac address='{A}'/>{OTHERS[what]}{common}</interface>")


def lost(what: str) -> list[str]:
    return element.lost_by_conversion(read(what), Iface(A))


def converted(what: str, **given: t.Any) -> str:
    options = {"domain": "web1", "mac": A, "source": "eth0", "mode": "bridge", "convert": True, **given}
    host = Host("qemu:///system", {"web1": Domain("web1", stored=(read(what),))})
    (step,) = planner.plan(declare.declare([("", options)]), host).steps
    assert step.after is not None
    assert step.after.stored is not None
    return element.render(step.after.stored)


@pytest.mark.skipif(schema.missing() is not None, reason=f"{schema.missing()}")
@pytest.mark.parametrize("given", [{}, {"target": "web0"}, {"model": "virtio"}, {"model": "e1000", "vlan": 0}])
@pytest.mark.parametrize("what", OTHERS)
def test_what_becomes_of_it_is_valid(what: str, given: dict[str, t.Any]) -> None:
    made = converted(what, **given)
    assert schema.violation(made) is None
    for gone in ("managed", "floor", "portForward", "vfio", "script", "passt", "backenddomain", "transient", "vlan"):
        assert gone not in made
    # Of a limit in which nothing is left libvirt says that something mandatory is missing.
    assert "bound/>" not in made
    assert element.read(made).values == {**element.read(made).values, "source": "eth0", "mode": "bridge"}


def test_what_is_lost_is_named() -> None:
    assert lost("network") == ["bandwidth floor"]
    assert lost("user") == ["backend", "ip", "portForward"]
    assert lost("vdpa") == []


@pytest.mark.parametrize("what", ["network with a floor only", "network with a floor and more"])
def test_a_limit_is_valid_only_with_an_average(what: str) -> None:
    assert "inbound" not in converted(what)
    assert "<inbound average='3'/>" in converted(what, bandwidth={"inbound": {"average": 3}})
    assert ("<outbound average='9'/>" in converted(what)) is ("more" in what)


def test_a_host_device_becomes_a_virtio_nic() -> None:
    assert "<model type='virtio'/>" in converted("hostdev")
    assert "<driver" not in converted("hostdev")
    assert "<driver queues='4'/>" in converted("hostdev", driver={"queues": 4})
    assert lost("hostdev") == ["driver", "vlan", "virtualport", "teaming"]
