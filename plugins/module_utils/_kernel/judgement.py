# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a kernel can do macvtap, and which source told it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import remedy
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    MACVLAN,
    MACVTAP,
    MODULE,
    MODULES,
    REPORTED,
    Host,
    ProvidedBy,
    Source,
    Verdict,
    needed_options,
)


def judge(host: Host) -> Verdict:
    """Say whether and how ``host.release`` provides macvtap, and which source told it.

    :raises MacvtapError: config_path cannot be used, or kernel is not on this host.
    """
    _refuse_bad_options(host)
    verdict = _judge_sources(host)
    if host.probe is None or host.probe.works is not False:
        return verdict
    reason = f"The kernel {host.release} failed at {host.probe.reason}. {verdict.reason}".rstrip()
    return replace(verdict, refuted=True, reason=reason, remedy=verdict.remedy or remedy.doubt(verdict.source))


def _refuse_bad_options(host: Host) -> None:
    if host.config_path:
        problem = host.configs[0].problem
        if problem:
            raise MacvtapError(f"{host.config_path} {problem}", path="config_path")
    elif not host.is_running and host.release not in host.installed:
        raise MacvtapError(
            f"{host.release} is not installed: it has no directory of modules and no configuration on this host "
            f"(installed: {', '.join(host.installed) or 'none'}; running: {host.running})",
            path="kernel",
        )


def _judge_sources(host: Host) -> Verdict:
    tried: list[Source] = []
    for source in host.configs:
        tried.append(source)
        if not source.problem:
            return _judge_config(host, source, tuple(tried))
    return _judge_lists(host, tuple(tried))


def _judge_config(host: Host, config: Source, tried: tuple[Source, ...]) -> Verdict:
    options = {name: config.options.get(name, "unknown") for name in REPORTED}
    asked_only = host.config_path is not None
    unset = [name for name in (MACVTAP, MACVLAN) if options[name] == "n"]
    if not unset and options[MACVTAP] == "y":
        return Verdict("builtin", config.path, tried, options)
    if not unset and (asked_only or host.loaded):
        return Verdict("module", config.path, tried, options)
    if host.loaded and not asked_only:
        return _judge_active(host, tried, options)
    if unset:
        reason = f"The kernel {host.release} has no macvtap: {' and '.join(unset)} not set in {config.path}."
        return Verdict("missing", config.path, tried, options, reason, remedy.rebuild(host.release, config.options))
    lacking = why_not_loadable(host, config)
    tried = (*tried, host.dep)
    if lacking:
        return Verdict("missing", host.dep.path, tried, options, *lacking)
    return Verdict("module", config.path, tried, options)


def _judge_lists(host: Host, tried: tuple[Source, ...]) -> Verdict:
    for source in host.builtin_lists:
        tried = (*tried, source)
        if source.options.get(MACVTAP) == "y":
            return Verdict("builtin", source.path, tried, _known_options(host))
    tried = (*tried, host.dep)
    lacking = why_not_loadable(host, None)
    if host.dep.options.get(MACVTAP) == "m" and not lacking:
        return Verdict("module", host.dep.path, tried, _known_options(host))
    if host.loaded:
        return _judge_active(host, tried, _known_options(host))
    if lacking and any(not source.problem for source in host.builtin_lists):
        # kbuild writes these lists for every kernel with modules: what is in neither is not there.
        reason = f"The kernel {host.release} has no macvtap: {lacking[0]}"
        return Verdict("missing", host.dep.path, tried, _known_options(host), reason, lacking[1])
    reason = f"Nothing on this host tells whether the kernel {host.release} has macvtap."
    return Verdict("unknown", None, tried, _known_options(host), reason, remedy.name_source(host))


def _judge_active(host: Host, tried: tuple[Source, ...], options: t.Mapping[str, str]) -> Verdict:
    """Judge by the running kernel itself, which outweighs any file about it."""
    path = host.active[0]
    provided_by: ProvidedBy = "module" if path == "/proc/modules" else "builtin"
    return Verdict(
        provided_by, path, (*tried, Source(path, {MACVTAP: "m" if provided_by == "module" else "y"})), options
    )


def _known_options(host: Host) -> dict[str, str]:
    """Gather the options from the lists. What is in none is n only if both kinds of list were there."""
    complete = not host.dep.problem and any(not source.problem for source in host.builtin_lists)
    known = dict.fromkeys(REPORTED, "n" if complete else "unknown")
    for source in (host.dep, *host.builtin_lists):
        known.update(source.options)
    return known


def why_not_loadable(host: Host, config: Source | None) -> tuple[str, str] | None:
    """Say why modprobe would not find macvtap or what it needs, and what to do; None where it would."""
    told = f"{config.path} says {MACVTAP}={config.options[MACVTAP]}, but " if config else ""
    if not host.modules_dir:
        reason = f"{told}there is no directory of modules for {host.release} (/lib/modules/{host.release})."
        return reason, remedy.find_modules_tree(host)
    if host.dep.problem:
        advice = f"Run 'depmod -a {host.release}'. {remedy.install_modules(host)}"
        return f"{told}{host.dep.path} {host.dep.problem}.", advice
    builtin = {name for source in host.builtin_lists for name in source.options}
    builtin |= {name for name, setting in (config.options.items() if config else ()) if setting == "y"}
    lacking = [MODULES[n] for n in needed_options(host.release) if n not in builtin and n not in host.dep.options]
    if not lacking:
        return None
    reason = f"{told}{host.dep.path} does not list {', '.join(lacking)}, or lists a file that is gone."
    if config or MODULE not in lacking:
        return reason, remedy.install_modules(host)
    return reason, f"{remedy.install_modules(host)} If it was not built at all: {remedy.rebuild(host.release, {})}"
