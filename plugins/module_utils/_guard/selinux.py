# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that asks SELinux's policy whether libvirt and udev may put guards on links."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import start_files

_MOUNT = "/sys/fs/selinux"
_XATTR = "security.selinux"
# The first of each that is there is the daemon.
_DAEMONS = {
    "libvirt": ("/usr/sbin/virtqemud", "/usr/sbin/libvirtd"),
    "udev": ("/usr/lib/systemd/systemd-udevd", "/lib/systemd/systemd-udevd"),
}


class Policy:
    """The policy that the kernel has; its files are below ``mount``."""

    def __init__(self, mount: str = _MOUNT) -> None:
        self._mount = mount

    @property
    def enforced(self) -> bool:
        return self._text("enforce") == "1"

    def denied(self) -> list[str]:
        """Return who may not do what the guards of guests that start need, in words; nothing without SELinux.

        What cannot be asked is taken for allowed.
        """
        found = []
        with contextlib.suppress(OSError, ValueError, IndexError):
            for name in sorted(_DAEMONS):
                domain = self._domain(name)
                if domain and not self._may_load(domain, self._executed(name)):
                    found.append(f"{name} ({domain.split(':')[2]})")
        return found

    def _may_load(self, domain: str, files: t.Sequence[str]) -> bool:
        """Return whether a daemon may execute one file from another, and what runs then may load nftables."""
        for file in files:
            if not self._allows(domain, file, "file", "execute"):
                return False
            domain = self._started(domain, file)
        return self._allows(domain, domain, "netlink_netfilter_socket", "create")

    def _executed(self, name: str) -> list[str]:
        """Return the contexts of the files that a daemon executes for a guard, each from the one before."""
        first = start_files.HOOK if name == "libvirt" else os.path.realpath("/bin/sh")
        return [self._context(first), self._context(os.path.realpath(start_files.interpreter()))]

    def _context(self, path: str) -> str:
        """Return the context of a file, or what it will have."""
        try:
            found = os.getxattr(path, _XATTR)
        except FileNotFoundError:
            found = _files.policys_context(path, stat.S_IFREG | 0o755)
        return found.decode().strip("\0")

    def _started(self, source: str, file: str) -> str:
        """Return the context of a process when one with the context ``source`` executes a file."""
        return self._ask("create", f"{source} {file} {self._class('process')}")

    def _domain(self, name: str) -> str:
        """Return the context in which systemd starts a daemon; "" if it is not installed."""
        for path in _DAEMONS[name]:
            with contextlib.suppress(OSError):
                file = os.getxattr(path, _XATTR).decode().strip("\0")
                return self._started(self._init(), file)
        return ""

    def _init(self) -> str:
        with open("/proc/1/attr/current", encoding="utf-8") as file:
            return file.read().strip("\0\n")

    def _class(self, kind: str) -> int:
        return int(self._text(f"class/{kind}/index"))

    def _allows(self, source: str, target: str, kind: str, permission: str) -> bool:
        """Return whether the policy allows it, or has the process's domain as a permissive one."""
        bit = 1 << int(self._text(f"class/{kind}/perms/{permission}")) - 1
        words = self._ask("access", f"{source} {target} {self._class(kind)} ffffffff").split()
        return bool(int(words[0], 16) & bit or int(words[5], 16) & 1)

    def _ask(self, file: str, question: str) -> str:
        """Return the kernel's answer, which is on the file that the question was written to."""
        descriptor = os.open(os.path.join(self._mount, file), os.O_RDWR)
        try:
            os.write(descriptor, question.encode() + b"\0")
            return os.read(descriptor, 4096).decode().strip("\0\n")
        finally:
            os.close(descriptor)

    def _text(self, name: str) -> str:
        with open(os.path.join(self._mount, name), encoding="utf-8") as file:
            return file.read().strip()


def check(policy: Policy | None = None) -> list[str]:
    """Return a warning of what a policy that is not enforced denies.

    :raises MacvtapError: it is enforced. libvirt then starts no guest at all, because it may not run the guards' hook.
    """
    policy = policy or Policy()
    found = policy.denied()
    if not found:
        return []
    what = (
        f"SELinux's policy does not allow {' and '.join(found)} to load nftables, for the guards of guests that start"
    )
    starts_none = any(one.startswith("libvirt ") for one in found)
    then = "libvirt starts no guest" if starts_none else "links come up without their guards"
    how = 'The section "SELinux" of docs/guard.md has rules for the policy'
    if policy.enforced:
        raise MacvtapError(f"{what}. With a guard {then}. {how}")
    return [f"{what}. It is permissive now; once it is enforced, {then}. {how}"]
