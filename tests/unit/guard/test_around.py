# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Guards around a change of NICs: what goes with a NIC, and what stays."""

from __future__ import annotations

import contextlib
import signal
import types
import typing as t
from dataclasses import replace

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import around, guests, options, planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.model import Guard, GuestLink, Host, State
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import (
    Change,
    Impact,
    Journal,
    Plan,
    Step,
    converge,
    recording,
)

A, B = "52:54:00:00:0a:01", "52:54:00:00:0a:02"
UNCHANGED = {"changed": False, "changes": [], "warnings": []}


class Guards:
    """A host that does what it is told, but for ``refused``, in the place of host.Guards."""

    def __init__(self, *states: State, links: t.Sequence[GuestLink] = ()) -> None:
        self.host = Host({one.mac: one for one in states}, {one.name: one for one in links})
        self.warnings: list[str] = []
        self.lacking = False
        self.absent: list[t.Collection[str]] = []

    def observe(self) -> Host:
        return self.host

    def apply(self, steps: t.Sequence[Step[State]], journal: Journal[State]) -> None:
        for step in steps:
            for action in (planner.RULES, planner.STORE):
                journal.record(step, action)
            assert step.after is not None
            self.host = replace(self.host, guards={**self.host.guards, step.target: step.after})

    def refresh(self, *, check_mode: bool, absent: t.Collection[str]) -> bool:
        self.absent.append(absent)
        lacking, self.lacking = self.lacking, self.lacking and check_mode
        return lacking

    def remove_link(self, name: str) -> None:
        """Do as the kernel does if a link goes."""
        guards = {
            mac: replace(one, links=tuple(link for link in one.links if link != name))
            for mac, one in self.host.guards.items()
        }
        self.host = replace(self.host, guards=guards, links={k: v for k, v in self.host.links.items() if k != name})

    @property
    def macs(self) -> list[str]:
        return [mac for mac, state in self.host.guards.items() if state.exists]


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    """Whose addresses are whose, for the test to set."""
    found: dict[str, tuple[str, ...]] = {}

    def of(macs: t.Collection[str], _uri: str) -> dict[str, tuple[str, ...]]:
        return {mac: names for mac, names in found.items() if mac in macs}

    monkeypatch.setattr(guests, "owners", of)
    return found


def guarded(mac: str, *links: str) -> State:
    return State(mac, Guard(mac), Guard(mac), links)


def entry(link: str | None = None, **given: t.Any) -> options.Desired:
    return options.declared("", {"guard": {}, **given}, link)


def run(
    host: Guards,
    *entries: options.Desired,
    going: t.Collection[str] = (),
    body: t.Callable[[], t.Any] | None = None,
    check_mode: bool = False,
) -> around.Result:
    how = around.How(check_mode, False, True, lambda _words: None)
    guards = around.declared(entries, going=going)
    return around._Run(guards, body or (lambda: UNCHANGED), how, t.cast("t.Any", host), list).run()


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_guard_goes_with_the_last_nic_of_its_address(owners: dict[str, tuple[str, ...]], check_mode: bool) -> None:
    gone = entry(mac=A, domain="web1", state="absent")
    host = Guards(guarded(A))
    # In check mode the NIC that goes is still there.
    remaining = ("web1",) if check_mode else ()
    owners[A] = (*remaining, "web2")
    result = run(host, gone, going=[A], check_mode=check_mode)
    assert (result["changed"], host.macs) == (False, [A])
    why = "NICs with its address are in domains of this host: web2"
    assert result["warnings"] == (f"the guard of {A} stays, because {why}",)
    owners[A] = remaining
    assert run(host, gone, going=[A], check_mode=check_mode)["changed"]
    assert host.macs == ([A] if check_mode else [])


def test_a_guard_by_its_link_stays_for_a_domain_with_its_address(owners: dict[str, tuple[str, ...]]) -> None:
    host = Guards(guarded(A, "web0"), links=[GuestLink("web0", 7, A)])
    owners[A] = ("web2",)

    def body() -> t.Any:
        host.remove_link("web0")
        return {**UNCHANGED, "changed": True}

    result = run(host, entry("web0", state="absent"), body=body)
    assert (host.macs, "web2" in str(result["warnings"])) == ([A], True)


@pytest.mark.usefixtures("owners")
def test_a_guard_does_not_go_with_a_link_whose_nic_gets_another() -> None:
    host = Guards(guarded(A, "old0"), links=[GuestLink("old0", 7, A)])

    def body() -> t.Any:
        host.remove_link("old0")
        return {**UNCHANGED, "changed": True}

    result = run(host, entry("old0", state="absent"), entry("new0", mac=A, state="up"), body=body)
    assert (host.macs, result["warnings"]) == ([A], ())


