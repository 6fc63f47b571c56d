# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The interfaces in the image of a saved guest: as they have to be, so that the guest is restored with them. Pure.

The image has what libvirt knows of the guest, as it would be stored: without names that libvirt generates, and on a
network without what the network gave. All links of the guest are new when it is restored, also those of NICs that do
not change.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import IN_XML, without_generated
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.impact import is_pausable
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.tasks import Task
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError


class Edit(t.NamedTuple):
    """An interface of the image: as libvirt has saved it, as the guest had it, and as it gets it."""

    saved: Iface
    old: Iface
    new: Iface


def edits(
    image: t.Iterable[Iface],
    live: t.Mapping[str, Iface],
    tasks: t.Sequence[Task],
    originals: t.Mapping[str, Iface],
) -> list[Edit]:
    """Return what to change in an ``image``, for the NICs of these ``tasks``.

    ``live`` are the running guest's interfaces with the real modes of their links, and ``originals`` those that its
    image had before this run changed it: they come back in a rollback. Both are by MAC address.

    :raises MacvtapError: a NIC is not in the image.
    """
    found = {iface.mac: iface for iface in image}
    by_mac = {task.before.mac: task for task in tasks}
    missing = next((task for mac, task in by_mac.items() if mac not in found), None)
    if missing is not None:
        raise MacvtapError(f"{missing.before.mac} is not in the image", path=missing.path)
    made = []
    for mac, saved in found.items():
        old = new = _with_mode(saved, live.get(mac))
        if mac in by_mac:
            new = originals.get(mac) or _changed(old, by_mac[mac])
        if mac in by_mac or old != saved:
            made.append(Edit(saved, old, new))
    return made


def receiving_all(live: t.Mapping[str, Iface], tasks: t.Sequence[Task]) -> tuple[set[str], set[str]]:
    """Return the NICs (MAC addresses) whose links receive all multicast: before the pause, and after it.

    libvirt sets it for a trusted guest, and in mode passthrough it must not be set.
    """
    old = {mac for mac, iface in live.items() if _receives_all(iface)}
    new = {task.before.mac for task in tasks if task.after.live is not None and _receives_all(task.after.live)}
    return old, new | (old - {task.before.mac for task in tasks})


def _receives_all(iface: Iface) -> bool:
    trusted = iface.get("trust_guest_rx_filters") == "yes"
    return iface.get("allmulticast") == "yes" and not trusted and iface.get("mode") != "passthrough"


def _with_mode(saved: Iface, live: Iface | None) -> Iface:
    """Return an interface with the mode of its link, if that was changed and libvirt does not know."""
    if live is None or live.stale_mode is None or saved.type != "direct" or saved.get("mode") is None:
        return saved
    return replace(saved, values={**saved.values, "mode": live.get("mode") or saved.values["mode"]})


def _changed(saved: Iface, task: Task) -> Iface:
    before, after = t.cast("Iface", task.before.live), t.cast("Iface", task.after.live)
    values = dict(saved.values)
    for field in IN_XML:
        new = after.get(field.name)
        # What a network gave the guest is not in the image, and is no difference between the two others.
        if before.type != after.type or before.get(field.name) != new or is_pausable(field.name, before, after):
            values.pop(field.name, None)
            values.update({field.name: new} if new is not None else {})
    # The slot is the guest's.
    address = saved.get("pci_address")
    values = {**without_generated(values), **({"pci_address": address} if address else {})}
    return replace(saved, type=after.type, values=values, origin=None)
