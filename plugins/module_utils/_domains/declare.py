# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""From a module's options to Desired interfaces: everything that can be refused without looking at the host.

Pure: no libvirt, no lxml.
"""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _mac
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path

# The kernel's IFNAMSIZ is 16 bytes with the terminating zero.
_NAME_BYTES = 15


def declare(entries: t.Iterable[tuple[str, t.Mapping[str, t.Any]]]) -> tuple[Desired, ...]:
    """Return what ``entries``, pairs of path and options, declare.

    :raises MacvtapError: with the path of the option that cannot be right.
    """
    declared = tuple(_declare_one(path, options) for path, options in entries)
    _refuse_duplicates(declared)
    return declared


def _declare_one(path: str, options: t.Mapping[str, t.Any]) -> Desired:
    source = options.get("source")
    if source is not None:
        _check_link_name(source, join_path(path, "source"))
    mode = options.get("mode")
    return Desired(
        path=path,
        domain=options["domain"],
        mac=_mac.require(options["mac"], path=join_path(path, "mac")),
        present=options["state"] == "present",
        source=source,
        # The kernel's and iproute2's word; libvirt knows only the long one.
        mode="passthrough" if mode == "passthru" else mode,
        model=options.get("model"),
    )


def _check_link_name(name: str, path: str) -> None:
    if not name or name in {".", ".."} or "/" in name or any(c.isspace() for c in name):
        raise MacvtapError(f"{name!r} cannot be the name of a network link", path=path)
    if len(name.encode()) > _NAME_BYTES:
        raise MacvtapError(f"{name!r} is longer than the {_NAME_BYTES} bytes that a link's name can have", path=path)


def _refuse_duplicates(declared: t.Iterable[Desired]) -> None:
    seen: dict[str, list[Desired]] = {}
    for desired in declared:
        for other in seen.setdefault(desired.mac, []):
            # In one domain absent and the other present is a NIC that moves.
            if other.domain == desired.domain or (other.present and desired.present):
                raise MacvtapError(
                    f"{desired.mac} is declared twice: {other.path} has it too, for domain {other.domain!r}",
                    path=join_path(desired.path, "mac"),
                )
        seen[desired.mac].append(desired)
