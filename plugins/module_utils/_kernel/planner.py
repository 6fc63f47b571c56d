# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is to be done to have macvtap in the kernel. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import judgement, obstacles
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    MODULE,
    Host,
    LoadedModule,
    LoadFile,
    Thing,
    Verdict,
    Wanted,
    said_by,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Change, Impact, Plan, Step

_LOAD_TEXT = f"# Managed by Ansible (linuxvirt.macvtap.kernel_macvtap_check)\n{MODULE}\n"


def plan(wanted: Wanted, host: Host) -> Plan[Thing]:
    """Say what is to be done.

    :raises MacvtapError: macvtap is not there and required, or cannot be loaded.
    """
    if wanted.probe and (host.config_path or not host.is_running):
        found = f"kernel is {host.release}" if not host.is_running else f"config_path is {host.config_path}"
        raise MacvtapError(f"only the running kernel can be tried, and {found}: leave that out", path="probe")
    verdict = judgement.judge(host)
    if not verdict.supported:
        if wanted.required:
            looked = "; ".join(f"{source.path} {said_by(source)}" for source in verdict.tried)
            raise MacvtapError(f"{verdict.reason} Looked at: {looked}. {verdict.remedy}", **returned(host, verdict))
        return Plan(warnings=_warnings(host, verdict))
    if not wanted.loading:
        return Plan(warnings=_warnings(host, verdict))
    if not host.is_running:
        raise MacvtapError(
            f"macvtap cannot be loaded into {host.release}: {host.running} is the kernel that is running. "
            f"Leave kernel out, or ask for state=supported",
            path="kernel",
        )
    if verdict.provided_by == "builtin":
        if not host.active:
            raise MacvtapError(_builtin_but_absent(host, verdict), path="state", **returned(host, verdict))
        return Plan(warnings=_warnings(host, verdict))
    return _plan_module(wanted, host, verdict)


def _plan_module(wanted: Wanted, host: Host, verdict: Verdict) -> Plan[Thing]:
    steps: list[Step[Thing]] = []
    option = "state" if wanted.state == "loaded" else "probe"
    refusal = "" if host.active else _why_not_now(host)
    if refusal:
        raise MacvtapError(refusal, path=option, **returned(host, verdict))
    persistent = wanted.persistent and wanted.state == "loaded"
    hindering = obstacles.at_boot(host)
    if persistent and hindering:
        raise MacvtapError(
            f"macvtap would not be loaded at boot, whatever {LOAD_FILE} says: {obstacles.say(hindering)}",
            path="persistent",
            **returned(host, verdict),
        )
    if persistent and not _names_module(host.load_file):
        steps.append(_load_file_step(_load_file(host)))
    if not host.active:
        # Last, so that nothing that fails after it leaves a module loaded.
        steps.append(_load_step(before=False))
    return Plan(tuple(steps), _warnings(host, verdict))


def _why_not_now(host: Host) -> str:
    """Say why modprobe could not load macvtap into the running kernel, "" where it should."""
    lacking = judgement.why_not_loadable(host, host.configs[0] if host.config_path else None)
    if lacking:
        return " ".join(lacking)
    if host.modules_disabled:
        return obstacles.say_disabled()
    hindering = obstacles.by_name(host)
    return f"macvtap cannot be loaded: {obstacles.say(hindering)}" if hindering else ""


def undo(steps: t.Sequence[Step[Thing]], host: Host) -> Plan[Thing]:
    """Plan the way back from ``host`` to what ``steps`` started from, but for a file that somebody else has changed."""
    back: list[Step[Thing]] = []
    warnings = []
    for step in reversed(steps):
        if isinstance(step.after, LoadedModule):
            if host.active:
                back.append(_load_step(before=True))
        elif isinstance(step.after, LoadFile):
            was = step.before if isinstance(step.before, LoadFile) else None
            now = _load_file(host)
            if now == step.after:
                back.append(_file_step(now, was))
            elif now != was:
                warnings.append(f"{LOAD_FILE} was changed by something else while this ran, and is left as it is now")
    return Plan(tuple(back), tuple(warnings))


def returned(host: Host, verdict: Verdict) -> dict[str, t.Any]:
    """Return what the module returns of what it found."""
    return {
        "kernel": host.release,
        "loaded": host.loaded,
        **verdict.as_dict(),
        "obstacles": [
            {"module": one.module, "kind": one.kind, "where": one.where, "says": one.says}
            for one in obstacles.relevant(host)
        ],
        "probe": {"works": host.probe.works, "reason": host.probe.reason} if host.probe else None,
    }


def _warnings(host: Host, verdict: Verdict) -> tuple[str, ...]:
    untried = host.probe is not None and host.probe.works is None
    return (
        *(obstacles.warnings(host) if verdict.provided_by == "module" else ()),
        *([f"macvtap could not be tried: {host.probe.reason}"] if untried and host.probe else ()),
    )


def _builtin_but_absent(host: Host, verdict: Verdict) -> str:
    return (
        f"{verdict.source} says that macvtap is built into {host.release}, but /proc/devices does not list it. "
        f"Either that file belongs to another kernel, or initcall_blacklist= on the kernel's command line keeps "
        f"macvtap out"
    )


def _names_module(load_file: str | None) -> bool:
    return any(line.strip() == MODULE for line in (load_file or "").splitlines())


def _load_file(host: Host) -> LoadFile | None:
    return None if host.load_file is None else LoadFile(LOAD_FILE, host.load_file, host.load_target)


def _load_file_step(before: LoadFile | None) -> Step[Thing]:
    """Keep what is in the file already: somebody may have written it by hand."""
    text = before.text if before else ""
    if not text:
        return _file_step(before, LoadFile(LOAD_FILE, _LOAD_TEXT))
    end = "" if text.endswith("\n") else "\n"
    return _file_step(before, LoadFile(LOAD_FILE, f"{text}{end}{MODULE}\n"))


def _file_step(before: LoadFile | None, after: LoadFile | None) -> Step[Thing]:
    old, new = (file.text if file else None for file in (before, after))
    change = Change(MODULE, "persistent", _names_module(old), _names_module(new), Impact.NONE)
    return Step(MODULE, before, after, (change,), old or "", new or "", path=LOAD_FILE)


def _load_step(*, before: bool) -> Step[Thing]:
    thing = LoadedModule(MODULE)
    return Step(
        MODULE,
        thing if before else None,
        None if before else thing,
        (Change(MODULE, "loaded", before, not before, Impact.NONE),),
        {"loaded": before},
        {"loaded": not before},
    )
