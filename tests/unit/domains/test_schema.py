# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What libvirt's schema has against an interface."""

from __future__ import annotations

import pathlib
import sys
import typing as t

import odd_xml
import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element, schema
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.declare import declare
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError

need_schema = pytest.mark.skipif(schema.missing() is not None, reason=f"{schema.missing()}")
A = "52:54:00:00:00:01"
VALUES = {"source": "eth0", "mode": "bridge", "model": "virtio"}


def direct(inside: str, source: str = "dev='eth0' mode='bridge'") -> str:
    return f"<interface type='direct'>{inside}<source {source}/></interface>"


def new(**values: str) -> Iface:
    return Iface(A, values={**VALUES, **values})


@need_schema
@pytest.mark.parametrize(
    "element",
    [
        direct(""),
        direct("<driver name='vhost' queues='4' rss='on'><host csum='off'/></driver>"),
        direct("<virtualport type='802.1Qbg'><parameters managerid='0x0b' typeid='1193047'/></virtualport>"),
        direct("<tune><sndbuf>1600</sndbuf></tune><!-- mine --><boot order='1'/>\n  <acpi index='7'/>"),
        "<interface type='network'><source network='default' portgroup='lan'/></interface>",
        "<interface type='user'/>",
    ],
)
def test_what_libvirt_takes(element: str) -> None:
    assert schema.violation(element) is None


@need_schema
@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (direct("", "dev='eth0' mode='brige'"), "attribute mode for element source"),
        (direct("<rom file='a'/>"), "rom"),
        (direct("<target dev='a+b'/>"), "target"),
        ("<disk/>", "Expecting element interface, got disk"),
        (direct("<x:a/>"), "Namespace prefix x on a is not defined"),
    ],
)
def test_what_it_does_not_take(element: str, reason: str) -> None:
    assert reason in (schema.violation(element) or "")


@need_schema
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "a+b"}, r"interfaces\[1\]\.target: libvirt's schema does not allow 'a\+b': .*target"),
        ({"rom.file": "a"}, r"interfaces\[1\]\.rom\.file: libvirt's schema does not allow 'a': .*rom"),
        ({"source": "a+b"}, r"interfaces\[1\]\.source: libvirt's schema does not allow 'a\+b': .*source"),
        # None of these alone is at fault.
        ({"target": "a+b", "rom.file": "a"}, r"interfaces\[1\]: libvirt's schema does not allow this: .*(target|rom)"),
    ],
)
def test_the_option_at_fault_is_named(values: t.Any, message: str) -> None:
    for before in (None, new(), new(model="e1000")):
        with pytest.raises(MacvtapError, match=f"^{message}"):
            schema.validate(before, new(**values), "interfaces[1]")


@need_schema
@pytest.mark.parametrize("found", [new(source="a+b"), element.read(direct("<modle/>")), None])
def test_what_others_have_written_is_not_judged(found: Iface | None) -> None:
    if found is None:
        schema.validate(new(), None, "")
        schema.validate(None, None, "")
    else:
        schema.validate(found, Iface(A, values={**found.values, "model": "e1000"}, xml=found.xml), "")


@need_schema
def test_what_this_collection_writes_is_what_libvirt_takes() -> None:
    values = {field.name: field.choices[0] if field.choices else field.bool_words[1] for field in FIELDS}
    values |= {field.name: "1" for field in FIELDS if field.kind == "int"}
    values |= dict.fromkeys(("driver.rx_queue_size", "driver.tx_queue_size"), "256")
    values |= {"source": "eth0", "model": "virtio", "target": "web0", "alias": "ua-lan", "pci_address": "0000:01:00.0"}
    values |= {"rom.file": "/a", "virtualport.instanceid": "0" * 32}
    del values["virtualport.profileid"]
    assert schema.violation(element.render(Iface(A, values=odd_xml.placed(values)))) is None
    on_uplink = {name: text for name, text in values.items() if name not in {"network", "portgroup"}}
    assert schema.violation(element.render(Iface(A, values=on_uplink))) is None


# Texts at the edges of what an option accepts.
_TEXTS = (
    *("", "a", "a b", "/a", "a/b", "a@b", "ä", 'a"b', "a&b", "a<b", "a.b", "ua-a", "ua-_-", "a" * 39, "a" * 40),
    *("0" * 32, "0 " * 32, "00:01.0", "ffff:ff:1f.7", "E1000", "1"),
)
_NUMBERS = (0, 1, 2, 255, 256, 257, 1024, 4094, 4095, 16383, 16384, 65535, 65536, 16777215, 16777216, (1 << 32) - 1)


@need_schema
def test_which_values_only_the_validator_finds() -> None:
    found = set()
    for field in FIELDS:
        kinds: dict[str, t.Sequence[t.Any]] = {"int": _NUMBERS, "bool": (True, False), "str": _TEXTS}
        for value in field.choices or kinds[field.kind]:
            options: dict[str, t.Any] = {**VALUES, "domain": "web1", "mac": A}
            part = options
            for name in field.name.split(".")[:-1]:
                part = part.setdefault(name, {"average": 9} if name.endswith("bound") else {})
            if field.name.startswith("virtualport."):
                part["type"] = "802.1Qbh" if field.name.endswith("profileid") else "802.1Qbg"
            part[field.name.rpartition(".")[2]] = value
            try:
                (desired,) = declare([("", options)])
            except MacvtapError:
                continue
            given = {name: text for name, text in desired.given.items() if text is not None}
            if not field.outside_xml and schema.violation(element.render(Iface(A, values=given))):
                found.add(field.name)
    # libvirt and QEMU accept these; "auto" is replaced before.
    assert found == {"source", "target", "rom.file", "mode"}


def test_a_missing_schema_is_no_problem_but_reported(tmp_path: pathlib.Path) -> None:
    assert schema.violation("<interface/>", [str(tmp_path)]) is None
    assert f"is not in {tmp_path}" in (schema.missing([str(tmp_path)]) or "")


def test_a_missing_lxml_is_no_problem_but_reported(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "domaincommon.rng").write_text("<grammar/>")
    monkeypatch.setitem(sys.modules, "lxml", None)
    assert schema.violation("<interface/>", [str(tmp_path)]) is None
    assert "lxml" in (schema.missing([str(tmp_path)]) or "")
