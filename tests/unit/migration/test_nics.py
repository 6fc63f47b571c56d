# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a guest's NICs are connected to on the host that it moves to."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import nics
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Desired, NicThere

MAC = "52:54:00:00:01:01"
DIRECT = f"""<interface type='direct'>
      <mac address='{MAC}'/>
      <source dev='eth0' mode='vepa'/>
      <target dev='macvtap3'/>
      <model type='virtio'/>
      <driver queues='4'/>
      <alias name='net0'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>"""
BRIDGE = f"""<interface type='bridge'>
      <mac address='{MAC}'/>
      <source bridge='br0'/>
      <target dev='vnet4'/>
      <model type='virtio'/>
      <mtu size='1500'/>
      <alias name='net0'/>
    </interface>"""
NETWORK = f"""<interface type='network'>
      <mac address='{MAC}'/>
      <source network='lan' portgroup='web'/>
      <model type='virtio'/>
    </interface>"""


def moved(element: str, given: t.Mapping[str, str] | None = None, **more: t.Any) -> str:
    """Return a domain's XML with this one interface as it is sent to the destination."""
    document = f"<domain><name>web1</name><devices>\n    {element}\n  </devices></domain>"
    declared = () if given is None else (NicThere("interfaces[0]", MAC, given),)
    modes = more.pop("modes", None)
    direct = more.pop("direct", ())
    edits = nics.edits(xml.interfaces(document), Desired("web1", declared, **more), modes, direct)
    return xml.edit(document, edits)


def test_a_nic_moves_to_another_uplink_and_keeps_all_else() -> None:
    sent = moved(DIRECT, {"source": "enp3s0"})
    assert "<source dev='enp3s0' mode='vepa'/>" in sent
    for kept in ("<driver queues='4'/>", "bus='0x01' slot='0x00'", f"<mac address='{MAC}'/>", "<alias name='net0'/>"):
        assert kept in sent
    # The name of its link is another guest's there, maybe.
    assert "macvtap3" not in sent


def test_a_nic_that_nobody_declares_stays_but_for_the_name_of_its_link() -> None:
    sent = moved(DIRECT)
    assert "<source dev='eth0' mode='vepa'/>" in sent
    assert "macvtap3" not in sent
    assert moved(NETWORK) == f"<domain><name>web1</name><devices>\n    {NETWORK}\n  </devices></domain>"


def test_the_mode_of_a_link_that_libvirt_does_not_know_goes_along() -> None:
    assert "<source dev='eth0' mode='bridge'/>" in moved(DIRECT, modes={MAC: "bridge"})
    assert "<source dev='enp3s0' mode='bridge'/>" in moved(DIRECT, {"source": "enp3s0"}, modes={MAC: "bridge"})
    assert "<source dev='enp3s0' mode='private'/>" in moved(
        DIRECT, {"source": "enp3s0", "mode": "private"}, modes={MAC: "bridge"}
    )


def test_uplinks_are_for_the_nics_that_are_not_declared() -> None:
    assert "dev='enp3s0'" in moved(DIRECT, uplinks={"eth0": "enp3s0"})
    assert "dev='eth0'" in moved(DIRECT, uplinks={"eth1": "enp3s0"})
    assert "dev='enp9s0'" in moved(DIRECT, {"source": "enp9s0"}, uplinks={"eth0": "enp3s0"})
    assert "enp3s0" not in moved(BRIDGE, uplinks={"br0": "enp3s0"})


def test_a_nic_on_a_bridge_becomes_a_direct_one() -> None:
    sent = moved(BRIDGE, {"source": "enp3s0"})
    assert "<interface type='direct'>" in sent
    assert "<source dev='enp3s0' mode='bridge'/>" in sent
    assert "br0" not in sent
    assert "vnet4" not in sent


@pytest.mark.parametrize("element", [DIRECT, BRIDGE])
def test_a_nic_moves_onto_a_network(element: str) -> None:
    sent = moved(element, {"network": "lan", "portgroup": "web"})
    assert "<interface type='network'>" in sent
    assert "<source network='lan' portgroup='web'/>" in sent


def test_a_nic_leaves_its_network() -> None:
    sent = moved(NETWORK, {"source": "enp3s0"})
    assert "<interface type='direct'>" in sent
    assert "<source dev='enp3s0' mode='bridge'/>" in sent


def test_a_nic_changes_its_portgroup_alone() -> None:
    assert "<source network='lan' portgroup='db'/>" in moved(NETWORK, {"network": "lan", "portgroup": "db"})
    assert "<source network='lan'/>" in moved(NETWORK, {"network": "lan"})


OPEN_VSWITCH = f"""<interface type='bridge'>
      <mac address='{MAC}'/>
      <source bridge='ovsbr0'/>
      <vlan><tag id='42'/></vlan>
      <virtualport type='openvswitch'>
        <parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>
      </virtualport>
      <bandwidth><inbound floor='100'/></bandwidth>
      <model type='virtio'/>
    </interface>"""
# A network of an Open vSwitch bridge, or of a macvtap one.
WITH_PORT = f"""<interface type='network'>
      <mac address='{MAC}'/>
      <source network='lan'/>
      <vlan><tag id='42'/></vlan>
      <virtualport type='802.1Qbh'>
        <parameters profileid='web'/>
      </virtualport>
      <model type='virtio'/>
    </interface>"""
ETHERNET = f"""<interface type='ethernet'>
      <mac address='{MAC}'/>
      <target dev='mt0' managed='no'/>
      <model type='virtio'/>
    </interface>"""


@pytest.mark.parametrize("element", [OPEN_VSWITCH, WITH_PORT])
@pytest.mark.parametrize("given", [{"source": "enp3s0"}, {"network": "lan2"}])
def test_what_another_switch_gave_a_nic_stays_with_that(element: str, given: dict[str, str]) -> None:
    sent = moved(element, given)
    assert next(iter(given.values())) in sent
    for gone in ("vlan", "virtualport", "floor", "ovsbr0"):
        assert gone not in sent
    assert "<model type='virtio'/>" in sent
    # On what it is connected to here, it keeps all.
    assert moved(element) == f"<domain><name>web1</name><devices>\n    {element}\n  </devices></domain>"


def test_a_nic_on_a_direct_network_keeps_its_virtual_port() -> None:
    sent = moved(WITH_PORT, {"network": "lan2"}, direct=("lan",))
    assert "<virtualport type='802.1Qbh'>" in sent
    assert "<tag id='42'/>" in sent


def test_the_link_that_a_nic_has_here_is_none_there() -> None:
    sent = moved(ETHERNET, {"source": "enp3s0"})
    assert "mt0" not in sent
    assert "managed" not in sent


def test_what_a_nic_loses_is_told() -> None:
    def lost(element: str, given: dict[str, str]) -> str:
        document = f"<domain><name>web1</name><devices>{element}</devices></domain>"
        ((before, after),) = nics.edits(xml.interfaces(document), Desired("web1", (NicThere("nics[0]", MAC, given),)))
        return nics.lost(before, after, "hv2")

    assert lost(OPEN_VSWITCH, {"source": "enp3s0"}) == (
        f"{MAC}: a macvtap link has no vlan, virtualport, bandwidth floor, so it has none on hv2. Here it is in the "
        "VLAN 42. If its uplink there is not a link of that VLAN, it reaches other hosts than here"
    )
    assert "VLAN 42" in lost(WITH_PORT, {"network": "lan2"})
    assert lost(BRIDGE, {"source": "enp3s0"}) == f"{MAC}: a macvtap link has no mtu, so it has none on hv2"
    assert lost(DIRECT, {"source": "enp3s0"}) == ""
