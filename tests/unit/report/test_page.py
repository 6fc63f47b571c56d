# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The HTML page of a report, and its picture."""

from __future__ import annotations

import html.parser
import re
import typing as t
from dataclasses import replace

import pytest
from fleet import declared, found, iface, mac, many
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.filter.overview_text import overview_text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import overview
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report.picture import Picture, picture

A = mac(1)
# Elements without an end.
_VOID = {"meta", "input", "br", "rect", "path"}


class _Reader(html.parser.HTMLParser):
    """Reads a page, and fails where elements do not match."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.counts: dict[str, int] = {}
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += attrs
        if tag not in _VOID:
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def page(fleet: t.Any, **more: t.Any) -> str:
    return overview_text(overview.overview(fleet), "html", **more)


def test_a_page_has_all_hosts_and_nics_and_asks_for_nothing_else() -> None:
    made = page(many(3, 4), title="My LAN", made="today")
    read = _Reader(made)
    assert read.counts["details"] == 3
    assert len(re.findall(r'<tr id="nic-', made)) == 12
    assert "My LAN" in read.text
    assert "state: absent, declared present" in read.text
    # Links lead into the page, and nothing is loaded from elsewhere.
    for name, value in read.attributes:
        assert name != "src"
        assert name != "href" or re.fullmatch(r"#nic-\d+-\d+", value or "")
    ids = [value for name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {(value or "")[1:] for name, value in read.attributes if name == "href"} <= set(ids)


HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{ 7 * 7 }}", "</title><b>", "a\x00b\x1b[0m"]


@pytest.mark.parametrize("name", HOSTILE)
def test_what_hosts_report_is_text(name: str) -> None:
    domain = Domain(name, "u1", True, stored=(iface(A),), live=(iface(A, model=name, target=name),))
    link = Link(name, 10, "macvtap", "eth0", 2, name, A, 1500)
    there = found(domain, link)
    there["pending"] = [{"domain": name, "mac": A, "state": name, "since": name, "error": name, "returns": None}]
    there["links"][0]["unfit"] = name
    there["guards"] = [{"mac": A, "policy": name, "counters": {name: {"packets": 1}}}]
    fleet = {name: {"declared": declared({"domain": name, "mac": A}), "found": there}}
    fleet["other"] = {"declared": declared(), "found": {"unreachable": True, "msg": name}}
    before = overview.overview({name: {"declared": declared(), "found": found()}})
    whole = page(fleet, before=before, title=name, made=name)
    assert "1 counted" in whole
    assert "since" in whole
    read = _Reader(whole)
    assert read.counts["script"] == 1
    assert "img" not in read.counts
    assert "49" not in read.text
    assert not {name for name, _value in read.attributes if name.startswith("on")}
    assert re.sub("[\x00-\x1f]", "�", name) in read.text


NAMES = ["eth0", "eth1", "eth0.10", "eth0.10.20", "eth0.10.30", "v4", "v5"]
NIC = st.fixed_dictionaries({"uplink": st.sampled_from([None, *NAMES])})
# Any VLAN link on any other, itself among them, or on a link that the report has not.
PARENTS = st.fixed_dictionaries({name: st.sampled_from([*NAMES, "eth9"]) for name in NAMES[2:]})
NESTED = {"eth0.10": "eth0", "eth0.10.20": "eth0.10", "eth0.10.30": "eth0.10", "v4": "eth0.10.30", "v5": "eth1"}


def drawn_of(nics: t.Sequence[t.Mapping[str, t.Any]], parents: t.Mapping[str, str]) -> Picture:
    link: dict[str, t.Any] = {"exists": True, "kind": "", "parent": None, "vlan_id": None, "speed": 10000}
    link.update(mtu=1500, carrier=True, unfit=None)
    vlans = [{**link, "kind": "vlan", "vlan_id": 10, "name": name, "parent": on} for name, on in parents.items()]
    uplinks = [{**link, "name": "eth0"}, *vlans, {"name": "eth1", "exists": False}]
    empty: dict[str, t.Any] = {
        "guest": "web",
        "mac": A,
        "link": None,
        "mode": None,
        "network": None,
        "addresses": [],
        "state": "",
    }
    rows = [{**empty, "drift": [], "restart": [], "pending": None, **nic} for nic in nics]
    return picture({"uplinks": uplinks, "nics": rows})


@given(st.lists(NIC, max_size=12), st.one_of(st.just(NESTED), PARENTS))
def test_a_picture_has_each_nic_and_link_once_and_no_box_covers_another(
    nics: list[dict[str, t.Any]], parents: dict[str, str]
) -> None:
    drawn = drawn_of(nics, parents)
    assert sorted(box.row for box in drawn.boxes if box.row is not None) == list(range(len(nics)))
    titles = [box.title for box in drawn.boxes if box.row is None]
    assert sorted(titles) == sorted({*NAMES, *(["no uplink"] if any(not nic["uplink"] for nic in nics) else [])})
    check(drawn)


def test_vlan_links_in_vlan_links_have_columns_of_their_own() -> None:
    nics = [{"uplink": name} for name in NAMES]
    columns = {box.title: box.x for box in drawn_of(nics, NESTED).boxes if box.row is None}
    assert columns == {"eth0": 0, "eth1": 0, "eth0.10": 240, "v5": 240, "eth0.10.20": 480, "eth0.10.30": 480, "v4": 720}
    assert {box.x for box in drawn_of(nics, NESTED).boxes if box.row is not None} == {960}
    # As it is with VLAN links on uplinks only, and without any.
    for parents in (dict.fromkeys(NAMES[2:], "eth0"), {}):
        drawn = drawn_of(nics[:2], parents)
        assert ({box.x for box in drawn.boxes if box.row is not None}, drawn.width) == ({480}, 820)


def test_a_host_that_reports_endless_vlan_links_has_a_picture() -> None:
    chain = {f"v{number}": f"v{number - 1}" for number in range(1, 2000)}
    drawn = drawn_of([], {"v0": "eth0", **chain})
    assert len(drawn.boxes) == 2002
    assert drawn.width < 3000


def check(drawn: Picture) -> None:
    for number, one in enumerate(drawn.boxes):
        assert one.x >= 0
        assert one.x + one.width <= drawn.width
        assert one.y >= 0
        assert one.y + one.height <= drawn.height
        for other in drawn.boxes[number + 1 :]:
            beside = one.x + one.width <= other.x or other.x + other.width <= one.x
            assert beside or one.y + one.height <= other.y or other.y + other.height <= one.y
    # Curves that begin and end in one order do not cross.
    for curve in drawn.curves:
        for below in drawn.curves:
            if (curve.x1, curve.x2) == (below.x1, below.x2) and curve.y2 < below.y2:
                assert curve.y1 <= below.y1


def test_the_links_below_a_vlan_link_in_a_vlan_link_are_in_the_report() -> None:
    below = {"eth0.10.20": "eth0.10", "eth0.10": "eth0"}
    links = [Link(name, 20 + n, "vlan", on, 2, None, A, 1500) for n, (name, on) in enumerate(below.items())]
    macvtap = Link("macvtap0", 9, "macvtap", "eth0.10.20", 2, "bridge", A, up=True)
    whole = overview.overview({"hv1": {"declared": {}, "found": found(macvtap, *links)}})
    assert [link["name"] for link in whole["hosts"][0]["uplinks"]] == ["eth0", "eth0.10", "eth0.10.20"]
    # Which no kernel has.
    endless = overview.overview(
        {"hv1": {"declared": {}, "found": found(macvtap, links[0], replace(links[1], parent="eth0.10.20"))}}
    )
    assert [link["name"] for link in endless["hosts"][0]["uplinks"]] == ["eth0.10", "eth0.10.20"]
