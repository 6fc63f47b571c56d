# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The fields of an interface in its XML, and what is left of another type's."""

from __future__ import annotations

import typing as t
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, fields, networks, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface

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


def test_an_element_is_read_as_options() -> None:
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


def test_a_table_refuses_a_field_in_a_child_without_a_place() -> None:
    """Otherwise a new element is rendered without the field, which no message reports."""
    for name in ("teaming", "coalesce"):
        with pytest.raises(ValueError, match=f"order of the children: {name}"):
            fields.Table(("mac", "source"), fields.Field("source", ("source",), "dev"), fields.Field("x", (name,), "x"))


# What a value may be only in one form.
FORMS = {"pci_address": "0000:07:00.3", "virtualport.instanceid": "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f"}


def a_value_of(field: fields.Field, number: int) -> str:
    """Return a value that is neither the implied one nor that of another field."""
    if field.name in FORMS:
        return FORMS[field.name]
    words = field.bool_words if field.kind == "bool" else field.choices
    # passthru is an option's word for passthrough, and auto is resolved before there is XML.
    words = tuple(word for word in words if word not in {field.implied, field.cleared_by, "passthru", "auto"})
    return words[-1] if words else str(number) if field.kind == "int" else f"text{number}"


def every_field(*, on_network: bool) -> dict[str, str]:
    """Return a value of each field in the XML. An interface is either on an uplink or on a network."""
    excluded = ("source", "mode") if on_network else networks.NAMES
    named = enumerate((field for field in fields.IN_XML if field.name not in excluded), 100)
    return {field.name: a_value_of(field, number) for number, field in named}


def element_with(values: t.Mapping[str, str]) -> ET.Element:
    """Return an element with these fields, built from the rows alone."""
    built = ET.Element("interface", type="network" if "network" in values else "direct")
    ET.SubElement(built, "mac", address="52:54:00:00:00:01")
    for name, value in values.items():
        place = built
        for part in fields.BY_NAME[name].element:
            inner = place.find(part)
            place = ET.SubElement(place, part) if inner is None else inner
        place.attrib.update(fields.BY_NAME[name].write(value))
    return built


def in_domain(element_text: str) -> str:
    return f"<domain><devices>{element_text}</devices></domain>"


def attributes_of(one: ET.Element, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], dict[str, str]]:
    """Return the attributes of an element and of what is in it, by path."""
    found = {path: dict(one.attrib)}
    for child in one:
        assert (*path, child.tag) not in found
        found.update(attributes_of(child, (*path, child.tag)))
    return found


PLACES = pytest.mark.parametrize("on_network", [False, True], ids=["uplink", "network"])


@PLACES
def test_every_field_is_read(on_network: bool) -> None:
    values = every_field(on_network=on_network)
    (iface,) = xml.interfaces(in_domain(ET.tostring(element_with(values), encoding="unicode")))
    (iface,) = networks.as_stored((iface,), {values.get("network", "")})
    assert iface.values == values
    # As options, each has the type of its option.
    options = fields.TABLE.flat(fields.TABLE.nested(values))
    assert {name: type(value).__name__ for name, value in options.items()} == {
        name: fields.BY_NAME[name].kind for name in values
    }
    assert {name: fields.BY_NAME[name].text(value) for name, value in options.items()} == values


@PLACES
def test_every_field_is_written_into_a_new_element(on_network: bool) -> None:
    values = every_field(on_network=on_network)
    new = Iface("52:54:00:00:00:01", "direct", values, None, "")
    (written,) = ET.fromstring(xml.edit(in_domain(""), [(None, new)])).iter("interface")  # noqa: S314
    assert attributes_of(written) == attributes_of(element_with(values))
    # libvirt has an order of its own only for what it writes itself; ours is its order.
    assert [child.tag for child in written] == [name for name in fields.TABLE.order if written.find(name) is not None]


def test_every_field_has_a_value_of_its_own() -> None:
    values = [every_field(on_network=one) for one in (False, True)]
    assert values[0].keys() | values[1].keys() == {field.name for field in fields.IN_XML}
    assert all(one[name] != fields.BY_NAME[name].implied for one in values for name in one)


# With its network an interface loses the portgroup too.
@pytest.mark.parametrize(
    "field", [field for field in fields.IN_XML if field.name != "network"], ids=lambda field: field.name
)
def test_one_field_taken_away_or_set_leaves_the_others(field: fields.Field) -> None:
    values = every_field(on_network=field.name in networks.NAMES)
    built = element_with(values)
    ET.SubElement(t.cast("ET.Element", built.find("driver")), "host", csum="off")
    whole = in_domain(ET.tostring(built, encoding="unicode"))
    (iface,) = xml.interfaces(whole)
    assert iface.values == values
    without = {name: text for name, text in values.items() if name != field.name}
    (left,) = xml.interfaces(xml.edit(whole, [(iface, replace(iface, values=without))]))
    implied = {} if field.implied is None else {field.name: field.implied}
    assert left.values == {**without, **implied}
    other = {"pci_address": "0000:07:00.4"}.get(field.name, "7")
    (again,) = xml.interfaces(
        xml.edit(whole.replace(iface.xml, left.xml), [(left, changed(left, **{field.name: other}))])
    )
    assert again.values == {**without, field.name: other}
    assert '<host csum="off" />' in again.xml


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
