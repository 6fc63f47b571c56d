# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which NIC each of several declarations means, on a domain that runs and on one that does not."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import (
    assignment,
    element,
    identity,
    planner,
    resolution,
    selection,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.assignment import assign
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")


def iface(mac: str = A, source: str = "eth0", **values: str) -> Iface:
    return Iface(mac, values={"source": source, "mode": "bridge", "model": "virtio", **values}, xml=f"<{mac}{source}/>")


def live(stored: Iface, number: int = 0, **values: str) -> Iface:
    return replace(
        stored, values={**stored.values, "target": f"macvtap{number}", "alias": f"net{number}", **values}, xml="<live/>"
    )


def want(*, at: int = 0, present: bool = True, convert: bool = False, **given: t.Any) -> Desired:
    mac = given.pop("mac", None)
    key = {"mac": mac, **{name: given.get(name) for name in ("alias", "target", "source")}}
    by = next(name for name, value in key.items() if value)
    return Desired(f"interfaces[{at}]", "web1", by, key[by], mac, present, given, convert)


def on(*stored: Iface, running: t.Sequence[Iface] | None = None) -> Host:
    return Host(
        "qemu:///system",
        {"web1": Domain("web1", running=running is not None, stored=stored, live=tuple(running or ()))},
        known=("web1",),
    )


def meant(declared: t.Sequence[Desired], host: Host, **more: t.Any) -> list[str]:
    """Return the address that each declaration means, "new" for one that is to be made, or why it fails."""
    found = assign(declared, host, **more)
    return [
        str(nic) if isinstance(nic, MacvtapError) else (nic.mac if nic.stored or nic.live else "new")
        for _place, nic in sorted(found.items())
    ]


MOVED = iface(A, "up1", alias="ua-new", target="web1")
STILL = live(iface(A, "eth0"), alias="ua-old", target="web0")


@pytest.mark.parametrize("running", [None, [STILL]])
@pytest.mark.parametrize("selector", [{"source": "eth0"}, {"alias": "ua-old"}, {"target": "web0"}])
def test_what_a_running_guest_still_has_of_a_moved_nic_selects_nothing(
    selector: dict[str, t.Any], running: list[Iface] | None
) -> None:
    host = on(MOVED, running=running)
    assert meant([want(**selector)], host) == ["new"]
    gone = replace(want(**selector), present=False)
    assert not planner.plan([gone], host).changed
    by_new_value: dict[str, t.Any] = {name: MOVED.values[name] for name in selector}
    assert meant([want(**by_new_value)], host) == [A]


def test_what_only_the_running_guest_has_is_found_by_it() -> None:
    assert meant([want(source="eth0")], on(running=[STILL])) == [A]


@pytest.mark.parametrize("running", [False, True])
def test_what_one_declaration_moves_another_does_not_find(running: bool) -> None:
    stored = iface(A)
    host = on(stored, running=[live(stored)] if running else None)
    # In any order: who says the address is sure of what is meant.
    for declared in ([want(mac=A, source="up1"), want(at=1, source="eth0")], [want(source="eth0"), want(mac=A, at=1)]):
        one = meant(declared, host)
        if declared[0].mac:
            assert one == [A, "new"]
        else:
            assert one[0] == A
            assert (
                "interfaces[1].mac: this selects the same interface (web1 52:54:00:00:00:0a) as interfaces[0]" in one[1]
            )
    assert meant([want(mac=A, present=False), want(at=1, source="eth0")], host) == [A, "new"]


BOTH = "source: domain 'web1' would have 2 direct interfaces with source eth0"


