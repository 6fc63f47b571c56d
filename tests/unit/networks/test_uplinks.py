# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a network in mode passthrough takes from the host, and what else is on its uplinks."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import declare, sources, warnings
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network, User

from .planned import LAN, LINKS, RUNNING, host, network, plan


def test_an_uplink_that_passes_to_guests_is_lost_to_the_host() -> None:
    # A guest has the other one.
    functions = {"eth2": ("vf0", "vf1", "0000:01:10.2")}
    links = {**LINKS, **{name: Link(name, index=index) for index, name in enumerate(("vf0", "vf1"), 7)}}
    where = replace(host(network(), functions=functions), links=links)
    for options, lost in (
        ({"pf": "eth2"}, ["vf0", "vf1"]),
        ({"mode": "passthrough"}, ["eth0", "eth1"]),
        ({"interfaces": ["eth2"]}, []),
        ({"mode": "passthrough", "interfaces": ["eth2", "lan1"]}, ["eth0", "eth2"]),
    ):
        declared = sources.named(declare.declare([("", {"name": "lan", **options})]), where)
        found = warnings.disruptions(resolve(declared, where, {}, force=False), where)
        assert sorted(one.link for one in found) == lost


POOL = Definition("passthrough", ("eth0",))
SHIM = Link("shim0", 9, kind="macvlan", parent="eth0", mode="bridge")
GUESTS = replace(SHIM, name="macvtap0", kind="macvtap", mode="passthru")


@pytest.mark.parametrize(
    ("before", "links", "users", "options", "warned"),
    [
        (None, [SHIM], [], {"mode": "passthrough", "interfaces": ["lan1"]}, True),
        (None, [SHIM], [], {"mode": "passthrough", "interfaces": ["eth1"]}, False),
        (None, [SHIM], [], {"mode": "bridge", "interfaces": ["eth0"]}, False),
        (None, [replace(SHIM, kind="vlan")], [], {"mode": "passthrough", "interfaces": ["eth0"]}, False),
        (network(POOL, None), [SHIM], [], {}, True),
        (network(POOL, POOL), [GUESTS], [], {}, True),
        # The guest's own is none of others.
        (network(POOL, POOL), [GUESTS], [replace(RUNNING, mode="passthrough")], {}, False),
        (network(POOL, POOL), [GUESTS, SHIM], [replace(RUNNING, mode="passthrough")], {}, True),
        (network(POOL, POOL), [GUESTS], [], {"state": "absent"}, False),
    ],
)
def test_an_uplink_that_each_guest_gets_for_itself_has_other_links(
    before: Network | None, links: list[Link], users: list[User], options: dict[str, t.Any], warned: bool
) -> None:
    where = replace(host(before, *users), links={**LINKS, **{link.name: link for link in links}})
    found = [one for one in plan(where, **options).warnings if "for itself" in one]
    names = ", ".join(sorted(link.name for link in links))
    assert [one.partition(". ")[0] for one in found] == [
        f"network 'lan' gives each NIC an uplink for itself, and eth0 has {names}"
    ] * warned


@pytest.mark.parametrize(
    ("before", "options", "lost"),
    [
        # Others have stored it, and no guest has started on it: to activate it is what takes the uplink.
        (network(POOL, None), {}, ["eth0"]),
        (network(POOL, None), {"state": "inactive"}, []),
        (network(POOL, None, autostart=False), {}, ["eth0"]),
        (network(POOL, None, autostart=False), {"state": "inactive", "autostart": True}, ["eth0"]),
        (network(POOL, None, autostart=False), {"state": "inactive"}, []),
        # It gives it already, or will at the next boot.
        (network(POOL, POOL), {}, []),
        (network(POOL, POOL, autostart=False), {"autostart": True}, []),
        (network(POOL, POOL), {"state": "inactive"}, []),
        # Others have changed what is stored of an active one, which a restart brings.
        (network(POOL, LAN, autostart=False), {}, ["eth0"]),
        (network(LAN, POOL, autostart=False), {"mode": "passthrough", "interfaces": ["eth0"]}, []),
        # What is only stored counts at once.
        (network(LAN, None, autostart=False), {"state": "inactive", "mode": "passthrough"}, ["eth0", "eth1"]),
    ],
)
def test_an_uplink_is_lost_when_a_network_begins_to_give_it(
    before: Network, options: dict[str, t.Any], lost: list[str]
) -> None:
    where = host(before)
    declared = sources.named(declare.declare([("", {"name": "lan", **options})]), where)
    found = warnings.disruptions(resolve(declared, where, {}, force=False), where)
    assert sorted(one.link for one in found) == lost


@pytest.mark.parametrize(
    ("before", "options", "lost"),
    [
        (None, {"mode": "passthrough", "interfaces": ["eth7"]}, ["eth7"]),
        (None, {"pf": "eth7"}, ["eth7"]),
        (None, {"interfaces": ["eth7"]}, []),
        (network(POOL, None), {}, ["eth0"]),
        (network(POOL, POOL), {}, []),
    ],
)
def test_what_a_network_of_another_host_takes_is_not_taken_for_nothing(
    before: Network | None, options: dict[str, t.Any], lost: list[str]
) -> None:
    where = replace(host(before), links=None, links_unknown="uri qemu+ssh://x may lead to another host")
    declared = sources.named(declare.declare([("", {"name": "lan", **options})]), where)
    found = warnings.disruptions(resolve(declared, where, {}, force=False), where)
    assert sorted(one.link for one in found) == lost
