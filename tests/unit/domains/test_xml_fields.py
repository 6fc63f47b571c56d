# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The fields of an interface in its XML, and what is left of another type's."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, fields, networks, xml

from .planned import changed

WHOLE = """<domain>
  <devices>
    <interface type='direct' trustGuestRxFilters='yes'>
      <mac address='52:54:00:00:00:01'/>
      <source dev='eth0' mode='vepa'/>
      <virtualport type='802.1Qbg'>
        <parameters managerid='11' typeid='1193047' typeidversion='2'
          instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>
      </virtualport>
      <bandwidth>
        <inbound average='1000' peak='5000' burst='1024'/>
        <outbound average='128'/>
      </bandwidth>
      <target dev='web0'/>
      <model type='virtio'/>
      <driver name='vhost' queues='4' event_idx='off'>
        <host csum='off'/>
      </driver>
      <link state='down'/>
      <boot order='1'/>
      <alias name='ua-lan'/>
      <rom bar='off' file='/rom'/>
      <acpi index='3'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
  </devices>
</domain>
"""


def test_every_field_is_read() -> None:
    (iface,) = xml.interfaces(WHOLE)
    assert fields.TABLE.nested(iface.values) == {
        "trust_guest_rx_filters": True,
        "source": "eth0",
        "mode": "vepa",
        "virtualport": {
            "type": "802.1Qbg",
            "managerid": 11,
            "typeid": 1193047,
            "typeidversion": 2,
            "instanceid": "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f",
        },
        "bandwidth": {"inbound": {"average": 1000, "peak": 5000, "burst": 1024}, "outbound": {"average": 128}},
        "target": "web0",
        "model": "virtio",
        "driver": {"name": "vhost", "queues": 4, "event_idx": False},
        "link_state": "down",
        "boot_order": 1,
        "alias": "ua-lan",
        "rom": {"bar": False, "file": "/rom"},
        "acpi_index": 3,
        "pci_address": "0000:01:00.0",
    }


def test_every_field_is_written_into_a_new_element_as_it_is_read() -> None:
    (iface,) = xml.interfaces(WHOLE)
    (written,) = xml.interfaces(xml.edit("<domain><devices/></domain>", [(None, replace(iface, xml=""))]))
    assert written.values == iface.values


@pytest.mark.parametrize(
    "field", [field for field in fields.IN_XML if field.name not in networks.NAMES], ids=lambda field: field.name
)
def test_one_field_taken_away_or_set_leaves_the_others(field: fields.Field) -> None:
    (iface,) = xml.interfaces(WHOLE)
    without = {name: text for name, text in iface.values.items() if name != field.name}
    (left,) = xml.interfaces(xml.edit(WHOLE, [(iface, replace(iface, values=without))]))
    implied = {} if field.implied is None else {field.name: field.implied}
    assert left.values == {**without, **implied}
    other = {"pci_address": "0000:07:00.3"}.get(field.name, "7")
    (again,) = xml.interfaces(
        xml.edit(WHOLE.replace(iface.xml, left.xml), [(left, changed(left, **{field.name: other}))])
    )
    assert again.values == {**without, field.name: other}
    assert "<host csum='off'/>" in again.xml


def test_an_element_goes_with_the_last_of_its_fields() -> None:
    (iface,) = xml.interfaces(WHOLE)
    left = {n: v for n, v in iface.values.items() if not n.startswith(("bandwidth.inbound", "virtualport", "boot"))}
    (inbound_gone,) = xml.interfaces(xml.edit(WHOLE, [(iface, replace(iface, values=left))]))
    assert "inbound" not in inbound_gone.xml
    assert "<outbound average='128'/>" in inbound_gone.xml
    assert "virtualport" not in inbound_gone.xml
    assert "<boot" not in inbound_gone.xml


BRIDGED = """<domain><devices>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <source bridge='br0'><!-- the old one --></source>
      <virtualport type='openvswitch'><parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/></virtualport>
      <bandwidth><inbound average='10' floor='5'/></bandwidth>
      <model type='e1000e'/>
      <filterref filter='clean-traffic'/>
      <boot order='2'/>
      <mtu size='9000'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface></devices></domain>"""


def test_a_bridges_interface_becomes_a_direct_one() -> None:
    (iface,) = xml.interfaces(BRIDGED)
    assert iface.origin == "br0"
    assert element.lost_by_conversion(iface, replace(iface, type="direct")) == [
        "virtualport",
        "filterref",
        "mtu",
        "bandwidth floor",
    ]
    values = {**iface.values, "source": "eth0", "mode": "bridge", "driver.queues": "2"}
    values = {name: text for name, text in values.items() if not name.startswith("virtualport")}
    edited = xml.edit(BRIDGED, [(iface, replace(iface, type="direct", values=values, origin=None))])
    assert (
        edited
        == """<domain><devices>
    <interface type='direct'>
      <mac address='52:54:00:00:00:01'/>
      <source dev='eth0' mode='bridge'/>
      <bandwidth><inbound average='10'/></bandwidth>
      <model type='e1000e'/>
      <driver queues='2'/>
      <boot order='2'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface></devices></domain>"""
    )
