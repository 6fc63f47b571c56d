# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""macvtap_guard against the real kernel: what a hostile guest and an honest one get onto the LAN."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
import typing as t

import guarded
import guest_frames
import pytest
import readme
import yaml
from guarded import ADDRESSES, Guarded, add_link, set_up
from guest_frames import FOREIGN, FOREIGN6, FORGED, IP4, IP6, MAC, NEIGHBOUR, OWN, ether, ip4, udp
from support import ROOT, ROOT_ONLY, ansible_path

if t.TYPE_CHECKING:
    import namespaces

pytestmark = ROOT_ONLY
OWN_NAMES = [f"own {name}" for name in OWN]


@pytest.fixture(scope="module")
def _netns() -> t.Iterator[namespaces.Namespace]:
    with guarded.made() as made:
        yield made


@pytest.fixture
def guest(_netns: namespaces.Namespace) -> t.Iterator[Guarded]:
    with guarded.links(_netns) as made:
        yield made


def test_what_is_forged_passes_without_a_guard_and_not_with_it(guest: Guarded) -> None:
    assert guest.passes() == [*OWN_NAMES, *FORGED]
    guest.run(addresses=ADDRESSES)
    assert guest.passes() == OWN_NAMES
    assert guest.counted() == collections.Counter(kind for kind, _frame in FORGED.values())
    guest.run(state="absent")
    assert guest.passes("mac", "arp-reply") == ["mac", "arp-reply"]


def test_what_would_be_dropped_is_counted_first(guest: Guarded) -> None:
    guest.run(addresses=ADDRESSES, policy="count")
    assert guest.passes() == [*OWN_NAMES, *FORGED]
    counted = guest.counted()
    # Of an own MAC address alone, a frame can count for several kinds.
    assert {*counted} == {kind for kind, _frame in FORGED.values()}


def test_without_addresses_it_is_about_macs_and_servers(guest: Guarded) -> None:
    guest.run()
    passed = guest.passes()
    assert [name for name in passed if name in OWN_NAMES] == OWN_NAMES
    dropped = {FORGED[name][0] for name in FORGED if name not in passed}
    assert {FORGED[name][0] for name in passed if name not in OWN_NAMES} == {"arp", "address", "nd"}
    assert {"mac", "ethertype", "dhcp_server", "router_advertisement"} <= dropped
    assert {"arp-mac-inside", "nd-advert-option", "nd-advert-second-option"}.isdisjoint(passed)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"other_macs": True}, ["mac", "arp-mac-inside"]),
        ({"ethertypes": ["any"]}, ["vlan", "vlan-double", "stp", "lldp"]),
        ({"ethertypes": ["arp", "0x88cc"]}, ["lldp"]),
        ({"dhcp_server": True}, ["dhcp-server", "dhcpv6-server"]),
        ({"router_advertisements": True, "addresses": ADDRESSES}, ["router-advert", "redirect"]),
        ({"addresses": [IP4, "2001:db8::/64"]}, ["nd-advert", "nd-duplicate", "ip6-source"]),
        ({"addresses": [IP4, "fe80::/10"]}, ["ip6-router-source", "nd-advert-router"]),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else None,
)
def test_what_is_allowed_passes(guest: Guarded, options: dict[str, t.Any], names: list[str]) -> None:
    guest.run(**options)
    assert guest.passes(*names) == names


@pytest.mark.parametrize(
    ("example", "names", "dropped"),
    [
        ("A guest that shares an address", ["vrrp", "vrrp-arp", "vrrp-nd", "own ip4"], ["arp-reply", "nd-advert"]),
        ("A guest that authenticates at the switch", ["eapol", "own ip4"], ["lldp", "mac"]),
    ],
)
def test_an_example_of_the_guide(guest: Guarded, example: str, names: list[str], dropped: list[str]) -> None:
    ((task,),) = [yaml.safe_load(readme.file(example, "docs/guard.md"))]
    options = {**task["linuxvirt.macvtap.macvtap_guard"]}
    # The link is there, and no libvirt.
    del options["domain"]
    assert options["mac"] == MAC
    guest.run(**options)
    assert guest.passes(*names, *dropped) == names


# MAC address and link: of another that loads guards between what this one lists and what it adds.
_RACE = """
import nftables, sys
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader, model, store
def load(link, mac):
    loader.Loader({mac: store.entry_of(model.Guard(mac))}).on([(link, mac)])
real = nftables.Nftables.json_cmd
def json_cmd(self, commands):
    if any("add" in one for one in commands["nftables"]):
        nftables.Nftables.json_cmd = real
        load(*RACING)
    return real(self, commands)
nftables.Nftables.json_cmd = json_cmd
"""


