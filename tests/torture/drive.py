# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Runs libvirt_direct_iface's own main() on the model: every seam between the module and the world is here."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import time
import types
import typing as t
from dataclasses import dataclass
from unittest import mock

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from torture import fake_libvirt
from torture.guests import OTHERS, Guest
from torture.intent import Scope
from torture.nics import Nic
from torture.scene import SIGNAL, Killed, Run
from torture.stage import Stage
from torture.world import SOURCES

_BASE = "ansible_collections.linuxvirt.macvtap.plugins"
_UTILS = f"{_BASE}.module_utils"
# Mode names of the kernel and of libvirt.
_KERNELS = {"passthrough": "passthru"}


@dataclass
class Outcome:
    """The result of a run. ``rc`` is None if it was killed."""

    rc: int | None
    result: dict[str, t.Any]
    warnings: list[str]

    @property
    def message(self) -> str:
        return str(self.result.get("msg", ""))


class _EndedError(Exception):
    def __init__(self, rc: int, result: dict[str, t.Any]) -> None:
        super().__init__(result.get("msg", ""))
        self.rc = rc
        self.result = result


class _Module:
    """A replacement for AnsibleModule: validates options like Ansible does, and does not exit the process."""

    _validator: t.ClassVar[ArgumentSpecValidator | None] = None
    given: t.ClassVar[tuple[t.Mapping[str, t.Any], bool]]

    def __init__(self, argument_spec: dict[str, t.Any], **more: t.Any) -> None:
        more.pop("supports_check_mode")
        cls = type(self)
        cls._validator = cls._validator or ArgumentSpecValidator(argument_spec, **more)
        params, self.check_mode = cls.given
        validated = cls._validator.validate(dict(params))
        if validated.error_messages:
            raise _EndedError(1, {"msg": "; ".join(validated.error_messages)})
        self.params = validated.validated_parameters
        self._diff = False
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def get_bin_path(self, _name: str, **_more: t.Any) -> None:
        return None

    def exit_json(self, **result: t.Any) -> None:
        raise _EndedError(0, {**result, "warnings": self.warnings})

    def fail_json(self, **result: t.Any) -> None:
        raise _EndedError(1, {**result, "warnings": self.warnings})


class _Measured(t.NamedTuple):
    """The file system of managed saves."""

    free: int
    write_rate: float
    read_rate: float


class _Clock(types.ModuleType):
    """A replacement for the module ``time`` in the collection's files."""

    def __init__(self, stage: Stage) -> None:
        super().__init__("time")
        vars(self).update({name: getattr(time, name) for name in ("time", "strftime", "perf_counter", "localtime")})
        self.monotonic = lambda: stage.now
        self.sleep = stage.sleep


class _LinkSession:
    """A replacement for a netlink session: the links of the model's running guests."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def observe(self, _taps: t.Any = None, *, parents: t.Any = ()) -> dict[str, t.Any]:  # noqa: ARG002
        return t.cast("dict[str, t.Any]", self._stage.call("links", "", lambda: _links(self._stage)))

    def apply(self, steps: t.Sequence[t.Any], *_more: t.Any) -> None:
        errors = importlib.import_module(f"{_UTILS}._errors")
        for step in steps:
            link, mode = step.before, step.after.mode
            found = self._stage.call("link", link.name, functools.partial(_set_mode, self._stage, link, mode))
            if not found:
                raise errors.MacvtapError(f"the link {link.name} has gone while this ran", path=step.path)


def _set_mode(stage: Stage, link: t.Any, mode: str) -> bool:
    libvirts = {kernel: word for word, kernel in _KERNELS.items()}
    try:
        return stage.sets_mode(link.name, link.index, link.mac, libvirts.get(mode, mode))
    except fake_libvirt.RefusedError as exc:
        errors = importlib.import_module(f"{_UTILS}._errors")
        raise errors.MacvtapError(f"the kernel refuses to change {link.name}: {exc}") from exc


def _links(stage: Stage) -> dict[str, t.Any]:
    model = importlib.import_module(f"{_UTILS}._links.model")
    found = {
        name: model.Link(name, index, mac=f"02:00:00:00:00:0{index}", mtu=1500, up=True, carrier=True)
        for index, name in enumerate(SOURCES, 2)
    }
    for guest in stage.world.guests.values():
        for one in guest.live or ():
            if one.nic.type != "direct":
                continue
            device = (240, one.index)
            tap = model.Tap(f"/dev/tap{one.index}", device, device)
            found[one.nic.target] = model.Link(
                one.nic.target,
                one.index,
                "macvtap",
                one.nic.source,
                mode=_KERNELS.get(one.mode, one.mode),
                mac=one.nic.mac,
                mtu=1500,
                up=True,
                carrier=True,
                allmulticast=False,
                tap=tap,
            )
    return found


def _search(stage: Stage, devices: t.Collection[tuple[int, int]]) -> tuple[dict[tuple[int, int], list[t.Any]], bool]:
    model = importlib.import_module(f"{_UTILS}._links.model")
    held = {
        (240, one.index): [model.Holder(1000 + one.index, "qemu-system-x86", guest.name)]
        for guest in stage.world.guests.values()
        for one in guest.live or ()
        if (240, one.index) in devices
    }
    return held, True


@functools.lru_cache(maxsize=4)
def _timed(_loaded: int) -> list[types.ModuleType]:
    """Return the collection's files that use ``time``; searched again after more of them were loaded."""
    loaded = [one for name, one in list(sys.modules.items()) if name.startswith(_BASE)]
    return [one for one in loaded if (clock := getattr(one, "time", None)) is time or isinstance(clock, _Clock)]


