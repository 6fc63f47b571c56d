# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The character device /dev/tapN of a macvtap link: its number, its node, its permissions."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Device, Tap


def observe(name: str, index: int) -> Tap:
    """Return the tap of the link, without opening it: a second opener would steal its frames."""
    path = f"/dev/tap{index}"
    device = _device_in_sysfs(name, index)
    try:
        found = os.stat(path)
    except OSError:
        return Tap(path, device)
    if not stat.S_ISCHR(found.st_mode):
        return Tap(path, device)
    node = (os.major(found.st_rdev), os.minor(found.st_rdev))
    return Tap(path, device, node, _user_name(found.st_uid), _group_name(found.st_gid), stat.S_IMODE(found.st_mode))


def set_permissions(name: str, index: int, wanted: Tap) -> None:
    """Give the node of the link ``name`` the owner, group and mode of ``wanted`` where it has others.

    :raises MacvtapError: the node is missing, or is the tap of a link in another network namespace.
    """
    now = observe(name, index)
    if (wanted.owner or now.owner, wanted.group or now.group, _or(wanted.mode, now.mode)) == (
        now.owner,
        now.group,
        now.mode,
    ):
        return
    if not now.own:
        fault = "is missing" if now.node is None else "is the tap of a link in another network namespace"
        raise MacvtapError(f"{now.path}, which should be the tap of {name}, {fault}; its permissions cannot be set")
    try:
        uid = -1 if wanted.owner is None else user_id(wanted.owner)
        gid = -1 if wanted.group is None else group_id(wanted.group)
        os.chown(now.path, uid, gid)
        if wanted.mode is not None:
            os.chmod(now.path, wanted.mode)
    except OSError as exc:
        raise MacvtapError(f"{now.path}: {exc.strerror}") from exc


def user_id(user: str) -> int:
    """Return the number of a user given by name or number.

    :raises KeyError: there is no such user.
    """
    return int(user) if user.isdigit() else pwd.getpwnam(user).pw_uid


def group_id(group: str) -> int:
    """Return the number of a group given by name or number.

    :raises KeyError: there is no such group.
    """
    return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid


def canonical_user(user: str) -> str:
    """Return the user as :func:`observe` returns it. Raises KeyError as :func:`user_id` does."""
    return _user_name(user_id(user))


def canonical_group(group: str) -> str:
    """Return the group as :func:`observe` returns it. Raises KeyError as :func:`group_id` does."""
    return _group_name(group_id(group))


def _device_in_sysfs(name: str, index: int) -> Device | None:
    try:
        with open(f"/sys/class/net/{name}/tap{index}/dev", encoding="ascii") as file:
            major, minor = file.read().split(":")
    except OSError:
        return None
    return int(major), int(minor)


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _or(value: t.Any, default: t.Any) -> t.Any:
    return default if value is None else value
