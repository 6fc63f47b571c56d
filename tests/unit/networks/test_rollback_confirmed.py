# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A rollback takes a portgroup that is new from no guest that has it, and is stopped by no other one."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

import fake_networks
import pytest
from network_model import Guest, Model, Nic
from network_spec import LibvirtError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, StaleError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import adapter, declare, run, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Portgroup, User
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Step

from .planned import DB, LAN, RUNNING, host, network
from .test_attempts import NAMES, OPTIONS, document, stored

GUEST = "00000000-0000-0000-0000-000000000001"
MAC = "52:54:00:00:00:0a"
TRUST, TAG = {"trust_guest_rx_filters": "yes"}, {"vlan": "7"}
ANY = replace(RUNNING, portgroup=None, chosen={"stored": None, "live": None})
NAMED = replace(RUNNING, portgroup="new", chosen={"stored": None, "live": "new"})
OTHER = replace(RUNNING, portgroup="db", chosen={"stored": "db", "live": "db"})


@pytest.mark.parametrize(
    ("group", "values", "user", "refused"),
    [
        # It is older than the default one, and has nothing of it.
        (Portgroup("new", default=True, values=TRUST), {}, ANY, False),
        (Portgroup("new", default=True, values=TAG), {}, ANY, False),
        (Portgroup("new", default=True, values=TAG), {}, replace(ANY, values={"vlan": "8"}), False),
        (Portgroup("new", default=True), {}, ANY, False),
        # It is younger.
        (Portgroup("new", default=True, values=TRUST), {}, replace(ANY, values=TRUST), True),
        (Portgroup("new", default=True, values={**TRUST, **TAG}), {}, replace(ANY, values={**TRUST, **TAG}), True),
        (Portgroup("new", default=True, values={**TRUST, **TAG}), {}, replace(ANY, values=TAG), False),
        # What it has is its own, or the network's.
        (Portgroup("new", default=True, values=TAG), {}, replace(ANY, values=TAG, own=frozenset(TAG)), False),
        (Portgroup("new", default=True, values=TRUST), TRUST, replace(ANY, values=TRUST), False),
        (Portgroup("new", default=True, values={"trust_guest_rx_filters": "no"}), TRUST, ANY, True),
        # It is not the default one.
        (Portgroup("new", values=TRUST), {}, replace(ANY, values=TRUST), False),
        # It has chosen it, or another one.
        (Portgroup("new"), {}, NAMED, True),
        (Portgroup("new", default=True, values=TRUST), {}, NAMED, True),
        (Portgroup("new", default=True, values=TRUST), {}, replace(OTHER, values=TRUST), False),
        # It does not run.
        (Portgroup("new"), {}, replace(NAMED, live=False, chosen={"stored": "new"}), False),
    ],
)
@pytest.mark.parametrize("live", [True, False])
def test_a_guest_has_a_new_portgroup_by_its_choice_or_by_what_it_got(
    group: Portgroup, values: dict[str, str], user: User, refused: bool, *, live: bool
) -> None:
    old = replace(LAN, values=values, portgroups=(replace(DB, default=False),))
    new = replace(old, portgroups=(*old.portgroups, group))
    now = network(new, new if live else old)
    step = Step("lan", now, network(old, old), (), {}, {}, path="networks[0]")
    match = r"^networks\[0\]: portgroup 'new' of network 'lan' is used by web1 \(52:54:00:00:00:0a, running\) by now, "
    for unreadable in ((), ("secret",)):
        where = host(now, user, unreadable=unreadable)
        with pytest.raises(StaleError, match=match) if refused else contextlib.nullcontext():
            validate.confirm(step, where, running=True)
        # On the way forward nobody may miss it who may have it.
        if unreadable:
            with pytest.raises(StaleError, match="secret, which this user may not read"):
                validate.confirm(step, where)


