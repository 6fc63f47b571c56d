# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whatever a document looks like: one interface changes, and not a byte besides."""

from __future__ import annotations

import random
import re
import time
import typing as t
from dataclasses import replace
from xml.etree import ElementTree

import odd_xml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import element as elements
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import networks, xml
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import BY_NAME, IN_XML
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import spans

quick = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DOMAIN = "<domain><devices>{}</devices></domain>"
TRUST = "trust_guest_rx_filters"
IMPLIED = {field.name for field in IN_XML if field.implied is not None}
GONE = (
    "vlan",
    "virtualport",
    "filterref",
    "mtu",
    "port",
    "coalesce",
    "script",
    "downscript",
    "ip",
    "route",
    "guest",
    "backend",
)


def parsed(element: str) -> ElementTree.Element:
    """Read an element by another library than the one that is tested, comments and all."""
    builder = ElementTree.TreeBuilder(insert_comments=True, insert_pis=True)
    parser = ElementTree.XMLParser(target=builder)  # noqa: S314
    return ElementTree.fromstring(f"<a xmlns:qemu='urn:qemu'>{element}</a>", parser)[0]  # noqa: S314


def rest(element: ElementTree.Element, path: tuple[str, ...] = ()) -> list[t.Any]:
    """What is in an interface besides its fields: comments, unknown elements and attributes."""
    fields = [field for field in IN_XML if field.element == path]
    own = {name for field in fields for name in field.write("0:0:0.0" if field.name == "pci_address" else "")}
    found: list[t.Any] = [(path, name, value) for name, value in element.attrib.items() if name not in own]
    for child in element:
        if isinstance(child.tag, str) and any(f.element[: len(path) + 1] == (*path, child.tag) for f in IN_XML):
            found += rest(child, (*path, child.tag))
        else:
            child.tail = None
            found.append(ElementTree.tostring(child, encoding="unicode"))
    return found


def chosen(odd: odd_xml.Odd, index: int) -> tuple[int, Iface]:
    index %= len(odd.nics)
    (iface,) = [one for one in xml.interfaces(odd.text) if one.mac == odd_xml.mac_of(index)]
    return index, iface


def stored(document: str, values: t.Mapping[str, str]) -> tuple[Iface, ...]:
    """Return the interfaces of a document of a host that has the network of ``values``."""
    return networks.as_stored(xml.interfaces(document), [values.get("network", "")])


def replaced(odd: odd_xml.Odd, index: int, document: str) -> str:
    """Return what the interface has become, having seen that nothing else became anything."""
    before, after = odd.with_nic(index, "\0").split("\0")
    assert document.startswith(before)
    assert document.endswith(after)
    return document[len(before) : len(document) - len(after)]


@quick
@given(odd_xml.documents())
def test_every_interface_is_found_as_it_is(odd: odd_xml.Odd) -> None:
    found = xml.interfaces(odd.text)
    assert tuple(iface.xml for iface in found) == odd.nics
    assert [iface.mac for iface in found] == [odd_xml.mac_of(index) for index in range(len(odd.nics))]
    for iface in found:
        tree = parsed(iface.xml)
        for field in IN_XML:
            element = tree.find("/".join(field.element)) if field.element else tree
            value = field.read(element.attrib) if element is not None else None
            left_out = {"direct": set(), "network": {"mode", "trust_guest_rx_filters"}}.get(iface.type, {"mode"})
            implied = field.implied if field.name not in left_out else None
            assert iface.get(field.name) == (implied if value is None else value)
        assert xml.edit(odd.text, [(iface, iface)]) == odd.text


