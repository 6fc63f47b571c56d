# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The files of links and of network managers, and how files of links are read."""

from __future__ import annotations

import re
import string
import typing as t
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import (
    conflicts,
    managers,
    systemd_unit,
    validate,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.make_links import UPLINK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    LINKS_DIR,
    NETWORKMANAGER,
    SHIM,
    UDEV_FILE,
    Desired,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.systemd_unit import StoredLink

MAC = "52:54:00:00:00:01"
ETH0 = Link("eth0", 2, mtu=1500)


def desired(name: str = "mt0", *, vlan: tuple[str, int] | None = None, **fields: t.Any) -> Desired:
    base: dict[str, t.Any] = {"path": "links[0]", "mode": "bridge", "mac": MAC}
    return Desired(DesiredLink(name, **{**base, **fields}), ETH0, "eth0", vlan)


def lines(one: Desired) -> list[str]:
    return systemd_unit.stored_link(one, UPLINK).text.splitlines()


# The host does not answer on a new link.
QUIET = ["link set dev mt0 arp off", "sysctl net/ipv6/conf/mt0/accept_ra 0"]


# what the program reads


def test_the_file_has_all_that_ip_can_set() -> None:
    assert lines(
        desired(
            mode="source",
            source_macs=frozenset({"02:00:00:00:00:01"}),
            nodst=True,
            bcqueuelen=500,
            tx_queues=4,
            rx_queues=2,
            txqueuelen=77,
            group=7,
            state="down",
        )
    ) == [
        f"link add link % name mt0 address {MAC} txqueuelen 77 group 7 numtxqueues 4 numrxqueues 2 type macvtap "
        "mode source nodst bcqueuelen 500 macaddr set 02:00:00:00:00:01",
        *QUIET,
    ]
    assert lines(desired(mode="passthru", mac=None, promiscuous=False, state="present")) == [
        "link add link % name mt0 type macvtap mode passthru nopromisc",
        *QUIET,
    ]
    loud = lines(desired(arp=True, accept_ra=True, state="present"))
    assert loud[1:] == ["link set dev mt0 arp on", "sysctl net/ipv6/conf/mt0/accept_ra 1"]
    assert lines(desired("lan", vlan=("802.1ad", 20), kind="vlan", mode=None, mac=None, mtu=1400)) == [
        "link add link % name lan type vlan protocol 802.1ad id 20",
        "link set dev lan mtu 1400",
        "link set dev lan up",
    ]


# Words that are no choices of an option.
TEXTS = {"mac": (MAC, "52:54:00:00:00:02"), "alias": ("one", "another")}


def two_values(row: Row) -> tuple[t.Any, t.Any]:
    if row.type == "bool":
        return True, False
    if row.type == "list":
        return frozenset({"52:54:00:00:00:01"}), frozenset({"52:54:00:00:00:01", "52:54:00:00:00:02"})
    if row.type == "int":
        least, most = t.cast("tuple[int, int]", row.range)
        return least, (least + most) // 2
    return (row.choices[0], row.choices[1]) if row.choices else TEXTS[row.field]


def lines_with(row: Row, value: t.Any) -> list[str]:
    modes = {"promiscuous": "passthru", "source_macs": "source"}
    return lines(desired(**{"mode": modes.get(row.field, "bridge"), row.field: value}))


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda one: one.field)
def test_each_value_of_an_attribute_that_is_kept_is_in_the_file(row: Row) -> None:
    one, other = two_values(row)
    assert one != other
    assert (lines_with(row, one) != lines_with(row, other)) is row.kept
    if row.kept and row.type != "bool":
        # Neither of them is what is written without the option, and what is written is the value.
        written = {line for value in (one, other) for line in lines_with(row, value)} - set(lines_with(row, None))
        shown = {str(text) for value in (one, other) for text in (value if row.type == "list" else (value,))}
        assert {text for text in shown if any(text in line.split() for line in written)} == shown


