# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What keeps macvtap from being loaded, now or at boot, and how to mend it. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    LOAD_FILE,
    MODULE,
    MODULES,
    Host,
    Obstacle,
    needed_options,
)


def at_boot(host: Host) -> tuple[Obstacle, ...]:
    """Return what keeps systemd-modules-load from loading macvtap at boot.

    It obeys a blacklist for the module that it is to load, and not for those that this one needs
    (kmod_module_probe_insert_module with KMOD_PROBE_APPLY_BLACKLIST).
    """
    return tuple(one for one in relevant(host) if one.kind != "blacklist" or one.module == MODULE)


def by_name(host: Host) -> tuple[Obstacle, ...]:
    """Return what keeps ``modprobe macvtap`` from loading it now: nothing of what is loaded already."""
    return tuple(one for one in at_boot(host) if one.kind != "blacklist" and one.module not in host.loaded_modules)


def say(found: t.Iterable[Obstacle]) -> str:
    """Name each obstacle's file and line, and say how to mend it."""
    return "; ".join(f"{one.where} says '{one.says}': {_mend(one)}" for one in found)


def say_disabled() -> str:
    return (
        f"macvtap cannot be loaded: the kernel takes no more modules until it is rebooted, whoever asks "
        f"(kernel.modules_disabled is 1, by a sysctl or by nomodule on the kernel's command line). Write {MODULE} into "
        f"{LOAD_FILE}, which systemd reads at boot before it sets any sysctl, and reboot"
    )


def warnings(host: Host) -> tuple[str, ...]:
    """Say what keeps macvtap from being loaded without being asked for by name."""
    found = at_boot(host)
    return (f"macvtap is loaded neither at boot nor by making a first link: {say(found)}",) if found else ()


def relevant(host: Host) -> tuple[Obstacle, ...]:
    """Return the obstacles for what is a module of this kernel, whatever comes of them."""
    modules = _modules(host)
    return tuple(one for one in host.obstacles if one.module in modules)


def _modules(host: Host) -> frozenset[str]:
    """Return those of macvtap and what it needs that are modules of this kernel."""
    builtin = {option for source in host.builtin_lists for option in source.options}
    config = next((source for source in host.configs if not source.problem), None)
    builtin |= {option for option, value in (config.options.items() if config else ()) if value == "y"}
    return frozenset(MODULES[option] for option in needed_options(host.release) if option not in builtin)


def _mend(one: Obstacle) -> str:
    if not one.in_a_file:
        return "take it off the kernel's command line, in the boot loader's configuration, and reboot"
    path = one.where.rpartition(":")[0]
    if path.startswith("/etc/"):
        return "remove that line"
    name = path.rpartition("/")[2]
    return f"copy that file to /etc/modprobe.d/{name}, which hides it, and remove the line there"