@pytest.mark.usefixtures("owners")
@pytest.mark.parametrize("check_mode", [False, True])
@pytest.mark.parametrize("changed", ["nothing", "the guard", "the NIC", "the guard that goes"])
def test_what_loads_guards_is_made_whole_whatever_has_changed(changed: str, check_mode: bool) -> None:
    host = Guards(*([] if changed == "the guard" else [guarded(A)]), *([guarded(B)] if "goes" in changed else []))
    host.lacking = True
    entries = entry(mac=A, state="up"), entry(mac=B, state="absent")
    body = {**UNCHANGED, "changed": changed == "the NIC"}
    assert run(host, *entries, body=lambda: body, check_mode=check_mode)["changed"] is True
    assert (host.lacking, host.absent) == (check_mode, [{B}])
    if not check_mode:
        assert run(host, *entries, body=lambda: UNCHANGED)["changed"] is False


class Refusing(Guards):
    """The kernel removes no guard; with ``half``, it removes the rules, and cannot put them back."""

    def __init__(self, *states: State, half: bool = False) -> None:
        super().__init__(*states)
        self._half = half

    def apply(self, steps: t.Sequence[Step[State]], journal: Journal[State]) -> None:
        if self._half and steps[0].after is not None and not steps[0].after.exists:
            super().apply(steps, journal)
        raise MacvtapError("nftables refused it")


def changing(*, signalled: bool = False, changed: bool = True) -> t.Callable[[], t.Any]:
    """Return what changes a NIC; a signal may arrive at its end."""
    changes = (Change("web1", "state", "present", "absent", Impact.CONFIG),) if changed else ()
    planned: Plan[str] = Plan((Step("web1", "", None, changes),))

    def body() -> t.Any:
        converge(
            lambda: None,
            lambda _host, _none: planned,
            lambda _steps, _journal: None,
            lambda _journal, _host: Plan(),
            verify=lambda _planned, _host, _none: Plan(),
            check_mode=False,
        )
        if signalled:
            signal.raise_signal(signal.SIGTERM)
        return {**planned.result(diff=False), "warnings": []}

    return body


def failure(host: Guards, body: t.Callable[[], t.Any], error: type[BaseException]) -> str:
    entries = entry(mac=A, state="absent"), entry(mac=B, state="absent")
    with _signals.raising(), recording(), pytest.raises(error) as failed:
        run(host, *entries, going=[A, B], body=body)
    return str(failed.value)


@pytest.mark.usefixtures("owners")
def test_a_guard_that_could_not_be_removed_is_named() -> None:
    left = f"Not removed: the guard of {A}. Run this task again"
    assert failure(Refusing(guarded(A)), changing(), MacvtapError) == f"nftables refused it. {left}"
    # If nothing else was changed, there is nothing else to say.
    message = failure(Refusing(guarded(A)), changing(changed=False), MacvtapError)
    assert message == "nftables refused it. The host is as it was before"
    # And what is half done is not told as if it were not.
    message = failure(Refusing(guarded(A), half=True), changing(), MacvtapError)
    assert "The rollback failed as well" in message
    assert "Not removed" not in message


@pytest.mark.usefixtures("owners")
def test_a_signal_during_the_change_leaves_the_guards_that_were_to_be_removed() -> None:
    message = failure(Guards(guarded(A), guarded(B)), changing(signalled=True), _signals.Interrupted)
    assert message == f"stopped by SIGTERM. Not removed: the guard of {A}, the guard of {B}. Run this task again"


@pytest.mark.parametrize("check_mode", [False, True])
def test_check_mode_keeps_nothing_of_what_it_reads(monkeypatch: pytest.MonkeyPatch, check_mode: bool) -> None:
    keeps: list[bool] = []

    def guards(_table: t.Any, _installer: t.Any, *, known: Known) -> t.Any:
        keeps.append(known._keeps)
        return Guards()

    table = types.SimpleNamespace(close=lambda: None, require_egress=lambda _snapshot: None)
    monkeypatch.setattr(around, "Table", lambda: table)
    monkeypatch.setattr(around, "Guards", guards)
    how = around.How(check_mode, False, True, lambda _words: None)
    declared = around.declared([entry(mac=A, state="absent")])
    around.run(declared, lambda: UNCHANGED, how, contextlib.nullcontext())
    assert keeps == [not check_mode]
