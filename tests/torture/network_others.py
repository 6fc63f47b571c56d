# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What others do to networks and to the guests on them: other editors, and whoever starts and stops guests."""

from __future__ import annotations

import contextlib
import typing as t
from dataclasses import replace

from network_model import Net, rendered
from network_spec import LibvirtError

from torture.network_host import NAMES, UUIDS, WatchedModel

_NETS = ("edit", "edit_mode", "update", "add_uplink", "start", "stop", "undefine", "remove", "make", "autostart")
_GUESTS = ("guest_starts", "guest_stops", "guest_moves", "guest_goes")
ACTS = (*_NETS, *_GUESTS, "guest_starts", "guest_starts")


def act(model: WatchedModel, what: str, name: str) -> None:
    """Carry ``what`` out on the network ``name`` or on the guests on it; nothing if it is impossible."""
    net = next((net for net in model.nets.values() if net.name == name), None)
    model.trace.append(f"-> {what} {name}")
    with contextlib.suppress(LibvirtError):
        if what in _GUESTS:
            _act_on_guests(model, what, name)
        elif what == "make":
            if net is None:
                model.touched.add(name)
                model.define(
                    f"<network><name>{name}</name><uuid>{_uuid(model, name)}</uuid><forward mode='vepa'>"
                    f"<interface dev='eth1'/></forward>{model.mark(by_define=True)}</network>"
                )
        elif net is not None:
            model.touched.add(name)
            _act_on_net(model, what, net)


def _uuid(model: WatchedModel, name: str) -> str:
    return UUIDS[name] if UUIDS[name] not in model.nets else f"f{UUIDS[name][1:]}"


def _act_on_net(model: WatchedModel, what: str, net: Net) -> None:
    if what in {"edit", "edit_mode"} and net.stored is not None:
        spec = replace(net.stored, portgroups=(*net.stored.portgroups, model.mark(by_define=True)))
        if what == "edit_mode":
            spec = replace(spec, mode="private")
        model.define(rendered(net, spec, live=False))
    elif what == "update":
        mark = model.mark(by_define=False)
        for stored in (False, True):
            with contextlib.suppress(LibvirtError):
                model.update(net.uuid, "add", mark, stored=stored)
    elif what == "add_uplink":
        for stored in (False, True):
            with contextlib.suppress(LibvirtError):
                model.update(net.uuid, "add", "<interface dev='eth2'/>", stored=stored)
    else:
        _act_on_state(model, what, net)


def _act_on_state(model: WatchedModel, what: str, net: Net) -> None:
    acts: dict[str, t.Callable[[], None]] = {
        "start": lambda: model.create(net.uuid),
        "stop": lambda: model.destroy(net.uuid),
        "undefine": lambda: model.undefine(net.uuid),
        "autostart": lambda: model.set_autostart(net.uuid, not net.autostart),
    }
    for one in ("stop", "undefine") if what == "remove" else (what,):
        with contextlib.suppress(LibvirtError):
            acts.get(one, lambda: None)()


def _act_on_guests(model: WatchedModel, what: str, name: str) -> None:
    for uuid, guest in model.guests.items():
        nic = guest.live or guest.stored
        if nic is None or nic.network != name:
            continue
        model.changed[uuid] = model.now
        if what == "guest_starts":
            model.start(uuid)
        elif what == "guest_stops":
            model.stop(uuid)
        elif what == "guest_moves" and guest.stored is not None:
            group = "" if guest.stored.portgroup else "a"
            guest.stored = replace(guest.stored, network=NAMES[(NAMES.index(name) + 1) % len(NAMES)], portgroup=group)
        elif what == "guest_goes" and guest.live is not None:
            guest.stored = None
        return
