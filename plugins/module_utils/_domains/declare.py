# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From a module's options to Desired interfaces: everything that can be refused without looking at the host.

Pure: no libvirt.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import fields
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.merging import exempted
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import SELECTORS, Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

_BYTE, _U16, _U24, _U32 = 255, (1 << 16) - 1, (1 << 24) - 1, (1 << 32) - 1
# XML has no way to write most of them, and reads a line break in an attribute as a space.
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
# The greatest slot of a PCI bus.
_SLOT = 0x1F
# Smallest and greatest; bandwidth is in KiB a second and KiB.
_RANGES = {
    "virtualport.managerid": (0, _BYTE),
    "virtualport.typeid": (0, _U24),
    "virtualport.typeidversion": (0, _BYTE),
    "vlan": (0, 4094),
    "driver.queues": (1, 256),
    "driver.rx_queue_size": (256, 1024),
    "driver.tx_queue_size": (256, 1024),
    "boot_order": (0, _U16),
    "acpi_index": (0, 16383),
    **{
        f"bandwidth.{direction}.{what}": (0 if what == "average" else 1, _U32)
        for direction in ("inbound", "outbound")
        for what in ("average", "peak", "burst")
    },
}
_QBG, _QBH = "802.1Qbg", "802.1Qbh"
_PARAMETERS = {_QBG: ("managerid", "typeid", "typeidversion", "instanceid"), _QBH: ("profileid",)}


def declare(entries: t.Iterable[tuple[str, t.Mapping[str, t.Any]]], *, only_domain: str = "") -> tuple[Desired, ...]:
    """Return what ``entries``, pairs of path and options, declare.

    ``only_domain`` is the domain that is meant where none is said, if there can be just one.

    :raises MacvtapError: with the path of the option that cannot be right.
    """
    declared = tuple(_declare_one(path, options, only_domain) for path, options in entries)
    _refuse_duplicates(declared)
    return declared


def _declare_one(path: str, options: t.Mapping[str, t.Any], only_domain: str) -> Desired:
    domain = options.get("domain") or only_domain
    if not domain:
        raise MacvtapError("say the name of the domain whose interface this is", path=join_path(path, "domain"))
    mac = options.get("mac")
    mac = None if mac is None else _mac.require(mac, path=join_path(path, "mac"))
    flat = fields.flat(options)
    if not flat.get("address"):
        # libvirt gives one to whatever has none, so that there is nothing to take away.
        flat.pop("address", None)
    for name, value in flat.items():
        _check(name, value, join_path(path, name))
    if options.get("mtu") is not None:
        raise MacvtapError(
            "libvirt refuses an MTU on an interface of type direct: a macvtap link has that of its source. Set it "
            "on the source, and inside the guest",
            path=join_path(path, "mtu"),
        )
    _check_virtualport(flat, path)
    given = exempted({name: fields.BY_NAME[name].text(value) for name, value in flat.items()})
    key = {"mac": mac, **{name: given.get(name) for name in SELECTORS[1:]}}
    by = next((name for name in SELECTORS if key[name]), None)
    if by is None:
        raise MacvtapError(
            "which interface is meant? Say its MAC address, or its alias, its target or its source",
            path=join_path(path, "mac"),
        )
    return Desired(
        path=path,
        domain=domain,
        by=by,
        key=key[by] or "",
        mac=mac,
        present=options.get("state") != "absent",
        given=given,
        convert=bool(options.get("convert")),
        prefix=_mac.require_prefix(options.get("mac_prefix") or "52:54:00", path=join_path(path, "mac_prefix")),
    )


def _check(name: str, value: t.Any, path: str) -> None:
    if isinstance(value, str) and _UNWRITABLE.search(value):
        raise MacvtapError(f"{value!r} has a control character, which XML has no room for", path=path)
    if name in _RANGES:
        _values.check_range(value, *_RANGES[name], path)
    elif name == "source":
        _check_link_name(value, path)
    elif name == "target" and value:
        _values.check_link_name(value, path)
    if name == "target" and re.match(r"(macvtap|macvlan|vnet)", value):
        raise MacvtapError(
            f"libvirt drops a name that begins as those do that it makes up itself, and found is {value!r}. Choose "
            "another one, such as web0",
            path=path,
        )
    if name == "alias" and value and not re.fullmatch(r"ua-[A-Za-z0-9_-]+", value):
        raise MacvtapError(
            f"{value!r} is no alias that a user can give: these begin with ua- and have only letters, digits, - and _",
            path=path,
        )
    if name == "address" and value:
        _check_pci_address(value, path)
    if name == "virtualport.instanceid" and fields.uuid(value) is None:
        raise MacvtapError(f"{value!r} is not a UUID", path=path)
    if name == "model" and not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise MacvtapError(f"{value!r} is not the name of a network card's model, such as virtio", path=path)
    if name.endswith("queue_size") and value & (value - 1):
        raise MacvtapError(f"{value} is not a power of two: 256, 512 or 1024", path=path)


def _check_pci_address(value: str, path: str) -> None:
    found = fields.pci_address(value)
    if found is None or int(found[8:10], 16) > _SLOT:
        raise MacvtapError(f"{value!r} is not a PCI address such as 0000:01:00.0", path=path)
    if found == "0000:00:00.0":
        # virPCIDeviceAddressIsEmpty(); the root's own bridge is there.
        raise MacvtapError(f"libvirt takes {value!r} for no address. Choose another one, or leave it out", path=path)


def _check_link_name(name: str, path: str) -> None:
    # The kernel takes a new link's name for a template (mt%d).
    if name in {"", ".", ".."} or re.search(r"[/:%\s\0]", name):
        raise MacvtapError(
            f"{name!r} cannot be the name of a network link: no white space, no / : % and not . or ..", path=path
        )
    if len(name.encode()) > _values.NAME_BYTES:
        raise MacvtapError(
            f"{name!r} is longer than the {_values.NAME_BYTES} bytes that a link's name can have, and libvirt takes no "
            "longer alternative name",
            path=path,
        )


def _check_virtualport(flat: t.Mapping[str, t.Any], path: str) -> None:
    kind = flat.get("virtualport.type")
    said = [name.split(".")[1] for name in flat if name.startswith("virtualport.") and name != "virtualport.type"]
    if kind == "none" or not said or kind is None:
        return
    for parameter in said:
        if parameter not in _PARAMETERS[kind]:
            raise MacvtapError(
                f"{kind} has no such parameter; it has {', '.join(_PARAMETERS[kind])}",
                path=join_path(path, f"virtualport.{parameter}"),
            )


def _refuse_duplicates(declared: t.Iterable[Desired]) -> None:
    seen: dict[tuple[str, str], list[Desired]] = {}
    for desired in declared:
        for other in seen.setdefault((desired.by, desired.key), []):
            # In one domain absent and the other present is a NIC that moves; other keys than a MAC are a domain's own.
            # Two NICs of one domain can have one, and are told apart by what else is said of them.
            told_apart = desired.by == "mac" and any(
                None not in (one := (desired.given.get(n), other.given.get(n))) and len(set(one)) > 1
                for n in SELECTORS[1:]
            )
            same = other.domain == desired.domain
            if (same and not told_apart) or (not same and desired.by == "mac" and other.present and desired.present):
                raise MacvtapError(
                    f"{desired.key} is declared twice: {other.path} has it too, for domain {other.domain!r}",
                    path=join_path(desired.path, desired.by),
                )
        seen[desired.by, desired.key].append(desired)
