# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The character device /dev/tapN of a macvtap link: its number, its node, its permissions."""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import pwd
import stat
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _child, _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import WHY_NO_NUMBER, Accounts, Device, Tap


def observe(index: int, device: Device | None) -> Tap:
    """Return the tap of the link without opening it: opening would steal its frames.

    ``device`` is its device number, None if unknown.
    """
    path = f"/dev/tap{index}"
    try:
        found = os.stat(path)
    except OSError:
        return Tap(path, device)
    node = _number(found)
    if node is None:
        return Tap(path, device)
    return Tap(path, device, node, _user_name(found.st_uid), _group_name(found.st_gid), stat.S_IMODE(found.st_mode))


def set_up(name: str, now: Tap, desired: Tap) -> None:
    """Set owner, group and mode of the node of the link ``name``; repair the node first if ``desired.repair``.

    :raises MacvtapError: the node is missing, or is the tap of a link in another network namespace, and repair is not
        set; or the system refuses.
    """
    try:
        if now.fault:
            if not desired.repair:
                raise MacvtapError(
                    f"{now.path}, which should be the tap of {name}, {now.fault}; its permissions cannot be set. "
                    "Set tap.repair: true to create the right device node"
                )
            _put_node(now, desired)
        if (desired.owner or now.owner, desired.group or now.group) != (now.owner, now.group):
            os.chown(now.path, _id(desired.owner, user_id), _id(desired.group, group_id))
        if desired.mode is not None and desired.mode != now.mode:
            os.chmod(now.path, desired.mode)
    except OSError as exc:
        hint = ""
        if isinstance(exc, PermissionError) and _child.is_in_user_namespace():
            hint = (
                "This process runs in a user namespace, as in a rootless container, and the node belongs to a user "
                "outside. Run the task outside, or remove tap"
            )
        raise MacvtapError(f"{now.path}: {exc.strerror}{hint and f'. {hint}'}") from exc


def forget(gone: Tap) -> None:
    """Remove the leftover node of a removed link.

    The kernel removes its own nodes, but not one from :func:`set_up`. A new link, in any network namespace, may have
    the same index and device number: then the node belongs to that link, and stays.
    """
    if gone.own and gone.device:
        major, minor = gone.device
        with contextlib.suppress(OSError):
            if _number(os.stat(gone.path)) == gone.device and not os.path.lexists(f"/sys/dev/char/{major}:{minor}"):
                os.unlink(gone.path)


def _put_node(now: Tap, desired: Tap) -> None:
    if now.device is None:
        raise MacvtapError(f"{now.path}: {WHY_NO_NUMBER}")
    # Under another name first: the path always has either the old node or the complete new one.
    path = f"{now.path}.{os.getpid()}"
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(*now.device))
    except PermissionError as exc:
        message = "creating a device node requires CAP_MKNOD, which containers usually lack. Run the task on the host"
        raise MacvtapError(f"{now.path}: {exc.strerror}; {message}") from exc
    try:
        os.chown(path, _id(desired.owner or now.owner, user_id), _id(desired.group or now.group, group_id))
        mode = now.mode if desired.mode is None else desired.mode
        os.chmod(path, 0o600 if mode is None else mode)
        os.rename(path, now.path)
    except BaseException:
        os.unlink(path)
        raise


def _id(name: str | None, number: t.Callable[[str], int]) -> int:
    return -1 if name is None else number(name)


def _number(found: os.stat_result) -> Device | None:
    return (os.major(found.st_rdev), os.minor(found.st_rdev)) if stat.S_ISCHR(found.st_mode) else None


def user_id(user: str) -> int:
    """Return the number of a user given by name or number.

    :raises KeyError: there is no such user.
    :raises ValueError: there cannot be one of this name.
    """
    number = _text.number(user)
    return pwd.getpwnam(user).pw_uid if number is None else number


def group_id(group: str) -> int:
    """Return the number of a group given by name or number.

    :raises KeyError: there is no such group.
    :raises ValueError: there cannot be one of this name.
    """
    number = _text.number(group)
    return grp.getgrnam(group).gr_gid if number is None else number


def canonical_user(user: str) -> str:
    """Return the user as :func:`observe` returns it. Raises what :func:`user_id` raises."""
    return _user_name(user_id(user))


def canonical_group(group: str) -> str:
    """Return the group as :func:`observe` returns it. Raises what :func:`group_id` raises."""
    return _group_name(group_id(group))


ACCOUNTS = Accounts(canonical_user, canonical_group)


def in_sysfs(links: t.Mapping[int, tuple[str, str | None]], indexes: t.Mapping[str, int]) -> dict[str, Device]:
    """Return the device numbers of the taps of the links ``indexes``, by name, from /sys.

    Returns nothing if /sys shows other links than ``links``, all of this network namespace: name and MAC address by
    index.
    """
    try:
        shown = set(os.listdir("/sys/class/net"))
    except OSError:
        return {}
    # Not a link, but a file of the bonding driver.
    shown -= {"bonding_masters"}
    if shown != {name for name, _mac in links.values()}:
        return {}
    found = {}
    for name, index in indexes.items():
        device = device_in_sysfs(name, index)
        if device is None or _attribute(name, "address").decode("ascii", "replace") != links[index][1]:
            return {}
        found[name] = device
    return found


def device_in_sysfs(name: str, index: int) -> Device | None:
    """Return the device number of a link's tap, None if /sys does not show it."""
    major, _colon, minor = _attribute(name, f"tap{index}/dev").partition(b":")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None


def _attribute(name: str, attribute: str) -> bytes:
    # What class/net links to, without looking the symbolic link up: half of the time.
    return _read(f"/sys/devices/virtual/net/{name}/{attribute}") or _read(f"/sys/class/net/{name}/{attribute}")


def _read(path: str) -> bytes:
    # Not open(): for a thousand links its buffers and decoder take three times as long.
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(file, 64).strip()
    except OSError:
        return b""
    finally:
        os.close(file)


@functools.cache
def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@functools.cache
def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
