# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Which steps bring macvtap into the kernel. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import blockers, support
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    MODULE,
    MODULES,
    Desired,
    Host,
    LoadedModule,
    LoadFile,
    Resource,
    SupportResult,
    describe_source,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

_LOAD_TEXT = f"# Managed by Ansible (linuxvirt.macvtap.kernel_macvtap_check)\n{MODULE}\n"


def plan(desired: Desired, host: Host) -> Plan[Resource]:
    """Return the steps to take.

    :raises MacvtapError: macvtap is required and not supported, or cannot be loaded.
    """
    if desired.probe and (host.config_path or not host.is_running):
        option = f"kernel is {host.release}" if not host.is_running else f"config_path is {host.config_path}"
        raise MacvtapError(f"only the running kernel can be probed, and {option}. Leave that out", path="probe")
    result = support.evaluate(host)
    if not result.supported:
        if desired.required:
            sources = "; ".join(f"{source.path}: {describe_source(source)}" for source in result.tried)
            raise MacvtapError(f"{result.reason} Checked: {sources}. {result.hint}", **returned(host, result))
        return Plan(warnings=_warnings(host, result))
    if not desired.loading:
        return Plan(warnings=_warnings(host, result))
    if not host.is_running:
        raise MacvtapError(
            f"macvtap cannot be loaded into {host.release}: the running kernel is {host.running}. "
            f"Leave kernel out, or set state: supported",
            path="kernel",
        )
    if result.provided_by == "builtin":
        if not host.active:
            raise MacvtapError(_builtin_but_absent(host, result), path="state", **returned(host, result))
        return Plan(warnings=_warnings(host, result))
    return _plan_module(desired, host, result)


def _plan_module(desired: Desired, host: Host, result: SupportResult) -> Plan[Resource]:
    steps: list[Step[Resource]] = []
    option = "state" if desired.state == "loaded" else "probe"
    message = "" if host.active else _why_not_now(host)
    if message:
        raise MacvtapError(message, path=option, **returned(host, result))
    persistent = desired.persistent and desired.state == "loaded"
    blocking = blockers.at_boot(host)
    if persistent and blocking:
        raise MacvtapError(
            f"macvtap would not be loaded at boot, despite {LOAD_FILE}: {blockers.describe(blocking)}",
            path="persistent",
            **returned(host, result),
        )
    if persistent and host.load_problem:
        raise MacvtapError(host.load_problem, path="persistent", **returned(host, result))
    if persistent and not _names_module(host.load_file):
        steps.append(_load_file_step(_load_file(host)))
    if not host.active:
        # Last, so that no later failure leaves a module loaded.
        steps.append(_load_step(host))
    return Plan(tuple(steps), _warnings(host, result))


def _why_not_now(host: Host) -> str:
    """Return why modprobe cannot load macvtap into the running kernel, or "" if nothing prevents it."""
    reason = support.why_not_loadable(host, host.configs[0] if host.config_path else None)
    if reason:
        return " ".join(reason)
    if host.modules_disabled:
        return blockers.describe_disabled()
    blocking = blockers.by_name(host)
    return f"macvtap cannot be loaded: {blockers.describe(blocking)}" if blocking else ""


def undo(steps: t.Sequence[Step[Resource]], host: Host) -> Plan[Resource]:
    """Plan the way from ``host`` back to the state before ``steps``.

    A file that was changed meanwhile is left alone. So are modules: unloading one removes the links of its kinds that
    no process has open, which may be shims, or networks of containers. Nor can it be known which run has loaded it.
    """
    reverse: list[Step[Resource]] = []
    warnings: list[str] = []
    for step in reversed(steps):
        if isinstance(step.after, LoadedModule):
            warnings += _stays_loaded(step.after, host)
        elif isinstance(step.after, LoadFile):
            original = step.before if isinstance(step.before, LoadFile) else None
            current = _load_file(host)
            if current == step.after:
                reverse.append(_file_step(current, original))
            elif current != original:
                warnings.append(f"{LOAD_FILE} was changed by something else while this ran, and is left as it is now")
    return Plan(tuple(reverse), tuple(warnings))


def _stays_loaded(thing: LoadedModule, host: Host) -> tuple[str, ...]:
    current = {*host.loaded_modules, *([MODULE] if host.active else [])} - thing.loaded_before
    names = [name for name in MODULES.values() if name in current]
    stay = "stay" if len(names) > 1 else "stays"
    why = "a module without links has no effect, and unloading it could remove links that something else has created"
    return (f"{_text.join_names(names)} {stay} loaded: {why}",) if names else ()


def returned(host: Host, result: SupportResult) -> dict[str, t.Any]:
    """Return the module's return values about the kernel."""
    return {
        "kernel": host.release,
        "loaded": host.loaded,
        **result.as_dict(),
        "obstacles": [
            {"module": one.module, "kind": one.kind, "where": one.where, "says": one.says}
            for one in blockers.relevant(host)
        ],
        "probe": {"works": host.probe.works, "reason": host.probe.reason} if host.probe else None,
    }


def _warnings(host: Host, result: SupportResult) -> tuple[str, ...]:
    untried = host.probe is not None and host.probe.works is None
    return (
        *(blockers.warnings(host) if result.provided_by == "module" else ()),
        *([f"macvtap could not be probed: {host.probe.reason}"] if untried and host.probe else ()),
    )


def _builtin_but_absent(host: Host, result: SupportResult) -> str:
    return (
        f"according to {result.source} macvtap is built into {host.release}, but /proc/devices does not list it. "
        f"Either that file belongs to another kernel, or initcall_blacklist= on the kernel's command line disables "
        f"macvtap"
    )


def _names_module(load_file: str | None) -> bool:
    return any(line.strip() == MODULE for line in (load_file or "").splitlines())


def _load_file(host: Host) -> LoadFile | None:
    absent = host.load_file is None and host.load_target is None
    return None if absent else LoadFile(LOAD_FILE, host.load_file, host.load_target)


def _load_file_step(before: LoadFile | None) -> Step[Resource]:
    """Return the step that adds the module to the file. Existing lines stay: they may be hand-written."""
    text = before.text if before else None
    if not text:
        return _file_step(before, LoadFile(LOAD_FILE, _LOAD_TEXT))
    end = "" if text.endswith("\n") else "\n"
    return _file_step(before, LoadFile(LOAD_FILE, f"{text}{end}{MODULE}\n"))


def _file_step(before: LoadFile | None, after: LoadFile | None) -> Step[Resource]:
    old, new = (file.text if file else None for file in (before, after))
    change = Change(MODULE, "persistent", _names_module(old), _names_module(new), Impact.NONE)
    return Step(MODULE, before, after, (change,), old or "", new or "", path=LOAD_FILE)


def _load_step(host: Host) -> Step[Resource]:
    change = Change(MODULE, "loaded", False, True, Impact.NONE)
    thing = LoadedModule(MODULE, host.loaded_modules)
    return Step(MODULE, None, thing, (change,), {"loaded": False}, {"loaded": True})
