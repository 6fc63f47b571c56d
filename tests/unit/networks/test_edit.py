# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Only the bytes of what changes are edited."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import edit, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import plain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Portgroup

# Odd on purpose: quotes, comments, and elements that no table knows.
ODD = """<?xml version="1.0"?>
<!-- <forward mode='vepa'/> -->
<network  ipv6="yes" connections='2'>
\t<name>l&amp;n ☃</name>
  <uuid>a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c</uuid>
  <metadata><x:forward xmlns:x='urn:x' mode="hostdev"><interface dev='no'/></x:forward></metadata>
  <forward   dev="eth0"  mode = "bridge"  managed='no'>
    <driver name='vfio'/>
    <interface dev="eth0" connections='1' x='y'/>
    <!-- between -->
    <interface dev='up1'/>
  </forward>
  <unknown><portgroup name='web'/></unknown>
  <portgroup name="web"><!-- w --><bandwidth><inbound average='1'/></bandwidth></portgroup>
  <portgroup name='db'
    default='yes'/>
</network>
<!-- end -->
"""
LAN = plain(xml.read(ODD))
DB = replace(LAN.portgroups[1])
WEB = replace(LAN.portgroups[0])
QBH = {"virtualport.type": "802.1Qbh", "virtualport.profileid": "x"}


def test_nothing_changes_where_nothing_differs() -> None:
    assert edit.edited(ODD, LAN) == ODD


@pytest.mark.parametrize(
    ("changes", "replacements"),
    [
        ({"mode": "vepa"}, [('mode = "bridge"', "mode='vepa'")]),
        ({"interfaces": ("eth0",)}, [("\n    <interface dev='up1'/>", "")]),
        (
            {"interfaces": ("up1", "eth0")},
            [
                ("""<interface dev="eth0" connections='1' x='y'/>""", "@"),
                ("<interface dev='up1'/>", """<interface dev="eth0" connections='1' x='y'/>"""),
                ("@", "<interface dev='up1'/>"),
                ('  dev="eth0"  mode', "  dev='up1'  mode"),
            ],
        ),
        (
            {"interfaces": ("eth0", "up1", "a&b")},
            [("<interface dev='up1'/>", "<interface dev='up1'/>\n    <interface dev='a&amp;b'/>")],
        ),
        ({"portgroups": (WEB,)}, [("\n  <portgroup name='db'\n    default='yes'/>", "")]),
        (
            {"portgroups": (replace(WEB, default=True), replace(DB, default=False))},
            [('<portgroup name="web">', """<portgroup name="web" default='yes'>"""), ("\n    default='yes'", "")],
        ),
        (
            {"portgroups": (WEB, DB, Portgroup("new", values={"trust_guest_rx_filters": "yes"}))},
            [("    default='yes'/>", "    default='yes'/>\n  <portgroup name='new' trustGuestRxFilters='yes'/>")],
        ),
        (
            {"values": QBH},
            [
                (
                    "</forward>\n  <unknown>",
                    "</forward>\n  <virtualport type='802.1Qbh'><parameters profileid='x'/></virtualport>\n  <unknown>",
                )
            ],
        ),
    ],
)
def test_an_edit_changes_its_own_bytes_alone(changes: dict[str, t.Any], replacements: list[tuple[str, str]]) -> None:
    desired = replace(LAN, **changes)
    edited = edit.edited(ODD, desired)
    expected = ODD
    for old, new in replacements:
        assert expected.count(old) == 1
        expected = expected.replace(old, new)
    assert edited == expected
    assert plain(xml.read(edited)) == desired
    # And back, in meaning.
    assert plain(xml.read(edit.edited(edited, LAN))) == LAN


@pytest.mark.parametrize(
    "forward",
    [
        "<forward mode='bridge' dev='eth0'/>",
        "<forward mode='bridge'/>",
        "<forward mode='passthrough'><pf dev='eth0'/></forward>",
        "<forward mode='passthrough'>\n<pf dev='eth0'/>\n</forward>",
    ],
)
@pytest.mark.parametrize(
    "desired",
    [
        Definition("vepa", ("up1",), forward="vepa"),
        Definition("private", ("up1", "up2"), forward="private"),
        Definition("passthrough", pf="up1", forward="passthrough"),
        Definition("bridge", ("eth0",), values=QBH, portgroups=(Portgroup("a", True, QBH),), forward="bridge"),
    ],
)
def test_uplinks_in_every_spelling_become_those_that_are_desired(forward: str, desired: Definition) -> None:
    document = f"<network><name>lan</name>{forward}<x/></network>"
    edited = edit.edited(document, desired)
    assert plain(xml.read(edited)) == desired
    # libvirt refuses another one than the first.
    if "dev=" in edited.partition("<forward")[2].partition(">")[0]:
        assert f"<forward mode='{desired.mode}' dev='{desired.interfaces[0]}'" in edited


@pytest.mark.parametrize("name", ["lan", "<l>&'\"", "☃"])
def test_a_new_network_is_read_as_it_was_written(name: str) -> None:
    desired = Definition(
        "bridge",
        ("eth0", "up1"),
        values=QBH,
        portgroups=(Portgroup("web", True, QBH), Portgroup("db")),
        forward="bridge",
    )
    document = edit.new(name, "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c", desired)
    assert plain(xml.read(document)) == desired
    assert xml.identity(document) == (name, "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c")