@pytest.mark.parametrize("who", ["task", "program"])
def test_two_that_load_guards_at_once_after_a_flush_do_not_refuse_each_other(guest: Guarded, who: str) -> None:
    race = _RACE.replace("RACING", repr(("macvtap1", NEIGHBOUR)))
    if who == "task":
        done = guest.netns.run({"mac": MAC, "persistent": False}, module="macvtap_guard", patch=race)
        assert not done.get("failed"), done
    else:
        path = f"PYTHONPATH={ROOT / '.collections'}:{ansible_path()}"
        program = [sys.executable, "-c", f"{race}\nload('macvtap0', {MAC!r})"]
        subprocess.run([*guest.netns.prefix, "env", path, *program], check=True)
    found = guest.netns.run({"macs": [MAC, NEIGHBOUR]}, module="macvtap_guard_info")["guards"]
    assert {one["mac"]: (one["links"], one["rules"]) for one in found} == {
        MAC: (["macvtap0"], "loaded"),
        NEIGHBOUR: (["macvtap1"], "loaded"),
    }
    assert guest.passes("mac", "own ip4") == ["own ip4"]


def test_peers_are_all_that_a_guest_reaches(guest: Guarded) -> None:
    names = ["own ip4", "own ip4-to-neighbour", "own ip6", "own dhcp-renewal", "own dhcp-client", "own nd-solicit"]
    guest.run(peers=["192.0.2.99"])
    assert guest.passes(*names) == [name for name in names if name != "own dhcp-renewal"]
    guest.run(peers=[guest_frames.FOREIGN])
    assert guest.passes(*names) == [name for name in names if name != "own ip4-to-neighbour"]


def test_a_guest_has_as_many_addresses_as_it_may_learn(guest: Guarded) -> None:
    guest.run(addresses=["learned"])
    names = ["own dhcp-client", "own nd-duplicate", "own arp-request", "arp-reply", "ip4-source", "own ip4", "ip6-none"]
    assert guest.passes(*names) == ["own dhcp-client", "own nd-duplicate", "own arp-request", "own ip4"]
    assert guest.info()["learned"] == [IP4, IP6]
    # What it has learned stays when something else changes.
    guest.run(addresses=["learned"], dhcp_server=True)
    assert guest.passes("arp-reply", "own ip4") == ["own ip4"]
    assert FOREIGN6 not in guest.info()["learned"]


def test_more_frames_than_the_rate_are_dropped(guest: Guarded) -> None:
    guest.run(rate=1, policy="count")
    assert guest.passes("own ip4", "own ip4", "own ip4", "own ip4") == ["own ip4"] * 4
    assert guest.counted()["rate"] > 0


def test_the_same_again_changes_nothing_and_check_mode_predicts(guest: Guarded) -> None:
    given: dict[str, t.Any] = {"addresses": ADDRESSES, "peers": ["192.0.2.0/24", "52:54:00:00:00:01"], "rate": 5000}
    predicted = guest.run(check=True, **given)
    assert guest.netns.run({}, module="macvtap_guard_info")["guards"] == []
    assert guest.run(**given)["guards"] == predicted["guards"]
    assert guest.run(**given)["changed"] is False
    changed = guest.run(**{**given, "rate": 0})
    assert [(one["field"], one["before"], one["after"]) for one in changed["changes"]] == [("rate", 5000, 0)]


def test_a_name_that_another_link_gets_has_no_guard(guest: Guarded) -> None:
    guest.run()
    guest.netns.ip("link", "del", "macvtap0")
    add_link(guest.netns, "macvtap0", guest_frames.FOREIGN)
    assert guest.info()["links"] == []
    # Otherwise this guest, whose own address that is, would be cut off.
    assert guest.passes("mac", "own ip4") == ["mac", "own ip4"]


def test_rules_of_others_are_seen_and_replaced(guest: Guarded) -> None:
    guest.run()
    chain = f"guard_{MAC.replace(':', '')}"
    code = (
        "import nftables; n = nftables.Nftables(); "
        f"print(n.cmd('insert rule netdev linuxvirt_macvtap {chain} accept')); "
        "print(n.cmd('add table netdev foreign')); print(n.cmd('add chain netdev foreign kept'))"
    )
    subprocess.run([*guest.netns.prefix, sys.executable, "-c", code], check=True)
    assert guest.passes("mac") == ["mac"]
    assert guest.info()["rules"] == "modified"
    changes = guest.run()["changes"]
    assert ("rules", "modified", "loaded") in [(one["field"], one["before"], one["after"]) for one in changes]
    assert guest.passes("mac") == []
    listed = "import nftables; n = nftables.Nftables(); print(n.cmd('list table netdev foreign')[1])"
    done = subprocess.run(
        [*guest.netns.prefix, sys.executable, "-c", listed], check=True, capture_output=True, text=True
    )
    assert "chain kept" in done.stdout


