# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The connection that Ansible runs over cannot be cut off: tries hard to, over each address and from each machine."""

from __future__ import annotations

import re
import threading
import typing as t
from pathlib import Path

import lan as lans
import pytest
from lan import ACCESS, Connected, Lan, Machine, session, speaking_as
from support import ROOT_ONLY

pytestmark = ROOT_ONLY

ABSENT = {"name": "host0", "state": "absent"}


@pytest.fixture(scope="module")
def _lan() -> t.Iterator[Lan]:
    """With a guest, and eth1, another possible parent."""
    with lans.made() as made:
        made.start_guest()
        made.host.ip("link", "add", "eth1", "type", "veth", "peer", "name", "far1")
        made.host.ip("link", "set", "eth1", "up")
        yield made


@pytest.fixture
def lan(_lan: Lan) -> Lan:
    """And with a shim, brought back where a test has taken it away."""
    _lan.done({**ACCESS, "mtu": 1500})
    return _lan


@pytest.fixture
def connected(lan: Lan, tmp_path: Path) -> t.Callable[[Machine, str], Connected]:
    return lambda machine, address: Connected(lan, machine, address, tmp_path)


# Who connects, to which address; the first over the parent, the others over the shim, or by its address.
OVER_IT = [
    ("guest", "192.0.2.250"),
    ("guest", "2001:db8::250"),
    ("guest", "192.0.2.1"),
    ("peer", "192.0.2.250"),
    ("peer", "2001:db8::250"),
]


@pytest.mark.parametrize(("who", "address"), OVER_IT)
def test_a_shim_that_it_runs_over_stays(lan: Lan, connected: t.Any, who: str, address: str) -> None:
    session = connected(getattr(lan, who), address)
    peer = {"guest": "77", "peer": "9"}[who]
    source = f"2001:db8::{peer}" if ":" in address else f"192.0.2.{peer}"
    runs = rf"Ansible's connection from {source} to {address} goes over host0, and "
    mend = r"would cut it off\. Connect to another address of the host, or set allow_host_disconnect: true$"
    session.refused(ABSENT, f"^{runs}removing it {mend}")
    session.refused(ABSENT, f"^{runs}removing it {mend}", check=True)
    session.refused({**ACCESS, "parent": "eth1"}, f"^{runs}recreating it {mend}")
    session.refused({**ACCESS, "mac": "52:54:00:00:00:fb"}, f"^{runs}changing its MAC address {mend}")
    # In a list, beside another that would be fine.
    both = [{"name": "host1", "addresses": ["192.0.2.240"]}, ABSENT]
    session.refused({"parent": "eth0", "shims": both}, rf"^shims\[1\]: {runs}removing it {mend}")
    # And what does not cut it off is done.
    more = {**ACCESS, "guests": [*ACCESS["guests"], "192.0.2.88"], "mtu": 1400}
    assert session.access(more)["changed"]
    assert not session.access(more)["changed"]


@pytest.mark.parametrize(("who", "address"), [pair for pair in OVER_IT if pair[1].endswith("250")])
def test_an_address_that_it_runs_over_stays(lan: Lan, connected: t.Any, who: str, address: str) -> None:
    session = connected(getattr(lan, who), address)
    other = [one for one in ACCESS["addresses"] if one != address]
    guests = [one for one in ACCESS["guests"] if (":" in one) != (":" in address)]
    taken = rf"^addresses: Ansible's connection .* goes over host0, and removing {address} would cut it off"
    session.refused({**ACCESS, "addresses": other, "guests": guests}, taken)
    replaced = "2001:db8::251" if ":" in address else "192.0.2.251"
    session.refused({**ACCESS, "addresses": [*other, replaced]}, taken)


@pytest.mark.parametrize("address", ["192.0.2.250", "2001:db8::250", "192.0.2.1"])
def test_the_route_back_stays(lan: Lan, connected: t.Any, address: str) -> None:
    session = connected(lan.guest, address)
    kept = [one for one in ACCESS["guests"] if (":" in one) != (":" in address)]
    session.refused(
        {**ACCESS, "guests": kept},
        r"^guests: Ansible connects from \S+ over host0; removing that route would cut it off",
    )


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_no_route_takes_it_elsewhere(lan: Lan, connected: t.Any, address: str) -> None:
    session = connected(lan.peer, address)
    six = ":" in address
    peer = "2001:db8::9" if six else "192.0.2.9"
    for guests in (peer, "2001:db8::8/125" if six else "192.0.2.8/29"):
        session.refused(
            {**ACCESS, "guests": [*ACCESS["guests"], guests]}, rf"^guests\[2\]: {guests}\S* contains {peer}, which"
        )
    for guests in ("::/0", "2000::/3", "2001:db8::/64") if six else ("0.0.0.0/0", "192.0.0.0/3", "192.0.2.0/24"):
        session.refused(
            {**ACCESS, "guests": [guests]}, rf"^guests\[0\]: {guests} (is a default|contains an address of)"
        )
    # Nor an address: the host would then be talking to itself.
    session.refused(
        {**ACCESS, "addresses": [*ACCESS["addresses"], peer]}, r"^addresses\[2\]: \S+ is the address that Ansible"
    )
    # What is not about it goes on, the shim's end included.
    assert session.access(ABSENT)["changed"]
    assert session.access(ACCESS)["changed"]


