# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of macvtap_link: turns what a user wrote into desired links."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Accounts, DesiredLink, with_values

# Field and row of each attribute, its option, and the option that this is a suboption of, "" for none.
_PLACES = tuple((field, row, *row.option.rpartition(".")[::-2]) for field, row in ROWS.items())
_UNDECLARED = DesiredLink("")
# chown() takes the number after it, (uid_t) -1, for "keep".
_MOST_ID = _values.U32_MAX - 1


def desired(path: str, options: t.Mapping[str, t.Any], accounts: Accounts | None = None) -> DesiredLink:
    """Return the desired link of the options at ``path``; without the host's ``accounts`` owners are not resolved.

    :raises MacvtapError: a value is invalid.
    """
    name = options["name"]
    _values.check_link_name(name, join_path(path, "name"))
    values: dict[str, t.Any] = {}
    for field, row, option, outer in _PLACES:
        # Few of them are set.
        value = options.get(option) if not outer else (options.get(outer) or {}).get(option)
        if value is not None:
            values[field] = row.value(value, join_path(path, row.option))
    _check_altnames(options["altnames"] or (), name, join_path(path, "altnames"))
    own_tap = options["tap"] or {}
    tap_path = join_path(path, "tap")
    return with_values(
        _UNDECLARED,
        name=name,
        path=path,
        state=options["state"],
        parent=options["parent"],
        **values,
        tap_owner=_account(own_tap.get("owner"), accounts and accounts.user, "user", join_path(tap_path, "owner")),
        tap_group=_account(own_tap.get("group"), accounts and accounts.group, "group", join_path(tap_path, "group")),
        tap_mode=_permissions(own_tap.get("mode"), join_path(tap_path, "mode")),
        tap_repair=bool(own_tap.get("repair")),
        # Templates turn an omitted value into an empty string.
        netns=options["netns"] or None,
    )


def purge_group(params: t.Mapping[str, t.Any], prefix: str = "") -> int | None:
    """Return the link group to purge, None for none. ``prefix`` is that of the options' names, in a role.

    :raises MacvtapError: group 0, which holds every link without a group, libvirt's included.
    """
    if not params["purge"]:
        return None
    if not params["group"]:
        raise MacvtapError(
            f"requires a group other than 0; found group {params['group']}. Group 0 holds every link without a group, "
            f"libvirt's included. Set {prefix}group to a number of your own for the links that may be purged",
            path=f"{prefix}purge",
        )
    return int(params["group"])


def _check_altnames(given: t.Sequence[str], name: str, path: str) -> None:
    for index, altname in enumerate(given):
        if altname == name:
            raise MacvtapError(f"{altname} is the name of the link itself; remove it", path=f"{path}[{index}]")


def _account(given: str | None, canonical: t.Callable[[str], str] | None, what: str, path: str) -> str | None:
    if given is not None and re.fullmatch("[0-9]+", given):
        _values.check_range(_values.whole(given, path), 0, _MOST_ID, path)
    if given is None or canonical is None:
        return given
    try:
        return canonical(given)
    # ValueError: a text that no name can be, with a NUL say.
    except (KeyError, ValueError) as exc:
        message = f"no {what} {given!r} on this host; use an existing {what} or a numeric ID"
        raise MacvtapError(message, path=path) from exc


def _permissions(given: t.Any, path: str) -> int | None:
    if given is None:
        return None
    # An unquoted 0660 in YAML arrives as the number that it stands for, and an unquoted 440 as that number.
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 0o777:
        if re.fullmatch("[0-7]{3}", str(given)) and not _is_usual(given):
            raise MacvtapError(
                f"{given} without quotes is a decimal number, which means permissions {given:04o}. Write '0{given}' "
                f"in quotes, or '{given:04o}' if that is intended",
                path=path,
            )
        return given
    if isinstance(given, str) and re.fullmatch(r"(0o?)?[0-7]{1,3}", given):
        return int(given.replace("o", ""), 8)
    raise MacvtapError(f"'{given}' is not an octal permission; use a value such as '0660'", path=path)


def _is_usual(mode: int) -> bool:
    """Whether these are usual permissions of a device: the owner can read, and no one can execute."""
    return (mode >> 6) in (4, 6) and (mode >> 3 & 7) in (0, 4, 6) and (mode & 7) in (0, 4, 6)