@quick
@given(odd_xml.documents(["direct"]), st.integers(0, 99), odd_xml.values(), st.sets(st.sampled_from(sorted(BY_NAME))))
def test_fields_are_set_and_taken_away(odd: odd_xml.Odd, at: int, given_: dict[str, str], gone: set[str]) -> None:
    index, iface = chosen(odd, at)
    # To move it to a network is another test's.
    given_ = {n: v for n, v in given_.items() if n not in networks.NAMES}
    values = {n: v for n, v in {**iface.values, **given_}.items() if n not in gone or n in IMPLIED}
    edited = xml.edit(odd.text, [(iface, replace(iface, values=values))])
    element = replaced(odd, index, edited)
    _index, now = chosen(
        odd_xml.Odd(odd.pieces, (*odd.nics[:index], element, *odd.nics[index + 1 :]), odd.unknown), index
    )
    assert now.values == values
    assert xml.edit(edited, [(now, replace(now, values=values))]) == edited
    if values == iface.values:
        assert edited == odd.text
    # An element that loses all its fields takes along what else is in it; everything else stays.
    emptied = {
        path
        for field in IN_XML
        for path in [field.element[:length] for length in range(1, len(field.element) + 1)]
        if any(f.name in iface.values for f in IN_XML if f.element[: len(path)] == path)
        and not any(f.name in values for f in IN_XML if f.element[: len(path)] == path)
    }
    kept = [
        one
        for one in rest(parsed(iface.xml))
        if not (isinstance(one, tuple) and any(one[0][: len(path)] == path for path in emptied))
    ]
    assert [one for one in rest(parsed(element)) if one in kept] == kept
    assert all(element.count(one) >= 1 for one in odd.unknown[index])


@quick
@given(
    odd_xml.documents(["bridge", "network", "ethernet", "user", "hostdev"]),
    st.integers(0, 99),
    odd_xml.values(most=5),
    st.sampled_from(["vepa", "bridge"]),
)
def test_an_interface_is_converted(odd: odd_xml.Odd, at: int, given_: dict[str, str], mode: str) -> None:
    index, iface = chosen(odd, at)
    others = ("vlan", "virtualport", *networks.NAMES)
    base = {n: v for n, v in iface.values.items() if n.split(".")[0] not in others}
    values = {"trust_guest_rx_filters": "no", "link_state": "up", **base, "source": "eth0", "mode": mode, **given_}
    values = odd_xml.placed(values)
    edited = xml.edit(odd.text, [(iface, replace(iface, type="direct", values=values, origin=None))])
    element = replaced(odd, index, edited)
    (now,) = [one for one in stored(edited, values) if one.mac == iface.mac]
    assert (now.type, now.values, now.xml) == ("direct", values, element)
    assert xml.edit(edited, [(now, replace(now, values=values))]) == edited
    # What binds a device of the host goes with all that is in it.
    assert iface.type == "hostdev" or all(one in element for one in odd.unknown[index])
    assert not any(one in element for one in odd_xml.FOREIGN)
    assert "floor" not in element


@quick
@given(odd_xml.documents(["direct"]), st.integers(0, 99), odd_xml.values(most=5), odd_xml.names(), odd_xml.names())
def test_an_interface_moves_to_a_network_and_back(
    odd: odd_xml.Odd, at: int, given_: dict[str, str], network: str, portgroup: str
) -> None:
    index, iface = chosen(odd, at)
    on_network = odd_xml.placed({**iface.values, **given_, "network": network, "portgroup": portgroup})
    edited = xml.edit(odd.text, [(iface, replace(iface, values=on_network))])
    element = replaced(odd, index, edited)
    assert parsed(element).get("type") == "network"
    assert all(element.count(one) >= 1 for one in odd.unknown[index])
    (now,) = [one for one in stored(edited, on_network) if one.mac == iface.mac]
    assert (now.type, now.values) == ("direct", on_network)
    assert xml.edit(edited, [(now, replace(now, values=on_network))]) == edited
    back = {**{n: v for n, v in on_network.items() if n not in networks.NAMES}, "source": "eth0", "mode": "bridge"}
    again = xml.edit(edited, [(now, replace(now, values=back))])
    (then,) = [one for one in xml.interfaces(again) if one.mac == iface.mac]
    assert (then.type, then.values) == ("direct", back)
    assert all(then.xml.count(one) >= 1 for one in odd.unknown[index])


