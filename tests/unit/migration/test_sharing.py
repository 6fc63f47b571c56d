# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What a guest that comes to a host would take from that host, or from others on it."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest
from guest_between import MAC, MOVE, NIC, RUNNING, WEB1, both

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration.model import NicThere
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network

ADDRESS = {"addresses": ["192.0.2.1/24"]}
ROUTE = {"routes": ["198.51.100.0/24"]}
OTHER = "52:54:00:00:09:09"
CONNECTION = {"local": "192.0.2.9", "peer": "192.0.2.8", "link": "lan0"}
PASSTHROUGH = replace(NIC, values={**NIC.values, "mode": "passthrough"})


def link(name: str, index: int, **more: t.Any) -> dict[str, t.Any]:
    return {"name": name, "ifindex": index, "state": "up", "carrier": True, "addresses": [], "routes": [], **more}


def look(*links: dict[str, t.Any], lan0: dict[str, t.Any] | None = None, **more: t.Any) -> dict[str, t.Any]:
    """Return what is said of a host with the uplink lan0."""
    return {"links": [link("lan0", 2, **(lan0 or {})), *links], "connections": [], "domains": [], **more}


def on_lan0(name: str, mode: str, kind: str = "macvtap", **more: t.Any) -> dict[str, t.Any]:
    return link(name, 9, kind=kind, parent="lan0", parent_ifindex=2, mode=mode, mac=OTHER, **more)


def guest(mode: str, *, running: bool, target: str = "macvtap4", mac: str = OTHER) -> dict[str, t.Any]:
    """Return a domain that a host reports."""
    stored = {"type": "direct", "source": "lan0", "mode": mode, "target": target}
    interface = {"mac": mac, "stored": stored, "live": stored if running else None}
    return {"name": "db1", "uuid": "uuid-9", "running": running, "interfaces": [interface]}


def plan(
    iface: Iface,
    seen: dict[str, t.Any] | None,
    *,
    runs: bool = True,
    to: dict[str, t.Any] | None = None,
    **given: t.Any,
) -> t.Sequence[str]:
    """Plan to move a guest with this NIC to the uplink lan0, and return the warnings."""
    domain: Domain = replace(RUNNING if runs else WEB1, stored=(iface,), live=(iface,) if runs else ())
    found = both(domain, to=to, live=domain.live, stored=domain.stored)
    return planner.plan(replace(MOVE, destination_host=seen, **given), found).warnings


def refused(*args: t.Any, **more: t.Any) -> str:
    with pytest.raises(MacvtapError) as raised:
        plan(*args, **more)
    return str(raised.value)


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize(
    ("seen", "message"),
    [
        (look(lan0=ADDRESS), "lan0 has addresses of the host (192.0.2.1/24), and a link in mode passthru on it"),
        (look(lan0=ROUTE), "lan0 has routes to 198.51.100.0/24, and a link in mode passthru on it"),
        (look(connections=[CONNECTION]), "Ansible's connection from 192.0.2.8 to 192.0.2.9 goes over lan0"),
    ],
)
def test_the_host_keeps_its_own_uplink(seen: dict[str, t.Any], message: str, *, runs: bool) -> None:
    assert refused(PASSTHROUGH, seen, runs=runs).startswith(
        f"uplinks: {MAC} cannot be in mode passthrough on hv2: {message}"
    )
    declared = (NicThere("interfaces[0]", MAC, {"source": "lan0", "mode": "passthrough"}),)
    modes = refused(NIC, seen, runs=runs, nics=declared)
    assert modes.startswith(f"interfaces[0].source: {MAC} cannot be in mode passthrough on hv2: {message}")
    assert plan(NIC, seen, runs=runs) == ()


def test_an_uplink_that_only_the_guest_uses_can_be_its_own() -> None:
    seen = look(link("eth9", 3, **ADDRESS), on_lan0("mgmt", "bridge") | {"parent": "eth9", "parent_ifindex": 3})
    assert plan(PASSTHROUGH, seen) == ()


@pytest.mark.parametrize(
    ("mode", "seen", "who"),
    [
        ("passthrough", look(on_lan0("web0", "bridge")), "the link web0"),
        ("passthrough", look(on_lan0("shim0", "bridge", kind="macvlan")), "the link shim0"),
        (
            "passthrough",
            look(on_lan0("macvtap4", "bridge"), domains=[guest("bridge", running=True)]),
            f"db1 {OTHER}",
        ),
        # It is the other one that has the uplink for itself.
        ("bridge", look(on_lan0("macvtap4", "passthru"), domains=[guest("passthrough", running=True)]), f"web1 {MAC}"),
    ],
)
def test_an_uplink_in_mode_passthrough_is_not_shared(mode: str, seen: dict[str, t.Any], who: str) -> None:
    message = refused(replace(NIC, values={**NIC.values, "mode": mode}), seen)
    assert message.startswith("uplinks: on hv2 a link in mode passthru must be the only one on its parent; lan0 would")
    assert who in message


