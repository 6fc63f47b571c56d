# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What each manager is told, and that what it is told is read again as it was."""

from __future__ import annotations

import re
import string
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.rows import Row
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_blocks import HEADER
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers import (
    networkmanager,
    systemd_unit,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.make_links import (
    LINKS_DIR,
    UPLINK,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.managers.systemd_unit import Entry
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence.model import (
    NETWORKMANAGER,
    Desired,
)

MAC = "52:54:00:00:00:01"
ETH0 = Link("eth0", 2)


def desired(name: str = "mt0", *, vlan: tuple[str, int] | None = None, **fields: t.Any) -> Desired:
    base: dict[str, t.Any] = {"path": "links[0]", "mode": "bridge", "mac": MAC}
    return Desired(DesiredLink(name, **{**base, **fields}), ETH0, "eth0", vlan)


def lines(one: Desired) -> list[str]:
    return systemd_unit.entry(one, UPLINK, "eth0").text.splitlines()


# what the program is told


# The host does not answer on a new link.
QUIET = ["link set dev mt0 arp off", "sysctl net/ipv6/conf/mt0/accept_ra 0"]


def test_the_program_is_told_all_that_ip_can_set() -> None:
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


@pytest.mark.parametrize("row", [one for one in ROWS.values() if one.kept], ids=lambda one: one.field)
def test_what_the_table_has_is_there_after_a_reboot(row: Row) -> None:
    values: dict[str, t.Any] = {
        "bool": row.field != "promiscuous",
        "int": 500,
        "str": "eui64",
        "list": frozenset({MAC}),
    }
    fields: dict[str, t.Any] = {"mode": "passthru" if row.field == "promiscuous" else "source", "mac": None}
    fields[row.field] = values[row.type]
    told = " ".join(lines(desired(**fields)))
    assert f" {row.ip}" in f" {told}"


def test_of_many_source_addresses_each_request_has_room() -> None:
    macs = frozenset(f"02:00:00:00:00:{n:02x}" for n in range(42))
    told = lines(desired(mode="source", source_macs=macs, state="present"))
    assert [line.count(":") // 5 for line in told if line not in QUIET] == [41, 1, 1]


@pytest.mark.parametrize(("state", "told"), [("present", True), ("up", True), ("down", False)])
def test_a_link_in_mode_passthru_is_up_before_it_is_to_receive_all_multicast(state: str, told: bool) -> None:
    found = lines(desired(mode="passthru", mac=None, allmulticast=True, state=state))[1:]
    # It is quiet before it is up.
    assert found[:2] == QUIET
    found = found[2:]
    assert found[:2] == (["link set dev mt0 up", "link set dev mt0 allmulticast on"] if told else [])


# what is read again as it was

NAMES = st.text(string.ascii_letters + string.digits + "_.,+@-", min_size=1, max_size=15).filter(
    lambda name: name[0] not in ".,+@-" and not name.isdigit() and name not in ("all", "default")
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Entry]:
    """Draw links on uplinks and on each other."""
    found: dict[str, Entry] = {}
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
        found[name] = systemd_unit.entry(one, lower, key)
        assert (found[name].vlan, found[name].passthru) == (vlan, one.link.mode == "passthru")
    return found


@given(entries(), st.data())
def test_the_unit_reads_what_was_written(found: dict[str, Entry], data: st.DataObject) -> None:
    whole = systemd_unit.by_uplink(found)
    keys = sorted({one.key for one in whole.values()})
    up = set(data.draw(st.lists(st.sampled_from(keys)))) if keys else set()
    assert systemd_unit.parse(systemd_unit.render(whole, up)) == (whole, up)


LINES = st.sampled_from(
    [
        *("", "# a comment", "link add", "link add link % name a type vlan protocol 802.1Q id x", "x y", "# vlan b"),
        "# macvtap a",
    ]
)


@given(st.lists(LINES, max_size=8).map("\n".join))
def test_what_a_person_has_made_of_a_file_is_no_error(text: str) -> None:
    found, _up = systemd_unit.parse([File(f"{LINKS_DIR}/eth0", f"{HEADER}\n{text}\n")])
    whole = systemd_unit.by_uplink(found)
    assert {one.vlan for one in whole.values()} <= {None}
    list(systemd_unit.render(whole))


# NetworkManager


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("eth0", "\n\n[macvlan]\nparent=eth0\nmode=2\n"),
        ("altname:lan-a", "\n\n[macvlan]\nparent=eth0\nmode=2\n"),
        ("0000:03:00.0", "\n\n[macvlan]\nparent=eth0\nmode=2\n"),
        (
            "52:54:00:aa:bb:cc",
            f"mac-address=52:54:00:AA:BB:CC\ncloned-mac-address={MAC}\n\n[macvlan]\nmode=2\n",
        ),
    ],
)
def test_networkmanager_finds_a_parent_by_its_name_or_address(key: str, said: str) -> None:
    one = Desired(DesiredLink("host0", kind="macvlan", mode="bridge", mac=MAC), ETH0, key)
    text = next(networkmanager.blocks(one)).text
    assert said in text
    other = Desired(DesiredLink("host1", kind="macvlan", mode="bridge", mac=MAC), ETH0, key)
    uuids = {re.findall("^uuid=(.*)$", each, re.M)[0] for each in (text, next(networkmanager.blocks(other)).text)}
    assert len(uuids) == 2


# udev


def test_udev_sets_the_permissions_of_the_tap() -> None:
    (block,) = systemd_unit.blocks(desired(alias="a", tap_owner="libvirt-qemu", tap_group="kvm", tap_mode=0o660))
    assert block.text == (
        'SUBSYSTEM=="macvtap", KERNELS=="mt0", SUBSYSTEMS=="net", OWNER="libvirt-qemu", GROUP="kvm", MODE="0660"\n'
    )
    assert list(systemd_unit.blocks(desired(alias="a", group=7))) == []


def test_udev_has_a_shim_of_networkmanager_known_and_managed() -> None:
    one = Desired(DesiredLink("h", kind="macvlan", alias="mark"), ETH0, "eth0", manager=NETWORKMANAGER)
    _profile, block = networkmanager.blocks(one)
    assert block.text == (
        'ACTION=="add", SUBSYSTEM=="net", KERNEL=="h", ATTR{ifalias}="mark"\n'
        'ACTION!="remove", SUBSYSTEM=="net", KERNEL=="h", ENV{NM_UNMANAGED}="0"\n'
    )


# order, names and texts


@pytest.mark.parametrize(
    ("name", "unit"),
    [("mt0", "mt0"), ("eth0.20", "eth0.20"), ("web-1", r"web\x2d1"), ("a@b+c", r"a\x40b\x2bc"), ("a_b", "a_b")],
)
def test_a_unit_is_named_as_systemd_escape_says(name: str, unit: str) -> None:
    assert systemd_unit.escape(name) == unit


@pytest.mark.parametrize(
    "name", ["mt*", 'mt"', "mt'0", "mt|1", ".mt0", "-mt0", "12", "all", "mt[0]", "mt\\0", "mtü", "a;b", "a=b"]
)
def test_names_that_some_file_would_read_otherwise_are_refused(name: str) -> None:
    with pytest.raises(MacvtapError, match="Choose another name") as caught:
        validate.check_name(name, "links[2].name")
    assert caught.value.path == "links[2].name"


@pytest.mark.parametrize("text", ["two\nlines", 'a "quote"', "it's", "back\\slash", "tick`", "\x1b[0m", "\udcff"])
def test_texts_that_would_end_a_value_are_refused(text: str) -> None:
    with pytest.raises(MacvtapError, match="cannot be written into configuration files"):
        validate.check_text(text, "links[2].alias")
    validate.check_text("Größe: 50% of $x; #1", "links[2].alias")
