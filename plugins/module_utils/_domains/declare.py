# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Converts module options to Desired interfaces, and validates all that does not depend on the host.

Pure: no libvirt.
"""

from __future__ import annotations

import functools
import re
import typing as t
from types import MappingProxyType

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.merging import without_cleared
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import SELECTORS, Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks, validate
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import pci_address
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import with_values

_U16 = (1 << 16) - 1
# The greatest slot of a PCI bus.
_SLOT = 0x1F
# Minimum and maximum.
_RANGES = {
    **validate.RANGES,
    "driver.queues": (1, 256),
    "driver.rx_queue_size": (256, 1024),
    "driver.tx_queue_size": (256, 1024),
    "boot_order": (0, _U16),
    "acpi_index": (0, 16383),
}
_UNDECLARED = Desired("", "")
# Options that are no fields.
_OWN = frozenset(("domain", "mac", "state", "convert", "mac_prefix"))
_PLACES = (fields.OF_UPLINK, fields.OF_NETWORK)
# The options of an interface, beside those that say which one it is and whether there is to be one.
OPTIONS: dict[str, t.Any] = {
    **fields.TABLE.specification(),
    # It is only refused.
    "mtu": {"type": "int"},
    "convert": {"type": "bool"},
    "mac_prefix": {"type": "str"},
}


def declare(
    entries: t.Iterable[tuple[str, t.Mapping[str, t.Any]]],
    *,
    only_domain: str = "",
    defaults: t.Mapping[str, frozenset[str]] = MappingProxyType({}),
) -> tuple[Desired, ...]:
    """Return the desired interfaces of ``entries``, which are pairs of option path and options.

    ``only_domain`` is the default for ``domain``, if there is just one domain. ``defaults`` are the options that an
    entry does not set itself, by path.

    :raises MacvtapError: with the path of the invalid option.
    """
    declared = tuple(
        declare_one(path, options, defaults.get(path, frozenset()), only_domain) for path, options in entries
    )
    _validate_unique(declared)
    return declared


def with_own_place(
    entries: t.Iterable[tuple[str, dict[str, t.Any]]], own: t.Sequence[t.Mapping[str, t.Any]] | None
) -> list[tuple[str, dict[str, t.Any]]]:
    """Return ``entries`` without a default network where an entry has a source or mode of its own, and vice versa.

    ``own`` are the options that the entries set themselves, in the same order; None if there is only one entry.
    """
    if own is None:
        return list(entries)
    found = []
    for (path, options), set_here in zip(entries, own):
        if set_here.keys().isdisjoint(fields.CONNECTION):
            found.append((path, options))
            continue
        dropped = {
            name
            for place, other in (_PLACES, _PLACES[::-1])
            if any(set_here.get(option) is not None for option in place)
            for name in other
            if set_here.get(name) is None
        }
        found.append((path, {name: None if name in dropped else value for name, value in options.items()}))
    return found


def declare_one(
    path: str, options: t.Mapping[str, t.Any], defaults: frozenset[str] = frozenset(), only_domain: str = ""
) -> Desired:
    """As :func:`declare`, for a single entry."""
    domain = options.get("domain") or only_domain
    if not domain:
        raise MacvtapError("a domain name is required", path=join_path(path, "domain"))
    mac = options.get("mac")
    mac = None if mac is None else _mac.require(mac, path=join_path(path, "mac"))
    desired_values = _desired_values(path, options)
    prefix = options.get("mac_prefix")
    keys = {"mac": mac, **{name: desired_values.get(name) for name in SELECTORS[1:]}}
    selector = next((name for name in SELECTORS if keys[name]), None)
    if selector is None:
        raise MacvtapError(
            "a selector is required: set mac, alias, target, source or network",
            path=join_path(path, "mac"),
        )
    return with_values(
        _UNDECLARED,
        path=path,
        domain=domain,
        by=selector,
        key=keys[selector] or "",
        mac=mac,
        present=options.get("state") != "absent",
        given=desired_values,
        convert=bool(options.get("convert")),
        mac_prefix=_mac.require_prefix(prefix, path=join_path(path, "mac_prefix"))
        if prefix
        else _UNDECLARED.mac_prefix,
        defaults=defaults,
    )


def _desired_values(path: str, options: t.Mapping[str, t.Any]) -> dict[str, str | None]:
    """Return the declared fields, as libvirt spells their values.

    :raises MacvtapError: with the path of the invalid option.
    """
    # The entries of a fleet mostly set the same, but for what is each NIC's own. Types matter: true is no number.
    set_here = ((name, type(value), value) for name, value in options.items() if value is not None)
    try:
        return dict(_known_values(tuple(one for one in set_here if one[0] not in _OWN)))
    except (MacvtapError, TypeError):
        # It is invalid, or has suboptions.
        return _validated_values(path, options)


@functools.lru_cache(maxsize=256)
def _known_values(options: tuple[tuple[str, type, t.Any], ...]) -> dict[str, str | None]:
    return _validated_values("", {name: value for name, _type, value in options})


def _validated_values(path: str, options: t.Mapping[str, t.Any]) -> dict[str, str | None]:
    flat = fields.TABLE.flat(options)
    if not flat.get("pci_address"):
        # libvirt assigns an address where there is none, so it cannot be removed.
        flat.pop("pci_address", None)
    for name, value in flat.items():
        _validate_value(name, value, join_path(path, name))
    if options.get("mtu") is not None:
        raise MacvtapError(
            "libvirt refuses an MTU on an interface of type direct: a macvtap link has that of its source. Set it "
            "on the source, and inside the guest",
            path=join_path(path, "mtu"),
        )
    validate.virtualport(flat, path)
    _validate_place(flat, path)
    desired_values = without_cleared({name: fields.BY_NAME[name].text(value) for name, value in flat.items()})
    # An interface is either on an uplink or on a network.
    if desired_values.get("network") is not None:
        desired_values.update(dict.fromkeys(_PLACES[0]))
    elif desired_values.get("source") is not None:
        desired_values.update(dict.fromkeys(_PLACES[1]))
    return desired_values


def _validate_value(name: str, value: t.Any, path: str) -> None:
    validate.value(name, value, path, _RANGES)
    if name == "source":
        uplinks.validate_name(value, path)
    elif name == "target" and value:
        _validate_target(value, path)
    if name == "alias" and value and not re.fullmatch(r"ua-[A-Za-z0-9_-]+", value):
        raise MacvtapError(
            f"{value!r} is not a user alias: these begin with ua- and have only letters, digits, - and _",
            path=path,
        )
    if name == "pci_address" and value:
        _validate_pci_address(value, path)
    if name == "model" and not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise MacvtapError(f"{value!r} is not a NIC model, such as virtio", path=path)
    if name.endswith("queue_size") and value & (value - 1):
        raise MacvtapError(f"{value} is not a power of two: 256, 512 or 1024", path=path)


def _validate_target(value: str, path: str) -> None:
    _values.check_link_name(value, path)
    why = ""
    if value.startswith(fields.GENERATED_PREFIXES["target"]):
        why = "begins like a name that libvirt generates, and libvirt drops such names"
    elif fields.is_generated("target", value):
        why = "is like the names that links get for their guard, and is not kept when the guest stops"
    if why:
        raise MacvtapError(f"{value!r} {why}. Use another one, such as web0", path=path)


def _validate_pci_address(value: str, path: str) -> None:
    found = pci_address(value)
    if found is None or int(found[8:10], 16) > _SLOT:
        raise MacvtapError(f"{value!r} is not a PCI address such as 0000:01:00.0", path=path)
    if found == "0000:00:00.0":
        # virPCIDeviceAddressIsEmpty(); the root's own bridge is there.
        raise MacvtapError(f"libvirt treats {value!r} as no address. Use another one, or leave it out", path=path)


def _validate_place(flat: t.Mapping[str, t.Any], path: str) -> None:
    if flat.get("network") == "":
        raise MacvtapError(
            "an empty name is not a network. Set source to take an interface off its network",
            path=join_path(path, "network"),
        )
    ours, others = ([name for name in place if flat.get(name) is not None] for place in _PLACES[::-1])
    if ours and others:
        raise MacvtapError(
            f"excludes {' and '.join(others)}: a libvirt network has its own uplinks and mode. Set either network, and "
            "portgroup if you like, or source and mode",
            path=join_path(path, ours[0]),
        )


def _validate_unique(declared: t.Iterable[Desired]) -> None:
    seen: dict[tuple[str, str], list[Desired]] = {}
    for desired in declared:
        for other in seen.setdefault((desired.by, desired.key), []):
            # A MAC address that is absent in one domain and present in another moves. Other selectors are per domain.
            # Two NICs of one domain may share a MAC address, if another selector distinguishes them.
            distinguishable = desired.by == "mac" and any(
                None not in (one := (desired.given.get(n), other.given.get(n))) and len(set(one)) > 1
                for n in SELECTORS[1:]
            )
            same = other.domain == desired.domain
            if (same and not distinguishable) or (
                not same and desired.by == "mac" and other.present and desired.present
            ):
                raise MacvtapError(
                    f"{desired.key} is declared twice: {other.path} has it too, for domain {other.domain!r}",
                    path=join_path(desired.path, desired.by),
                )
        seen[desired.by, desired.key].append(desired)
