# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Networks that give an interface no link, or one that others have."""

from __future__ import annotations

import re
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import disruptions, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Portgroup
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

from .networked import NETWORKS, A, B, C, live, on, refusal, stored, want


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "lam"}, "interfaces[2].network: there is no network 'lam' on qemu:///system. Did you mean lan"),
        ({"network": "xyz"}, "interfaces[2].network: there is no network 'xyz' on qemu:///system. Direct networks"),
        ({"network": "nat"}, "interfaces[2].network: 'nat' is not a direct network: it is of forward mode nat"),
        ({"network": "was"}, "interfaces[2].network: 'was' is not a direct network: it is of forward mode nat"),
        ({"network": "off"}, "interfaces[2].network: the network 'off' is not active"),
        ({"network": "gone"}, "interfaces[2].network: the network 'gone' has the uplink eth9, and there is no such"),
        ({"network": "lan", "portgroup": "db"}, "interfaces[2].portgroup: the network 'lan' has no portgroup 'db'"),
        (
            {"network": "lan", "vlan": 4},
            "interfaces[2].vlan: libvirt starts no guest that has a VLAN for an interface in mode bridge",
        ),
        ({"source": "eth0", "portgroup": "db"}, "interfaces[2].portgroup: excludes source"),
        ({"network": "lan", "mode": "vepa"}, "interfaces[2].network: excludes mode"),
        ({"network": ""}, "interfaces[2].network: an empty name"),
        (
            {"network": "lan", "allmulticast": True, "portgroup": "trusted"},
            "interfaces[2].allmulticast: allmulticast and",
        ),
        ({"network": "pass", "allmulticast": True}, "interfaces[2].allmulticast: allmulticast has no effect in mode"),
        ({}, "interfaces[2].source: is required"),
        ({"portgroup": "web"}, "interfaces[2].source: is required"),
    ],
)
def test_what_gives_a_new_interface_no_link_is_refused(options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(MacvtapError, match="^" + re.escape(message)):
        planner.plan([want(**options)], on(), level="replug")


@pytest.mark.parametrize(
    ("before", "options", "message"),
    [
        ({"network": "lan"}, {"mode": "vepa"}, "interfaces[2].mode: 52:54:00:00:00:0a is on the network 'lan'"),
        ({"source": "eth0"}, {"portgroup": "web"}, "interfaces[2].portgroup: only a network has portgroups"),
        ({"network": "nat"}, {"network": "nat"}, "interfaces[2].network: 'nat' is not a direct network"),
        ({"network": "lost"}, {"network": "lost"}, "interfaces[2].network: there is no network 'lost'"),
        (
            {"network": "nat"},
            {"network": "lan"},
            "interfaces[2].mac: domain 'web1' has 52:54:00:00:00:0a as an interface",
        ),
    ],
)
def test_what_does_not_fit_an_existing_interface_is_refused(
    before: dict[str, str], options: dict[str, t.Any], message: str
) -> None:
    assert refusal(want(**options), on([stored(**before)])).startswith(message)


def test_an_inactive_network_that_stays_is_a_warning() -> None:
    (message,) = planner.plan([want(network="off")], on([stored(network="off")])).warnings
    assert message.startswith(f"web1 {A}: the network 'off' is not active, so the guest does not start")
    # Its portgroups are those that are stored.
    assert not planner.plan([want(link_state="up")], on([stored(network="off", portgroup="db")])).changed


def used(*texts: str, name: str = "other", running: bool = False) -> Domain:
    host = on([*texts], [*texts] if running else None, name=name)
    return host.domains[name]


def test_a_pool_has_an_uplink_for_each_nic() -> None:
    on_pool = {"network": "vfs"}
    host = on([], [])
    assert not planner.plan([want(**on_pool)], host).warnings
    other = replace(used(live(B, source="eth2", mode="passthrough"), running=True), running=True)
    both = replace(host, domains={**host.domains, "other": other})
    # libvirt does not know of the other guest, which is on the uplink without this network.
    assert refusal(want(**on_pool), both) == (
        "interfaces[2].network: the network 'vfs' gives each NIC an uplink for itself, and libvirt would choose eth2, "
        f"because it does not know that this is taken by other {B}. It would fail, and some versions leave the guest's "
        "address on eth2. Remove that from eth2, or take eth2 out of the network"
    )
    (message,) = planner.plan([want(**on_pool)], both, level="none").warnings
    assert message.endswith(
        "libvirt would choose eth2 at the next start, because it does not know that this is taken by other "
        f"{B}. The guest would not start"
    )
    vfs = NETWORKS["vfs"]
    counted = replace(vfs, live=replace(vfs.live or vfs, connections={"eth2": 1}))
    both = replace(both, networks={**NETWORKS, "vfs": counted})
    assert not planner.plan([want(**on_pool)], both).warnings
    third = used(stored(C, network="vfs"), name="third")
    (message,) = planner.plan([want(**on_pool)], replace(both, domains={**both.domains, "third": third})).warnings
    assert "has 2 for more NICs: 1 taken, 2 of guests that do not have one yet" in message
    taken = replace(used(live(C, source="eth3", mode="passthrough"), name="third", running=True), running=True)
    full = replace(both, domains={**both.domains, "third": taken})
    assert refusal(want(**on_pool), full).startswith(
        "interfaces[2].network: the network 'vfs' gives each NIC an uplink for itself, and all are taken: eth2 by other"
    )
    # With one uplink it is a source in mode passthrough.
    assert "eth2" in refusal(want(network="pass"), both)


def test_a_nic_is_not_to_share_the_uplink_of_a_network_in_mode_passthrough() -> None:
    other = used(stored(B, network="pass"))
    host = on([])
    host = replace(host, domains={**host.domains, "other": other})
    (message,) = planner.plan([want(source="eth2", mode="bridge")], host).warnings
    assert f"other {B}" in message


@pytest.mark.parametrize(
    ("before", "after", "taken"),
    [
        (None, {"network": "pass"}, ["eth2"]),
        (None, {"network": "vfs"}, ["eth2", "eth3"]),
        ({"network": "pass"}, {"source": "eth2", "mode": "passthrough"}, []),
        ({"source": "eth2", "mode": "passthrough"}, {"network": "pass"}, []),
        ({"network": "pass"}, {"network": "vfs"}, ["eth3"]),
        (None, {"network": "lan"}, []),
    ],
)
def test_which_links_the_host_may_lose(before: dict[str, str] | None, after: dict[str, str], taken: list[str]) -> None:
    host = on([stored(**before)] if before else [])
    steps: t.Sequence[Step[Nic]] = planner.plan([want(**after)], host).steps
    assert [one.link for one in disruptions.of_steps(steps, host)] == taken
    # The same of a host whose links are not known.
    assert [one.link for one in disruptions.of_steps(steps, replace(host, links=None))] == taken


QBH = {"virtualport.type": "802.1Qbh"}
PROFILE = {"virtualport.profileid": "x"}


@pytest.mark.parametrize(
    ("network_has", "group_has", "own", "refused"),
    [
        (QBH, {}, {}, True),
        ({}, QBH, {}, True),
        ({**QBH, **PROFILE}, {}, {}, False),
        # Each may have a part of it.
        (QBH, PROFILE, {}, False),
        (QBH, {}, {"type": "802.1Qbh", "profileid": "x"}, False),
        ({}, {**QBH, **PROFILE}, {}, False),
        ({}, {}, {}, False),
    ],
)
def test_a_virtual_port_that_nothing_completes(
    network_has: dict[str, str], group_has: dict[str, str], own: dict[str, str], refused: bool
) -> None:
    group = Portgroup("web", values=group_has)
    values: t.Any = {"values": network_has, "portgroups": (group,)}
    lan = replace(NETWORKS["lan"], live=replace(NETWORKS["lan"].live or NETWORKS["lan"], **values), **values)
    options: dict[str, t.Any] = {"network": "lan", "portgroup": "web", **({"virtualport": own} if own else {})}
    host = on([stored(source="eth0", mode="bridge")], networks={**NETWORKS, "lan": lan})
    if refused:
        message = refusal(want(**options), host)
        assert message.startswith("interfaces[2].virtualport.profileid: is required, since the virtual port is of type")
        # One that is so already is left alone.
        as_it_is = on([stored(network="lan", portgroup="web")], networks={**NETWORKS, "lan": lan})
        assert not planner.plan([want(link_state="up")], as_it_is).changed
    else:
        assert planner.plan([want(**options)], host).changed
    # Of a network that is not known nothing is said.
    assert planner.plan([want(**options)], replace(host, networks=None)).changed