@pytest.mark.parametrize("mode", ["bridge", "passthrough"])
def test_a_domain_that_cannot_be_read_stops_no_rollback_alone(mode: str) -> None:
    was, now = (replace(LAN, mode=mode, interfaces=one) for one in (("eth0",), ("eth0", "eth1")))
    for after in (None, network(was, None), network(was, was)):
        step = Step("lan", network(now, now), after, (), path="networks[0]")
        validate.confirm(step, host(network(now, now), unreadable=("secret",)), running=True)
        with pytest.raises(StaleError, match="perhaps secret"):
            validate.confirm(step, host(network(now, now), unreadable=("secret",)))
        on_it = replace(RUNNING, domain="secret", stored=False, uplink="eth1")
        with pytest.raises(StaleError, match=r"is used by secret \(52:54:00:00:00:0a, running\) by now"):
            validate.confirm(step, host(network(now, now), on_it, unreadable=("secret",)), running=True)


class Failing(fake_networks.Connection):
    """A connection that stores nothing of the network san. ``others`` do what they do right before."""

    others: t.ClassVar[t.Callable[[Model], None]] = staticmethod(lambda _model: None)
    readable: t.ClassVar[bool] = True

    def networkDefineXML(self, document_: str) -> t.Any:  # noqa: N802
        if "<name>san" in document_:
            type(self).others(self.model)
            raise LibvirtError("no space left", 38)
        return super().networkDefineXML(document_)

    def listAllDomains(self) -> list[fake_networks.Domain]:  # noqa: N802
        return super().listAllDomains() if self.readable else [Secret(self, uuid) for uuid in self.model.guests]


class Secret(fake_networks.Domain):
    """A domain that this user may not read."""

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802, ARG002
        raise LibvirtError("access denied", 88)


def start(model: Model) -> None:
    model.start(GUEST)


def restart(model: Model) -> None:
    model.stop(GUEST)
    model.start(GUEST)


@pytest.mark.parametrize("readable", [True, False])
@pytest.mark.parametrize(
    ("runs", "choice", "group", "others", "refused"),
    [
        (True, "", {"name": "web", "default": True, "trust_guest_rx_filters": True}, None, False),
        (True, "", {"name": "web", "default": True}, None, False),
        (True, "", {"name": "web"}, None, False),
        (False, "web", {"name": "web"}, None, False),
        (True, "", {"name": "web", "default": True, "trust_guest_rx_filters": True}, restart, True),
        (False, "", {"name": "web", "default": True, "trust_guest_rx_filters": True}, start, True),
        (False, "web", {"name": "web"}, start, True),
    ],
)
def test_a_run_that_fails_takes_its_portgroup_away_again(
    monkeypatch: pytest.MonkeyPatch,
    choice: str,
    group: dict[str, t.Any],
    others: t.Callable[[Model], None] | None,
    *,
    runs: bool,
    refused: bool,
    readable: bool,
) -> None:
    monkeypatch.setattr(adapter, "_links", lambda _names: {"eth0": Link("eth0", index=2)})
    monkeypatch.setattr(run.host_reach, "of", lambda _links: None)
    monkeypatch.setattr(Failing, "others", staticmethod(others or (lambda _model: None)))
    monkeypatch.setattr(Failing, "readable", readable)
    model = Model()
    for name in NAMES:
        model.create(model.define(document(name)))
    model.guests[GUEST] = Guest("web1", GUEST, Nic(GUEST, MAC, "lan", portgroup=choice))
    if runs:
        model.start(GUEST)
    before, active = stored(model), {net.name: net.live for net in model.nets.values()}
    connection = Connection(
        fake_networks.module(model), Failing(model, lambda _what: None), "qemu:///system", read_only=False
    )
    declared = declare.declare(
        [(f"networks[{n}]", {"name": name, "portgroups": [group], "state": "active"}) for n, name in enumerate(NAMES)]
    )
    with pytest.raises(MacvtapError, match="no space left") as raised:
        run.run(adapter.Networks(connection), declared, OPTIONS)
    if refused:
        assert f"portgroup 'web' of network 'lan' is used by web1 ({MAC}, running) by now" in str(raised.value)
        assert "web" in str(stored(model)["lan"])
    else:
        assert str(raised.value).endswith("The host is as it was before")
        assert stored(model) == before
        assert {net.name: net.live for net in model.nets.values()} == active
