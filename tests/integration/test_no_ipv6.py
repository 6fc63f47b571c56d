# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A host whose kernel has no IPv6, as near as one comes to it where the kernel has it."""

from __future__ import annotations

import re
import socket
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import netns as namespaces
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import rtnetlink
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import WHY_NO_IPV6

if t.TYPE_CHECKING:
    from namespaces import Namespace
    from reflecting import Switch

NO_IPV6 = f"this kernel has no IPv6 ({WHY_NO_IPV6})"
BASE = {"name": "mt0", "parent": "eth0", "mode": "bridge", "mac": "52:54:00:00:00:01"}
SHIM = {"name": "host0", "parent": "eth0", "addresses": ["192.0.2.50"], "guests": ["192.0.2.60"]}
# Messages about links have no part of this number, as they have none of AF_INET6 there.
NO_PART = (
    "from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import decode\ndecode._AF_INET6 = 250\n"
)


def test_routes_of_a_family_that_the_kernel_has_not_are_none(netns: Namespace) -> None:
    netns.ip("address", "add", "192.0.2.9/24", "dev", "eth0")
    try:
        with namespaces.entered(f"/run/netns/{netns.name}"), rtnetlink.open_socket() as sock:
            assert rtnetlink.dump_routes(sock, socket.AF_INET)
            # A family without routes is to the kernel like one that is disabled.
            assert rtnetlink.dump_routes(sock, socket.AF_PACKET) == []
    finally:
        netns.ip("address", "flush", "dev", "eth0")


def test_links_are_made_without_it_and_what_needs_it_is_refused_at_first(netns: Namespace) -> None:
    settled = {**BASE, "state": "up", "addrgenmode": "none"}
    assert netns.run(settled, patch=NO_PART)["changed"]
    for check in (True, False):
        assert not netns.run({**settled, "accept_ra": False}, patch=NO_PART, check=check)["changed"]
        for option in ({"accept_ra": True}, {"addrgenmode": "eui64"}):
            message = rf"^(\w+): requires IPv6, and {re.escape(NO_IPV6)}\. Remove \1, or"
            for link in (BASE, {**BASE, "name": "mt1", "mac": None}):
                netns.refuses({**link, **option}, message, patch=NO_PART, check=check)


@pytest.mark.parametrize("method", ["lower", "endpoints"])
def test_a_switch_is_asked_over_links_without_it(switch: Switch, method: str) -> None:
    # Below this size the kernel gives a link none.
    switch.netns.ip("link", "set", "eth0", "mtu", "1279")
    try:
        for on in (False, True):
            switch.hairpin(on)
            result = switch.ask(method=method)
            assert result["reflective_relay"] is on, result
    finally:
        switch.netns.ip("link", "set", "eth0", "mtu", "1500")


def test_the_host_reaches_its_guests_without_it(netns: Namespace) -> None:
    def run(**more: t.Any) -> dict[str, t.Any]:
        return netns.run({**SHIM, **more}, "macvtap_host_access", patch=NO_PART)

    made = run()
    assert made.get("changed"), made
    assert not run()["changed"]
    refused = run(addresses=["192.0.2.50", "2001:db8::5"])["msg"]
    assert "addresses[1]: " in refused
    assert NO_IPV6 in refused
    assert run(state="absent")["changed"]