@pytest.mark.parametrize("kind", ["direct", "user"])
@pytest.mark.parametrize(
    "inside", ["", "<virtualport type='none'/>", "<bandwidth/>", "<bandwidth ><!-- a --></bandwidth>"]
)
def test_several_fields_go_into_an_empty_element(kind: str, inside: str) -> None:
    element = f"<interface type='{kind}'>{inside}</interface>" if inside else f"<interface type='{kind}'/>"
    (iface,) = xml.interfaces(DOMAIN.format(element))
    values = {
        **iface.values,
        "trust_guest_rx_filters": "yes",
        "source": "eth0",
        "mode": "bridge",
        "virtualport.type": "802.1Qbg",
        "virtualport.managerid": "11",
        "bandwidth.inbound.average": "1",
        "bandwidth.outbound.average": "2",
        "link_state": "up",
    }
    written = elements.render(replace(iface, type="direct", values=values))
    (now,) = xml.interfaces(DOMAIN.format(written))
    assert (now.type, now.values) == ("direct", values)
    assert written.count("<virtualport") == written.count("<bandwidth") == 1


@quick
@given(odd_xml.documents(), st.integers(0, 99), odd_xml.values())
def test_one_is_removed_and_another_one_added(odd: odd_xml.Odd, at: int, values: dict[str, str]) -> None:
    index, iface = chosen(odd, at)
    removed = xml.edit(odd.text, [(iface, None)])
    others = [one for one in odd.nics if one != iface.xml]
    assert [one.xml for one in xml.interfaces(removed)] == others
    # It takes at most the white space in front of it along.
    assert re.sub(r"\s", "", removed) == re.sub(r"\s", "", odd.with_nic(index, ""))
    values = {**{field.name: field.implied for field in IN_XML if field.implied}, "source": "eth0", **values}
    if "network" in values:
        values = {name: text for name, text in odd_xml.placed(values).items() if (name, text) != (TRUST, "no")}
    new = Iface("52:54:00:00:ff:ff", values=values)
    added = xml.edit(odd.text, [(None, new)])
    *same, now = stored(added, values)
    assert [one.xml for one in same] == list(odd.nics)
    assert (now.mac, now.values) == (new.mac, new.values)
    assert xml.edit(added, [(now, None)]) == odd.text


def test_fifty_interfaces_are_edited_at_once_and_fast() -> None:
    odd = odd_xml.write(random.Random(7), [("direct", {"source": "eth0", "model": "virtio"})] * 50)
    began = time.process_time()
    ifaces = xml.interfaces(odd.text)
    wanted = [(one, replace(one, values={**one.values, "source": f"eth{n}"})) for n, one in enumerate(ifaces)]
    edited = xml.edit(odd.text, wanted)
    assert time.process_time() - began < 1
    assert [one.get("source") for one in xml.interfaces(edited)] == [f"eth{n}" for n in range(50)]


@pytest.mark.parametrize(
    "text",
    [
        "<domain>" + "<a>" * 100_000 + "</a>" * 100_000 + "</domain>",
        "<a>" * 1_000_000,
        DOMAIN.format("<interface>" + "<a>" * 100_000 + "</a>" * 100_000 + "</interface>"),
        DOMAIN.format("<interface type='direct'>\0</interface>"),
        DOMAIN.format("<interface type='direct'>\x01</interface>"),
        DOMAIN.format(f"<interface type='{'<' * 1_000_000}'/>"),
        "<domain " + "a" * 1_000_000,
        "<domain a='" + "a" * 1_000_000,
        "\0" * 1_000_000,
        "<network/>",
        "{}",
        "\ufeff",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_hostile_text_is_refused_quickly(text: str) -> None:
    began = time.process_time()
    for read in (xml.interfaces, xml.identity):
        with pytest.raises(MacvtapError):
            read(text)
    assert time.process_time() - began < 2


@pytest.mark.parametrize("attribute", ["a='" + "x" * 1_000_000 + "'", " " * 1_000_000, " \n" * 300_000 + "b='1'"])
def test_a_huge_tag_is_changed_quickly(attribute: str) -> None:
    document = DOMAIN.format(f"<interface type='direct' {attribute}><source {attribute}/></interface>")
    (iface,) = xml.interfaces(document)
    began = time.process_time()
    edited = xml.edit(document, [(iface, replace(iface, values={**iface.values, "source": "eth0"}))])
    assert time.process_time() - began < 2
    assert len(edited) == len(document) + len(" dev='eth0'")
    assert spans.set_attributes(f"<a {attribute}>".encode(), {}) == f"<a {attribute}>".encode()
