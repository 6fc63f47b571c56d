# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The connection that Ansible runs over cannot be cut off: tries hard to, over each address and from each machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import lan as lans
import pytest
from lan import ACCESS, TOOL, Lan, Machine
from support import run_module

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")]

PORTS = map(str, itertools.count(2200))
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
    """And with a companion, brought back where a test has taken it away."""
    _lan.done({**ACCESS, "mtu": 1500})
    return _lan


class Connected:
    """Runs the module below a process that holds a connection from ``machine`` to ``address`` of the host."""

    def __init__(self, lan: Lan, machine: Machine, address: str, directory: Path) -> None:
        self._lan, self._machine, self._address, self._directory = lan, machine, address, directory

    def access(self, params: t.Mapping[str, t.Any], **how: t.Any) -> lans.Result:
        port = next(PORTS)
        ready = str(self._directory / port)
        client = [*self._machine.prefix, sys.executable, TOOL, "connect", self._address, port, ready]
        with subprocess.Popen(client) as process:
            served = [*self._lan.host.prefix, sys.executable, TOOL, "serve", self._address, port, ready]
            result = run_module("macvtap_host_access", params, prefix=served, **how)
            process.wait(30)
        assert result["rc"] != 99, f"the connection was cut off: {result}"
        return result

    def refused(self, params: t.Mapping[str, t.Any], message: str, **how: t.Any) -> None:
        before = self._lan.state()
        result = self.access(params, **how)
        assert result.get("failed"), result
        assert re.search(message, result["msg"]), result["msg"]
        assert self._lan.state() == before


@pytest.fixture
def connected(lan: Lan, tmp_path: Path) -> t.Callable[[Machine, str], Connected]:
    return lambda machine, address: Connected(lan, machine, address, tmp_path)


# Who connects, to which address; the first over the parent, the others over the companion, or by its address.
OVER_IT = [
    ("guest", "192.0.2.250"),
    ("guest", "2001:db8::250"),
    ("guest", "192.0.2.1"),
    ("peer", "192.0.2.250"),
    ("peer", "2001:db8::250"),
]


@pytest.mark.parametrize(("who", "address"), OVER_IT)
def test_a_companion_that_it_runs_over_stays(lan: Lan, connected: t.Any, who: str, address: str) -> None:
    session = connected(getattr(lan, who), address)
    peer = {"guest": "77", "peer": "9"}[who]
    source = f"2001:db8::{peer}" if ":" in address else f"192.0.2.{peer}"
    runs = rf"the connection from {source} to {address}, by which Ansible runs, goes over host0, and "
    mend = r"would cut it off\. Run this over another address of the host$"
    session.refused(ABSENT, f"^{runs}removing it {mend}")
    session.refused(ABSENT, f"^{runs}removing it {mend}", check=True)
    session.refused({**ACCESS, "parent": "eth1"}, f"^{runs}making it anew {mend}")
    session.refused({**ACCESS, "mac": "52:54:00:00:00:fb"}, f"^{runs}changing its MAC address {mend}")
    # In a list, beside another that would be fine.
    both = [{"name": "host1", "addresses": ["192.0.2.240"]}, ABSENT]
    session.refused({"parent": "eth0", "companions": both}, rf"^companions\[1\]: {runs}removing it {mend}")
    # And what does not cut it off is done.
    more = {**ACCESS, "guests": [*ACCESS["guests"], "192.0.2.88"], "mtu": 1400}
    assert session.access(more)["changed"]
    assert not session.access(more)["changed"]


@pytest.mark.parametrize(("who", "address"), [pair for pair in OVER_IT if pair[1].endswith("250")])
def test_an_address_that_it_runs_over_stays(lan: Lan, connected: t.Any, who: str, address: str) -> None:
    session = connected(getattr(lan, who), address)
    other = [one for one in ACCESS["addresses"] if one != address]
    guests = [one for one in ACCESS["guests"] if (":" in one) != (":" in address)]
    taken = rf"^addresses: the connection .* goes over host0, and taking away {address} would cut it off"
    session.refused({**ACCESS, "addresses": other, "guests": guests}, taken)
    replaced = "2001:db8::251" if ":" in address else "192.0.2.251"
    session.refused({**ACCESS, "addresses": [*other, replaced]}, taken)


