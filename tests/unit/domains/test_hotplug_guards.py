# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The guard of a NIC that a run attaches, or that the keeper has attached just before it."""

from __future__ import annotations

import contextlib
import pathlib
import typing as t
from types import SimpleNamespace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hotplug, pending
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import loader
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import records
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Journal, Step

MAC, UUID = "52:54:00:00:00:0a", "11111111-2222-3333-4444-555555555555"
FORMER = Iface(MAC, values={"source": "eth0", "mode": "bridge", "model": "virtio", "target": "mvg000000000000"})
NEW = Iface(MAC, values={"source": "eth0", "mode": "bridge", "model": "e1000e"})
ATTACHED = Iface(MAC, values={**NEW.values, "target": "mvg111111111111"})
BEFORE = Nic("web1", MAC, live=FORMER, uuid=UUID, instance="1")
AFTER = Nic("web1", MAC, live=NEW, uuid=UUID, instance="1")


class Error(Exception):
    pass


class Host:
    """A guest with a NIC that has a guard. What is done is in ``events``."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.requests = pending.Requests("qemu:///system", local=True)
        self.live: Iface | None = None
        self.events: list[str] = []
        self.refuses = False
        self.libvirt = SimpleNamespace(libvirtError=Error, VIR_DOMAIN_AFFECT_LIVE=1)
        self.connection = SimpleNamespace(
            libvirt=self.libvirt,
            local=True,
            running=lambda _uuid, _instance: self,
            live=lambda _handle, _mac: self.live,
            translate_errors=lambda *_words: contextlib.nullcontext(),
            recorded=lambda *_words: contextlib.nullcontext(),
        )

    def attachDeviceFlags(self, _text: str, _flags: int) -> None:  # noqa: N802
        self.live = ATTACHED
        self.events.append("attached")

    def attach(self) -> None:
        step = Step("web1", BEFORE, AFTER, ())
        task = Task(step, BEFORE, AFTER, replugs=True)
        hotplug.Hotplug(t.cast("t.Any", self.connection), self.requests).attach(task, Journal())

    def entry(self) -> t.Any:
        """Return the request for the NIC, None if there is none."""
        state = records.load(self.directory, UUID)
        return state and state["nics"].get(MAC)


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    directory = str(tmp_path / "linuxvirt.macvtap")
    monkeypatch.setattr(pending, "directory", lambda: directory)
    monkeypatch.setattr(pending.Requests, "_start", lambda _self, _command: None)
    made = Host(directory)

    class Loader:
        warnings: t.ClassVar[list[str]] = []

        def __init__(self, _guards: object) -> None:
            pass

        def is_closed(self, link: str) -> bool:
            return link == ATTACHED.get("target")

        def close(self, _mac: str, _name: str) -> str:
            return str(ATTACHED.get("target"))

        def on(self, links: t.Iterable[tuple[str, str]], *, closed: t.Collection[str], **_how: object) -> None:
            if made.refuses:
                raise RuntimeError("no room")
            ((link, _mac),) = links
            was, asked = ("closed" if link in closed else "open"), ("asked" if made.entry() else "not asked")
            made.events.append(f"guard on {link}, {was}, {asked}")

        def open(self, link: str, mac: str) -> None:
            self.on([(link, mac)], closed=[link])

    monkeypatch.setattr(loader, "Loader", Loader)
    monkeypatch.setattr(loader, "stored", lambda: {MAC: {"required": True}})
    made.requests.register([(BEFORE, NEW)])
    return made


def test_a_nic_that_the_keeper_has_attached_gets_its_guard_before_the_request_is_removed(host: Host) -> None:
    # It was killed, or failed, before it has put the guard on.
    host.live = ATTACHED
    host.attach()
    assert host.events == ["guard on mvg111111111111, closed, asked"]
    assert host.entry() is None


@pytest.mark.parametrize("keeper_was_quicker", [True, False])
@pytest.mark.parametrize("replugs", [True, False])
def test_a_nic_that_gets_no_guard_is_left_to_the_keeper(host: Host, keeper_was_quicker: bool, replugs: bool) -> None:
    host.live, host.refuses = (ATTACHED if keeper_was_quicker else None), True
    if not replugs:
        host.requests.discard(BEFORE)
    with pytest.raises(MacvtapError, match=r"has no guard.*: no room"):
        host.attach()
    assert (host.entry()["asked"], host.entry()["unguarded"]) == (False, True)
    assert "no room" in host.entry()["error"]


def test_a_nic_is_asked_for_until_its_guard_is_on(host: Host) -> None:
    """So the keeper puts the guard on if the run is killed before that."""
    host.attach()
    assert host.events == ["attached", "guard on mvg111111111111, closed, asked"]
    assert host.entry() is None
