# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
from __future__ import annotations

import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Domain, Host, Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Plan, Step

MAC = "52:54:00:00:00:01"
OTHER = "52:54:00:00:00:02"
STORED = Iface(MAC, source="eth0", mode="bridge", model="virtio", xml="<interface/>", index=0)
LIVE = replace(STORED, target="macvtap0", alias="net0")


def host(*domains: Domain) -> Host:
    return Host("qemu:///system", {domain.name: domain for domain in domains}, ("web1", "web2", "db1"))


def stopped(*stored: Iface, **other: t.Any) -> Domain:
    return Domain("web1", stored=stored, **other)


def running(stored: t.Sequence[Iface], live: t.Sequence[Iface]) -> Domain:
    return Domain("web1", running=True, stored=tuple(stored), live=tuple(live))


def want(**fields: t.Any) -> Desired:
    return Desired(**{"path": "interfaces[2]", "domain": "web1", "mac": MAC, **fields})


def changes(plan: Plan[Nic]) -> list[tuple[str, t.Any, t.Any, str]]:
    return [(c.field, c.before, c.after, c.impact.value) for c in plan.changes]


def restart(desired: Desired, on: Host) -> tuple[str, ...]:
    return planner.resolve([desired], on)[0].restart_fields()


@pytest.mark.parametrize(
    "desired",
    [want(), want(source="eth0", mode="bridge", model="virtio"), want(mac=OTHER, present=False)],
)
def test_what_is_as_declared_needs_nothing(desired: Desired) -> None:
    assert planner.plan([desired], host(stopped(STORED))) == Plan()


def test_only_given_fields_change() -> None:
    plan = planner.plan([want(mode="private")], host(stopped(STORED)))
    assert changes(plan) == [("mode", "bridge", "private", "config")]
    (step,) = plan.steps
    assert step.after is not None
    assert step.after.stored == replace(STORED, mode="private")
    assert step.path == "interfaces[2]"
    assert step.target == f"web1 {MAC}"


def test_a_running_guest_needs_a_restart_for_a_change() -> None:
    on = host(running([STORED], [LIVE]))
    plan = planner.plan([want(mode="private", source="eth1")], on)
    assert changes(plan) == [("source", "eth0", "eth1", "restart"), ("mode", "bridge", "private", "restart")]
    assert restart(want(mode="private", source="eth1"), on) == ("source", "mode")


def test_the_restart_stays_due_until_it_happened() -> None:
    on = host(running([replace(STORED, mode="private")], [LIVE]))
    assert not planner.plan([want(mode="private")], on).changed
    assert restart(want(mode="private"), on) == ("mode",)


def test_going_back_to_what_runs_needs_no_restart() -> None:
    on = host(running([replace(STORED, mode="private")], [LIVE]))
    assert changes(planner.plan([want(mode="bridge")], on)) == [("mode", "private", "bridge", "config")]
    assert restart(want(mode="bridge"), on) == ()


def test_a_nic_that_runs_as_another_type_needs_a_restart() -> None:
    on = host(running([STORED], [replace(LIVE, type="bridge", source=None, mode=None)]))
    assert restart(want(), on) == ("type", "source", "mode")


def test_a_missing_interface_is_added_with_virtio() -> None:
    plan = planner.plan([want(source="eth0", mode="bridge")], host(stopped()))
    assert changes(plan) == [
        ("state", "absent", "present", "config"),
        ("source", None, "eth0", "config"),
        ("mode", None, "bridge", "config"),
        ("model", None, "virtio", "config"),
    ]
    assert plan.warnings == ()


def test_a_new_interface_with_no_mode_is_vepa_with_a_warning() -> None:
    plan = planner.plan([want(source="eth0")], host(stopped()))
    assert ("mode", None, "vepa", "config") in changes(plan)
    assert "reflective relay" in plan.warnings[0]


def test_a_missing_interface_is_plugged_into_a_running_guest() -> None:
    (step,) = planner.plan([want(source="eth0", mode="bridge")], host(running([], []))).steps
    assert {c.impact.value for c in step.changes} == {"live"}
    assert step.after is not None
    assert step.after.live == step.after.stored == Iface(MAC, source="eth0", mode="bridge", model="virtio")


