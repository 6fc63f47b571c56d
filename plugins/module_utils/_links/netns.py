# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Other network namespaces: entering one for a moment, and seeing a sysfs that is of it."""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device

_DIRECTORY = "/run/netns"  # of `ip netns`
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def path_of(netns: str, *, path: str) -> str:
    """Return the file of the namespace: ``netns`` is a name as `ip netns` has it, or the file's path itself.

    :raises MacvtapError: there is none; ``path`` is the option's.
    """
    file = netns if netns.startswith("/") else f"{_DIRECTORY}/{netns}"
    if not os.path.exists(file):
        with contextlib.suppress(OSError):
            known = ", ".join(sorted(os.listdir(_DIRECTORY))[:5])
            raise MacvtapError(f"there is no network namespace {netns} ({file}); known: {known or 'none'}", path=path)
        raise MacvtapError(f"there is no network namespace {netns} ({file})", path=path)
    return file


@contextlib.contextmanager
def entered(file: str) -> t.Iterator[int]:
    """Be in the namespace for a moment; gives a descriptor of it."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        other = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(other)
            yield other
        finally:
            _setns(own)
            os.close(other)
    finally:
        os.close(own)


def tap_devices(file: str, indexes: t.Mapping[str, int]) -> dict[str, Device]:
    """Return the device numbers of the taps of links in another namespace, by the links' names.

    /sys shows the links of the namespace that it was mounted in, so a child process mounts one there for itself.
    """
    if not indexes:
        return {}
    told = _child.run(functools.partial(_read_in, file, indexes)) or {}
    return {name: (major, minor) for name, (major, minor) in told.items()}


def _read_in(file: str, indexes: t.Mapping[str, int]) -> dict[str, Device]:
    libc = _child.libc()
    found: dict[str, Device] = {}
    with entered(file):
        _child.unshare(_child.CLONE_NEWNS)
        _child.check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
        _child.check(libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None))
        for name, index in indexes.items():
            with contextlib.suppress(OSError, ValueError), open(f"/sys/class/net/{name}/tap{index}/dev", "rb") as dev:
                major, minor = dev.read().split(b":")
                found[name] = (int(major), int(minor))
    return found


def _setns(descriptor: int) -> None:
    # os.setns is there from Python 3.12 on only.
    _child.check(_child.libc().setns(descriptor, _child.CLONE_NEWNET))
