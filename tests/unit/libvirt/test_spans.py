# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The quick look at what libvirt has written finds what the parser finds, or nothing at all."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import spans

_NIC = """    <interface type='direct'>
      <mac address='52:54:00:00:00:{}'/>
      <source dev='eth0' mode='bridge'/>
    </interface>
"""
_METADATA = """  <metadata>
    <app:own xmlns:app='urn:app'>
  <devices>
    <interface type='no'>
    </interface>
  </devices>
      <metadata>
      </metadata>
    </app:own>
  </metadata>
"""


def domain(*, before: str = "", devices: str, root: str = "<domain type='qemu' id='1'>") -> str:
    return f"{root}\n  <name>web</name>\n{before}  <devices>\n{devices}  </devices>\n</domain>\n"


TWO = _NIC.format("0a") + "    <console type='pty'/>\n" + _NIC.format("0B")


@pytest.mark.parametrize(
    ("document", "count"),
    [
        (domain(devices=TWO), 2),
        (domain(devices="    <console type='pty'/>\n"), 0),
        (domain(before=_METADATA, devices=TWO), 2),
        (domain(before="  <title>&lt;devices&gt;\n    &lt;interface&gt;</title>\n", devices=TWO), 2),
        (domain(devices=TWO, root="<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"), 2),
    ],
)
def test_what_libvirt_writes(document: str, count: int) -> None:
    text = document.encode()
    found = spans.plain_slices(text, "domain", "devices", "interface")
    assert found == spans.slices(text, "devices", "interface")[1]
    assert len(found or ()) == count


@pytest.mark.parametrize(
    "document",
    [
        # Where a "<" may be no tag.
        domain(before="  <!-- <devices> -->\n", devices=TWO),
        domain(before="  <title><![CDATA[\n  <devices>\n]]></title>\n", devices=TWO),
        "<?xml version='1.0'?>" + domain(devices=TWO),
        # Where libvirt does not see it.
        domain(devices=TWO, root="<domain xmlns='urn:other'>"),
        domain(devices=TWO.replace("<console", "<console xmlns='urn:other'")),
        # What it does not write.
        domain(devices=TWO).replace("\n", ""),
        domain(devices=TWO + "    <interface type='direct'/>\n"),
        domain(devices=TWO + "    <other>" + _NIC.format("0c") + "    </other>\n").replace("<other>    ", "<other>"),
        domain(devices=TWO).replace("  <devices>", " <devices>"),
        domain(devices=TWO).replace("</domain>", "  <devices>\n  </devices>\n</domain>"),
        domain(devices=TWO).replace("domain", "domainsnapshot"),
        domain(devices=TWO).replace("devices", "gadgets"),
    ],
)
def test_other_documents_are_left_to_the_parser(document: str) -> None:
    assert spans.plain_slices(document.encode(), "domain", "devices", "interface") is None


def test_each_interface_has_its_own_address() -> None:
    assert [one.mac for one in xml.interfaces(domain(devices=TWO))] == ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]
    assert [one.xml in TWO for one in xml.interfaces(domain(devices=TWO))] == [True, True]


def test_an_address_in_a_comment_is_nobodys() -> None:
    commented = _NIC.format("0a").replace(
        "      <source", "      <!-- <mac address='52:54:00:00:00:0c'/> -->\n      <source"
    )
    first = commented.replace(
        "<interface type='direct'>", "<interface type='direct'><!-- <mac address='52:54:00:00:00:0d'/> -->"
    )
    for devices in (commented, first):
        assert [one.mac for one in xml.interfaces(domain(devices=devices))] == ["52:54:00:00:00:0a"]
