# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The state machine of libvirt_direct_network: runs on a model of networks, with others between any two requests."""

from __future__ import annotations

import contextlib
import signal
import typing as t
from unittest import mock

import fake_networks
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from network_spec import LibvirtError

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _signals
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import Reach
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks import adapter, declare, restarter, run
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.run import Options
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import UNCHANGED
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._signals import Interrupted
from torture.network_host import NAMES, WatchedModel
from torture.network_others import ACTS, act
from torture.violations import ViolationError

if t.TYPE_CHECKING:
    from network_model import Net, Nic

_UPLINKS = ("eth0", "eth1", "eth2")
_STOPS = ("refuse", "signal", "kill")
_SOME = st.sampled_from(NAMES)
_GROUPS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from(("a", "b"))},
        optional={
            "default": st.booleans(),
            "trust_guest_rx_filters": st.booleans(),
            "state": st.sampled_from(("present", "absent")),
        },
    ),
    max_size=2,
    unique_by=lambda group: group["name"],
)
_OPTIONS = st.fixed_dictionaries(
    {"name": _SOME, "interfaces": st.sampled_from((["eth0"], ["eth1"], ["eth0", "eth1"], ["eth1", "eth0"]))},
    optional={
        "state": st.sampled_from(("active", "inactive", "absent")),
        "mode": st.sampled_from(("bridge", "vepa", "passthrough")),
        "portgroups": _GROUPS,
        "autostart": st.booleans(),
    },
)


class Event(t.NamedTuple):
    """An event for a network or its guest before the request of this number."""

    number: int
    what: str
    name: str


class _KilledError(BaseException):
    """The run was killed: nothing of it goes on."""


