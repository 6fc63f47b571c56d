# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What prevents macvtap from being loaded, now or at boot, and how to fix it. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    MODULE,
    MODULES,
    Blocker,
    Host,
    needed_options,
)


def at_boot(host: Host) -> tuple[Blocker, ...]:
    """Return what prevents systemd-modules-load from loading macvtap at boot.

    It obeys a blacklist for the module that it loads, but not for that module's dependencies
    (kmod_module_probe_insert_module with KMOD_PROBE_APPLY_BLACKLIST).
    """
    return tuple(one for one in relevant(host) if one.kind != "blacklist" or one.module == MODULE)


def by_name(host: Host) -> tuple[Blocker, ...]:
    """Return what prevents ``modprobe macvtap`` now. Modules that are already loaded do not count."""
    return tuple(one for one in at_boot(host) if one.kind != "blacklist" and one.module not in host.loaded_modules)


def describe(blockers: t.Iterable[Blocker]) -> str:
    """Return each blocker's file and line, and how to fix it."""
    return "; ".join(f"{one.where} has '{one.says}': {_fix(one)}" for one in blockers)


def describe_disabled() -> str:
    return (
        f"macvtap cannot be loaded: the kernel loads no more modules until the next reboot "
        f"(kernel.modules_disabled is 1, by a sysctl or by nomodule on the kernel's command line). Write {MODULE} into "
        f"{LOAD_FILE}, which systemd reads at boot before it sets any sysctl, and reboot"
    )


def warnings(host: Host) -> tuple[str, ...]:
    """Warn of what prevents loading macvtap automatically."""
    found = at_boot(host)
    return (f"macvtap is not loaded at boot, nor on creating a first link: {describe(found)}",) if found else ()


def relevant(host: Host) -> tuple[Blocker, ...]:
    """Return the blockers of modules of this kernel, whether or not they have an effect."""
    modules = _modules(host)
    return tuple(one for one in host.blockers if one.module in modules)


def _modules(host: Host) -> frozenset[str]:
    """Return which of macvtap and its dependencies are modules of this kernel."""
    builtin = {option for source in host.builtin_lists for option in source.options}
    config = next((source for source in host.configs if not source.problem), None)
    builtin |= {option for option, value in (config.options.items() if config else ()) if value == "y"}
    return frozenset(MODULES[option] for option in needed_options(host.release) if option not in builtin)


def _fix(one: Blocker) -> str:
    if not one.in_a_file:
        return "remove it from the kernel's command line, in the boot loader's configuration, and reboot"
    path = one.where.rpartition(":")[0]
    if path.startswith("/etc/"):
        return "remove that line"
    name = path.rpartition("/")[2]
    return f"copy that file to /etc/modprobe.d/{name}, which overrides it, and remove the line there"
