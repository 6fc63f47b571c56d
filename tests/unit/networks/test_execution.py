# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Networks change at the very moment of a request, on a model of libvirt."""

from __future__ import annotations

import contextlib
import signal
import typing as t

import fake_networks
import pytest
from moments import Moment
from network_model import Model
from network_spec import LibvirtError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import (
    adapter,
    declare,
    planner,
    restarter,
    rollback,
    run,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.desired import resolve
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    DEFINED,
    RESTARTED,
    STARTED,
    STOPPED,
    UPDATED,
    Network,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.restart_watch import RestartWatch
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

UUID = "a3e5b5d5-8ed1-4f0e-8f80-3a8e36d9ac0c"
LAN = f"<network><name>lan</name><uuid>{UUID}</uuid><forward mode='bridge'><interface dev='eth0'/></forward></network>"
OPTIONS = run.Options(
    force=False,
    auto="new",
    check_relay=False,
    allow_host_disconnect=False,
    on_error="rollback",
    timeout=0,
    check_mode=False,
    diff=False,
)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def networks(model: Model, monkeypatch: pytest.MonkeyPatch) -> adapter.Networks:
    # The restart watch is another process, and has another model.
    monkeypatch.setattr(RestartWatch, "restarting", lambda *_of: contextlib.nullcontext(lambda: None))
    links = {name: Link(name, index=index) for index, name in enumerate(("eth0", "eth1"), 2)}
    monkeypatch.setattr(adapter, "_links", lambda _names: links)
    libvirt = fake_networks.module(model)
    return adapter.Networks(Connection(libvirt, libvirt.open(""), "qemu:///system", read_only=False))


def shown(model: Model) -> list[tuple[t.Any, ...]]:
    return [(net.name, net.uuid, net.stored, net.live, net.autostart) for net in model.nets.values()]


def declared(**options: t.Any) -> t.Any:
    return declare.declare([("", {"name": "lan", **options})])


def steps_of(networks: adapter.Networks, **options: t.Any) -> t.Sequence[Step[Network]]:
    host = networks.observe({"lan"})
    resolved = resolve(declared(**options), host, {"lan": UUID}, force=False)
    return planner.plan_of(resolved, host, force=False).steps


def has(model: Model, *states: str) -> None:
    if "stored" in states:
        model.define(LAN)
    if "active" in states:
        model.create_xml(LAN)


def remove(model: Model) -> None:
    model.destroy(UUID)
    model.undefine(UUID)


OTHER = LAN.replace(UUID, "b" + UUID[1:])


@pytest.mark.parametrize(
    ("states", "options", "action", "act"),
    [
        ("stored", {}, STARTED, lambda model: model.create(UUID)),
        ("stored active", {"state": "inactive"}, STOPPED, lambda model: model.destroy(UUID)),
        ("stored active", {"state": "absent"}, STOPPED, remove),
        ("stored active", {"mode": "vepa"}, RESTARTED, lambda model: model.destroy(UUID)),
        ("stored active", {"interfaces": ["eth1"]}, UPDATED, lambda model: model.destroy(UUID)),
        ("", {"interfaces": ["eth1"]}, DEFINED, lambda model: model.define(OTHER)),
    ],
)
def test_a_refused_request_is_withdrawn_and_what_others_did_stays(  # noqa: PLR0917
    networks: adapter.Networks,
    model: Model,
    states: str,
    options: dict[str, t.Any],
    action: str,
    act: t.Callable[[Model], t.Any],
) -> None:
    has(model, *states.split())
    autostart = {"autostart": False} if options.get("state") != "absent" else {}
    steps = steps_of(networks, **options, **autostart)
    theirs: list[Model] = []

    def others() -> None:
        act(model)
        theirs.append(model.copy())

    journal = Moment[Network](action, others)
    with pytest.raises(StaleError, match="network 'lan' was changed by another editor while this ran"):
        networks.apply(steps, journal)
    assert action not in {entry.action for entry in journal.entries}
    planned = rollback.undo(journal, networks.observe({"lan"}))
    networks.revert(planned.steps)
    expected = theirs[0]
    if DEFINED in {entry.action for entry in journal.entries}:
        # This run had stored something before.
        expected.define(LAN)
    assert shown(model) == shown(expected)
    assert planned.warnings == ()


def test_an_update_that_is_lost_is_reported_when_a_signal_arrives_at_that_moment(
    networks: adapter.Networks, model: Model
) -> None:
    has(model, "stored")
    steps = steps_of(networks, interfaces=["eth1"], state="inactive", autostart=False)

    def others() -> None:
        model.define(LAN.replace("</network>", "<portgroup name='theirs'/></network>"))
        signal.raise_signal(signal.SIGTERM)

    journal = Moment[Network](DEFINED, others)
    with _signals.raising():
        with pytest.raises(
            _signals.Interrupted, match=r"^stopped by SIGTERM\. network 'lan' was changed by another edit"
        ):
            networks.apply(steps, journal)
        planned = rollback.undo(journal, networks.observe({"lan"}))
    assert planned.warnings[-1] == "What the other editor has stored of network 'lan' may be lost. Check it"


def test_a_refusal_that_nothing_explains_stays_an_error(networks: adapter.Networks, model: Model) -> None:
    has(model, "stored", "active")

    def refuse() -> t.NoReturn:
        raise LibvirtError("no")

    before = shown(model)
    journal = Moment[Network](RESTARTED, refuse)
    with pytest.raises(MacvtapError) as failed:
        networks.apply(steps_of(networks, mode="vepa"), journal)
    assert not isinstance(failed.value, StaleError)
    networks.revert(rollback.undo(journal, networks.observe({"lan"})).steps)
    assert shown(model) == before


def test_a_network_that_others_start_during_its_restart_is_restarted(networks: adapter.Networks, model: Model) -> None:
    has(model, "stored", "active")
    steps = steps_of(networks, mode="vepa", autostart=False)
    networks._connection.handle = fake_networks.Connection(
        model, lambda what: model.create(UUID) if what == "create" else None
    )
    journal: Journal[Network] = Journal()
    networks.apply(steps, journal)
    live = model.nets[UUID].live
    assert live is not None
    assert live.mode == "vepa"


def test_no_signal_comes_between_the_stop_and_the_start(networks: adapter.Networks, model: Model) -> None:
    has(model, "stored", "active")
    steps = steps_of(networks, mode="vepa")
    with _signals.raising(), pytest.raises(_signals.Interrupted):
        networks.apply(steps, Moment[Network](RESTARTED, lambda: signal.raise_signal(signal.SIGTERM)))
    live = model.nets[UUID].live
    assert live is not None
    assert live.mode == "vepa"


def test_a_network_that_does_not_start_again_is_reported_as_stopped(networks: adapter.Networks, model: Model) -> None:
    has(model, "stored", "active")
    steps = steps_of(networks, mode="vepa")

    def refuse(what: str) -> None:
        if what == "create":
            raise LibvirtError("no more of it")

    networks._connection.handle = fake_networks.Connection(model, refuse)
    with pytest.raises(MacvtapError, match="was stopped to be restarted, and libvirt refuses to start it: no more of"):
        networks.apply(steps, Journal())


@pytest.mark.parametrize("others", [1, 3])
def test_a_run_starts_over_when_a_network_is_changed_between_plan_and_apply(
    networks: adapter.Networks, model: Model, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    has(model, "stored")
    theirs = [f"theirs{number}" for number in range(others)]
    real = planner.plan_of

    def plan_of(*arguments: t.Any, **options: t.Any) -> t.Any:
        planned = real(*arguments, **options)
        if theirs:
            model.update(UUID, "add", f'<portgroup name="{theirs.pop()}" />', stored=True)
        return planned

    monkeypatch.setattr(planner, "plan_of", plan_of)
    if others == 3:
        with pytest.raises(MacvtapError, match=r"Run again. The host is as it was before"):
            run.run(networks, declared(interfaces=["eth1"]), OPTIONS)
    else:
        done = run.run(networks, declared(interfaces=["eth1"]), OPTIONS)
        assert {change["field"] for change in done["changes"]} == {"interfaces", "state"}
    stored = model.nets[UUID].stored
    assert stored is not None
    assert list(stored.groups) == [f"theirs{number}" for number in reversed(range(others))]
    assert stored.interfaces == (("eth0",) if others == 3 else ("eth1",))


@pytest.mark.parametrize("mode", ["bridge", "vepa"])
def test_a_transient_network_is_transient_again_after_a_rollback(
    networks: adapter.Networks, model: Model, mode: str
) -> None:
    has(model, "active")
    before = shown(model)
    journal: Journal[Network] = Journal()
    networks.apply(steps_of(networks, mode=mode), journal)
    assert model.nets[UUID].stored is not None
    networks.revert(rollback.undo(journal, networks.observe({"lan"})).steps)
    assert shown(model) == before


def test_the_restart_watch_starts_what_a_killed_run_has_left_stopped(model: Model) -> None:
    has(model, "stored", "active")
    libvirt = fake_networks.module(model)
    left = {UUID: False, OTHER: False}
    restarter.restart(libvirt, libvirt.open(""), left)
    # A request to stop it may be under way.
    assert left == {UUID: False}
    model.destroy(UUID)
    restarter.restart(libvirt, libvirt.open(""), left)
    assert (left, model.nets[UUID].live is None) == ({}, False)


def test_the_restart_watch_has_nothing_to_do_with_what_was_stopped_and_is_active_again(model: Model) -> None:
    has(model, "stored", "active")
    libvirt = fake_networks.module(model)
    left = {UUID: True}
    restarter.restart(libvirt, libvirt.open(""), left)
    assert left == {}


@pytest.mark.parametrize(
    ("lines", "left"),
    [
        ([], {}),
        (["stops a"], {"a": False}),
        (["stops a", "stopped a"], {"a": True}),
        (["stops a", "stopped a", "started a", "stops b"], {"b": False}),
        (["stops a", "stopped a", "started a"], {}),
        (["stops a", "ended"], {}),
        (["stops a", "stopped a", "star"], {"a": True}),
    ],
)
def test_the_restart_watch_knows_what_the_run_has_started_again(lines: list[str], left: dict[str, bool]) -> None:
    assert restarter.read([f"{line}\n" for line in lines]) == left