class RestartWatch:
    """In place of the watch's process: it keeps what the run writes."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    @contextlib.contextmanager
    def restarting(self, uuid: str, _name: str) -> t.Iterator[t.Callable[[], None]]:
        self._lines.append(f"{restarter.STOPS} {uuid}")
        yield lambda: self._lines.append(f"{restarter.STOPPED} {uuid}")
        self._lines.append(f"{restarter.STARTED} {uuid}")

    def close(self) -> None:
        self._lines.append(restarter.ENDED)


class DirectNetworks(RuleBasedStateMachine):
    """Runs of libvirt_direct_network, and actions of others."""

    sequences: t.ClassVar[int] = 0
    runs: t.ClassVar[int] = 0

    @initialize()
    def begin(self) -> None:
        type(self).sequences += 1
        self.trace: list[str] = []
        self.model = WatchedModel(self.trace)
        self.events: list[Event] = []
        self.count = 0
        self.killed = False
        links = {name: Link(name, index=index) for index, name in enumerate(_UPLINKS, 2)}
        self.patches = contextlib.ExitStack()
        self.patches.enter_context(mock.patch.object(adapter, "_links", return_value=links))
        self.patches.enter_context(mock.patch.object(run.host_reach, "of", return_value=Reach()))

    def teardown(self) -> None:
        if hasattr(self, "patches"):
            self.patches.close()

    @rule(what=st.sampled_from(ACTS), name=_SOME)
    def others(self, what: str, name: str) -> None:
        act(self.model, what, name)

    @rule(
        options=st.lists(_OPTIONS, min_size=1, max_size=2, unique_by=lambda one: one["name"]),
        force=st.sampled_from((False, False, True)),
        on_error=st.sampled_from(("rollback", "rollback", "keep")),
        data=st.data(),
    )
    def run(self, options: list[dict[str, t.Any]], force: bool, on_error: str, data: st.DataObject) -> None:
        type(self).runs += 1
        try:
            declared = declare.declare([(f"networks[{n}]", one) for n, one in enumerate(options)])
        except MacvtapError:
            return
        how = self._options(force=force, on_error=on_error)
        self.trace.append(f"run {options} force={force} {on_error}")
        predicted = self._predicted(declared, how)
        calls = self._calls(declared, how)
        event = st.builds(Event, st.integers(1, max(calls, 1)), st.sampled_from((*ACTS, *_STOPS)), _SOME)
        self.events = data.draw(st.lists(event, max_size=3))
        self.disturbed = bool(self.events)
        before = self.model.shown()
        self.model.begin(declared, force=force)
        result = self._run(declared, how)
        self.trace.append(f"ends: {result if isinstance(result, str) else 'ok'}")
        self.model.end()
        self._check(before, declared, result, predicted)
        if self.killed:
            self._next(declared, how)

    def _options(self, **more: t.Any) -> Options:
        how = {"auto": "new", "check_relay": False, "allow_host_disconnect": False, "timeout": 0, "diff": True}
        return Options(**{"check_mode": False, **how, **more})

    def _predicted(self, declared: t.Sequence[Desired], how: Options) -> t.Any:
        """Return the changes, or the error, of check mode; it must change nothing."""
        before = self.model.shown()
        self.events = []
        result = self._run(declared, how._replace(check_mode=True))
        if self.model.shown() != before:
            raise ViolationError("check-mode", "check mode has changed something", self.trace)
        return result

    def _calls(self, declared: t.Sequence[Desired], how: Options) -> int:
        """Return how many requests the run makes, on a copy of the host."""
        actual, self.model = self.model, self.model.copy()
        self._run(declared, how)
        self.model = actual
        return self.count

    def _run(self, declared: t.Sequence[Desired], how: Options) -> t.Any:
        """Run, and return its result, or the error's text."""
        self.count, self.killed, self.lines = 0, False, list[str]()
        libvirt = fake_networks.module(self.model, self._seam)
        connection = Connection(libvirt, libvirt.open(""), "qemu:///system", read_only=False)
        with mock.patch.object(adapter, "RestartWatch", return_value=RestartWatch(self.lines)):
            networks = adapter.Networks(connection)
        try:
            with _signals.raising(), contextlib.closing(networks):
                return run.run(networks, declared, how)
        except (MacvtapError, Interrupted) as exc:
            return str(exc)
        except _KilledError:
            # It has written nothing any more.
            self._watch([line for line in self.lines if line != restarter.ENDED])
            return "killed"

    def _watch(self, lines: t.Sequence[str]) -> None:
        left = restarter.read(lines)
        libvirt = fake_networks.module(self.model)
        restarter.restart(libvirt, libvirt.open(""), left)

    def _seam(self, what: str) -> None:
        if self.killed:
            raise _KilledError
        self.count += 1
        self.model.at(self.count, what)
        for event in [event for event in self.events if event.number == self.count]:
            if event.what == "refuse":
                if what in {"define", "create", "destroy", "undefine", "autostart", "update"}:
                    self.trace.append(f"-> {self.count} {what} is refused")
                    raise LibvirtError("refused")
            elif event.what == "signal":
                self.events.remove(event)
                self.trace.append(f"-> {self.count} {what}: signal")
                signal.raise_signal(signal.SIGTERM)
            elif event.what == "kill":
                self.trace.append(f"-> {self.count} {what}: kill")
                self.killed = True
                raise _KilledError
            else:
                self.trace.append(f"-> {self.count} {what}:")
                with self.model.by_others():
                    act(self.model, event.what, event.name)

    # What must hold at the end.

    def _check(self, before: t.Mapping[str, t.Any], declared: t.Sequence[Desired], result: t.Any, said: t.Any) -> None:
        now, touched = self.model.shown(), self.model.touched
        named = {desired.name: desired for desired in declared}
        message = result if isinstance(result, str) else ""
        for name in {*before, *now} - touched:
            same = before.get(name) == now.get(name)
            if not same and (name not in named or UNCHANGED in message):
                kind = "false-as-before" if name in named else "not-meant"
                raise ViolationError(kind, f"{name}: {before.get(name)} is {now.get(name)}", self.trace)
            was, state = before.get(name), named[name].state if name in named else "active"
            told = "was stopped to be restarted" in message and "kept" in message
            if (
                was is not None
                and was.live is not None
                and state == "active"
                and not self._is_active(name)
                and not told
            ):
                raise ViolationError("left-stopped", f"{name} was active, and is not any more: {message}", self.trace)
        for name, silent in self.model.lost.items():
            admissions = ("may be lost", "at the moment when this run stored it")
            if not self.killed and (name not in message or not any(text in message for text in admissions)):
                raise ViolationError(
                    "silent-loss", f"{name}: {silent} is lost, and the run says: {message}", self.trace
                )
        if self.disturbed:
            return
        if isinstance(said, str) != isinstance(result, str) or (message and said.split(". ")[0] not in message):
            raise ViolationError("other-than-predicted", f"{said} became {result}", self.trace)
        if not message:
            self._check_success(declared, result, said)

    def _is_active(self, name: str) -> bool:
        return any(net.name == name and net.live is not None for net in self.model.nets.values())

    def _check_success(self, declared: t.Sequence[Desired], result: t.Any, said: t.Any) -> None:
        if (result["changed"], result["changes"]) != (said["changed"], said["changes"]):
            raise ViolationError("other-than-predicted", f"{said['changes']} became {result['changes']}", self.trace)
        again = self._run(declared, self._options(force=False, on_error="rollback", check_mode=True))
        if isinstance(again, str) or again["changed"]:
            raise ViolationError("not-idempotent", f"the same run again: {again}", self.trace)
        due = {(one["network"], one["mac"]) for one in result["restart_required"]}
        for net in self.model.nets.values():
            if net.name not in {one.name for one in declared if one.state != "absent"}:
                continue
            for nic in self.model.running():
                if nic.network == net.name and ((net.name, nic.mac) in due) != _differs(net, nic):
                    raise ViolationError("false-restart", f"{nic} on {net.stored}: {due}", self.trace)

    def _next(self, declared: t.Sequence[Desired], how: Options) -> None:
        """The run that follows a killed one completes it, unless guests are in its way."""
        self.events = []
        self.trace.append("the next run")
        self.model.begin(declared, force=how.force)
        result = self._run(declared, how)
        self.model.end()
        if isinstance(result, str):
            if not any(word in result for word in ("is used by", "is not a direct network", "is required")):
                raise ViolationError("not-completed", result, self.trace)
            return
        self._check_success(declared, result, result)


def _differs(net: Net, nic: Nic) -> bool:
    """Whether a guest's NIC is other than what it would get at its next start."""
    if net.stored is None:
        return False
    # Which portgroup it would choose is stored with the domain.
    trusted = net.stored.trusted(nic.portgroup) or "no"
    return (
        nic.mode != net.stored.mode
        or nic.uplink not in net.stored.interfaces
        or (nic.port in net.ports and (nic.trusted or "no") != trusted)
    )