def test_a_guest_that_does_not_run_there_is_warned_of() -> None:
    (warning,) = plan(PASSTHROUGH, look(domains=[guest("bridge", running=False)]))
    assert warning.startswith(f"hv2: web1 {MAC}: a link in mode passthru must be the only one")


def pool(*interfaces: str) -> dict[str, t.Any]:
    network = Network("passthrough", interfaces, name="lan", active=True, live=Definition("passthrough", interfaces))
    return {"networks": {"lan": network}}


def test_a_network_of_the_destination_is_no_way_around() -> None:
    # It runs on an uplink of this host, which is none there.
    live = replace(NIC, values={**PASSTHROUGH.values, "network": "lan"})
    stored = Iface(MAC, "network", {"network": "lan"})
    for iface in (live, stored):
        message = refused(iface, look(lan0=ADDRESS), to=pool("lan0"))
        assert message.startswith(f"interfaces: {MAC} cannot be in mode passthrough on hv2: lan0 has addresses")
    # Each of several may be the one.
    assert "lan0 has addresses" in refused(live, look(link("lan1", 3), lan0=ADDRESS), to=pool("lan1", "lan0"))
    assert plan(live, look(link("eth0", 3, **ADDRESS)), to=pool("lan0")) == ()
    assert "all are taken" in refused(
        live,
        look(link("lan1", 3), on_lan0("a", "bridge"), on_lan0("b", "bridge") | {"parent": "lan1"}),
        to=pool("lan1", "lan0"),
    )


def test_what_is_not_known_is_not_taken() -> None:
    message = refused(PASSTHROUGH, None)
    assert message == (
        f"uplinks: {MAC} would take all frames of lan0 in mode passthrough, and whether hv2 itself or another guest "
        "needs that is not known. Set destination_host to what macvtap_host_info returns there, as the role "
        "macvtap_migration does"
    )
    assert "would take all frames of lan0" in refused(Iface(MAC, "network", {"network": "lan"}), None, to=pool("lan0"))
    assert plan(NIC, None) == ()


WEB0 = replace(NIC, values={**NIC.values, "target": "web0"})


@pytest.mark.parametrize("runs", [True, False])
@pytest.mark.parametrize("iface", [WEB0, Iface(MAC, "bridge", {"target": "web0"}, "br0")])
@pytest.mark.parametrize(
    ("seen", "owner"),
    [
        (look(on_lan0("web0", "bridge")), "a link web0 already (a macvtap link on lan0)"),
        (
            look(link("eth9", 5, altnames=["web0"])),
            "a link web0 already (a physical or loopback link, whose name is eth9)",
        ),
        (look(domains=[guest("bridge", running=False, target="web0")]), "a domain db1 whose link is called web0"),
    ],
)
def test_the_name_of_another_link_is_not_taken(iface: Iface, seen: dict[str, t.Any], owner: str, *, runs: bool) -> None:
    message = refused(iface, seen, runs=runs)
    assert message.startswith(f"domain: hv2 has {owner}")
    assert f"{MAC} of the guest has a link of that name (target)" in message


def test_libvirt_of_the_destination_knows_names_too() -> None:
    assert refused(WEB0, None, to={"targets": {"web0": ("db1",)}}).startswith("domain: hv2 has a domain db1 whose link")
    assert refused(WEB0, look(), to={"targets": {"web0": ("db1",)}}).startswith("domain: hv2 has a domain db1 whose")


def test_a_name_that_nothing_has_there_goes_along() -> None:
    assert plan(WEB0, look(on_lan0("web1", "bridge"))) == ()
    # What is stored of the guest itself there is replaced.
    own = {**guest("bridge", running=False, target="web0", mac=MAC), "name": "web1", "uuid": "uuid-1"}
    assert plan(WEB0, look(domains=[own])) == ()
    # libvirt has generated it, and generates another one.
    generated = replace(NIC, values={**NIC.values, "target": "macvtap4"})
    assert plan(generated, look(on_lan0("macvtap4", "bridge"))) == ()
    (warning,) = plan(WEB0, None)
    assert warning.startswith(f"{MAC} has the link web0 (target). If hv2 has a link of that name, some versions of")


@pytest.mark.parametrize("seen", [{}, {"links": [{"mtu": 1}]}, {"links": ["lan0"]}, look(lan0={"addresses": 7})])
def test_a_look_of_another_form_is_refused(seen: dict[str, t.Any]) -> None:
    assert refused(NIC, seen).startswith("destination_host: is not what macvtap_host_info returns: ")
