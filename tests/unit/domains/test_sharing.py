# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A source that a NIC in mode passthrough must have for itself."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner, resolution
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link

A, B, C = (f"52:54:00:00:00:0{digit}" for digit in "abc")
SOURCES = {"eth0": Link("eth0", 2, mac="02:00:00:00:00:01", altnames=frozenset({"lan0"})), "eth1": Link("eth1", 3)}
GUEST = Link("macvtapb", 7, "macvtap", "eth0", 2, "bridge", B, up=True)
ALONE = "a link in mode passthru must be the only one on its parent; eth0 would have "


def stored(mac: str, source: str = "eth0", mode: str = "bridge") -> Iface:
    return Iface(mac, values={"source": source, "mode": mode, "model": "virtio"}, xml=f"<{mac}/>")


def domain(name: str, *ifaces: Iface, running: bool = False) -> Domain:
    live = tuple(replace(i, values={**i.values, "target": f"macvtap{i.mac[-1]}"}) for i in ifaces)
    return Domain(name, running=running, stored=ifaces, live=live if running else ())


def host(*domains: Domain, links: t.Sequence[Link] = (), known: bool = True) -> Host:
    found = {**SOURCES, **{link.name: link for link in links}}
    return Host("qemu:///system", {d.name: d for d in domains}, links=found if known else None, version=9_000_000)


def want(name: str = "web1", mac: str = A, at: int = 0, *, present: bool = True, **given: str) -> Desired:
    values = {"source": "eth0", "mode": "passthrough", **given} if present else {}
    return Desired(f"interfaces[{at}]", name, "mac", mac, mac, present, values)


@pytest.mark.parametrize(
    ("there", "links", "who"),
    [
        # A guest whose domain nobody asked about, or that has its NIC from a libvirt network; a link of macvtap_link's.
        ([], [GUEST], "the link macvtapb"),
        ([], [replace(GUEST, name="host0", kind="macvlan")], "the link host0"),
        ([domain("web2", stored(B), running=True)], [GUEST], f"web2 {B}"),
        (
            [
                Domain(
                    "web2",
                    running=True,
                    stored=(Iface(B, "network"),),
                    live=(Iface(B, "network", {"target": "macvtapb"}),),
                )
            ],
            [GUEST],
            "the link macvtapb",
        ),
    ],
)
@pytest.mark.parametrize("level", ["none", "update", "replug"])
@pytest.mark.parametrize("was", [(), (stored(A),), (stored(A, "eth1"),)])
def test_a_running_guest_gets_no_passthrough_where_others_are(
    there: list[Domain], links: list[Link], who: str, level: str, was: tuple[Iface, ...]
) -> None:
    on = host(domain("web1", *was, running=True), *there, links=links)
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(source="lan0")], on, level=level)
    message = f"interfaces[0].mode: {ALONE}web1 {A} in that mode and also {who}. libvirt would fail"
    assert str(caught.value).startswith(message)
    # The other way round: another one joins it.
    alone = replace(links[0], mode="passthru")
    if was == (stored(A),):
        # Where it is already, it stays.
        return
    with pytest.raises(MacvtapError, match="must be the only one on its parent"):
        planner.plan([want(mode="bridge")], host(domain("web1", *was, running=True), links=[alone]), level=level)


def test_a_stopped_guest_may_be_meant_to_take_the_place() -> None:
    on = host(domain("web1"), domain("web2", stored(B), running=True), links=[GUEST])
    plan = planner.plan([want()], on)
    assert plan.changed
    assert plan.warnings == (
        f"web1 {A}: {ALONE}web1 {A} in that mode and also web2 {B}. The second of these guests or links does not start",
    )
    both = [want(), want("web2", B, 1)]
    assert len(planner.plan(both, host(domain("web1"), domain("web2"))).warnings) == 2


@pytest.mark.parametrize("known", [True, False])
def test_two_nics_of_one_domain_never_start_together(known: bool) -> None:
    on = host(domain("web1", stored(B)), known=known)
    with pytest.raises(MacvtapError, match=f"also web1 {B}"):
        planner.plan([want()], on)
    with pytest.raises(MacvtapError, match="must be the only one on its parent"):
        planner.plan([want(), want(mac=C, at=1, mode="bridge")], host(domain("web1"), known=known))


def test_what_leaves_in_the_same_run_is_not_in_the_way() -> None:
    web1, web2 = domain("web1", running=True), domain("web2", stored(B), running=True)
    away = [want(), want("web2", B, 1, present=False)]
    assert planner.plan(away, host(web1, web2, links=[GUEST])).warnings == ()
    moved = [want(), want("web2", B, 1, source="eth1", mode="bridge")]
    assert planner.plan(moved, host(web1, web2, links=[GUEST]), level="replug").warnings == ()
    # It keeps its link until it is stopped.
    with pytest.raises(MacvtapError, match="must be the only one on its parent"):
        planner.plan(moved, host(web1, web2, links=[GUEST]))


def test_what_is_so_already_is_not_looked_at() -> None:
    own = replace(GUEST, mac=A, mode="passthru")
    on = host(domain("web1", stored(A, mode="passthrough"), running=True), links=[own, replace(GUEST, name="macvtap9")])
    assert not planner.plan([want()], on).changed
    assert planner.plan([want(model="e1000")], on).changed


@pytest.mark.parametrize("running", [True, False])
def test_a_stopped_domain_that_the_task_does_not_name_is_warned_of(running: bool) -> None:
    on = host(domain("web1", stored(A, "eth1"), running=running))
    theirs = {"lan0": (("web9", B, "bridge"),), "eth1": (("web8", C, "passthrough"),)}
    assert resolution.needs_all_macs([want()], on)
    (message,) = planner.plan([want()], replace(on, stored_by_source=theirs)).warnings
    assert message.startswith(f"web1 {A}: {ALONE}web1 {A} in that mode and also web9 {B}. The second")
    # The other way round.
    on = host(domain("web1", stored(A), running=running))
    joins = want(source="eth1", mode="bridge")
    assert resolution.needs_all_macs([joins], on)
    assert (
        f"eth1 would have web8 {C} in that mode"
        in planner.plan([joins], replace(on, stored_by_source=theirs)).warnings[-1]
    )
    # What stays where it is needs no look at other domains.
    assert not resolution.needs_all_macs([want(source="lan0", mode="bridge")], on)
    assert not resolution.needs_all_macs([want(mode="auto")], on)
