# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""An attempt at a run knows nothing of what an earlier one has stored, on a model of libvirt."""

from __future__ import annotations

import contextlib
import typing as t

import fake_networks
import pytest
from network_model import Model
from network_spec import LibvirtError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import adapter, declare, run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.restart_watch import RestartWatch

NAMES = ("lan", "san")
RPC = 39
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


def document(name: str, more: str = "") -> str:
    uuid = f"a3e5b5d5-8ed1-4f0e-8f80-00000000000{NAMES.index(name)}"
    forward = "<forward mode='bridge'><interface dev='eth0'/></forward>"
    return f"<network><name>{name}</name><uuid>{uuid}</uuid>{forward}{more}</network>"


def stored(model: Model) -> dict[str, t.Any]:
    return {net.name: net.stored for net in model.nets.values()}


def test_what_a_later_attempt_has_stored_is_put_back_if_libvirts_answer_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(RestartWatch, "restarting", lambda *_of: contextlib.nullcontext(lambda: None))
    links = {name: Link(name, index=index) for index, name in enumerate(("eth0", "eth1"), 2)}
    monkeypatch.setattr(adapter, "_links", lambda _names: links)
    model = Model()
    for name in NAMES:
        model.define(document(name))
    defines = 0

    class Handle(fake_networks.Connection):
        def networkDefineXML(self, document_: str) -> t.Any:  # noqa: N802
            nonlocal defines
            defines += 1
            made = super().networkDefineXML(document_)
            if defines == 1:
                # The second network differs by now from what was read, so that this attempt is rolled back.
                model.define(document("san", "<portgroup name='theirs'/>"))
            if defines == 3:
                raise LibvirtError("the answer is lost", RPC)
            return made

    libvirt = fake_networks.module(model)
    connection = Connection(libvirt, Handle(model, lambda _what: None), "qemu:///system", read_only=False)
    declared = declare.declare(
        [
            (f"networks[{n}]", {"name": name, "interfaces": ["eth1"], "state": "inactive"})
            for n, name in enumerate(NAMES)
        ]
    )
    before = stored(model)["lan"]
    with pytest.raises(MacvtapError, match=r"the answer is lost\. The host is as it was before"):
        run.run(adapter.Networks(connection), declared, OPTIONS)
    assert (defines, stored(model)["lan"]) == (4, before)
