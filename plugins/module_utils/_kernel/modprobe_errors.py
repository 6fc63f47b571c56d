# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What modprobe's messages mean. Pure."""

from __future__ import annotations


def explain(said: str, lockdown: str, *, root_user: bool) -> str:
    """Say what modprobe's words mean and what to do, "" where they speak for themselves.

    :param lockdown: the kernel's lockdown, "" where there is none.
    """
    signing = (
        "Install the modules that the kernel was shipped with, or sign them and enrol the key (mokutil --import), or "
        "boot without Secure Boot and without lockdown= and module.sig_enforce on the kernel's command line"
    )
    locked = f"The kernel is in lockdown ({lockdown}) and loads only modules that are signed with a key it trusts. "
    if any(words in said for words in ("Key was rejected", "Required key not available", "Lockdown")):
        unsigned = "The kernel loads only modules that are signed with a key it trusts, and this one is not. "
        return f"{locked if lockdown else unsigned}{signing}"
    if "Operation not permitted" in said:
        if not root_user:
            return "Only root may load modules: become: true"
        if lockdown:
            return f"{locked}{signing}"
        return "In a container, load the module on its host. Otherwise the kernel's log (dmesg) may say why"
    if "Exec format error" in said or "Invalid module format" in said or "Unknown symbol" in said:
        return "The module on the disk is not of the kernel that is running: reboot into the installed one"
    return ""
