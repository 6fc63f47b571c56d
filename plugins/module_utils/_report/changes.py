# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What has changed between two reports of one fleet. Pure."""

from __future__ import annotations

import json
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
    try:
        former, seen = _read(before)
    except MacvtapError as exc:
        raise MacvtapError(f"the earlier report {exc.message}") from exc
    result: list[dict[str, t.Any]] = []
    current = _things(after)
    compared = {one["name"] for one in after["hosts"] if one["inspected"] and seen.get(one["name"])}
    for key in [*current, *(key for key in former if key not in current)]:
        if key[1] and key[0] not in compared:
            continue
        result += _of(key, former.get(key), current.get(key))
    return result


def parse(text: str) -> Values:
    """Return the earlier report that a file has.

    :raises MacvtapError: it has none, or one of another version. The message goes on after the name of the file.
    """
    try:
        report = json.loads(text)
    except (ValueError, RecursionError):
        report = None
    _read(report)
    return t.cast("Values", report)


def _read(report: t.Any) -> tuple[dict[tuple[str, str], dict[str, t.Any]], dict[str, bool]]:
    """Return all that is compared of an earlier report, and whether each host was inspected.

    A host that only one of two reports has inspected would seem to have lost, or got, all that it has.
    """
    if not isinstance(report, t.Mapping) or report.get("version") != VERSION or "hosts" not in report:
        raise MacvtapError(f"is not the JSON of a report of version {VERSION}")
    try:
        return _things(report), {one["name"]: bool(one["inspected"]) for one in report["hosts"]}
    except (KeyError, TypeError, AttributeError) as exc:
        raise MacvtapError(f"is damaged ({type(exc).__name__}: {exc})") from exc


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