@pytest.mark.parametrize(
    ("declared", "stored", "message"),
    [
        # Added, moved there and converted to it: each would be found by the next run too.
        ([want(source="eth0"), want(at=1, mac=B, source="eth0")], [iface(A)], f"interfaces[0].{BOTH}"),
        (
            [want(source="eth0"), want(at=1, mac=B, source="eth0")],
            [],
            "interfaces[1].mac: this selects the same interface",
        ),
        ([want(mac=B, source="eth0"), want(at=1, source="eth0")], [iface(A), iface(B, "up1")], f"interfaces[1].{BOTH}"),
        (
            [want(source="eth0"), want(at=1, mac=B, source="eth0", convert=True)],
            [iface(A), Iface(B, "bridge", origin="br0")],
            f"interfaces[0].{BOTH}",
        ),
        (
            [want(source="eth0", present=False), want(at=1, mac=B, source="eth0")],
            [iface(A)],
            f"interfaces[0].{BOTH}",
        ),
        (
            [want(alias="ua-a", source="eth0"), want(at=1, source="eth0")],
            [],
            "interfaces[1].source: this selects the same",
        ),
        # By two names of one link.
        (
            [want(source="eth0"), want(at=1, source="lan0")],
            [],
            "interfaces[1].source: this interface would have source eth0, by which interfaces[0] selects another one",
        ),
    ],
)
def test_a_selector_that_would_find_another_nic_next_time_is_refused(
    declared: list[Desired], stored: list[Iface], message: str
) -> None:
    links = {"eth0": Link("eth0", 2, altnames=frozenset({"lan0"}))}
    host = replace(on(*stored), links=links)
    (found,) = [text for text in meant(declared, host) if "interfaces[" in text]
    assert found.startswith(message)
    with pytest.raises(MacvtapError) as caught:
        planner.plan(declared, host)
    assert str(caught.value) == found


def test_what_is_purged_is_no_longer_found() -> None:
    host = on(iface(A, alias="ua-a"), iface(B, "up1"))
    declared = [want(alias="ua-a", source="up1"), want(at=1, source="up1")]
    assert meant(declared, on(iface(A, alias="ua-a")))[1].startswith("interfaces[1].source: this selects the same")
    assert meant([want(alias="ua-a", source="up1")], host, purge=True) == [A]


PAIR = iface(A, "eth0", address="0000:01:00.0"), iface(A, "up1", address="0000:02:00.0", alias="ua-b", target="web0")


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ({"alias": "ua-b"}, 1),
        ({"target": "web0"}, 1),
        ({"source": "eth0"}, 0),
        ({"mac": A, "source": "eth0"}, 0),
        ({"mac": A, "source": "up1"}, 1),
        ({"mac": A, "alias": "ua-b", "source": "eth0"}, 1),
    ],
)
@pytest.mark.parametrize("running", [False, True])
def test_two_nics_with_one_address_are_distinguished(selector: dict[str, t.Any], place: int, running: bool) -> None:
    # libvirt does not keep their order.
    host = on(*PAIR, running=[live(PAIR[1], 0), live(PAIR[0], 1)] if running else None)
    (resolved,) = resolution.resolve([want(**selector, model="e1000")], host)
    assert resolved.before.stored is PAIR[place]
    if running:
        assert resolved.before.live is not None
        assert resolved.before.live.get("pci_address") == PAIR[place].get("pci_address")
    # What is asked of the running guest goes by the address.
    assert resolved.after.live == resolved.before.live
    assert meant([want(mac=A, model="e1000")], host)[0].startswith("interfaces[0].mac: domain 'web1' has 2 interfaces")


def test_a_teaming_pair_has_one_direct_nic() -> None:
    direct, other = iface(A), Iface(A, "hostdev", {"pci_address": "0000:03:00.0"}, xml="<hostdev/>")
    assert meant([want(mac=A, mode="private")], on(direct, other)) == [A]
    (resolved,) = resolution.resolve([want(mac=A, mode="private")], on(other, direct))
    assert resolved.before.stored is direct


@pytest.mark.parametrize("selector", [{"source": "eth0"}, {"alias": "ua-lan"}])
def test_what_an_earlier_run_has_left_in_the_running_guest_is_not_ambiguous_if_all_of_it_is_purged(
    selector: dict[str, t.Any],
) -> None:
    left = [live(iface(mac), number, alias="ua-lan") for number, mac in enumerate((A, B))]
    declared = [want(present=False, **selector)]
    assert meant(declared, on(running=left), purge=True) == [A]
    (without,) = meant(declared, on(running=left))
    assert "2 direct interfaces" in without
    (stored,) = meant(declared, on(*(iface(mac, alias="ua-lan") for mac in (A, B)), running=left), purge=True)
    assert "2 direct interfaces" in stored


