# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What to tell the person whose kernel cannot do macvtap. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    MACVLAN,
    MACVTAP,
    PARENTS,
    TAP,
    Host,
    needed_options,
)

_MENU = "Device Drivers → Network device support → Network core driver support"
# From each distribution's own description of its kernel packages.
_PACKAGES = (
    ({"ubuntu"}, "on Ubuntu some kernels keep it in linux-modules-extra-{release}, on a Raspberry Pi in "
     "linux-modules-extra-raspi"),
    ({"debian"}, "apt install --reinstall linux-image-{release}"),
    ({"fedora", "rhel", "centos"}, "dnf install kernel-modules-{release}, or kernel-modules-extra-{release} if that is "
     "where it is: 'dnf provides \"*/macvtap.ko*\"' tells"),
    ({"suse", "opensuse", "sles"}, "install kernel-default; kernel-default-base holds only a part of the modules"),
)  # fmt: skip


def rebuild(release: str, options: t.Mapping[str, str]) -> str:
    """Say which options to set, where they are in menuconfig and what they depend on."""
    unset = [name for name in (*PARENTS, MACVLAN) if options.get(name) == "n"]
    tap = f" and selects {TAP} by itself" if TAP in needed_options(release) else ""
    missing = f" Not set here: {', '.join(unset)}." if unset else ""
    return (
        f"Boot a kernel that has {MACVTAP}, or build one: in menuconfig, {_MENU} → MAC-VLAN support ({MACVLAN}), "
        f"then below it MAC-VLAN based tap driver ({MACVTAP}), as module or built in. It depends on {MACVLAN} and "
        f"{', '.join(PARENTS)}{tap}.{missing}"
    )


def install_modules(host: Host) -> str:
    """Say which package brings a module that the kernel was built with but that is not on the disk."""
    for family, advice in _PACKAGES:
        if host.distribution & family:
            return f"Install it: {advice.format(release=host.release)}."
    return f"Install your distribution's package of modules for {host.release}; then 'depmod -a {host.release}'."


def find_modules_tree(host: Host) -> str:
    """Say what to do where a kernel has no directory of modules at all."""
    others = [release for release in host.installed if release != host.release]
    if host.is_running and others:
        return f"Installed are {', '.join(others)}: after an upgrade of the kernel, reboot into the new one."
    return f"{install_modules(host)} In a container, load the module on its host."


def name_source(host: Host) -> str:
    others = "" if host.modules_dir else f"There is no directory of modules for it. {find_modules_tree(host)} Or: "
    return (
        f"{others}"
        f"Name a file with the configuration of {host.release} in config_path, or install the package that has it, "
        f"or load the module by hand (modprobe macvtap): the running kernel then shows it in /proc/devices."
    )


def doubt(source: str | None) -> str:
    """Say where to look on where a file says that macvtap is there, and making one fails."""
    return (
        f"The kernel's log (dmesg) may say more. If the kernel does not know such links at all, what told otherwise "
        f"({source}) is of another kernel."
    )
