# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a guest's NICs are in the same segment and mode on the destination."""

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.segments import Segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import inventory, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import Both, Desired, NicThere, Side
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network

A = "52:54:00:00:01:01"
LAN = {
    "bridge": Network(name="lan", mode="bridge", interfaces=("eth0",), active=True),
    "vepa": Network(name="lan", mode="vepa", interfaces=("lan0",), active=True),
}


def nic(source: str = "eth0", mode: str = "bridge") -> Iface:
    return Iface(A, "direct", {"source": source, "mode": mode})


def on_network() -> Iface:
    return Iface(A, "network", {"network": "lan"})


def plan(
    iface: Iface, *, here: t.Any = None, there: t.Any = None, modes: t.Sequence[str] = (), **given: t.Any
) -> t.Sequence[str]:
    """Plan to move a guest with this NIC, and return the warnings. ``modes`` are of the network lan on both hosts."""
    networks = [{"lan": LAN[mode]} for mode in modes] or [{}, {}]
    read = (Segments(*segments.read(here)), Segments(*segments.read(there))) if here or there else None
    guest = Domain("web1", "uuid-1", running=True, instance="1", live=(iface,), stored=(iface,))
    both = Both(
        Side("qemu:///system", "hv1", "1", domain=guest, networks=networks[0]),
        Side("qemu+ssh://hv2/system", "hv2", "2", networks=networks[1]),
        live=(iface,),
        stored=(iface,),
        links={"eth0": Link("eth0", index=2, kind="", altnames=frozenset({"uplink1"}))},
    )
    desired = Desired("web1", uplinks={"eth0": "lan0"}, segments=read, **given)
    return planner.plan(desired, both).warnings


def look(**reflects: bool | None) -> dict[str, t.Any]:
    links = [{"name": "lan0", "state": "up", "carrier": True, "reflective_relay": reflects.get("lan0")}]
    return {"links": links}


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("rack1", "rack2"),
        ("rack1", None),
        ({"eth0": "dmz"}, {"eth0": "dmz"}),
        # By another name of the link.
        ({"uplink1": "dmz"}, None),
        ({"default": "dmz"}, {"default": "dmz", "lan0": "lan"}),
    ],
)
def test_a_nic_that_would_be_in_another_segment_is_refused(here: t.Any, there: t.Any) -> None:
    with pytest.raises(MacvtapError, match=f"{A} is in the segment .* on hv1 .eth0., and would be in .* on hv2 .lan0."):
        plan(nic(), here=here, there=there)
    # Whatever is declared of it.
    with pytest.raises(MacvtapError, match="and would be in"):
        plan(nic(), here=here, there=there, nics=(NicThere("interfaces[0]", A, {"source": "lan0", "mode": "bridge"}),))


@pytest.mark.parametrize(
    ("here", "there"),
    [(None, None), ("rack1", "rack1"), ({"eth0": "dmz"}, {"lan0": "dmz"}), ("dmz", {"lan0": "dmz", "eth0": "lan"})],
)
def test_a_nic_that_stays_in_its_segment_moves(here: t.Any, there: t.Any) -> None:
    assert plan(nic(), here=here, there=there) == ()


def test_a_network_is_in_its_own_segment_or_in_that_of_its_uplink() -> None:
    modes = ("bridge", "bridge")
    assert plan(on_network(), modes=modes, here={"lan": "dmz"}, there={"lan": "dmz"}) == ()
    assert plan(on_network(), modes=modes, here={"lan": "dmz"}, there={"eth0": "dmz"}) == ()
    with pytest.raises(MacvtapError, match=r"in the segment dmz on hv1 .network lan., and would be in all on hv2"):
        plan(on_network(), modes=modes, here={"eth0": "dmz"}, there={"lan0": "dmz"})


def test_a_mode_that_would_be_another_one_is_refused_unless_it_is_declared() -> None:
    with pytest.raises(MacvtapError) as raised:
        plan(on_network(), modes=("bridge", "vepa"))
    assert str(raised.value) == (
        f"interfaces: {A} is in mode bridge on hv1 (network lan), and would be in mode vepa on hv2 (network lan). If "
        "that is meant, declare it here"
    )
    for given in ({"network": "lan"}, {"source": "lan0", "mode": "private"}):
        plan(on_network(), modes=("bridge", "vepa"), nics=(NicThere("interfaces[0]", A, given),))
    assert plan(on_network(), modes=("vepa", "vepa")) == ()


def test_vepa_behind_a_switch_that_sends_nothing_back_is_warned_of() -> None:
    assert plan(nic(mode="vepa"), destination_host=look(lan0=True)) == ()
    assert plan(nic(mode="vepa"), destination_host=look(lan0=None)) == ()
    assert plan(nic(), destination_host=look(lan0=False)) == ()
    (warning,) = plan(nic(mode="vepa"), destination_host=look(lan0=False))
    assert warning.startswith(f"{A} is in mode vepa on lan0 of hv2, whose switch sends no frames back")


def test_the_inventory_says_which_segments_they_are() -> None:
    assert inventory.segments_of({}, {}) == {}
    assert inventory.segments_of({"macvtap_segment": "dmz"}, {}) == {"segment": "dmz", "destination_segment": "all"}


@pytest.mark.parametrize(
    ("mode", "modes", "refused"),
    [
        # Its network has got another mode since it started.
        ("bridge", ("vepa", "vepa"), True),
        ("bridge", ("vepa", "bridge"), False),
        ("vepa", ("vepa", "vepa"), False),
        ("vepa", ("bridge", "bridge"), True),
    ],
)
def test_a_running_guest_is_in_the_mode_that_it_got_when_it_started(
    mode: str, modes: tuple[str, str], refused: bool
) -> None:
    running = Iface(A, "direct", {"network": "lan", "source": "eth0", "mode": mode})
    if refused:
        with pytest.raises(MacvtapError, match=f"{A} is in mode {mode} on hv1"):
            plan(running, modes=modes)
    else:
        plan(running, modes=modes)
