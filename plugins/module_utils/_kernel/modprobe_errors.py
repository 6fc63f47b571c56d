# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Explanations of modprobe's messages. Pure."""

from __future__ import annotations


def explain(output: str, lockdown: str, *, root_user: bool) -> str:
    """Return what modprobe's ``output`` means and what to do, or "" if it needs no explanation.

    :param lockdown: the kernel's lockdown mode, "" for none.
    """
    signing = (
        "Install the modules that were shipped with the kernel, or sign them and enrol the key (mokutil --import), or "
        "boot without Secure Boot and without lockdown= and module.sig_enforce on the kernel's command line"
    )
    locked = f"The kernel is in lockdown ({lockdown}) and loads only modules that are signed with a key it trusts. "
    if any(words in output for words in ("Key was rejected", "Required key not available", "Lockdown")):
        unsigned = "The kernel loads only modules that are signed with a key it trusts, and this one is not. "
        return f"{locked if lockdown else unsigned}{signing}"
    if "Operation not permitted" in output:
        if not root_user:
            return "Only root may load modules: become: true"
        if lockdown:
            return f"{locked}{signing}"
        return "In a container, load the module on its host. Otherwise the kernel log (dmesg) may have the cause"
    if "Exec format error" in output or "Invalid module format" in output or "Unknown symbol" in output:
        return "The module on the disk does not belong to the running kernel: reboot into the installed kernel"
    return ""