def test_from_beyond_a_router(lan: Lan, connected: t.Any) -> None:
    """The peer is also a router, behind which Ansible's machine is."""
    lan.peer.ip("address", "add", "203.0.113.5/32", "dev", "lo")
    lan.host.ip("route", "add", "default", "via", "192.0.2.9")
    session = connected(lan.peer, "192.0.2.1")
    lan.peer.ip("route", "change", "192.0.2.0/24", "dev", "eth0", "src", "203.0.113.5")
    try:
        session.refused(
            {**ACCESS, "guests": ["203.0.113.0/24"]}, r"^guests\[0\]: 203.0.113.0/24 contains 203.0.113.5, which"
        )
        session.refused(
            {**ACCESS, "guests": ["203.0.113.4/31"]}, r"^guests\[0\]: 203.0.113.4/31 contains 203.0.113.5, which"
        )
        session.refused(
            {**ACCESS, "guests": ["192.0.2.8/29"]}, r"^guests\[0\]: 192.0.2.8/29 contains a router that .*2.9\."
        )
        session.refused(
            {**ACCESS, "addresses": [*ACCESS["addresses"], "203.0.113.5"]}, r"^addresses\[2\]: 203.0.113.5 is the"
        )
        session.refused(
            {**ACCESS, "addresses": ["192.0.2.9"], "guests": []}, r"^addresses\[0\]: 192.0.2.9 is the address of a"
        )
    finally:
        lan.peer.ip("route", "change", "192.0.2.0/24", "dev", "eth0", "src", "192.0.2.9")
        lan.peer.ip("address", "del", "203.0.113.5/32", "dev", "lo")
        lan.host.ip("route", "del", "default")


V4 = {**ACCESS, "addresses": ["192.0.2.250"], "guests": ["192.0.2.77"]}


def test_by_a_route_that_an_undeclared_address_has_brought(lan: Lan, connected: t.Any) -> None:
    lan.done(V4)
    lan.host.ip("address", "add", "10.1.1.5/24", "dev", "host0")
    with speaking_as(lan.peer, "10.1.1.9", "24"):
        session = connected(lan.peer, "192.0.2.1")
        session.refused(V4, "^guests: Ansible connects from 10.1.1.9 over host0; removing that route would cut it off")
        session.refused(ABSENT, "^Ansible's connection from 10.1.1.9 to 192.0.2.1 goes over host0")
    assert lan.done(V4)["changed"]


def test_by_a_route_whose_source_is_the_shims_address(lan: Lan, connected: t.Any) -> None:
    lan.done(V4)
    lan.host.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.9", "dev", "eth0", "src", "192.0.2.250")
    try:
        with speaking_as(lan.peer, "203.0.113.5", "32"):
            session = connected(lan.peer, "192.0.2.1")
            message = "the route to 203.0.113.0/24 over eth0 has the source 192.0.2.250 of host0"
            session.refused(ABSENT, f"^{message}")
            session.refused({**V4, "addresses": ["192.0.2.251"]}, f"^addresses: {message}")
    finally:
        lan.host.ip("route", "del", "203.0.113.0/24")


def test_by_a_table_that_a_rule_leads_to(lan: Lan, connected: t.Any) -> None:
    lan.done(V4)
    lan.host.ip("rule", "add", "to", "203.0.113.5", "lookup", "100")
    lan.host.ip("route", "add", "203.0.113.5", "via", "192.0.2.77", "dev", "host0", "table", "100")
    try:
        with speaking_as(lan.guest, "203.0.113.5", "32"):
            runs = "^Ansible's connection from 203.0.113.5 to 192.0.2.1 goes over host0, and removing"
            connected(lan.guest, "192.0.2.1").refused(ABSENT, runs)
    finally:
        lan.host.ip("rule", "del", "to", "203.0.113.5", "lookup", "100")
        lan.host.ip("route", "flush", "table", "100")


