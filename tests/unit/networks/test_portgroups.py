# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Who uses a portgroup: by what is stored, by what runs, and by what is saved; and until it is removed."""

from __future__ import annotations

import typing as t
from dataclasses import replace

import fake_networks
import pytest
from network_model import Guest, Model, Nic

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import (
    adapter,
    declare,
    report,
    rollback,
    run,
    users,
    validate,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Portgroup, User
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Step

from .planned import DB, LAN, WEB, host, impacts, network, plan
from .test_execution import OPTIONS, UUID

MAC = "52:54:00:00:00:0a"
GUEST = "00000000-0000-0000-0000-000000000001"


def documents(stored: str | None, live: str | None = None, saved: str | None = None) -> User:
    """Return the NIC of a domain that has chosen these portgroups, "" for none, in its documents."""

    def nics(group: str | None, *, runs: bool = False) -> list[users.Nic]:
        if group is None:
            return []
        chosen = f" portgroup='{group}'" if group else ""
        place = " portid='x' dev='eth0' mode='bridge'" if runs else ""
        return users.nics(
            f"<domain><devices><interface type='{'direct' if runs else 'network'}'><mac address='{MAC}'/>"
            f"<source network='lan'{chosen}{place}/></interface></devices></domain>"
        )

    (found,) = users._of_domain("web1", "u", (nics(stored), nics(live, runs=True), nics(saved)), {})
    return found


def removed(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {"portgroups": [{"name": name, "state": "absent"}, *more.get("others", [])]}


DEFAULT_WEB = {"others": [{"name": "web", "default": True}]}


@pytest.mark.parametrize(
    ("user", "options", "used"),
    [
        (documents("web"), removed("web"), True),
        (documents("db"), removed("web"), False),
        # It runs with another one, or is restored with it.
        (documents("db", live="web"), removed("web"), True),
        (documents("web", live="db"), removed("web"), True),
        (documents(None, live="web"), removed("web"), True),
        (documents("db", saved="web"), removed("web"), True),
        (documents(None, saved="web"), removed("web"), True),
        # Without a choice it has the default one, unless another becomes that.
        (documents(""), removed("db"), True),
        (documents("web", saved=""), removed("db"), True),
        (documents("web", live=""), removed("db"), True),
        (documents(""), removed("web"), False),
        (documents(""), removed("db", **DEFAULT_WEB), False),
        (documents("db"), removed("db", **DEFAULT_WEB), True),
    ],
)
def test_a_portgroup_that_a_nic_uses_in_any_way_is_not_removed(user: User, options: t.Any, used: bool) -> None:
    lan = network()
    if used:
        with pytest.raises(
            MacvtapError, match=r"^portgroups\[0\]\.state: portgroup '.*' of network 'lan' is used by web1"
        ):
            plan(host(lan, user), **options)
    else:
        assert plan(host(lan, user), **options).changed
    # Nor is one that is only active any more, or only stored.
    for one in (network(LAN, replace(LAN, portgroups=(WEB,))), network(LAN, None)):
        if used and options["portgroups"][0]["name"] == "web":
            with pytest.raises(MacvtapError, match="is used by web1"):
                plan(host(one, user), **options)
    # The same since the plan.
    (step,) = plan(host(lan), **options).steps
    if used:
        with pytest.raises(StaleError, match=r"is used by web1 .* by now, and is not removed. Run again"):
            validate.confirm(step, host(lan, user))
    else:
        validate.confirm(step, host(lan, user))
    # A rollback only spares those that run, and have chosen it: without a choice this one gives them nothing.
    if user.live and options["portgroups"][0]["name"] in user.chosen.values():
        with pytest.raises(StaleError):
            validate.confirm(step, host(lan, user), running=True)
    elif not user.live:
        validate.confirm(step, host(lan, user), running=True)


def test_a_portgroup_that_only_the_active_network_has_is_in_use() -> None:
    # Others have removed it from what is stored.
    lan = network(replace(LAN, portgroups=(DB,)), LAN)
    assert impacts(plan(host(lan))) == {"portgroups.web": "live"}
    with pytest.raises(
        MacvtapError, match=r"^portgroups\[0\]\.state: portgroup 'web' of network 'lan' is used by web1"
    ):
        plan(host(lan, documents("db", live="web")), **removed("web"))


def test_what_a_running_guest_has_is_what_it_has_chosen_when_it_started() -> None:
    options: dict[str, t.Any] = {"portgroups": [{"name": "web", "trust_guest_rx_filters": True}]}
    for user, impact in ((documents("db", live="web"), "restart"), (documents("web", live="db"), "live")):
        assert set(impacts(plan(host(network(), user), **options)).values()) == {impact}


def test_domains_that_cannot_be_read_may_use_it_by_now() -> None:
    (step,) = plan(host(network()), **removed("web")).steps
    with pytest.raises(StaleError, match="perhaps secret, which this user may not read by now"):
        validate.confirm(step, host(network(), unreadable=("secret",)))


def test_a_change_that_takes_nothing_is_confirmed() -> None:
    other = Change("lan", "autostart", False, True, Impact.CONFIG)
    for lan in (
        network(),
        network(current=None),
        network(replace(LAN, mode="passthrough"), replace(LAN, mode="passthrough")),
    ):
        step = Step("lan", lan, replace(lan, autostart=True), (other,))
        validate.confirm(step, host(lan, documents("web", live="web")))


LAN_XML = (
    f"<network><name>lan</name><uuid>{UUID}</uuid><forward mode='bridge'><interface dev='eth0'/></forward>"
    "<portgroup name='web'/></network>"
)


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": "absent"}, "^state: network 'lan' is used by web1 "),
        (removed("web"), r"^portgroups\[0\]\.state: portgroup 'web' of network 'lan' is used by web1 "),
    ],
)
def test_a_guest_that_is_defined_right_before_is_not_left_without(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, t.Any], message: str, *, force: bool, active: bool
) -> None:
    monkeypatch.setattr(adapter, "_links", lambda _names: {})
    monkeypatch.setattr(run.host_reach, "of", lambda _links: None)
    model = Model()
    model.define(LAN_XML)
    if active:
        model.create(UUID)
    before = model.net(UUID).stored

    def others(what: str) -> None:
        # The run looks the network up for the last time before it changes it.
        if what == "lookup":
            model.guests.setdefault(GUEST, Guest("web1", GUEST, Nic(GUEST, MAC, "lan", portgroup="web")))

    libvirt = fake_networks.module(model, others)
    networks = adapter.Networks(Connection(libvirt, libvirt.open(""), "qemu:///system", read_only=False))
    desired = declare.declare([("", {"name": "lan", "state": "active" if active else "inactive", **options})])
    if force:
        run.run(networks, desired, OPTIONS._replace(force=True))
        assert model.nets.get(UUID) is None or "web" not in str(model.net(UUID).stored)
        return
    with pytest.raises(MacvtapError, match=message):
        run.run(networks, desired, OPTIONS)
    assert model.net(UUID).stored == before
    assert bool(model.net(UUID).live) is active