@contextlib.contextmanager
def _seams(stage: Stage) -> t.Iterator[types.ModuleType]:
    """Connect the module's own code to the model at every seam to the host."""
    module = importlib.import_module(f"{_BASE}.modules.libvirt_direct_iface")
    utils = {
        name: importlib.import_module(f"{_UTILS}.{name}")
        for name in (
            "_glue",
            "_lock",
            "_errors",
            "_links.netlink",
            "_links.holders",
            "_links.messages",
            "_host_access.reach",
            "_domains.udev_rules",
            "_domains.save_directory",
        )
    }

    @contextlib.contextmanager
    def held(name: str, **_more: t.Any) -> t.Iterator[None]:
        if name in stage.locks:
            raise utils["_errors"].MacvtapError(f"another run (pid 1) holds the lock of {name}")
        stage.locks.add(name)
        try:
            yield
        finally:
            stage.locks.discard(name)

    @contextlib.contextmanager
    def session(*_files: t.Any) -> t.Iterator[_LinkSession]:
        yield _LinkSession(stage)

    clock = _Clock(stage)
    with contextlib.ExitStack() as stack:
        for target, name, value in (
            (utils["_glue"], "Module", _Module),
            (utils["_lock"], "held", held),
            (utils["_links.netlink"], "session", session),
            (utils["_links.holders"], "search", lambda devices: _search(stage, devices)),
            (utils["_links.messages"], "require", lambda: None),
            (utils["_domains.save_directory"], "measure", lambda _memory: _Measured(1 << 40, 1e9, 1e9)),
            (utils["_domains.udev_rules"].RuleStore, "_unsupported_reason", lambda _self: "this host has no udev"),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        # How the host itself is reached is not part of this model.
        reach = importlib.import_module(f"{_UTILS}._host_access.model").Reach()
        stack.enter_context(mock.patch.object(utils["_host_access.reach"], "of", return_value=reach))
        signals = sys.modules.get(f"{_UTILS}._signals")
        if signals is not None:
            stack.enter_context(mock.patch.object(signals, "SIGNALS", (SIGNAL,)))
        for loaded in _timed(len(sys.modules)):
            stack.enter_context(mock.patch.object(loaded, "time", clock))
        stack.enter_context(mock.patch.dict(sys.modules, {"libvirt": fake_libvirt.module(stage)}))
        yield module


def _described(guest: Guest) -> str:
    def nic(one: Nic, mode: str = "") -> str:
        return " ".join(filter(None, (one.mac[-5:], one.type, one.source, mode or one.mode, one.model, one.alias)))

    live = [nic(one.nic, one.mode) + (" (asked)" if one.asked is not None else "") for one in guest.live or ()]
    stored = "none" if guest.stored is None else str([nic(one) for one in guest.stored])
    flags = [word for word in ("paused", "job", "saved") if getattr(guest, word)]
    return f"{guest.name}: stored {stored}, live {live if guest.running else 'none'} {' '.join(flags)}".rstrip()


def run(
    stage: Stage, params: t.Mapping[str, t.Any], *, check: bool = False, events: t.Sequence[t.Any] = ()
) -> tuple[Run, Outcome]:
    """Run the module on the model's host. Return the records of the run and its outcome."""
    stage.number += 1
    noted = Run(stage.number, params, check, list(events), Scope(params, stage.world))
    noted.window = [stage.world.copy()]
    noted.outstanding = stage.owed | {
        (guest.uuid, one.nic.mac)
        for guest in stage.world.guests.values()
        for one in guest.live or ()
        if one.asked is not None
    }
    # A guest that was saved after it had released a NIC gets it back once it is restored, by whoever looks first.
    noted.outstanding |= {
        (gone.uuid, gone.mac)
        for gone in stage.world.departures
        if gone.by != OTHERS and (guest := stage.world.guests.get(gone.uuid)) is not None and guest.saved is not None
    }
    noted.boots = {guest.uuid: guest.boot for guest in stage.world.guests.values()}
    stage.note(f"run {noted.number}{' (check mode)' if check else ''}: {dict(params)}")
    for guest in stage.world.guests.values():
        stage.note(f"  {_described(guest)}")
    stage.runs.append(noted)
    had, outer = getattr(_Module, "given", None), set(stage.locks)
    _Module.given = params, check
    try:
        with stage.seams(), _seams(stage) as module:
            module.main()
    except _EndedError as ended:
        outcome: Outcome | None = Outcome(ended.rc, ended.result, list(ended.result.get("warnings", ())))
    except Killed:
        outcome = Outcome(None, {}, [])
    else:
        outcome = None
    finally:
        stage.runs.pop()
        # The kernel releases the locks of a killed process.
        stage.locks = outer
        if had is not None:
            _Module.given = had
    if outcome is None:
        raise AssertionError("the module has neither exited nor failed")
    if stage.found is not None:
        raise Killed if stage.runs else stage.found
    noted.window.append(stage.world.copy())
    output = "killed" if outcome.rc is None else outcome.message or f"changed: {outcome.result.get('changed')}"
    stage.note(f"run {noted.number} ends: {output}")
    for warning in outcome.warnings:
        stage.note(f"  warning: {warning}")
    return noted, outcome