def test_by_a_way_that_turns_out_another_in_the_end(lan: Lan, connected: t.Any) -> None:
    """What nobody could foresee is put back: here something else makes a route while addresses are asked for."""
    lan.done(ABSENT)
    before = lan.state()

    def make_route() -> None:
        up = ["sh", "-c", "until ip -br link show dev host0 2>&1 | grep -q UP; do sleep 0.02; done"]
        lan.host.run(*up)
        lan.host.ip("route", "add", "192.0.2.9", "dev", "host0")

    thread = threading.Thread(target=make_route)
    thread.start()
    result = connected(lan.peer, "192.0.2.1").access(V4)
    thread.join()
    assert result["msg"] == (
        "Ansible's connection from 192.0.2.9 to 192.0.2.1 would be cut off: the kernel now uses "
        "another route to it. Connect to another address of the host. The host is as it was before"
    )
    assert lan.state() == before


@pytest.mark.parametrize(
    ("apart", "how"),
    [
        (
            "several next hops",
            ["nexthop", "via", "192.0.2.77", "dev", "host0", "onlink", "nexthop", "via", "192.0.2.9"],
        ),
        (
            "several next hops",
            ["nexthop", "via", "192.0.2.9", "nexthop", "via", "192.0.2.77", "dev", "host0", "onlink"],
        ),
        ("a nexthop object", ["nhid", "5"]),
        ("the type of service 0x10", ["tos", "0x10", "via", "192.0.2.77", "dev", "host0", "onlink"]),
    ],
)
def test_a_route_that_would_not_go_alone_is_left(lan: Lan, apart: str, how: list[str]) -> None:
    lan.done(V4)
    if "nhid" in how:
        lan.host.ip("nexthop", "add", "id", "5", "dev", "host0")
    lan.host.ip("route", "add", "198.51.100.0/24", *how)
    message = rf"the route to 198.51.100.0/24 over host0 (uses|has|is limited to) {apart}, so it cannot be removed"
    assert re.search(f"^guests: {message}", lan.refuses(V4))
    assert re.search(f"^{message}", lan.refuses(ABSENT))
    lan.host.ip("route", "del", "198.51.100.0/24", *(how[:2] if "tos" in how else []))
    assert not lan.done(V4)["changed"]
    assert lan.done(ABSENT)["changed"]


def test_over_link_local_addresses(lan: Lan) -> None:
    """What only the environment says, as where another user's processes cannot be looked into."""
    own = next(word for word in lan.host.ip("-6", "address", "show", "host0").split() if word.startswith("fe80::"))
    says = {"SSH_CONNECTION": f"fe80::1%host0 4711 {own.partition('/')[0]}%host0 22"}
    before = lan.state()
    result = lan.access(ABSENT, prefix=[*lan.host.prefix, "env", *(f"{name}={value}" for name, value in says.items())])
    assert re.search("^Ansible's connection from fe80::1 to fe80::.* removing it would cut it off", result["msg"])
    assert lan.state() == before


STALE = ["env", "SSH_CONNECTION=192.0.2.9 4000 192.0.2.1 22"]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("sshd", []),
        # As in a terminal whose own session is over.
        ("sshd", STALE),
        # An SSH server of a name that nobody knows.
        ("tinysshd", STALE),
        # A container that has the host's network, and sees no process of the host.
        ("sshd", ["unshare", "--pid", "--fork", "--mount-proc"]),
    ],
)
def test_a_task_in_the_background_knows_no_ancestor(lan: Lan, tmp_path: Path, name: str, prefix: list[str]) -> None:
    with session(lan, tmp_path, name):
        assert "removing it would cut it off" in lan.refuses(ABSENT, prefix=[*lan.host.prefix, *prefix])
    assert lan.done(ABSENT)["changed"]


def test_an_ancestor_s_other_connection_does_not_hide_the_session(lan: Lan, connected: t.Any, tmp_path: Path) -> None:
    """As that of ansible-playbook to another machine."""
    with session(lan, tmp_path, "sshd"):
        message = "^Ansible's connection from 192.0.2.77 to 192.0.2.250 goes over host0, and removing"
        connected(lan.peer, "192.0.2.1").refused(ABSENT, message)


def test_a_connection_of_somebody_else_is_nothing_to_ansible(lan: Lan, connected: t.Any, tmp_path: Path) -> None:
    with session(lan, tmp_path, "nfsd"):
        before = lan.state()
        assert connected(lan.peer, "192.0.2.1").access(ABSENT, check=True)["changed"]
        assert lan.state() == before