def test_many_source_addresses_are_split_into_requests() -> None:
    macs = frozenset(f"02:00:00:00:00:{n:02x}" for n in range(42))
    result = lines(desired(mode="source", source_macs=macs, state="present"))
    assert [line.count(":") // 5 for line in result if line not in QUIET] == [41, 1, 1]


@pytest.mark.parametrize(("state", "result"), [("present", True), ("up", True), ("down", False)])
def test_a_passthru_link_is_up_before_allmulticast_is_set(state: str, result: bool) -> None:
    found = lines(desired(mode="passthru", mac=None, allmulticast=True, state=state))[1:]
    # It is quiet before it is up.
    assert found[:2] == QUIET
    found = found[2:]
    assert found[:2] == (["link set dev mt0 up", "link set dev mt0 allmulticast on"] if result else [])


# what is read again as it was

NAMES = st.text(string.ascii_letters + string.digits + "_.,+@-", min_size=1, max_size=15).filter(
    lambda name: name[0] not in ".,+@-" and not name.isdigit() and name not in ("all", "default")
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, StoredLink]:
    """Draw links on uplinks and on each other."""
    found: dict[str, StoredLink] = {}
    for name in draw(st.lists(NAMES, max_size=6, unique=True)):
        lower = draw(st.sampled_from([UPLINK, *(one for one, entry in found.items() if entry.kind == "vlan")]))
        key = draw(st.sampled_from(["eth0", "altname:lan-a", "02:00:00:00:00:05", "0000:03:00.0"]))
        vlan = draw(st.sampled_from([None, ("802.1Q", 20), ("802.1ad", 4094)]))
        one = desired(
            name,
            vlan=vlan,
            kind="vlan" if vlan else draw(st.sampled_from(["macvtap", "macvlan"])),
            mode=None if vlan else draw(st.sampled_from(["bridge", "passthru"])),
            mac=draw(st.sampled_from([None, MAC])),
            mtu=draw(st.sampled_from([None, 9000])),
            alias=draw(st.sampled_from([None, "50% of $x; #1", "# macvtap x"])),
        )
        found[name] = systemd_unit.stored_link(replace(one, key=key), lower)
        assert found[name].words.get("mode") == one.link.mode
    return found


@given(entries(), st.data())
def test_parse_is_the_inverse_of_render(found: dict[str, StoredLink], data: st.DataObject) -> None:
    whole = systemd_unit.by_uplink(found)
    keys = sorted({one.key for one in whole.values()})
    up = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    assert systemd_unit.parse(systemd_unit.render(whole, up, systemd=True)) == (whole, up)


LINES = st.sampled_from(
    [
        *("", "# a comment", "link add", "link add link % name a type vlan protocol 802.1Q id x", "x y", "# vlan b"),
        "# macvtap a",
    ]
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_an_edited_file_is_no_error(text: str) -> None:
    found, _up = systemd_unit.parse([File(f"{LINKS_DIR}/eth0", f"{HEADER}\n{text}\n")])
    whole = systemd_unit.by_uplink(found)
    list(systemd_unit.render(whole, (), systemd=True))
    conflicts.check({}, whole, {})


# NetworkManager


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("eth0", "\n\n[macvlan]\nparent=eth0\nmode=2\n"),
        ("altname:lan-a", "\n\n[macvlan]\nparent=eth0\nmode=2\n"),
        ("0000:03:00.0", "\n\n[macvlan]\nparent=eth0\nmode=2\n"),
        (
            "52:54:00:aa:bb:cc",
            f"mac-address=52:54:00:AA:BB:CC\ncloned-mac-address={MAC}\nmtu=1500\n\n[macvlan]\nmode=2\n",
        ),
    ],
)
def test_networkmanager_finds_a_parent_by_its_name_or_address(key: str, message: str) -> None:
    text, other = (profile(name, key)[0][1] for name in ("host0", "host1"))
    assert message in text
    assert len({re.findall("^uuid=(.*)$", each, re.M)[0] for each in (text, other)}) == 2


def test_a_shim_of_networkmanager_is_managed_and_marked_as_ours() -> None:
    _profile, (path, text) = profile("h", "eth0")
    assert (path, text) == (
        UDEV_FILE,
        'ACTION=="add", SUBSYSTEM=="net", KERNEL=="h", ATTR{ifalias}="mark"\n'
        'ACTION!="remove", SUBSYSTEM=="net", KERNEL=="h", ENV{NM_UNMANAGED}="0"\n',
    )


def profile(name: str, key: str) -> list[tuple[str, str]]:
    link = DesiredLink(name, kind=SHIM, mode="bridge", mac=MAC, alias="mark")
    return list(managers.lease(Desired(link, ETH0, key, manager=NETWORKMANAGER), Shim(ETH0, {}, dhcp4=True)))


# names and texts


@pytest.mark.parametrize(
    "name", ["mt*", 'mt"', "mt'0", "mt|1", ".mt0", "-mt0", "12", "mt[0]", "mt\\0", "mtü", "a;b", "a=b"]
)
def test_names_that_some_file_would_misread_are_refused(name: str) -> None:
    with pytest.raises(MacvtapError, match="Choose another name") as caught:
        validate.check_name(name, "links[2].name")
    assert caught.value.path == "links[2].name"
