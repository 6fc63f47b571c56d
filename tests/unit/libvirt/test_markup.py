# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What an element has beside its fields stays when it loses the last of them."""

from __future__ import annotations

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import markup, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import fields as network_fields

OFFLOADS = "<host csum='off' gso='off'/><guest tso4='off'/>"
SECOND = f"<driver queues='2'>{OFFLOADS}</driver>"
TUNE = "<tune><sndbuf>1</sndbuf></tune><backend tap='/dev/a'/>"


def port(attributes: str, children: str = "") -> str:
    """Return a virtual port with such parameters."""
    opening = f"<parameters {attributes}".rstrip()
    parameters = f"{opening}>{children}</parameters>" if children else f"{opening}/>"
    return f"<virtualport type='802.1Qbg'>{parameters}</virtualport>"


def edited(inside: str, *gone: str, table: fields.Table = fields.TABLE, new: dict[str, str] | None = None) -> str:
    """Return what is in an element that has lost the fields with these names, or the beginning of them."""
    text = f"<interface>{inside}</interface>".encode()
    root = spans.locate(text, markup.DEPTH)
    current = markup.read(root, markup.attributes(root), table)
    desired = {name: value for name, value in current.items() if not (gone and name.startswith(gone))}
    after = markup.changed(text, root, current, {**desired, **(new or {})}, table).decode()
    read = spans.locate(after.encode(), markup.DEPTH)
    assert markup.read(read, markup.attributes(read), table) == {**desired, **(new or {})}
    return after[len("<interface>") : -len("</interface>")]


@pytest.mark.parametrize(
    ("inside", "gone", "left"),
    [
        (f"<driver queues='4'>{OFFLOADS}</driver>", "driver", f"<driver>{OFFLOADS}</driver>"),
        (f"<driver name='vhost' queues='4'>{OFFLOADS}</driver>", "driver", f"<driver>{OFFLOADS}</driver>"),
        ("<driver queues='4' newer='x'/>", "driver", "<driver newer='x'/>"),
        ("<driver queues='4'><newer><one/></newer></driver>", "driver", "<driver><newer><one/></newer></driver>"),
        ("<rom bar='off' newer='x'/>", "rom", "<rom newer='x'/>"),
        (port("managerid='11' other='a'"), "virtualport.m", port("other='a'")),
        (port("managerid='11'", "<newer/>"), "virtualport.m", port("", "<newer/>")),
        # Another direction, which is no field without its average, and other children.
        (
            "<bandwidth><inbound average='1'/><outbound floor='2'/></bandwidth>",
            "bandwidth",
            "<bandwidth><outbound floor='2'/></bandwidth>",
        ),
        ("<bandwidth newer='x'><inbound average='1'/></bandwidth>", "bandwidth", "<bandwidth newer='x'></bandwidth>"),
        (
            "<bandwidth><inbound average='1' peak='2' newer='x'/></bandwidth>",
            "bandwidth.inbound.peak",
            "<bandwidth><inbound average='1' newer='x'/></bandwidth>",
        ),
        # What is a second one to libvirt does not become the first one.
        (f"<driver queues='4'/>{SECOND}", "driver", f"<driver/>{SECOND}"),
        # Elements that are no fields at all.
        (f"{TUNE}<driver queues='4'/>", "driver", TUNE),
    ],
)
def test_what_is_no_field_stays(inside: str, gone: str, left: str) -> None:
    assert edited(inside, gone) == left


@pytest.mark.parametrize(
    ("inside", "gone"),
    [
        ("<driver queues='4'/>", "driver"),
        ("<driver queues='4' name='vhost'><!-- fast --></driver>", "driver"),
        ("<rom bar='off' enabled='no'/>", "rom"),
        ("<bandwidth><inbound average='1' peak='2'/><outbound average='3'/></bandwidth>", "bandwidth"),
        # Without its head, or its only field, nothing in it has a meaning.
        ("<bandwidth><inbound average='1' floor='2' newer='x'/></bandwidth>", "bandwidth"),
        (port("managerid='11' newer='x'"), "virtualport"),
        ("<vlan newer='x'><tag id='42' nativeMode='untagged'/></vlan>", "vlan"),
        ("<vlan trunk='yes'><tag id='42'/><tag id='47'/></vlan>", "vlan"),
        ("<target dev='web0' managed='no'/>", "target"),
        ("<boot order='1' loadparm='2'/>", "boot"),
        ("<address type='pci' domain='0x0' bus='0x1' slot='0x0' function='0x0' multifunction='on'/>", "pci_address"),
    ],
)
def test_a_whole_element_goes(inside: str, gone: str) -> None:
    assert edited(inside, gone) == ""


def test_parameters_of_another_type_go_with_what_is_no_field() -> None:
    inside = port("managerid='11' newer='x'")
    new = {"virtualport.type": "802.1Qbh"}
    after = edited(inside, "virtualport.m", new=new)
    assert after == "<virtualport type='802.1Qbh'></virtualport>"


def test_a_trunk_is_replaced_as_a_whole() -> None:
    inside = "<vlan trunk='yes'><tag id='42'/><tag id='47'/></vlan>"
    assert edited(inside, new={"vlan": "5"}) == "<vlan><tag id='5'/></vlan>"


def test_the_pf_of_a_network_goes_and_its_driver_stays() -> None:
    forward = "<forward mode='passthrough'>{}<driver name='vfio'/></forward>"
    inside = forward.format("<pf dev='eth0' newer='x'/>")
    assert edited(inside, "pf", table=network_fields.NETWORK) == forward.format("")
