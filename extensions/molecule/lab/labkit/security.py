# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Security modules of a virtual machine's kernel: what its disk has for one, and how it boots with it."""

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
# Each denial is logged, whatever the others are.
_LOGGED = "audit=1 audit_backlog_limit=8192 sysctl.kernel.printk_ratelimit=0"


@dataclasses.dataclass(frozen=True)
class Security:
    """A security module; ``prepare`` is a shell program that ends the installation, in the machine's file system.

    What that mounts is gone with it.
    """

    cmdline: str
    packages: tuple[str, ...] = ()
    prepare: str = ""


MODULES = {
    # Without any, as it boots fastest.
    "": Security("audit=0 apparmor=0 selinux=0"),
    # With the profiles of Debian's packages, libvirt's among them.
    "apparmor": Security(f"{_LOGGED} security=apparmor", ("apparmor",)),
    # Permissive: what the policy denies is logged, and done.
    "selinux": Security(
        f"{_LOGGED} security=selinux selinux=1",
        ("policycoreutils", "python3-selinux", "selinux-policy-default"),
        _LABEL,
    ),
}


def required(name: str) -> str:
    """Return the module's name, if the lab has it."""
    if name not in MODULES:
        raise LabError(f"'{name}' is none of the security modules {', '.join(filter(None, MODULES))}")
    return name
