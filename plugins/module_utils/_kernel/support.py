# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Whether a kernel supports macvtap, and which source shows it. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import hints
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    MACVLAN,
    MACVTAP,
    MODULE,
    MODULES,
    REPORTED,
    Host,
    ProvidedBy,
    Source,
    SupportResult,
    needed_options,
)


def evaluate(host: Host) -> SupportResult:
    """Return whether and how ``host.release`` provides macvtap, and which source shows it.

    :raises MacvtapError: config_path cannot be used, or kernel is not installed on this host.
    """
    _refuse_bad_options(host)
    result = _from_sources(host)
    if host.probe is None or host.probe.works is not False:
        return result
    reason = f"The probe of the kernel {host.release} failed at {host.probe.reason}. {result.reason}".rstrip()
    return replace(result, refuted=True, reason=reason, hint=result.hint or hints.after_failed_probe(result.source))


def _refuse_bad_options(host: Host) -> None:
    if host.config_path:
        problem = host.configs[0].problem
        if problem:
            raise MacvtapError(f"{host.config_path} {problem}", path="config_path")
    elif not host.is_running and host.release not in host.installed:
        raise MacvtapError(
            f"{host.release} is not installed: this host has neither modules nor a configuration of it "
            f"(installed: {', '.join(host.installed) or 'none'}; running: {host.running})",
            path="kernel",
        )


def _from_sources(host: Host) -> SupportResult:
    tried: list[Source] = []
    for source in host.configs:
        tried.append(source)
        if not source.problem:
            return _from_config(host, source, tuple(tried))
    return _from_lists(host, tuple(tried))


def _from_config(host: Host, config: Source, tried: tuple[Source, ...]) -> SupportResult:
    options = {name: config.options.get(name, "unknown") for name in REPORTED}
    config_only = host.config_path is not None
    unset = [name for name in (MACVTAP, MACVLAN) if options[name] == "n"]
    if not unset and options[MACVTAP] == "y":
        return SupportResult("builtin", config.path, tried, options)
    if not unset and (config_only or host.loaded):
        return SupportResult("module", config.path, tried, options)
    if host.loaded and not config_only:
        return _from_running_kernel(host, tried, options)
    if unset:
        are = "is" if len(unset) == 1 else "are"
        reason = f"The kernel {host.release} has no macvtap: {' and '.join(unset)} {are} not set in {config.path}."
        return SupportResult(
            "missing", config.path, tried, options, reason, hints.rebuild(host.release, config.options)
        )
    missing = why_not_loadable(host, config)
    tried = (*tried, host.dep)
    if missing:
        return SupportResult("missing", host.dep.path, tried, options, *missing)
    return SupportResult("module", config.path, tried, options)


def _from_lists(host: Host, tried: tuple[Source, ...]) -> SupportResult:
    for source in host.builtin_lists:
        tried = (*tried, source)
        if source.options.get(MACVTAP) == "y":
            return SupportResult("builtin", source.path, tried, _known_options(host))
    tried = (*tried, host.dep)
    missing = why_not_loadable(host, None)
    if host.dep.options.get(MACVTAP) == "m" and not missing:
        return SupportResult("module", host.dep.path, tried, _known_options(host))
    if host.loaded:
        return _from_running_kernel(host, tried, _known_options(host))
    if missing and any(not source.problem for source in host.builtin_lists):
        # kbuild writes these lists for every kernel with modules. A module in neither of them does not exist.
        reason = f"The kernel {host.release} has no macvtap: {missing[0]}"
        return SupportResult("missing", host.dep.path, tried, _known_options(host), reason, missing[1])
    reason = f"Nothing on this host shows whether the kernel {host.release} has macvtap."
    return SupportResult("unknown", None, tried, _known_options(host), reason, hints.name_source(host))


def _from_running_kernel(host: Host, tried: tuple[Source, ...], options: t.Mapping[str, str]) -> SupportResult:
    """Use what the running kernel itself shows. It takes precedence over any file."""
    path = host.active[0]
    provided_by: ProvidedBy = "module" if path == "/proc/modules" else "builtin"
    return SupportResult(
        provided_by, path, (*tried, Source(path, {MACVTAP: "m" if provided_by == "module" else "y"})), options
    )


def _known_options(host: Host) -> dict[str, str]:
    """Return the options by the module lists. An option in no list is n only if both kinds of list exist."""
    complete = not host.dep.problem and any(not source.problem for source in host.builtin_lists)
    known = dict.fromkeys(REPORTED, "n" if complete else "unknown")
    for source in (host.dep, *host.builtin_lists):
        known.update(source.options)
    return known


def why_not_loadable(host: Host, config: Source | None) -> tuple[str, str] | None:
    """Return why modprobe would not find macvtap or its dependencies, and what to do; None if it would find them."""
    prefix = f"{config.path} has {MACVTAP}={config.options[MACVTAP]}, but " if config else ""
    if not host.modules_dir:
        reason = f"{prefix}the modules directory of {host.release} is missing (/lib/modules/{host.release})."
        return reason, hints.find_modules_tree(host)
    if host.dep.problem:
        advice = f"Run 'depmod -a {host.release}'. {hints.install_modules(host)}"
        return f"{prefix}{host.dep.path} {host.dep.problem}.", advice
    builtin = {name for source in host.builtin_lists for name in source.options}
    builtin |= {name for name, setting in (config.options.items() if config else ()) if setting == "y"}
    missing = [MODULES[n] for n in needed_options(host.release) if n not in builtin and n not in host.dep.options]
    if not missing:
        return None
    reason = f"{prefix}{host.dep.path} does not list {', '.join(missing)}, or lists a file that does not exist."
    if config or MODULE not in missing:
        return reason, hints.install_modules(host)
    return reason, f"{hints.install_modules(host)} If it was not built at all: {hints.rebuild(host.release, {})}"
