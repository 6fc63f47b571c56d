# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The XML of domains, networks and ports: of libvirt, of other editors, and in files."""

from __future__ import annotations

import pathlib
import tempfile
import typing as t
from dataclasses import replace
from xml.etree import ElementTree
from xml.parsers import expat

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    element,
    fields,
    save_blockers,
    xml,
    xmlfile,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import guard_links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guest, paused
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit as network_edit
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import users
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import xml as network_xml
from torture.parsers import Parser

_MAC = "52:54:00:00:00:0a"
_DOMAIN = b"""<domain type='kvm' id='7'>
  <name>web1</name>
  <uuid>6f3d5b1c-0c4e-4a58-9d2b-3f0c6f6f0a01</uuid>
  <metadata>
    <app:x xmlns:app='urn:app'><devices><interface type='direct'/></devices></app:x>
  </metadata>
  <memory unit='KiB'>1048576</memory>
  <os>
    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <source file='/a&amp;b'/>
      <target dev='vda' bus='virtio'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <interface type='direct'>
      <mac address='52:54:00:00:00:0a'/>
      <source dev='eth0' mode='bridge'/>
      <bandwidth>
        <inbound average='1000' peak='5000' floor='200' burst='1024'/>
        <outbound average='128'/>
      </bandwidth>
      <vlan trunk='yes'>
        <tag id='42'/>
        <tag id='123' nativeMode='untagged'/>
      </vlan>
      <virtualport type='802.1Qbg'>
        <parameters managerid='11' typeid='1193047' typeidversion='2'/>
      </virtualport>
      <target dev='macvtap0'/>
      <model type='virtio'/>
      <driver name='vhost' queues='4' rx_queue_size='256'>
        <host csum='off'/>
        <guest tso4='off'/>
      </driver>
      <mtu size='9000'/>
      <link state='up'/>
      <boot order='1'/>
      <rom bar='off' file='/etc/rom.bin'/>
      <alias name='net0'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
    <interface type='network' trustGuestRxFilters='yes'>
      <mac address='52:54:00:00:00:0B'/>
      <source network='lan' portgroup='web' portid='1' bridge='virbr0'/>
      <model type='e1000e'/>
    </interface>
    <!-- <interface type='direct'/> -->
    <interface type='hostdev' managed='yes'>
      <mac address='52:54:00:00:00:0c'/>
      <source><address type='pci' domain='0x0000' bus='0x02' slot='0x10' function='0x1'/></source>
      <driver name='vfio'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
    </channel>
  </devices>
</domain>
"""
_EMPTY = b"<domain type='kvm'><name>a</name><uuid>u</uuid><devices/></domain>"
_NETWORK = b"""<network connections='1'>
  <name>lan</name>
  <uuid>6f3d5b1c-0c4e-4a58-9d2b-3f0c6f6f0a02</uuid>
  <forward dev='eth0' mode='bridge'>
    <interface dev='eth0' connections='1'/>
    <interface dev='eth1'/>
  </forward>
  <vlan trunk='yes'><tag id='42'/></vlan>
  <bandwidth><inbound average='1000' peak='5000' burst='5120'/></bandwidth>
  <portgroup name='web' default='yes' trustGuestRxFilters='no'>
    <vlan><tag id='47'/></vlan>
    <virtualport type='802.1Qbh'><parameters profileid='finance'/></virtualport>
  </portgroup>
  <portgroup name='db'/>
</network>
"""
_SMALL_NETWORK = b"<network><name>n</name><forward mode='passthrough'><pf dev='eth0'/></forward></network>"
_PORT = b"""<networkport>
  <uuid>5d744f21-ba4a-4d6e-bdb2-30a35ff3207d</uuid>
  <owner>
    <name>web1</name>
    <uuid>6f3d5b1c-0c4e-4a58-9d2b-3f0c6f6f0a01</uuid>
  </owner>
  <group>web</group>
  <mac address='52:54:00:7b:35:93'/>
  <rxfilters trustGuest='no'/>
  <plug type='direct' dev='eth1' mode='bridge'/>
</networkport>
"""


def _text(data: bytes) -> str:
    """Return what the binding of libvirt would make of these bytes: it has no others than UTF-8."""
    return data.decode(errors="replace")


def _domain(data: bytes) -> None:
    document = _text(data)
    by_libvirt = xml.interfaces(document)
    found = xml.interfaces(document, by_libvirt=False)
    for one in (*by_libvirt, *found):
        _interface(one)
    xml.identity(document)
    for one in found:
        _edited(document, one)
    xml.edit(document, [(None, Iface("52:54:00:00:00:0d", "direct", {"source": "eth0", "mode": "bridge"}))])
    xml.without_pci_controllers(document)


def _interface(one: Iface) -> None:
    fields.TABLE.nested(one.values)
    fields.without_generated(one.values)
    element.for_hotplug(one, address=False, target="macvtap9")
    element.view(one)
    element.for_update(replace(one, values={**one.values, "link_state": "down", "mtu": "1400"}))
    element.lost_by_conversion(one, replace(one, type="direct"))


def _edited(document: str, one: Iface) -> None:
    after = replace(one, type="direct", values={**one.values, "source": "eth1", "mode": "bridge", "vlan": "7"})
    xml.edit(document, [(one, after)], by_libvirt=False)
    xml.edit(document, [(one, None)], by_libvirt=False)


def _facts(data: bytes) -> None:
    document = _text(data)
    save_blockers.of(document)
    save_blockers.disks(document)
    save_blockers.has_huge_pages(document)
    save_blockers.has_agent(document)


def _in_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "web1.xml")
        path.write_bytes(data)
        store = xmlfile.DomainFile(str(path), str(path), lambda _path, _content: None, None)
        store.observe([store.only_domain])
        if path.read_bytes() != data:
            raise AssertionError("reading has changed the file")


def _by_keeper(data: bytes) -> None:
    document = _text(data)
    paused.with_interfaces(document, {_MAC: "<interface type='direct'/>"})
    vars(guest)["_live"](_Handle(document), local=False)


class _Handle:
    """A domain of the binding of libvirt."""

    def __init__(self, document: str) -> None:
        self._document = document

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802  # libvirt's name
        return self._document


def _network(data: bytes) -> None:
    document = _text(data)
    found = network_xml.read(document)
    network_xml.identity(document)
    if found.mode:
        others = tuple(one for one in found.portgroups if one.name != "web")
        network_edit.edited(document, found)
        network_edit.edited(document, replace(found, interfaces=("eth7", "eth8"), portgroups=others, pf=None))


_DOMAINS = (_DOMAIN, _EMPTY)
_NETWORKS = (_NETWORK, _SMALL_NETWORK)
PARSERS: t.Sequence[Parser] = (
    Parser("domain's XML", _DOMAINS, _domain),
    Parser("domain's XML, facts", _DOMAINS, _facts),
    Parser("domain's XML in a file", _DOMAINS, _in_file),
    Parser("networks of a domain's XML", _DOMAINS, lambda data: users.nics(_text(data))),
    # The hook and the keeper have no module_utils; they report any of these.
    Parser("domain's XML at the hook", _DOMAINS, lambda data: guard_links.nics(_text(data)), (expat.ExpatError,)),
    Parser("domain's XML at the keeper", _DOMAINS, _by_keeper, (expat.ExpatError, ElementTree.ParseError, ValueError)),
    Parser("network's XML", _NETWORKS, _network),
    Parser("port's XML", (_PORT,), lambda data: network_xml.read_port(_text(data), "lan")),
)
