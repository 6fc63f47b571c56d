# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Other network namespaces: enters one temporarily, and reads its sysfs."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _files
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Device

OWN = "/proc/self/ns/net"
_DIRECTORY = "/run/netns"  # of `ip netns`
_MS_REC, _MS_PRIVATE = 0x4000, 0x40000


def path_of(netns: str, *, path: str) -> str:
    """Return the file of the namespace; ``netns`` is a name of `ip netns`, or a file.

    :raises MacvtapError: there is no such namespace; ``path`` is the option.
    """
    file = netns if netns.startswith("/") else f"{_DIRECTORY}/{netns}"
    if not os.path.exists(file):
        with contextlib.suppress(OSError):
            known = ", ".join(sorted(os.listdir(_DIRECTORY))[:5])
            raise MacvtapError(f"no network namespace {netns} ({file}); known: {known or 'none'}", path=path)
        raise MacvtapError(f"no network namespace {netns} ({file})", path=path)
    return file


def located(desired: t.Sequence[DesiredLink]) -> tuple[list[DesiredLink], dict[str, str]]:
    """Return ``desired`` with one spelling for each namespace (None for ours), and the files of the others.

    :raises MacvtapError: there is no such namespace, or it cannot be entered.
    """
    files: dict[str, str] = {}
    names: dict[tuple[int, int], str | None] = {}
    if any(entry.netns is not None for entry in desired):
        names[_identity(OWN)] = None
    found = []
    for entry in desired:
        name = entry.netns
        if name is not None:
            path = join_path(entry.path, "netns")
            file = path_of(name, path=path)
            key = _identity(file)
            if key not in names:
                _check_enterable(name, file, path)
                names[key] = name
                files[name] = file
            name = names[key]
        found.append(entry if name == entry.netns else replace(entry, netns=name))
    return found, files


def _identity(file: str) -> tuple[int, int]:
    there = os.stat(file)
    return there.st_dev, there.st_ino


def _check_enterable(name: str, file: str, path: str) -> None:
    try:
        with entered(file):
            pass
    except OSError as exc:
        if exc.errno == errno.EINVAL:
            message = "is not a network namespace; a crash may have left the file behind. Remove it, or use another"
            raise MacvtapError(f"{name} ({file}) {message}", path=path) from exc
        hint = ". Run the task as root (become: true)" if _files.root_may(exc) else ""
        message = f"cannot enter the network namespace {name} ({file}): {exc.strerror}{hint}"
        raise MacvtapError(message, path=path) from exc


@contextlib.contextmanager
def entered(file: str) -> t.Iterator[int]:
    """Enter the namespace temporarily; yields its descriptor."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
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


@contextlib.contextmanager
def fresh() -> t.Iterator[int]:
    """Enter a new namespace temporarily; yields its descriptor.

    It lasts as long as a descriptor of it, or a socket in it, is open.
    """
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _child.unshare(_child.CLONE_NEWNET)
        try:
            new = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            try:
                yield new
            finally:
                os.close(new)
        finally:
            _setns(own)
    finally:
        os.close(own)


def tap_devices(file: str, indexes: t.Mapping[str, int]) -> dict[str, Device] | None:
    """Return the device numbers of the taps of a namespace's links, by link name; None if unknown.

    /sys shows the links of the namespace that it was mounted in, whatever process reads it. So a child process mounts
    its own.
    """
    if not indexes:
        return {}
    result = _child.run(functools.partial(_read_in, file, indexes))
    return None if result is None else {name: (major, minor) for name, (major, minor) in result.items()}


def _read_in(file: str, indexes: t.Mapping[str, int]) -> dict[str, Device]:
    libc = _child.libc()
    found: dict[str, Device] = {}
    with entered(file):
        _child.unshare(_child.CLONE_NEWNS)
        _child.check(libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None))
        try:
            _child.check(libc.mount(b"sysfs", b"/sys", b"sysfs", 0, None))
        except OSError as exc:
            # do_add_mount(): /sys is the sysfs of this very namespace already.
            if exc.errno != errno.EBUSY:
                raise
        for name, index in indexes.items():
            device = tap.device_in_sysfs(name, index)
            if device is not None:
                found[name] = device
    return found


def _setns(descriptor: int) -> None:
    # os.setns requires Python 3.12.
    _child.check(_child.libc().setns(descriptor, _child.CLONE_NEWNET))