def test_purge_leaves_a_pair_and_takes_the_others() -> None:
    third = iface(C)
    host = on(*PAIR, third)
    plan = planner.plan([want(alias="ua-b")], host, purge=True)
    assert [step.target for step in plan.steps] == [f"web1 {C}"]
    assert plan.warnings == (f"web1 {A}: not purged: another interface of the domain has the same MAC address",)


def test_one_of_a_pair_that_is_gone_is_not_mistaken_for_the_other() -> None:
    host = on(PAIR[0])
    was = Nic("web1", A, PAIR[1], shared=True)
    assert selection.current_nic(host.domains["web1"], was, "").stored is None
    assert selection.current_nic(on(*PAIR).domains["web1"], was, "").stored is PAIR[1]


@pytest.mark.parametrize("desired", [want(alias="ua-b", source="eth7"), replace(want(alias="ua-b"), present=False)])
def test_one_of_a_pair_is_known_when_all_is_done(desired: Desired) -> None:
    resolved = resolution.resolve([desired], on(*PAIR))
    (step,) = planner.plan([desired], on(*PAIR)).steps
    assert step.after is not None
    made = [PAIR[0], *([step.after.stored] if step.after.stored else [])]
    assert not planner.plan(identity.pinned(resolved), on(*made)).changed
    assert planner.plan(identity.pinned(resolved), on(*PAIR)).changed
    # So are those that were left.
    left = resolution.resolve([want(mac=C)], on(*PAIR, iface(C)), purge=True)
    assert not planner.plan(identity.pinned(left), on(*PAIR, iface(C))).changed


OF_A_NETWORK = (
    "<interface type='bridge'>\n<mac address='52:54:00:00:00:0a'/>\n"
    "<source network='mv' portid='6a1' bridge='virbr0'/>\n<target dev='vnet0'/>\n"
    "<vlan><tag id='3'/></vlan><model type='virtio'/>\n<alias name='net0'/></interface>"
)
STORED_OF_IT = Iface(A, "network", {"model": "virtio"}, origin="mv", xml="<interface type='network'/>")


def test_a_running_nic_of_a_network_with_a_bridge_is_no_direct_one() -> None:
    running = element.read(OF_A_NETWORK)
    assert (running.type, running.origin) == ("network", "mv")
    assert running.get("source") is running.get("mode") is running.get("vlan") is None
    attached = on(running=[running])
    assert not planner.plan([want(mac=B, source="up1", present=False)], attached, purge=True).changed
    assert meant([want(source="eth0")], on(STORED_OF_IT, running=[running])) == ["new"]
    assert not planner.plan([want(source="eth0", present=False)], attached).changed


@pytest.mark.parametrize("purge", [False, True])
@pytest.mark.parametrize(
    "host",
    [
        on(),
        on(iface(A), iface(B)),
        on(iface(A), running=[live(iface(A)), live(iface(B), 1)]),
        on(running=[live(iface(A))]),
    ],
)
@pytest.mark.parametrize("present", [True, False])
def test_declarations_by_address_alone_are_assigned_as_all_others_are(host: Host, present: bool, purge: bool) -> None:
    declared = [want(mac=C), want(at=1, mac=A, present=present, source="eth0"), want(at=2, mac=B, source="up1")]
    domain = host.domains["web1"]
    found = assignment._by_address(domain, declared, [0, 1, 2])
    assert found is not None
    assert found == assignment._Assigner(domain, declared, host, {A, B, C}, purge=purge).assign([0, 1, 2])
    # Declared or there twice, or by something else: one has a bearing on another.
    assert assignment._by_address(domain, [*declared, want(at=3, mac=A)], [0, 1, 2, 3]) is None
    assert assignment._by_address(domain, [*declared, want(at=3, source="eth0")], [0, 1, 2, 3]) is None
    twice = replace(domain, stored=(iface(A), iface(A, "up1")), live=())
    assert assignment._by_address(twice, declared, [0, 1, 2]) is None
