# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Variants of the virtual machine: what the disk of each has beside the others', and how it boots."""

from __future__ import annotations

import dataclasses

from labkit.shell import LabError

# The policy is loaded by systemd, as there is no initramfs. Files get their contexts here, as mke2fs copies them:
# to label them in the machine would take minutes.
_LABEL = """\
set -e
printf 'SELINUX=permissive\\nSELINUXTYPE=default\\n' > /etc/selinux/config
mount -t proc proc /proc
setfiles -F -m -e /proc /etc/selinux/default/contexts/files/file_contexts /
"""
# Without a security module, as it boots fastest.
_FASTEST = "audit=0 apparmor=0 selinux=0"
# Each denial is logged, whatever the others are.
_LOGGED = "audit=1 audit_backlog_limit=8192 sysctl.kernel.printk_ratelimit=0"


@dataclasses.dataclass(frozen=True)
class Variant:
    """``cmdline`` is the kernel's; ``prepare`` is a shell program that ends the installation, in the machine's file
    system.

    What that mounts is gone with it.
    """

    cmdline: str = _FASTEST
    packages: tuple[str, ...] = ()
    prepare: str = ""
    # Without managers of the network beside networkd, for what needs none of them.
    small: bool = False


VARIANTS = {
    "": Variant(),
    # With the profiles of Debian's packages, libvirt's among them.
    "apparmor": Variant(f"{_LOGGED} security=apparmor", ("apparmor",)),
    # Permissive: what the policy denies is logged, and done.
    "selinux": Variant(
        f"{_LOGGED} security=selinux selinux=1",
        ("policycoreutils", "python3-selinux", "selinux-policy-default"),
        _LABEL,
    ),
    # Without a file of its own it declares nothing, and the lab's files for the managers are in force.
    "netplan": Variant(packages=("netplan.io",)),
    # It is installed in less time, and boots sooner.
    "small": Variant(small=True),
}


def required(name: str) -> str:
    """Return the variant's name, if the lab has it."""
    if name not in VARIANTS:
        raise LabError(f"'{name}' is none of the variants {', '.join(filter(None, VARIANTS))}")
    return name
