# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Values in whatever spelling, and entries that are to have none of a default."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import declare, element, fields, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import clears_default

A, B = "52:54:00:00:00:0a", "52:54:00:00:00:0b"
VALUES = {"trust_guest_rx_filters": "no", "source": "eth0", "mode": "bridge", "model": "virtio", "link_state": "up"}
UUID = "09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f"


def options(**given: t.Any) -> dict[str, t.Any]:
    return {"domain": "web1", "mac": A, "state": "present", **given}


def given(**text: t.Any) -> dict[str, str | None]:
    return dict(declare.declare([("", options(**text))])[0].given)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ({"model": "E1000E"}, {"model": "e1000e"}),
        ({"model": "am79c970a"}, {"model": "Am79C970A"}),
        ({"model": "VirtIO-Transitional"}, {"model": "virtio-transitional"}),
        # Nothing that libvirt knows: as it is.
        ({"model": "Foo"}, {"model": "Foo"}),
        ({"mode": "passthru"}, {"mode": "passthrough"}),
        ({"driver": {"queues": 1}}, {"driver.queues": None}),
        ({"driver": {"queues": 2}}, {"driver.queues": "2"}),
        ({"pci_address": ""}, {}),
        ({"pci_address": "1:0.0"}, {"pci_address": "0000:01:00.0"}),
        (
            {"virtualport": {"type": "802.1Qbg", "instanceid": UUID.upper().replace("-", "")}},
            {"virtualport.type": "802.1Qbg", "virtualport.instanceid": UUID},
        ),
        ({"bandwidth": {"inbound": {"average": 0, "peak": 5, "burst": 5}}}, {"bandwidth.inbound.average": None}),
        ({"virtualport": {"type": "none", "managerid": 5}}, {"virtualport.type": None}),
    ],
)
def test_a_value_is_declared_as_libvirt_writes_it(text: dict[str, t.Any], values: dict[str, str | None]) -> None:
    assert given(**text) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"virtualport": {"type": "802.1Qbg", "instanceid": "5"}}, "virtualport.instanceid: '5' is not a UUID"),
        ({"target": "web:0"}, "target: 'web:0' is not a valid link name"),
        ({"target": "a%sb"}, "target: 'a%sb' is not a valid link name"),
        ({"target": "all"}, "target: 'all' is reserved"),
        ({"target": "à"}, "target: 'à' has the byte a0 in UTF-8"),
        ({"source": "eth0:1"}, "source: 'eth0:1' cannot be the name of a network link"),
    ],
)
def test_what_no_spelling_makes_right_is_refused(text: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError) as caught:
        given(**text)
    assert str(caught.value).startswith(message)


def in_file(more: str) -> Iface:
    return element.read(
        f"<interface type='direct'>\n  <mac address='{A}'/>\n  <source dev='eth0' mode='bridge'/>\n  {more}\n"
        "</interface>"
    )


def planned(iface: Iface, **text: t.Any) -> str | None:
    """Return the element as it is to be, None where nothing is to change."""
    host = Host("qemu:///system", {"web1": Domain("web1", stored=(iface,))})
    plan = planner.plan(declare.declare([("", options(**text))]), host)
    (step,) = plan.steps or (None,)
    return element.render(step.after.stored) if step and step.after and step.after.stored else None


@pytest.mark.parametrize(
    ("there", "text"),
    [
        ("<model type='E1000E'/>", {"model": "e1000e"}),
        ("<model type='virtio'/><driver name='vhost' queues='1'/>", {"driver": {"queues": 1, "name": "vhost"}}),
        ("<model type='virtio'/><driver name='vhost'/>", {"driver": {"queues": 1}}),
        (f"<virtualport type='802.1Qbg'><parameters managerid='0x0b' typeid='1' typeidversion='2' "
         f"instanceid='{UUID.upper()}'/></virtualport>",
         {"virtualport": {"managerid": 11, "type": "802.1Qbg", "instanceid": UUID}}),
        ("<model type='virtio'/><address type='pci' bus='1' slot='0'/>", {"pci_address": "0000:01:00.0"}),
        # libvirt takes a card with no model for another one than virtio, and it is not this task that chose it.
        ("<driver name='vhost' queues='4'><host csum='off'/></driver>", {"source": "eth0"}),
        ("<model type='e1000e'/><driver name='vhost'/>", {"mode": "bridge"}),
    ],
)  # fmt: skip
def test_another_spelling_is_no_difference(there: str, text: dict[str, t.Any]) -> None:
    assert planned(in_file(there), **text) is None