@pytest.mark.parametrize(
    ("groups", "options", "changes"),
    [
        # The name of one portgroup is that of a field of another.
        (
            (Portgroup("web", default=True), Portgroup("web.default")),
            {"portgroups": [{"name": "web", "default": False}]},
            [("portgroups.web.default", True, None)],
        ),
        (
            (Portgroup("web"), Portgroup("web.default")),
            {"portgroups": [{"name": "web", "default": True}]},
            [("portgroups.web.default", None, True)],
        ),
        (
            (Portgroup("web"), Portgroup("web.trust_guest_rx_filters")),
            {"portgroups": [{"name": "web", "trust_guest_rx_filters": True}]},
            [("portgroups.web.trust_guest_rx_filters", None, True)],
        ),
        (
            (Portgroup("web", values={"trust_guest_rx_filters": "yes"}), Portgroup("web.trust_guest_rx_filters")),
            removed("web.trust_guest_rx_filters"),
            [("portgroups.web.trust_guest_rx_filters", "present", None)],
        ),
    ],
)
def test_a_name_with_a_dot_hides_no_change(
    groups: tuple[Portgroup, ...], options: dict[str, t.Any], changes: list[tuple[t.Any, ...]]
) -> None:
    was = replace(LAN, portgroups=groups)
    planned = plan(host(network(was, was)), **options)
    assert [(one.field, one.before, one.after) for one in planned.changes] == changes
    # Nor what is stored and not active yet, nor what a rollback finds.
    (step,) = planned.steps
    assert step.after is not None
    lan = network(step.after, was)
    assert [one["fields"] for one in report.due(lan, [])] == [[changes[0][0]]]
    assert {("portgroups", group.name) for group in groups} <= dict(rollback._items(network(was, was))).keys()


