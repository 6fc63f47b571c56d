# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""How the XML of a domain is read and edited: to the byte, and only where something changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

from .planned import changed

NEW = Iface("52:54:00:00:00:09", values={"source": "eth9", "mode": "bridge", "model": "virtio"})

# Odd on purpose: no libvirt writes this, people's files look like it.
ODD = """<?xml version="1.0" encoding='iso-8859-1'?>
<!-- <interface type='direct'><mac address='52:54:00:00:00:01'/></interface> -->
<domain type='kvm'   xmlns:qemu="http://libvirt.org/schemas/domain/qemu/1.0">
\t<name>wéb&amp;1 ☃</name>
  <description><![CDATA[<interface type='direct'> & </devices>]]></description>
  <metadata><x:devices xmlns:x='urn:x'><interface><mac address='52:54:00:00:00:01'/></interface></x:devices></metadata>
  <devices
    ><emulator a=">" b='"'>/usr/bin/q</emulator>
    <interface type='network'><mac address="52:54:00:00:00:02"/><source network='default'/></interface><!-- close -->
    <interface
        type = "direct"
        trustGuestRxFilters='yes' >
      <!-- <source dev='no'/> -->
      <mac address='52:54:00:AA:00:01'/>
      <source\tmode="vepa"   dev = 'a&amp;b' ></source >
      <driver name="vhost"   queues='2'/><boot order='1'
      />
      <x:note xmlns:x="urn:x" t='>'>&lt;&#x20;<![CDATA[]]>]]</x:note>
    </interface   >
    <hostdev/><interface type='direct'/><interface type='user'></interface></devices>
  <qemu:commandline>
    <qemu:arg value='-device'/>
  </qemu:commandline>
</domain>
<!-- after -->
"""


def only(document: str, mac: str) -> Iface:
    (iface,) = [i for i in xml.interfaces(document) if i.mac == mac]
    return iface


def test_interfaces_are_those_of_the_devices_only() -> None:
    found = xml.interfaces(ODD)
    assert [(i.type, i.mac, i.get("source"), i.get("mode"), i.index) for i in found] == [
        ("network", "52:54:00:00:00:02", None, None, 0),
        ("direct", "52:54:00:aa:00:01", "a&b", "vepa", 1),
        ("direct", "", None, "vepa", 2),
        ("user", "", None, None, 3),
    ]
    assert [i.xml for i in found][2:] == ["<interface type='direct'/>", "<interface type='user'></interface>"]
    for iface in found:
        assert ODD.count(iface.xml) == 1


def test_only_what_differs_is_changed_to_the_byte() -> None:
    iface = only(ODD, "52:54:00:aa:00:01")
    assert element.render(iface) == iface.xml
    assert xml.edit(ODD, [(iface, iface)]) == ODD
    edited = xml.edit(ODD, [(iface, changed(iface, source="it's <0>", mode="bridge"))])
    assert edited == ODD.replace(
        """<source\tmode="vepa"   dev = 'a&amp;b' >""", "<source\tmode='bridge'   dev='it&apos;s &lt;0&gt;' >"
    )
    assert only(edited, iface.mac).get("source") == "it's <0>"


def test_a_missing_child_goes_where_libvirt_has_it() -> None:
    iface = only(ODD, "52:54:00:aa:00:01")
    edited = xml.edit(ODD, [(iface, changed(iface, model="virtio"))])
    assert edited == ODD.replace("</source >", "</source >\n      <model type='virtio'/>")


def test_elements_are_removed_with_their_line_and_put_back() -> None:
    for iface in xml.interfaces(ODD):
        removed = xml.edit(ODD, [(iface, None)])
        assert len(xml.interfaces(removed)) == 3
        assert iface.xml not in removed
        begins_line = f"\n    {iface.xml}"
        assert removed == ODD.replace(begins_line if begins_line in ODD else iface.xml, "")
        back = xml.edit(removed, [(None, iface)])
        assert [i.xml for i in xml.interfaces(back)] == [i.xml for i in xml.interfaces(ODD)]


PLAIN = """<domain>
  <devices>
    <emulator/>
    <interface type='direct'>
      <mac address='52:54:00:00:00:01'/>
      <source dev='eth0' mode='bridge'/>
    </interface>
    <interface type='direct'>
      <mac address='52:54:00:00:00:02'/>
      <source dev='eth0' mode='bridge'/>
    </interface>
    <video/>
  </devices>
</domain>
"""
ADDED = """    <interface type='direct'>
      <mac address='52:54:00:00:00:09'/>
      <source dev='eth9' mode='bridge'/>
      <model type='virtio'/>
    </interface>
"""


def test_a_new_interface_goes_behind_the_last_one() -> None:
    assert xml.edit(PLAIN, [(None, NEW)]) == PLAIN.replace("    <video/>", ADDED + "    <video/>")


def test_a_removed_interface_goes_back_to_the_byte() -> None:
    for iface in xml.interfaces(PLAIN):
        assert xml.edit(xml.edit(PLAIN, [(iface, None)]), [(None, iface)]) == PLAIN


def test_one_interface_takes_the_place_of_another() -> None:
    first, second = xml.interfaces(PLAIN)
    for going, coming in ((first, replace(NEW, index=0)), (second, replace(NEW, index=1))):
        swapped = xml.edit(PLAIN, [(going, None), (None, coming)])
        assert len(xml.interfaces(swapped)) == 2
        (new,) = [iface for iface in xml.interfaces(swapped) if iface.mac == NEW.mac]
        assert xml.edit(swapped, [(new, None), (None, going)]) == PLAIN


