# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Networks and ports as libvirt 9.0 writes them."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import reader, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Port, Portgroup

LAN = """<network connections='1'>
  <name>lan</name>
  <uuid>a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c</uuid>
  <metadata><x:y xmlns:x='urn:x'><portgroup name='no'/></x:y></metadata>
  <forward dev='eth0' mode='bridge'>
    <interface dev='eth0' connections='1'/>
    <interface dev='up1'/>
  </forward>
  <virtualport type='802.1Qbh'>
    <parameters profileid='finance'/>
  </virtualport>
  <portgroup name='web' default='yes' trustGuestRxFilters='yes'>
    <bandwidth>
      <inbound average='100' peak='0'/>
    </bandwidth>
  </portgroup>
  <portgroup name='db'>
    <vlan>
      <tag id='42'/>
    </vlan>
  </portgroup>
</network>
"""
PORT = """<networkport>
  <uuid>5f2a1a7e-6f1b-4b7c-9a5e-1a52b9d4f6c1</uuid>
  <owner>
    <name>web1</name>
    <uuid>7ed6c1ac-6c34-4a0b-8a5a-ee0b5f4f2a11</uuid>
  </owner>
  <group>web</group>
  <mac address='52:54:00:00:00:0A'/>
  <bandwidth>
    <inbound average='100'/>
  </bandwidth>
  <rxfilters trustGuest='yes'/>
  <plug type='direct' dev='eth0' mode='bridge'/>
</networkport>
"""


def test_a_direct_network() -> None:
    web = Portgroup("web", True, {"trust_guest_rx_filters": "yes", "bandwidth.inbound.average": "100"})
    assert xml.read(LAN) == Definition(
        mode="bridge",
        interfaces=("eth0", "up1"),
        values={"virtualport.type": "802.1Qbh", "virtualport.profileid": "finance"},
        portgroups=(web, Portgroup("db", False, {"vlan": "42"})),
    )
    assert xml.read(LAN).connections == {"eth0": 1}
    assert xml.read(LAN.replace("connections='1'", "connections='x'")).connections == {}
    assert xml.identity(LAN) == ("lan", "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c")


@pytest.mark.parametrize(
    ("forward", "mode", "interfaces", "pf"),
    [
        ("<forward mode='private' dev='eth0'/>", "private", ("eth0",), None),
        ("<forward mode='vepa'/>", "vepa", (), None),
        ("<forward mode='passthrough'><pf dev='eth0'/></forward>", "passthrough", (), "eth0"),
        # libvirt adds the functions that it has found to an active network.
        (
            "<forward mode='passthrough' dev='vf0'><pf dev='eth0'/><interface dev='vf0'/></forward>",
            "passthrough",
            ("vf0",),
            "eth0",
        ),
    ],
)
def test_uplinks(forward: str, mode: str, interfaces: tuple[str, ...], pf: str | None) -> None:
    assert xml.read(f"<network>{forward}</network>") == Definition(mode, interfaces, pf)


@pytest.mark.parametrize(
    ("inner", "forward"),
    [
        ("", "isolated"),
        ("<forward/>", "nat"),
        ("<forward mode='route'/>", "route"),
        ("<forward mode='hostdev'><pf dev='eth0'/></forward>", "hostdev"),
        ("<forward mode='bridge'/><bridge name='br0'/>", "bridge on a bridge"),
    ],
)
def test_a_network_that_is_not_direct(inner: str, forward: str) -> None:
    found = xml.read(f"<network>{inner}<portgroup name='web'/></network>")
    assert (found.mode, found.forward, found.portgroups) == ("", forward, ())


def test_a_port() -> None:
    port = xml.read_port(PORT, "lan")
    assert port == Port(
        "lan",
        "web",
        "eth0",
        "web1",
        "7ed6c1ac-6c34-4a0b-8a5a-ee0b5f4f2a11",
        "52:54:00:00:00:0a",
        "bridge",
        "5f2a1a7e-6f1b-4b7c-9a5e-1a52b9d4f6c1",
    )
    assert port.values == {"trust_guest_rx_filters": "yes", "bandwidth.inbound.average": "100"}


@pytest.mark.parametrize(
    "document", ["<domain/>", "<network xmlns='urn:x'/>", "<network>", "<!DOCTYPE a><network/>", ""]
)
def test_what_is_not_the_xml_of_a_network(document: str) -> None:
    with pytest.raises(MacvtapError):
        xml.read(document)


def test_a_network_has_its_stored_fields_and_its_live_ones() -> None:
    stored = LAN.replace("mode='bridge'", "mode='vepa'")
    network = reader.network_of("lan", "a3e5", stored, LAN, autostart=True)
    assert (network.mode, network.live and network.live.mode) == ("vepa", "bridge")
    assert (network.active, network.persistent, network.direct) == (True, True, True)
    transient = reader.network_of("lan", "a3e5", "", LAN)
    assert (transient.mode, transient.interfaces, transient.persistent) == ("bridge", ("eth0", "up1"), False)
    inactive = reader.network_of("lan", "a3e5", LAN, "")
    assert (inactive.active, inactive.live) == (False, None)


def test_a_network_that_cannot_be_read_is_not_direct() -> None:
    # As libvirt 9.0 writes a portgroup with such a name.
    network = reader.network_of("lan", "a3e5", LAN.replace("name='db'", "name='d'b'"), "")
    assert (network.direct, network.forward.partition(",")[0]) == (False, "unreadable")


def test_a_portgroup_is_chosen_by_its_name_or_is_the_default() -> None:
    network = xml.read(LAN)
    assert [one and one.name for one in map(network.portgroup, ("db", None, "", "none"))] == ["db", "web", "web", None]
