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
    edits = nics.edits(xml.interfaces(document), Desired("web1", declared, **more), modes)
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
