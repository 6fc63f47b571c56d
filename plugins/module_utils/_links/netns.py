# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Other network namespaces: entering one for a moment, and seeing a sysfs that is of it."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device, Wanted

OWN = "/proc/self/ns/net"
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


def located(wanted: t.Sequence[Wanted]) -> tuple[list[Wanted], dict[str, str]]:
    """Return ``wanted`` with each namespace in one spelling, our own as none, and the files of the others by that.

    :raises MacvtapError: there is no such namespace, or we may not enter it.
    """
    files: dict[str, str] = {}
    names: dict[tuple[int, int], str | None] = {}
    if any(want.netns is not None for want in wanted):
        names[_identity(OWN)] = None
    found = []
    for want in wanted:
        name = want.netns
        if name is not None:
            path = join_path(want.path, "netns")
            file = path_of(name, path=path)
            key = _identity(file)
            if key not in names:
                _check_enterable(name, file, path)
                names[key] = name
                files[name] = file
            name = names[key]
        found.append(want if name == want.netns else replace(want, netns=name))
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
            said = "is no network namespace; a crash may have left the file behind. Remove it, or choose another"
            raise MacvtapError(f"{name} ({file}) {said}", path=path) from exc
        raise MacvtapError(
            f"the network namespace {name} ({file}) cannot be entered: {exc.strerror}. Run this as root (become: true)",
            path=path,
        ) from exc


@contextlib.contextmanager
def entered(file: str) -> t.Iterator[int]:
    """Be in the namespace for a moment; gives a descriptor of it."""
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
    """Be in a new namespace for a moment; gives a descriptor of it.

    It lasts as long as somebody has a descriptor of it or a socket in it.
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
    """Return the device numbers of the taps of a namespace's links, by the links' names; None if nobody can tell.

    /sys shows the links of the namespace that it was mounted in, whichever process looks, so a child process mounts one
    for itself.
    """
    if not indexes:
        return {}
    told = _child.run(functools.partial(_read_in, file, indexes))
    return None if told is None else {name: (major, minor) for name, (major, minor) in told.items()}


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
