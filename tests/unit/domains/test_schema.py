# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt's schema has against an interface, said so that a user can mend it."""

from __future__ import annotations

import pathlib
import sys

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, schema, schema_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

need_schema = pytest.mark.skipif(schema.missing() is not None, reason=f"{schema.missing()}")


def direct(inside: str, source: str = "dev='eth0' mode='bridge'") -> str:
    return f"<interface type='direct'>{inside}<source {source}/></interface>"


@need_schema
@pytest.mark.parametrize(
    "element",
    [
        direct(""),
        direct(
            "<mac address='52:54:00:00:00:01'/><driver name='vhost' queues='4' rss='on'><host csum='off'/></driver>"
        ),
        direct("<virtualport type='802.1Qbg'><parameters managerid='0x0b' typeid='1193047'/></virtualport>"),
        direct("<vlan trunk='yes'><tag id='5'/><tag id='6' nativeMode='tagged'/></vlan>"),
        direct("<tune><sndbuf>1600</sndbuf></tune><!-- mine --><boot order='1'/>\n  <acpi index='7'/>"),
        direct("<address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>"),
        "<interface type='network'><source network='default' portgroup='lan'/></interface>",
        "<interface type='user'/>",
        "<interface type='hostdev' managed='yes'><source><address type='pci' slot='0x1'/></source></interface>",
    ],
)
def test_what_libvirt_takes_has_no_problems(element: str) -> None:
    assert schema.problems(element) == []


@need_schema
@pytest.mark.parametrize(
    ("element", "said"),
    [
        (direct("", "dev='eth0' mode='brige'"), "<source mode='brige'>: not one of vepa, bridge, private, passthrough"),
        (
            direct("", "dev='eth0' mod='vepa'"),
            "<source mod='vepa'>: there is no such attribute; it can have dev, mode,",
        ),
        (direct("", "mode='vepa'"), "<source>: its attribute dev is missing"),
        ("<interface type='direct'/>", "<interface>: <source> is missing in it"),
        ("<interface type='dirct'/>", "<interface type='dirct'>: not one of bridge, ethernet,"),
        ("<interface/>", "<interface>: its attribute type is missing"),
        (
            direct("<modle type='virtio'/>"),
            "<modle>: there is no such element here; <interface> can have acpi, address,",
        ),
        (direct("<x:a xmlns:x='urn:x'/>"), "<a>: there is no such element here"),
        (direct("<x:a/>"), "<x:a>: there is no such element here"),
        (direct("<boot x:a='1'/>"), "<boot x:a>: there is no such attribute"),
        (
            direct("<mac address='01:00:5e:00:00:01'/>"),
            "<mac address='01:00:5e:00:00:01'>: not a unicast MAC address such as 52:54:00:10:00:01",
        ),
        (direct("<driver queues='x'/>"), "<driver queues='x'>: not a whole number from 1"),
        (direct("<driver><host csum='yes'/></driver>"), "<driver><host csum='yes'>: not one of on, off"),
        (direct("<driver quues='2'/>"), "<driver quues='2'>: there is no such attribute; it can have ats, event_idx,"),
        (direct("<model type='virtio'/><model type='e1000'/>"), "<interface>: <model> is in it 2 times"),
        (direct("text"), "<interface>: has the text 'text', where none belongs"),
        (direct("<tune><sndbuf>much</sndbuf></tune>"), "<tune><sndbuf>: 'much' is not a whole number from 0"),
        (direct("<vlan/>"), "<vlan>: <tag> is missing in it"),
        (direct("<vlan><tag id='5000'/></vlan>"), "<vlan><tag id='5000'>: not a whole number from 0 to 4095"),
        (
            direct("<virtualport type='802.1Qbg'><parameters managerid='300'/></virtualport>"),
            "<virtualport><parameters managerid='300'>: not a hexadecimal number (0x…) or a whole number from 0 to 255",
        ),
        (
            direct("<virtualport type='802.1Qbh'><parameters managerid='3'/></virtualport>"),
            "<virtualport><parameters managerid='3'>: there is no such attribute; it can have profileid",
        ),
        (direct("<virtualport type='802.1Qbx'/>"), "<virtualport type='802.1Qbx'>: not one of 802.1Qbg, 802.1Qbh,"),
        (direct("<address type='pc'/>"), "<address type='pc'>: not one of pci, drive,"),
        (direct(f"<alias name='{'ä' * 1000}'/>"), f"<alias name='{'ä' * 60}…'>: not a name of letters, digits and"),
        ("<disk/>", "<disk>: this is not an <interface>"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(element: str, said: str) -> None:
    (problem,) = schema.problems(element) or [""]
    assert problem.startswith(said)


@need_schema
def test_every_mistake_is_named() -> None:
    element = direct("<link state='left'/><boot order='0'/><rom bar='yes'/><alias/>", "deev='eth0'")
    assert [problem.partition(":")[0] for problem in schema.problems(element) or ()] == [
        "<link state='left'>",
        "<boot order='0'>",
        "<rom bar='yes'>",
        "<alias>",
        "<source deev='eth0'>",
        "<source>",
    ]


@need_schema
def test_what_this_collection_writes_is_what_libvirt_takes() -> None:
    values = {field.name: field.choices[0] if field.choices else field.bool_words[1] for field in FIELDS}
    values |= {field.name: "1" for field in FIELDS if field.kind == "int"}
    values |= dict.fromkeys(("driver.rx_queue_size", "driver.tx_queue_size"), "256")
    values |= {"source": "eth0", "model": "virtio", "target": "web0", "alias": "ua-lan", "pci_address": "0000:01:00.0"}
    values |= {"rom.file": "/a", "virtualport.instanceid": "0" * 32}
    del values["virtualport.profileid"]
    assert schema.problems(element.render(Iface("52:54:00:00:00:01", values=values))) == []


@need_schema
@pytest.mark.parametrize(
    "element",
    [
        "<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><interface type='direct'>&x;</interface>",
        "<interface type='direct'>",
        "nonsense",
        "",
    ],
)
def test_what_is_no_element_is_refused(element: str) -> None:
    with pytest.raises(MacvtapError, match=r"DOCTYPE|not well formed"):
        schema.problems(element)


def test_a_missing_schema_is_no_problem_but_reported(tmp_path: pathlib.Path) -> None:
    assert schema.problems("<interface/>", [str(tmp_path)]) is None
    assert f"is not in {tmp_path}" in (schema.missing([str(tmp_path)]) or "")


def test_a_missing_lxml_is_no_problem_but_reported(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "domaincommon.rng").write_text("<grammar/>")
    monkeypatch.setitem(sys.modules, "lxml", None)
    assert schema.problems("<interface/>", [str(tmp_path)]) is None
    assert "lxml" in (schema.missing([str(tmp_path)]) or "")


def test_what_is_allowed_reads_as_a_list_or_as_alternatives() -> None:
    assert schema_text.either(["on", "off", "on"]) == "one of on, off"
    assert schema_text.either(["yes"]) == "yes"
    assert schema_text.either(["a UUID", "empty"]) == "a UUID or empty"
