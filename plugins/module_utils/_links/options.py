# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of macvtap_link: their specification, and what a user wrote as what is wanted."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import MODES, STATES, Wanted

LINK_OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": list(STATES)},
    "parent": {"type": "str", "aliases": ["link", "lower", "base_iface"]},
    "mode": {"type": "str", "choices": list(MODES)},
    "mac": {"type": "str", "aliases": ["address"]},
    "mtu": {"type": "int"},
    "tap": {
        "type": "dict",
        "options": {"owner": {"type": "str"}, "group": {"type": "str"}, "mode": {"type": "raw"}},
    },
}

_NAME_BYTES = 15  # IFNAMSIZ less the final NUL
_MTU_MIN = 68  # ETH_MIN_MTU


def wanted(path: str, options: t.Mapping[str, t.Any]) -> Wanted:
    """Return what the user declared at ``path``.

    :raises MacvtapError: a value that no kernel and no host would take.
    """
    name = options["name"]
    _check_name(name, join_path(path, "name"))
    if options["mtu"] is not None and options["mtu"] < _MTU_MIN:
        raise MacvtapError(f"{options['mtu']} is below the smallest mtu, {_MTU_MIN}", path=join_path(path, "mtu"))
    own_tap = options["tap"] or {}
    tap_path = join_path(path, "tap")
    return Wanted(
        name=name,
        path=path,
        state=options["state"],
        parent=options["parent"],
        mode=options["mode"],
        mac=None if options["mac"] is None else _mac.require(options["mac"], path=join_path(path, "mac")),
        mtu=options["mtu"],
        tap_owner=_account(own_tap.get("owner"), tap.canonical_user, "user", join_path(tap_path, "owner")),
        tap_group=_account(own_tap.get("group"), tap.canonical_group, "group", join_path(tap_path, "group")),
        tap_mode=_permissions(own_tap.get("mode"), join_path(tap_path, "mode")),
    )


def _check_name(name: str, path: str) -> None:
    size = len(name.encode())
    if size > _NAME_BYTES:
        raise MacvtapError(f"'{name}' has {size} bytes and the kernel allows {_NAME_BYTES}; shorten it", path=path)
    # dev_valid_name(), and % because the kernel takes a new link's name for a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s]", name):
        raise MacvtapError(f"'{name}' cannot name a link: no white space, no / : % and not . or ..", path=path)


def _account(given: str | None, canonical: t.Callable[[str], str], what: str, path: str) -> str | None:
    if given is None:
        return None
    try:
        return canonical(given)
    except KeyError as exc:
        said = f"there is no {what} '{given}' on this host; say one that exists, or a number"
        raise MacvtapError(said, path=path) from exc


def _permissions(given: t.Any, path: str) -> int | None:
    if given is None:
        return None
    # An unquoted 0660 in YAML arrives as the number that it stands for.
    if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= 0o777:
        return given
    if isinstance(given, str) and re.fullmatch(r"(0o?)?[0-7]{1,3}", given):
        return int(given.replace("o", ""), 8)
    raise MacvtapError(f"'{given}' is no permission in octal digits, such as '0660'", path=path)