_GUARD, _LINK = f"netdev linuxvirt_macvtap guard_{MAC.replace(':', '')}", "netdev linuxvirt_macvtap link_macvtap0"
_JUMP = f'add rule {_LINK} jump guard_{MAC.replace(":", "")} comment "{MAC} - macvtap0"'


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        (f"flush chain {_GUARD}", "rules"),
        (f'add rule {_GUARD} accept comment "malformed"', "rules"),
        (f'replace rule {_GUARD} handle HANDLE ether saddr != 52:54:00:00:00:99 counter drop comment "mac"', "rules"),
        # What it hands forbidden frames to.
        ("flush chain netdev linuxvirt_macvtap dropped_mac", "rules"),
        ("insert rule netdev linuxvirt_macvtap dropped_mac accept", "rules"),
        (f"flush chain {_LINK}", "links"),
        (f"insert rule {_LINK} accept", "links"),
        (f"flush chain {_LINK}; delete chain {_LINK}", "links"),
        (f"flush chain {_LINK}; delete chain {_LINK}; add chain {_LINK}; {_JUMP}", "links"),
    ],
    ids=[
        "flushed",
        "rule",
        "value",
        "recorder-flushed",
        "recorder-rule",
        "link-flushed",
        "link-rule",
        "link-gone",
        "link-unhooked",
    ],
)
def test_whatever_others_change_is_restored(guest: Guarded, edit: str, field: str) -> None:
    """Also where an earlier run has learned what the rules are."""
    guest.run(addresses=ADDRESSES)
    assert guest.run(addresses=ADDRESSES)["changed"] is False
    code = (
        "import nftables, re, sys; n = nftables.Nftables(); n.set_handle_output(True); "
        f"listed = n.cmd('list chain {_GUARD}')[1]; "
        "handle = re.search('comment .mac. # handle ([0-9]+)', listed)[1]; "
        "code, _, error = n.cmd(sys.argv[1].replace('HANDLE', handle)); sys.exit(error or code)"
    )
    subprocess.run([*guest.netns.prefix, sys.executable, "-c", code, edit], check=True)
    assert field in {one["field"] for one in guest.run(addresses=ADDRESSES)["changes"]}
    assert guest.passes("mac", "own ip4") == ["own ip4"]
    assert guest.run(addresses=ADDRESSES)["changed"] is False


def test_all_of_a_task_or_nothing(guest: Guarded) -> None:
    entries = [{"mac": MAC}, {"link": "missing"}]
    failed = guest.netns.run({"guards": entries, "persistent": False}, module="macvtap_guard")
    assert failed["msg"].startswith("guards[1].link: no macvtap link missing exists")
    assert guest.netns.run({}, module="macvtap_guard_info")["guards"] == []


def test_a_link_gets_copies_of_what_a_guest_sends(guest: Guarded) -> None:
    guest.netns.ip("link", "add", "mon0", "type", "veth", "peer", "name", "mon1")
    for link in ("mon1", "mon0"):
        set_up(guest.netns, link)
    guest.run(mirror_to="mon0")
    assert guest.passes("mac", "own ip4") == ["own ip4"]
    # Two and their markers: also of the one that was dropped.
    (found,) = json.loads(guest.netns.ip("-s", "-j", "link", "show", "mon0"))
    assert found["stats64"]["tx"]["packets"] == 4
    assert guest.info()["mirror_to"] == "mon0"
    assert guest.run(mirror_to="mon0")["changes"] == []
    guest.netns.ip("link", "del", "mon0")
    assert guest.passes("mac", "own ip4") == ["own ip4"]
    assert guest.info()["mirror_to"] != "mon0"
    # Another link of that name gets none, until the task runs.
    guest.netns.ip("link", "add", "mon0", "type", "veth", "peer", "name", "mon1")
    changes = guest.run(mirror_to="mon0")["changes"]
    assert [(one["field"], one["after"]) for one in changes] == [("mirror_to", "mon0")]
    assert guest.run(mirror_to="mon0")["changed"] is False
    guest.netns.ip("link", "del", "mon0")
    for link, why in (("mon0", "no link mon0 exists"), ("macvtap1", "macvtap1 is a macvtap link")):
        failed = guest.netns.run({"mac": MAC, "mirror_to": link, "persistent": False}, module="macvtap_guard")
        assert failed["msg"].startswith(f"mirror_to: {why}")


def test_a_guest_that_takes_an_address_receives_what_its_neighbours_send_to_it(guest: Guarded) -> None:
    """A guard is about what a guest sends: docs/guard.md says so."""
    frame = ether(0x0800, ip4(IP4, udp(1000, 53)), NEIGHBOUR, FOREIGN).hex()
    send = (
        "import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('macvtap1', 0)); "
        f"s.send(bytes.fromhex('{frame}'))"
    )

    def received() -> list[int]:
        subprocess.run([*guest.netns.prefix, sys.executable, "-c", send], check=True)
        found = json.loads(guest.netns.ip("-s", "-j", "link", "show"))
        packets = {link["ifname"]: link["stats64"]["rx"]["packets"] for link in found}
        return [packets[name] for name in ("far0", "macvtap0")]

    guest.run(addresses=ADDRESSES)
    first, second = received(), received()
    assert (second[0] - first[0], second[1] - first[1]) == (1, 0)
    guest.netns.ip("link", "set", "macvtap0", "address", FOREIGN)
    third = received()
    assert (third[0] - second[0], third[1] - second[1]) == (0, 1)
    assert guest.passes("mac", "vrrp") == []
