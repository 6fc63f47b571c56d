# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What has changed between two reports of one fleet. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report.overview import VERSION

Values = t.Mapping[str, t.Any]
_NIC = ("state", "link", "uplink", "network", "portgroup", "mode", "addresses", "guard", "multicast", "declared")
_UPLINK = ("exists", "state", "carrier", "speed", "mtu", "mac", "reflective_relay", "addresses")
_HOST = ("inspected", "kernel", "libvirt")


def changes(before: t.Any, after: Values) -> list[dict[str, t.Any]]:
    """Return the changes from the earlier report ``before``, in the order of hosts, each with host, what and field.

    A thing that only one of the two has differs in its ``state``: present or absent.

    :raises MacvtapError: ``before`` is not such a report, or one of another version.
    """
    if not isinstance(before, t.Mapping) or before.get("version") != VERSION or "hosts" not in before:
        raise MacvtapError(f"the earlier report is not the JSON of a report of version {VERSION}: make a new one")
    result: list[dict[str, t.Any]] = []
    try:
        # A host that only one of them has inspected would seem to have lost, or got, all that it has.
        former, seen = _things(before), {one["name"]: one["inspected"] for one in before["hosts"]}
    except (KeyError, TypeError, AttributeError) as exc:
        raise MacvtapError(f"the earlier report is damaged ({type(exc).__name__}: {exc}): make a new one") from exc
    current = _things(after)
    compared = {one["name"] for one in after["hosts"] if one["inspected"] and seen.get(one["name"])}
    for key in [*current, *(key for key in former if key not in current)]:
        if key[1] and key[0] not in compared:
            continue
        result += _of(key, former.get(key), current.get(key))
    return result


def _of(key: tuple[str, str], before: Values | None, after: Values | None) -> t.Iterator[dict[str, t.Any]]:
    where = {"host": key[0], "what": key[1]}
    if before is None or after is None:
        word = {True: "absent", False: "present"}
        yield {**where, "field": "state", "before": word[before is None], "after": word[after is None]}
        return
    for name, value in after.items():
        if before.get(name) != value:
            yield {**where, "field": name, "before": before.get(name), "after": value}


def _things(report: Values) -> dict[tuple[str, str], dict[str, t.Any]]:
    """Return all that is compared, by host and name; the host itself has the name ""."""
    result: dict[tuple[str, str], dict[str, t.Any]] = {}
    for host in report["hosts"]:
        name = host["name"]
        if not isinstance(name, str):
            raise TypeError(f"the name of a host is {name!r}")
        result[name, ""] = {field: host.get(field) for field in _HOST}
        for link in host["uplinks"]:
            result[name, f"uplink {link['name']}"] = {field: link.get(field) for field in _UPLINK}
        for nic in host["nics"]:
            what = f"{nic['guest']} {nic['mac']}" if nic["guest"] else f"link {nic['link']}"
            result[name, what] = {field: nic.get(field) for field in _NIC}
    return result