@pytest.mark.parametrize("address", ["192.0.2.250", "2001:db8::250", "192.0.2.1"])
def test_the_route_back_stays(lan: Lan, connected: t.Any, address: str) -> None:
    session = connected(lan.guest, address)
    kept = [one for one in ACCESS["guests"] if (":" in one) != (":" in address)]
    session.refused(
        {**ACCESS, "guests": kept},
        r"^guests: Ansible connects from \S+, which is routed over host0, and would be cut off with that route",
    )


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_no_route_takes_it_elsewhere(lan: Lan, connected: t.Any, address: str) -> None:
    session = connected(lan.peer, address)
    six = ":" in address
    peer = "2001:db8::9" if six else "192.0.2.9"
    for guests in (peer, "2001:db8::8/125" if six else "192.0.2.8/29"):
        session.refused(
            {**ACCESS, "guests": [*ACCESS["guests"], guests]}, rf"^guests\[2\]: {guests}\S* contains {peer}, whom"
        )
    for guests in ("::/0", "2000::/3", "2001:db8::/64") if six else ("0.0.0.0/0", "192.0.0.0/3", "192.0.2.0/24"):
        session.refused(
            {**ACCESS, "guests": [guests]}, rf"^guests\[0\]: {guests} (is a default|contains an address of)"
        )
    # Nor an address: the host would then be talking to itself.
    session.refused(
        {**ACCESS, "addresses": [*ACCESS["addresses"], peer]}, r"^addresses\[2\]: \S+ is whom Ansible connects"
    )
    # What is not about it goes on, the companion's end included.
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
            {**ACCESS, "guests": ["203.0.113.0/24"]}, r"^guests\[0\]: 203.0.113.0/24 contains 203.0.113.5, whom"
        )
        session.refused(
            {**ACCESS, "guests": ["203.0.113.4/31"]}, r"^guests\[0\]: 203.0.113.4/31 contains 203.0.113.5, whom"
        )
        session.refused(
            {**ACCESS, "guests": ["192.0.2.8/29"]}, r"^guests\[0\]: 192.0.2.8/29 contains a router by which .*2.9\."
        )
        session.refused(
            {**ACCESS, "addresses": [*ACCESS["addresses"], "203.0.113.5"]}, r"^addresses\[2\]: 203.0.113.5 is whom"
        )
        session.refused(
            {**ACCESS, "addresses": ["192.0.2.9"], "guests": []}, r"^addresses\[0\]: 192.0.2.9 is a router's"
        )
    finally:
        lan.peer.ip("route", "change", "192.0.2.0/24", "dev", "eth0", "src", "192.0.2.9")
        lan.peer.ip("address", "del", "203.0.113.5/32", "dev", "lo")
        lan.host.ip("route", "del", "default")


def test_over_link_local_addresses(lan: Lan) -> None:
    """What only the environment says, as where another user's processes cannot be looked into."""
    own = next(word for word in lan.host.ip("-6", "address", "show", "host0").split() if word.startswith("fe80::"))
    says = {"SSH_CONNECTION": f"fe80::1%host0 4711 {own.partition('/')[0]}%host0 22"}
    before = lan.state()
    result = lan.access(ABSENT, prefix=[*lan.host.prefix, "env", *(f"{name}={value}" for name, value in says.items())])
    assert re.search("^the connection from fe80::1 to fe80::.* removing it would cut it off", result["msg"])
    assert lan.state() == before


def test_a_task_in_the_background_knows_no_ancestor(lan: Lan, tmp_path: Path) -> None:
    port, ready = next(PORTS), str(tmp_path / "ready")
    with contextlib.ExitStack() as stack:
        client = [*lan.guest.prefix, sys.executable, TOOL, "connect", "192.0.2.250", port, ready]
        stack.enter_context(subprocess.Popen(client))
        server = [*lan.host.prefix, sys.executable, TOOL, "session", "192.0.2.250", port, ready, "sshd"]
        process = stack.enter_context(
            subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n"
        assert "removing it would cut it off" in lan.refuses(ABSENT)
        process.stdin.close()
        assert process.wait(30) == 0
    assert lan.done(ABSENT)["changed"]
