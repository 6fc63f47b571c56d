# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of macvtap_link: what a user wrote as what is wanted."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Accounts, Wanted


def wanted(path: str, options: t.Mapping[str, t.Any], accounts: Accounts | None = None) -> Wanted:
    """Return what the user declared at ``path``; without the host's ``accounts`` owners are taken as they are.

    :raises MacvtapError: a value that no kernel and no host would take.
    """
    name = options["name"]
    _values.check_link_name(name, join_path(path, "name"))
    values = {field: row.value(_given(options, row.option), join_path(path, row.option)) for field, row in ROWS.items()}
    _check_altnames(options["altnames"] or (), name, join_path(path, "altnames"))
    own_tap = options["tap"] or {}
    tap_path = join_path(path, "tap")
    return Wanted(
        name=name,
        path=path,
        state=options["state"],
        parent=options["parent"],
        **values,
        tap_owner=_account(own_tap.get("owner"), accounts and accounts.user, "user", join_path(tap_path, "owner")),
        tap_group=_account(own_tap.get("group"), accounts and accounts.group, "group", join_path(tap_path, "group")),
        tap_mode=_permissions(own_tap.get("mode"), join_path(tap_path, "mode")),
        tap_repair=bool(own_tap.get("repair")),
        # An empty one, as templates make it of what is left out, is none.
        netns=options["netns"] or None,
    )


def _given(options: t.Mapping[str, t.Any], option: str) -> t.Any:
    value: t.Any = options
    for part in option.split("."):
        value = (value or {}).get(part)
    return value


def purge_group(params: t.Mapping[str, t.Any]) -> int | None:
    """Return the link group to purge, None if none is to be.

    :raises MacvtapError: group 0, in which every link is that says none, libvirt's among them.
    """
    if not params["purge"]:
        return None
    if not params["group"]:
        raise MacvtapError(
            f"needs group, and not group 0, in which every link is that nobody has put into another, libvirt's among "
            f"them; found group {params['group']}. Say a group of your own for the links that are to be purged",
            path="purge",
        )
    return int(params["group"])


def _check_altnames(given: t.Sequence[str], name: str, path: str) -> None:
    for index, altname in enumerate(given):
        if altname == name:
            raise MacvtapError(f"{altname} is the name of the link itself; leave it out", path=f"{path}[{index}]")


def _account(given: str | None, canonical: t.Callable[[str], str] | None, what: str, path: str) -> str | None:
    if given is None or canonical is None:
        return given
    try:
        return canonical(given)
    except KeyError as exc:
        said = f"there is no {what} '{given}' on this host; say one that exists, or a number"
        raise MacvtapError(said, path=path) from exc


def _permissions(given: t.Any, path: str) -> int | None:
    if given is None:
        return None
    # An unquoted 0660 in YAML arrives as the number that it stands for, and an unquoted 440 as that number.
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 0o777:
        if re.fullmatch("[0-7]{3}", str(given)) and not _is_usual(given):
            raise MacvtapError(
                f"{given} without quotes is a decimal number, and as permissions {given:04o}. Write '0{given}' in "
                f"quotes, or '{given:04o}' if that is meant",
                path=path,
            )
        return given
    if isinstance(given, str) and re.fullmatch(r"(0o?)?[0-7]{1,3}", given):
        return int(given.replace("o", ""), 8)
    raise MacvtapError(f"'{given}' is no permission in octal digits, such as '0660'", path=path)


def _is_usual(mode: int) -> bool:
    """Whether these are permissions that somebody gives a device: at least its owner reads, and nobody executes."""
    return (mode >> 6) in (4, 6) and (mode >> 3 & 7) in (0, 4, 6) and (mode & 7) in (0, 4, 6)
