# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The options of macvtap_link: their specification, and what a user wrote as what is wanted."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _numbers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import tap
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import NAME_BYTES, STATES, Wanted

# Taken over as they are.
_PLAIN = (
    "state",
    "parent",
    "mode",
    "mtu",
    "txqueuelen",
    "promiscuous",
    "nodst",
    "bcqueuelen",
    "bclim",
    "group",
    "addrgenmode",
    "allmulticast",
)

LINK_OPTIONS: dict[str, t.Any] = {
    "state": {"type": "str", "choices": list(STATES)},
    "parent": {"type": "str", "aliases": ["link", "lower", "base_iface"]},
    "mode": {"type": "str", "choices": ["vepa", "bridge", "private", "passthru", "source", "auto"]},
    "mac": {"type": "str", "aliases": ["address"]},
    "mtu": {"type": "int"},
    "txqueuelen": {"type": "int", "aliases": ["txqlen"]},
    "promiscuous": {"type": "bool"},
    "nodst": {"type": "bool"},
    "source_macs": {"type": "list", "elements": "str"},
    "bcqueuelen": {"type": "int"},
    "bclim": {"type": "int", "aliases": ["bc_cutoff"]},
    "group": {"type": "int"},
    "alias": {"type": "str"},
    "altnames": {"type": "list", "elements": "str"},
    "queues": {"type": "dict", "options": {"tx": {"type": "int"}, "rx": {"type": "int"}}},
    "addrgenmode": {"type": "str", "choices": ["eui64", "none", "stable_secret", "random"]},
    "allmulticast": {"type": "bool"},
    "netns": {"type": "str"},
    "tap": {
        "type": "dict",
        "options": {
            "owner": {"type": "str"},
            "group": {"type": "str"},
            "mode": {"type": "raw"},
            "repair": {"type": "bool"},
        },
    },
}

_ALTNAME_BYTES = 127  # ALTIFNAMSIZ less the final NUL
_ALIAS_BYTES = 255  # IFALIASZ less the final NUL
_U32_MAX = (1 << 32) - 1
# Option: the smallest and the greatest value that the kernel takes.
RANGES = {
    "mtu": (68, 65535),  # ETH_MIN_MTU, and what the kernel shows as a macvtap link's maxmtu
    "txqueuelen": (0, (1 << 31) - 1),
    "bcqueuelen": (0, _U32_MAX),
    "bclim": (-1, (1 << 31) - 1),
    "group": (0, (1 << 31) - 1),
}
# IFLA_MACVLAN_MACADDR_DATA takes 12 bytes for each, and it and the two that it is in say their length in 16 bits.
_SOURCE_MACS_MAX = 5400
_QUEUES_MAX = 4096  # rtnl_create_link()


def wanted(path: str, options: t.Mapping[str, t.Any]) -> Wanted:
    """Return what the user declared at ``path``.

    :raises MacvtapError: a value that no kernel and no host would take.
    """
    name = options["name"]
    check_link_name(name, join_path(path, "name"))
    for option, (least, most) in RANGES.items():
        check_range(options[option], least, most, join_path(path, option))
    own_tap = options["tap"] or {}
    queues = options["queues"] or {}
    for direction, number in queues.items():
        check_range(number, 1, _QUEUES_MAX, join_path(path, f"queues.{direction}"))
    tap_path = join_path(path, "tap")
    return Wanted(
        name=name,
        path=path,
        mac=None if options["mac"] is None else _mac.require(options["mac"], path=join_path(path, "mac")),
        source_macs=_source_macs(options["source_macs"], join_path(path, "source_macs")),
        alias=_alias(options["alias"], join_path(path, "alias")),
        altnames=_altnames(options["altnames"], name, join_path(path, "altnames")),
        tx_queues=queues.get("tx"),
        rx_queues=queues.get("rx"),
        tap_owner=_account(own_tap.get("owner"), tap.canonical_user, "user", join_path(tap_path, "owner")),
        tap_group=_account(own_tap.get("group"), tap.canonical_group, "group", join_path(tap_path, "group")),
        tap_mode=_permissions(own_tap.get("mode"), join_path(tap_path, "mode")),
        tap_repair=bool(own_tap.get("repair")),
        **{option: options[option] for option in _PLAIN},
        # An empty one, as templates make it of what is left out, is none.
        netns=options["netns"] or None,
    )


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


def check_range(value: int | None, least: int, most: int, path: str) -> None:
    if value is not None and not least <= _numbers.whole(value, path) <= most:
        raise MacvtapError(f"{value} is not between {least} and {most}", path=path)


def _source_macs(given: t.Sequence[str] | None, path: str) -> frozenset[str] | None:
    if given is None:
        return None
    found = frozenset(_mac.require(mac, path=f"{path}[{index}]") for index, mac in enumerate(given))
    if len(found) > _SOURCE_MACS_MAX:
        raise MacvtapError(
            f"{len(found)} addresses are more than the kernel can return of a link ({_SOURCE_MACS_MAX}), so that "
            "nobody could tell what it has. Divide them among links",
            path=path,
        )
    return found


def _alias(given: str | None, path: str) -> str | None:
    size = len((given or "").encode())
    if size > _ALIAS_BYTES:
        raise MacvtapError(f"it has {size} bytes and the kernel allows {_ALIAS_BYTES}; shorten it", path=path)
    return given


def _altnames(given: t.Sequence[str] | None, name: str, path: str) -> frozenset[str] | None:
    if given is None:
        return None
    for index, altname in enumerate(given):
        check_name(altname, _ALTNAME_BYTES, f"{path}[{index}]")
        if altname == name:
            raise MacvtapError(f"{altname} is the name of the link itself; leave it out", path=f"{path}[{index}]")
    return frozenset(given)


def check_name(name: str, most: int, path: str) -> None:
    size = len(name.encode())
    if size > most:
        raise MacvtapError(f"'{name}' has {size} bytes and the kernel allows {most}; shorten it", path=path)
    # dev_valid_name(), and % because the kernel takes a new link's name for a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s\0]", name):
        raise MacvtapError(f"'{name}' cannot name a link: no white space, no / : % and not . or ..", path=path)


def check_link_name(name: str, path: str) -> None:
    """Refuse what no link can be called, neither a macvtap link nor a VLAN link."""
    check_name(name, NAME_BYTES, path)
    # addrconf_sysctl_register(), devinet_sysctl_register(): there they stand for every link.
    if name in ("all", "default"):
        raise MacvtapError(f"the kernel's settings call every link '{name}', so that none can be called so", path=path)
    # To the kernel's isspace(), which takes bytes for Latin-1, that byte is white space: "à" in UTF-8 ends with it.
    if b"\xa0" in name.encode():
        raise MacvtapError(f"'{name}' has the byte a0 in UTF-8, which the kernel takes for white space", path=path)


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