def test_a_stored_interface_that_the_guest_lacks_is_plugged_in() -> None:
    assert changes(planner.plan([want()], host(running([STORED], [])))) == [("live", "absent", "present", "live")]


def test_a_live_interface_that_is_not_stored_is_stored() -> None:
    on = host(running([], [LIVE]))
    plan = planner.plan([want(source="eth0", mode="bridge")], on)
    assert {c.impact.value for c in plan.changes} == {"config"}
    assert restart(want(source="eth1", mode="bridge"), on) == ("source",)


def test_a_new_interface_needs_a_source() -> None:
    with pytest.raises(MacvtapError, match=r"^interfaces\[2\]\.source: "):
        planner.plan([want()], host(stopped()))


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (stopped(STORED), [("state", "present", "absent", "config")]),
        (running([STORED], [LIVE]), [("state", "present", "absent", "live")]),
        (running([STORED], []), [("state", "present", "absent", "config")]),
        (running([], [LIVE]), [("live", "present", "absent", "live")]),
    ],
)
def test_removal(domain: Domain, said: list[tuple[str, str, str, str]]) -> None:
    plan = planner.plan([want(present=False)], host(domain))
    assert [c for c in changes(plan) if c[0] in {"state", "live"}] == said


def test_a_guest_that_does_not_answer_is_not_asked_twice_in_one_run() -> None:
    on = host(running([], [LIVE]))
    assert planner.plan([want(present=False)], on).changed
    assert not planner.plan([want(present=False)], on, {("web1", MAC)}).changed


def test_an_unknown_domain_is_named_with_those_like_it() -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(domain="web")], host(stopped()))
    assert str(caught.value) == (
        "interfaces[2].domain: no domain 'web' on qemu:///system (known: web2, web1 and 1 more)"
    )


def test_nothing_is_absent_from_an_unknown_domain() -> None:
    plan = planner.plan([want(domain="gone", present=False)], host())
    assert not plan.changed
    assert "no domain 'gone'" in plan.warnings[0]


@pytest.mark.parametrize("present", [True, False])
@pytest.mark.parametrize(
    ("domain", "said"),
    [
        (
            stopped(replace(STORED, type="bridge")),
            "interfaces[2].mac: domain 'web1' has 52:54:00:00:00:01 as an interface of type 'bridge'",
        ),
        (stopped(STORED, replace(STORED, source="eth1")), "interfaces[2].mac: domain 'web1' has 2 interfaces with"),
        (stopped(persistent=False), "interfaces[2].domain: domain 'web1' is transient"),
    ],
)
def test_what_cannot_be_told_or_done_is_refused(domain: Domain, said: str, present: bool) -> None:
    with pytest.raises(MacvtapError) as caught:
        planner.plan([want(present=present)], host(domain))
    assert str(caught.value).startswith(said)


def step(before: Nic, after: Nic) -> Step[Nic]:
    return Step(planner.target(before), before, after, ())


@pytest.mark.parametrize(
    ("was", "now"),
    [
        (Nic("web1", MAC, STORED, LIVE), Nic("web1", MAC, None, None)),
        (Nic("web1", MAC, None, None), Nic("web1", MAC, STORED, LIVE)),
        (Nic("web1", MAC, STORED, LIVE), Nic("web1", MAC, replace(STORED, mode="private"), LIVE)),
        (Nic("web1", MAC, STORED, None), Nic("web1", MAC, replace(STORED, xml="<interface><boot/></interface>"), None)),
    ],
)
def test_undo_goes_from_what_is_there_to_what_was(was: Nic, now: Nic) -> None:
    on = host(running([n for n in (now.stored,) if n], [n for n in (now.live,) if n]))
    (back,) = planner.undo([step(was, now)], on).steps
    assert (back.before, back.after) == (now, was)
    assert back.changes


def test_undo_has_nothing_to_do_where_nothing_was_done() -> None:
    was = Nic("web1", MAC, STORED, LIVE)
    assert planner.undo([step(was, Nic("web1", MAC))], host(running([STORED], [LIVE]))) == Plan()
