# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What would cut off the host is refused, whatever does it, with plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access import reachability
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.disruption import Disruption, Loss
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import (
    UNICAST,
    Address,
    Connection,
    Reach,
    Route,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link

from .reach import ALL, ETH0, KERNEL, OTHER, PEER, RA, TAP, VLAN, WHOLE, passes, refused, with_address


@pytest.mark.parametrize("loss", WHOLE)
@pytest.mark.parametrize(
    ("reach", "text"),
    [
        (with_address(2), "eth0 has addresses of the host (192.0.2.1/24), and"),
        (with_address(2, "2001:db8::1", advertised=True), "eth0 has addresses of the host (2001:db8::1/64), and"),
        (Reach(routes=(Route("203.0.113.0/24", 2),)), "eth0 has routes to 203.0.113.0/24, and"),
        # By a table that a rule leads to.
        (Reach(routes=(Route("203.0.113.0/24", 2, table=100),)), "eth0 has routes to 203.0.113.0/24, and"),
        (
            Reach(connections=(replace(PEER, index=2),)),
            "Ansible's connection from 192.0.2.9 to 192.0.2.1 goes over eth0, and",
        ),
    ],
)
def test_what_the_host_is_reached_by_stays(loss: Loss, reach: Reach, text: str) -> None:
    mtu = 1400 if loss is Loss.MTU else None
    assert refused(Disruption("eth0", loss, "links[3]", mtu), reach).startswith(f"links[3]: {text} {loss.value[0]} ")


@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize(
    "reach",
    [
        Reach(),
        with_address(7),
        with_address(2, "fe80::2", link_local=True),
        # The kernel's own, which come and go with addresses.
        Reach(routes=(Route("192.0.2.0/24", 2, protocol=KERNEL), Route("fe80::/64", 2, protocol=KERNEL))),
        Reach(routes=(Route("203.0.113.0/24", 2, kind=UNICAST + 5),)),
        Reach(connections=(replace(PEER, index=7),)),
    ],
)
def test_what_it_is_not_reached_by_is_nothing(loss: Loss, reach: Reach) -> None:
    passes(Disruption("eth0", loss), reach)


def test_a_connection_needs_the_link_of_its_address_too() -> None:
    """What is answered over another link than it came over."""
    reach = replace(with_address(2), connections=(replace(PEER, index=7),))
    assert "goes over eth0, and removing it would cut it off" in refused(Disruption("eth0", Loss.REMOVED), reach)
    assert "goes over eth1, and setting it down would cut it off" in refused(Disruption("eth1", Loss.DOWN), reach)


def test_a_guests_link_has_advertised_addresses_by_accident() -> None:
    advertised = Reach(
        (Address("2001:db8::5", 64, index=5, advertised=True),), (Route("::/0", 5, "fe80::1", protocol=RA),)
    )
    passes(Disruption("mt0", Loss.REMOVED), advertised)
    # Unless Ansible runs over it.
    reach = replace(advertised, connections=(Connection("2001:db8::5", "2001:db8::9"),))
    assert "goes over mt0" in refused(Disruption("mt0", Loss.REMOVED), reach)


@pytest.mark.parametrize("loss", [Loss.REMOVED, Loss.RECREATED, Loss.DOWN])
def test_what_needs_the_link_goes_with_it(loss: Loss) -> None:
    words = loss.value[0]
    text = refused(Disruption("eth0", loss), with_address(4))
    assert text.startswith(f"host0 has addresses of the host (192.0.2.1/24), which depends on eth0, and {words}")
    assert "goes over eth0.20, which depends on eth0, and" in refused(
        Disruption("eth0", loss), Reach(connections=(replace(PEER, index=3),))
    )
    # As the only port of a bridge, or one of several: by which of them it is reached nobody knows.
    ports = replace(VLAN, master="br0"), replace(OTHER, master="br0")
    assert "br0 has addresses" in refused(Disruption("eth0", loss), with_address(6), *ports)


def test_a_bond_needs_one_of_its_ports() -> None:
    bond = Link("bond0", 6, "bond", up=True)
    first, second = replace(ETH0, master="bond0"), replace(OTHER, master="bond0")
    passes(Disruption("eth0", Loss.DOWN), with_address(6), bond, first, second)
    text = refused(Disruption("eth0", Loss.DOWN), with_address(6), bond, first, replace(second, up=False))
    assert text.startswith("bond0 has addresses")


@pytest.mark.parametrize("loss", [Loss.REMOVED, Loss.DOWN])
def test_a_tunnel_goes_with_the_link_that_it_is_bound_to(loss: Loss) -> None:
    """Which IFLA_LINK does not say."""
    tunnel = Link("vxlan5", 6, "vxlan", under=3, up=True)
    text = refused(Disruption("eth0.20", loss), with_address(6), tunnel)
    assert text.startswith("vxlan5 has addresses of the host (192.0.2.1/24), which depends on eth0.20, and")


def test_addresses_of_a_vrf_need_one_of_its_ports() -> None:
    vrf = Link("mgmt", 6, "vrf", up=True)
    assert refused(Disruption("eth0.20", Loss.REMOVED), with_address(6), vrf, replace(VLAN, master="mgmt")).startswith(
        "mgmt has addresses"
    )


def test_on_the_way_back_what_the_host_has_got_since_then_counts() -> None:
    """With what it had in the beginning it was well, as things were."""
    (down,) = planner.plan([DesiredLink("mt0", "links[1]", state="down")], {"mt0": TAP}).steps
    first = Reach((Address("192.0.2.1", 24, index=5, tentative=True),), (Route("203.0.113.0/24", 5),))
    now = replace(first, addresses=(Address("192.0.2.1", 24, index=5),), connections=(replace(PEER, index=5),))
    assert set(reachability.cuts([down], now, ALL)) == {"mt0"}
    assert reachability.cuts([down], now, ALL, since=first) == {}
    more = replace(now, addresses=(*now.addresses, Address("192.0.2.7", 24, index=5)))
    text = str(reachability.cuts([down], more, ALL, since=first)["mt0"])
    assert text.startswith("links[1]: mt0 has addresses of the host (192.0.2.7/24), and setting it down")
    routed = replace(now, routes=(*now.routes, Route("198.51.100.0/24", 5)))
    assert "mt0 has routes to 198.51.100.0/24" in str(reachability.cuts([down], routed, ALL, since=first)["mt0"])


@pytest.mark.parametrize("loss", [Loss.MAC, Loss.PASSTHRU, Loss.MTU])
def test_what_is_on_it_works_on(loss: Loss) -> None:
    passes(Disruption("eth0", loss, mtu=1400 if loss is Loss.MTU else None), with_address(4))


def test_an_mtu_that_ipv6_cannot_live_with_takes_it_from_what_is_on_it() -> None:
    passes(Disruption("eth0", Loss.MTU, mtu=1000), with_address(4))
    text = refused(Disruption("eth0", Loss.MTU, mtu=1000), with_address(4, "2001:db8::1"))
    assert text.startswith(
        "host0 has addresses of the host (2001:db8::1/64), which depends on eth0, and changing its MTU"
    )


def test_what_is_declared_along_with_the_link_may_go() -> None:
    passes(Disruption("host0", Loss.REMOVED, declared=True), with_address(4))
    reach = replace(with_address(4), connections=(PEER,))
    assert "goes over host0, and removing it" in refused(Disruption("host0", Loss.REMOVED, declared=True), reach)
    assert refused(Disruption("eth0.20", Loss.REMOVED, declared=True), with_address(4)).startswith("host0 has")


def test_of_a_host_whose_links_are_not_known_it_is_a_warning() -> None:
    losses = [Disruption(link, Loss.PASSTHRU, "links[3]") for link in ("eth1", "eth0", "eth1")]
    why = "uri qemu+ssh://hv2/system may lead to another host"
    assert reachability.check_known(losses, Reach(), None, why) == (
        "guests in mode passthrough take eth0, eth1 from the host, and it is not known whether the host has addresses "
        f"or routes there: {why}. Set allow_host_disconnect: true to silence this",
    )
    assert reachability.check_known(losses, Reach(), None, why, allowed=True) == ()
    assert reachability.check_known([], Reach(), None, why) == ()
    # Where they are known it is refused.
    with pytest.raises(MacvtapError, match=r"^links\[3\]: eth0 has addresses of the host"):
        reachability.check_known(losses[1:2], with_address(2), ALL, "")
