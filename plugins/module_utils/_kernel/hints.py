# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Advice for a host whose kernel does not support macvtap. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import (
    DEPENDENCIES,
    MACVLAN,
    MACVTAP,
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
    ({"fedora", "rhel", "centos"}, "dnf install kernel-modules-{release} or kernel-modules-extra-{release}; "
     "'dnf provides \"*/macvtap.ko*\"' shows which of them"),
    ({"suse", "opensuse", "sles"}, "install kernel-default; kernel-default-base holds only a part of the modules"),
)  # fmt: skip


def rebuild(release: str, options: t.Mapping[str, str]) -> str:
    """Return which options to set, where they are in menuconfig and what they depend on."""
    unset = [name for name in (*DEPENDENCIES, MACVLAN) if options.get(name) == "n"]
    tap = f" and selects {TAP} by itself" if TAP in needed_options(release) else ""
    missing = f" Not set here: {', '.join(unset)}." if unset else ""
    return (
        f"Boot a kernel that has {MACVTAP}, or build one. In menuconfig, open {_MENU}. Set MAC-VLAN support "
        f"({MACVLAN}), and below it MAC-VLAN based tap driver ({MACVTAP}), as module or built in. It depends on "
        f"{MACVLAN}, {', '.join(DEPENDENCIES)}{tap}.{missing}"
    )


def install_modules(host: Host) -> str:
    """Return which package has a module that the kernel was built with but that is not on the disk."""
    for family, advice in _PACKAGES:
        if host.distribution & family:
            return f"Install it: {advice.format(release=host.release)}."
    return f"Install your distribution's kernel modules package for {host.release}; then 'depmod -a {host.release}'."


def find_modules_tree(host: Host) -> str:
    """Return what to do if a kernel has no modules directory at all."""
    others = [release for release in host.installed if release != host.release]
    if host.is_running and others:
        return f"Installed: {', '.join(others)}. After a kernel upgrade, reboot into the new kernel."
    return f"{install_modules(host)} In a container, load the module on its host."


def name_source(host: Host) -> str:
    first = "" if host.modules_dir else f"Its modules directory is missing. {find_modules_tree(host)} Or: "
    return (
        f"{first}"
        f"Set config_path to the configuration of {host.release}, or install the package that has it, "
        f"or load the module by hand (modprobe macvtap): the running kernel then shows it in /proc/devices."
    )


def after_failed_probe(source: str | None) -> str:
    """Return what to check if a file shows macvtap support, but creating a macvtap fails."""
    return (
        f"The kernel log (dmesg) may have the cause. If the kernel does not know such links at all, {source} belongs "
        f"to another kernel."
    )