def test_many_edits_at_once() -> None:
    first, second = xml.interfaces(PLAIN)
    edited = xml.edit(
        PLAIN,
        [
            (None, NEW),
            (second, None),
            (first, changed(first, mode="vepa")),
            (None, replace(NEW, mac="52:54:00:00:00:0a")),
        ],
    )
    assert [(i.mac, i.get("mode")) for i in xml.interfaces(edited)] == [
        (first.mac, "vepa"),
        (NEW.mac, "bridge"),
        ("52:54:00:00:00:0a", "bridge"),
    ]


@pytest.mark.parametrize(
    ("devices", "after"),
    [
        ("  <devices>\n    <video/>\n  </devices>\n", "  <devices>\n    <video/>\n" + ADDED + "  </devices>\n"),
        ("  <devices/>\n", "  <devices>\n" + ADDED + "  </devices>\n"),
        ("  <devices />\n", "  <devices>\n" + ADDED + "  </devices>\n"),
        ("  <devices></devices>\n", "  <devices>\n" + ADDED.rstrip("\n") + "</devices>\n"),
    ],
)
def test_the_first_interface_goes_to_the_end_of_the_devices(devices: str, after: str) -> None:
    assert xml.edit(f"<domain>\n{devices}</domain>", [(None, NEW)]) == f"<domain>\n{after}</domain>"


def test_a_document_in_one_line_stays_in_one_line() -> None:
    line = "<domain><devices><interface type='user'/><video/></devices></domain>"
    edited = xml.edit(line, [(None, NEW)])
    assert edited.startswith("<domain><devices><interface type='user'/><interface type='direct'>")
    assert edited.endswith("</interface><video/></devices></domain>")


def test_an_element_that_is_not_there_any_more_is_refused() -> None:
    first = xml.interfaces(PLAIN)[0]
    with pytest.raises(MacvtapError, match="changed while this ran"):
        xml.edit(PLAIN.replace("eth0", "eth1"), [(first, None)])


def test_an_attached_interface_has_no_names_of_an_earlier_run() -> None:
    text = (
        "<interface type='direct'>\n  <mac address='52:54:00:00:00:01'/>\n  <source dev='eth0' mode='bridge'/>\n"
        "  <target dev='{0}'/>\n  <alias name='{1}'/>\n  <address type='pci' bus='0x01'/>\n</interface>"
    )
    own, given = (
        only(f"<domain><devices>{text.format(*names)}</devices></domain>", "52:54:00:00:00:01")
        for names in (("web0", "ua-lan"), ("macvtap3", "net1"))
    )
    ours = only(f"<domain><devices>{text.format('mvg525400000001', 'net1')}</devices></domain>", "52:54:00:00:00:01")
    assert element.for_hotplug(own) == own.xml
    assert element.for_hotplug(given) == given.xml.replace("\n  <target dev='macvtap3'/>\n  <alias name='net1'/>", "")
    assert element.for_hotplug(ours) == element.for_hotplug(given)
    assert "<address" not in element.for_hotplug(given, address=False)
    for one in (own, given, ours):
        named = element.for_hotplug(one, target="mvg525400000002")
        assert named.count("<target ") == named.count("<target dev='mvg525400000002'/>") == 1
    new = element.for_hotplug(replace(own, xml="", values={"source": "eth0", "mode": "bridge"}), target="web1")
    assert "<target dev='web1'/>" in new


def test_a_view_starts_at_the_left_margin() -> None:
    assert element.view(xml.interfaces(PLAIN)[0]).splitlines() == [
        "<interface type='direct'>",
        "  <mac address='52:54:00:00:00:01'/>",
        "  <source dev='eth0' mode='bridge'/>",
        "</interface>",
    ]
    assert element.view(None) == ""
    assert element.view(NEW) == "\n".join(line[4:] for line in ADDED.splitlines())


BOMB = (
    "<!DOCTYPE d [<!ENTITY a 'aaaa'>" + "".join(f"<!ENTITY a{i} '&a{i - 1};&a{i - 1};'>" for i in range(1, 30)) + "]>"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not well formed"),
        ("nonsense", "not well formed"),
        ("<domain><devices></domain>", "not well formed"),
        ("<domain><devices>&nonsense;</devices></domain>", "not well formed"),
        ("<domain a='1' a='2'/>", "not well formed"),
        ("<network/>", "its root is <network>"),
        ("<domain xmlns='urn:x'><devices><interface/></devices></domain>", "namespace"),
        ("<domain><devices xmlns='urn:x'><interface/></devices></domain>", "has <devices> in a namespace"),
        ("<domain><devices><interface xmlns='urn:x'/></devices></domain>", "has <interface> in a namespace"),
        ("<domain><devices><interface><mac xmlns='urn:x'/></interface></devices></domain>", "has <mac> in a namespace"),
        (BOMB + "<domain>&a29;</domain>", "DOCTYPE"),
        ("<!DOCTYPE domain [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><domain>&x;</domain>", "DOCTYPE"),
        ("<!DOCTYPE domain SYSTEM 'http://127.0.0.1/x.dtd'><domain/>", "DOCTYPE"),
    ],
)
def test_what_is_not_a_domain_is_refused(text: str, message: str) -> None:
    with pytest.raises(MacvtapError, match=message):
        xml.interfaces(text)


def test_whose_the_document_is() -> None:
    assert xml.identity("<domain><uuid>u</uuid><name>a&amp;b<!-- c --></name></domain>") == ("a&b", "u")
    assert xml.identity("<domain/>") == ("", "")