def test_only_what_is_given_changes_beside_a_driver() -> None:
    there = in_file("<driver name='vhost' queues='4'><host csum='off'/></driver>")
    assert planned(there, mode="private") == there.xml.replace("bridge", "private")
    # From several to one: the attribute goes, with nothing else of the element.
    many = in_file("<model type='virtio'/><driver name='vhost' queues='4'/>")
    assert planned(many, driver={"queues": 1}) == many.xml.replace(" queues='4'", "")


@pytest.mark.parametrize(
    ("trunk", "read"),
    [
        ("<vlan trunk='yes'><tag id='42' nativeMode='untagged'/><tag id='47'/></vlan>", "42,47"),
        ("<vlan><tag id='42'/><tag id='47'/></vlan>", "42,47"),
        ("<vlan trunk='yes'><tag id='42'/></vlan>", "trunk 42"),
    ],
)
@pytest.mark.parametrize("vlan", [42, 47, 50])
def test_a_trunk_is_not_one_of_its_vlans(trunk: str, read: str, vlan: int) -> None:
    iface = in_file(f"{trunk}\n  <model type='virtio'/>")
    iface = element.read(iface.xml.replace("'bridge'", "'passthrough'"))
    assert fields.TABLE.nested(iface.values)["vlan"] == read
    made = planned(iface, vlan=vlan)
    assert made is not None
    assert made.count("<tag ") == 1
    assert f"<vlan><tag id='{vlan}'/></vlan>" in made
    assert "trunk" not in made
    assert element.read(made).get("vlan") == str(vlan)
    gone = planned(iface, vlan=0)
    assert gone is not None
    assert "vlan" not in gone


DEFAULTS = {
    "bandwidth": {"inbound": {"average": 1000, "peak": 2000}, "outbound": None},
    "virtualport": {"type": "802.1Qbg", "managerid": 1, "typeid": 2, "typeidversion": 3, "instanceid": UUID},
    "driver": {"name": "vhost", "queues": 4},
    "model": "virtio",
    "vlan": 5,
    "pci_address": "0000:09:00.0",
    "target": "web0",
    "alias": "ua-a",
    "boot_order": 1,
    "acpi_index": 3,
    "rom": {"file": "/x"},
    "trust_guest_rx_filters": True,
}


@pytest.mark.parametrize(
    ("own", "without"),
    [
        ({"bandwidth": {"inbound": {"average": 0}}}, "bandwidth.inbound.peak"),
        ({"bandwidth": {}}, "bandwidth.inbound.average"),
        ({"bandwidth": {"inbound": None, "outbound": None}}, "bandwidth.inbound.average"),
        ({"virtualport": {"type": "none"}}, "virtualport.managerid"),
        ({"virtualport": {"type": "802.1Qbh", "profileid": "x"}}, "virtualport.managerid"),
        ({"driver": {}, "model": "e1000"}, "driver.queues"),
        ({"rom": {}}, "rom.file"),
        ({"vlan": 0}, ""),
        ({"pci_address": ""}, "pci_address"),
        ({"target": ""}, ""),
        ({"alias": ""}, ""),
        ({"boot_order": 0}, ""),
        ({"acpi_index": 0}, ""),
        ({"trust_guest_rx_filters": False}, ""),
    ],
)
def test_one_entry_is_exempted_from_a_default(own: dict[str, t.Any], without: str) -> None:
    entry = {"domain": "web1", "mac": A, **own}
    names = ("domain", "mac", *fields.TABLE.specification())
    params = {**DEFAULTS, "interfaces": [{"domain": "web1", "mac": B}, entry]}
    whole, exempted = declare.declare(_glue.entries(params, "interfaces", names, clears_default))
    (name,) = own if len(own) == 1 else ("driver",)
    others = {n: v for n, v in whole.given.items() if n.split(".")[0] not in own}
    assert {n: v for n, v in exempted.given.items() if n.split(".")[0] not in own} == others
    assert without not in exempted.given
    assert all(value is None for n, value in exempted.given.items() if n == name and value != "no")


def test_a_peak_needs_an_average() -> None:
    with pytest.raises(MacvtapError, match=r"^bandwidth.inbound.peak: libvirt accepts it only with an average"):
        planned(in_file(""), bandwidth={"inbound": {"peak": 5}})
    limited = in_file("<bandwidth><inbound average='10'/></bandwidth>")
    assert "peak='5'" in (planned(limited, bandwidth={"inbound": {"peak": 5}}) or "")