def test_a_guest_on_a_portgroup_whose_name_begins_alike_has_nothing_of_the_other() -> None:
    was = replace(LAN, portgroups=(WEB, Portgroup("web.b")))
    options: dict[str, t.Any] = {"portgroups": [{"name": "web.b", "trust_guest_rx_filters": True}]}
    for name, impact in (("web", "live"), ("web.b", "restart")):
        planned = plan(host(network(was, was), documents(name, live=name)), **options)
        assert set(impacts(planned).values()) == {impact}


QBH = {"virtualport": {"type": "802.1Qbh"}}
FULL, EMPTY = ({"type": "802.1Qbh", "profileid": name} for name in ("x", ""))
NO_PROFILE = ": the virtual port has no profileid, so a guest starts on it only if its NIC has that itself"
QBG = {"type": "802.1Qbg", "managerid": 0, "typeid": 2, "typeidversion": 3}
NIC = replace(documents("web"), own=frozenset({"virtualport.profileid"}))


@pytest.mark.parametrize(
    ("options", "user", "warned"),
    [
        (QBH, None, [f"network 'lan'{NO_PROFILE}"]),
        (
            {"virtualport": {"type": "802.1Qbg", "typeid": 0}},
            None,
            ["network 'lan': the virtual port has no managerid, typeidversion, so"],
        ),
        ({"virtualport": QBG}, None, []),
        ({"virtualport": {"type": "802.1Qbh", "profileid": "x"}}, None, []),
        ({"virtualport": {"type": "none"}}, None, []),
        # A portgroup may have the rest, or a NIC.
        (
            {**QBH, "portgroups": [{"name": "web", "virtualport": FULL}]},
            None,
            [f"network 'lan', portgroup 'db'{NO_PROFILE}"],
        ),
        (
            {"portgroups": [{"name": "web", "virtualport": {"type": "802.1Qbh"}}]},
            None,
            ["network 'lan', portgroup 'web': the virtual port has no profileid"],
        ),
        (QBH, NIC, []),
        (QBH, documents("web"), [f"network 'lan'{NO_PROFILE}"]),
        ({"virtualport": {"type": "802.1Qbh"}, "state": "absent"}, None, []),
    ],
)
def test_a_virtual_port_that_nothing_completes(options: dict[str, t.Any], user: User | None, warned: list[str]) -> None:
    users_ = [user] if user is not None else []
    found = [one for one in plan(host(network(), *users_), **options).warnings if "virtual port" in one]
    assert len(found) == len(warned)
    assert all(one.startswith(start) for one, start in zip(found, warned))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"virtualport": EMPTY}, "virtualport"),
        ({"portgroups": [{"name": "a", "virtualport": EMPTY}]}, r"portgroups\[0\]\.virtualport"),
        ({"portgroups": [{"name": "a", "virtualport": {"profileid": ""}}]}, r"portgroups\[0\]\.virtualport"),
    ],
)
def test_a_profile_without_a_name(options: dict[str, t.Any], path: str) -> None:
    with pytest.raises(MacvtapError, match=rf"^{path}\.profileid: the name of a port profile must not be empty"):
        plan(host(network()), **options)
