# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""A model of one host with libvirt: its domains, their running guests, and what each can do by itself.

It has what libvirt_direct_iface can see, and behaves as libvirt 9.0 and QEMU 7.2 were measured to. Nothing of the
collection is imported here, and nothing depends on time or chance.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from torture.guests import (
    BOOTED,
    CONFIG_UNSUPPORTED,
    DEVICE_MISSING,
    INTERNAL_ERROR,
    OPERATION_FAILED,
    OPERATION_INVALID,
    OPERATION_TIMEOUT,
    OPERATION_UNSUPPORTED,
    OTHERS,
    RESTORED,
    Departure,
    Guest,
    LiveNic,
    RefusedError,
)
from torture.nics import Document, Nic

# No run declares the last one.
SOURCES = ("eth0", "eth1", "eth2")
# Direct networks: the only uplink and the mode of each.
NETWORKS = {"lan": ("eth0", "bridge"), "lan1": ("eth1", "bridge"), "vepa": ("eth1", "vepa")}
# The minimum number of hot-plug slots of a machine.
_SLOTS = 4


@dataclass
class World:
    guests: dict[str, Guest] = field(default_factory=dict)
    departures: list[Departure] = field(default_factory=list)
    # Counter for names of links.
    counter: int = 0
    # The networks that are not active.
    inactive: frozenset[str] = frozenset()

    def copy(self) -> World:
        guests = {
            uuid: replace(
                guest,
                stored=None if guest.stored is None else list(guest.stored),
                live=None if guest.live is None else [replace(one) for one in guest.live],
            )
            for uuid, guest in self.guests.items()
        }
        return World(guests, list(self.departures), self.counter, self.inactive)

    def add(self, name: str, nics: t.Iterable[Nic], **more: t.Any) -> Guest:
        number = len(self.guests) + 1
        guest = Guest(name, f"00000000-0000-4000-8000-{number:012d}", [], **more)
        guest.stored = [replace(nic, address=bus) for bus, nic in enumerate(nics, 1)]
        self.guests[guest.uuid] = guest
        return guest

    def named(self, name: str) -> Guest | None:
        return next((guest for guest in self.guests.values() if guest.name == name), None)

    # Requests to libvirt.

    def define(self, document: Document) -> str:
        guest = self.guests.get(document.uuid)
        other = self.named(document.name)
        if other is not None and other is not guest:
            raise RefusedError(OPERATION_FAILED, f"domain '{document.name}' already exists with uuid {other.uuid}")
        if guest is None:
            guest = self.guests[document.uuid] = Guest(document.name, document.uuid, [])
        taken = {nic.address for nic in document.nics}
        nics = []
        for nic in document.nics:
            free = next(bus for bus in range(1, 256) if bus not in taken)
            taken.add(nic.address or free)
            nics.append(nic if nic.address else replace(nic, address=free))
        guest.stored, guest.memory = nics, document.memory
        return guest.uuid

    def undefine(self, guest: Guest) -> None:
        guest.stored = None
        if not guest.running:
            del self.guests[guest.uuid]

    def attach(self, guest: Guest, nic: Nic, by: int) -> None:
        live = self._changeable(guest)
        if nic.alias and any(one.nic.alias == nic.alias for one in live):
            raise RefusedError(CONFIG_UNSUPPORTED, f"non unique alias detected: {nic.alias}")
        taken = {one.nic.address for one in live}
        if nic.address in taken:
            raise RefusedError(INTERNAL_ERROR, f"Attempted double use of PCI Address 0000:{nic.address:02x}:00.0")
        free = next((bus for bus in range(1, guest.slots + 1) if bus not in taken), None)
        if nic.address > guest.slots or free is None:
            raise RefusedError(INTERNAL_ERROR, "No more available PCI slots")
        self._check_starts(nic)
        numbers = {int(one.nic.alias[3:]) for one in live if one.nic.alias.startswith("net")}
        number = next(n for n in range(256) if n not in numbers)
        live.append(self._plugged(nic, number, nic.address or free, by))

    def ask(self, guest: Guest, alias: str, by: int) -> LiveNic:
        """Ask the guest to release a NIC: it does at the next tick if it answers, and at its next reset otherwise."""
        live = self._changeable(guest)
        found = next((one for one in live if one.nic.alias == alias), None)
        if found is None:
            raise RefusedError(DEVICE_MISSING, f"device not found: no device found with alias {alias}")
        if found.asked is not None:
            raise RefusedError(
                INTERNAL_ERROR,
                "unable to execute QEMU command 'device_del': Device is already in the process of unplug",
            )
        found.asked = by
        return found

    def update(self, guest: Guest, nic: Nic) -> None:
        """Change what libvirt changes in a running guest: the link's state and the bandwidth."""
        self._changeable(guest)
        found = guest.live_nic(nic.mac)
        if found is None:
            raise RefusedError(DEVICE_MISSING, f"no device matching MAC address {nic.mac} found")
        wanted = self.connected(nic)
        was, will_be = (replace(one.plain, link="", average="", alias="", network="") for one in (found.nic, wanted))
        if was != will_be:
            raise RefusedError(OPERATION_UNSUPPORTED, "cannot modify network device configuration")
        # Only another bandwidth replaces the whole interface, and its network with it.
        network = found.nic.network if nic.average == found.nic.average else wanted.network
        found.nic = replace(found.nic, link=nic.link, average=nic.average, network=network)

    def connected(self, nic: Nic) -> Nic:
        """Return a NIC with what its network gives it."""
        if not nic.network or nic.source:
            return nic
        if nic.network in self.inactive:
            raise RefusedError(OPERATION_INVALID, f"network '{nic.network}' is not active")
        source, mode = NETWORKS[nic.network]
        return replace(nic, source=source, mode=mode)

    def managed_save(self, guest: Guest) -> None:
        self._changeable(guest)
        if guest.stored is None:
            raise RefusedError(OPERATION_INVALID, "cannot do managed save for transient domain")
        origins = {one.nic.mac: one.by for one in guest.live or ()}
        self.save(guest)
        guest.saved_by_run, guest.saved_origins = True, origins

    def change_image(self, guest: Guest, document: Document, mark: str) -> None:
        """Give a saved guest other NICs, of which only what the guest does not see may differ."""
        if guest.saved is None:
            raise RefusedError(OPERATION_INVALID, "domain does not have managed save image")
        if [(nic.mac, nic.model, nic.address) for nic in guest.saved] != [
            (nic.mac, nic.model, nic.address) for nic in document.nics
        ]:
            raise RefusedError(CONFIG_UNSUPPORTED, "Target network card does not match source")
        guest.saved, guest.saved_mark = list(document.nics), mark

    def restore(self, guest: Guest) -> None:
        """Start a guest as a run or the keeper does, which only restore what a run has saved."""
        if guest.running:
            raise RefusedError(OPERATION_INVALID, "domain is already running")
        if not self.start(guest):
            raise RefusedError(INTERNAL_ERROR, "the guest does not start")

    # Actions of guests and their users.

    def start(self, guest: Guest) -> bool:
        if guest.running or guest.stored is None:
            return False
        from_image = guest.saved is not None
        nics = guest.saved if guest.saved is not None else guest.stored
        try:
            for nic in nics:
                self._check_starts(nic)
        except RefusedError:
            return False
        if len({nic.mac for nic in nics}) < len(nics):
            return False
        guest.live = []
        for number, nic in enumerate(nics):
            by = guest.saved_origins.get(nic.mac, OTHERS) if from_image else OTHERS
            plugged = self._plugged(nic, number, nic.address, by)
            # QEMU saves outstanding requests, and resumes them.
            plugged.asked = guest.saved_asked.get(nic.mac) if from_image else None
            guest.live.append(plugged)
        guest.slots = max([_SLOTS, *(nic.address for nic in nics)])
        guest.boot += 1
        guest.saved = None if from_image else guest.saved
        guest.mark, guest.saved_mark = (guest.saved_mark, "") if from_image else ("", guest.saved_mark)
        guest.answers, guest.paused, guest.reason = not from_image or guest.answers, False, BOOTED
        if from_image:
            guest.reason = RESTORED
        return True

    def stop(self, guest: Guest) -> None:
        guest.live, guest.job, guest.paused, guest.mark = None, False, False, ""
        if guest.stored is None:
            del self.guests[guest.uuid]

    def save(self, guest: Guest) -> None:
        if guest.live is None or guest.stored is None or guest.job:
            return
        guest.saved = [replace(one.nic.plain, address=one.nic.address) for one in guest.live]
        guest.saved = [replace(nic, alias=nic.alias if nic.alias.startswith("ua-") else "") for nic in guest.saved]
        guest.saved = [replace(nic, source="", mode="") if nic.network else nic for nic in guest.saved]
        guest.saved_asked = {one.nic.mac: one.asked for one in guest.live if one.asked is not None}
        guest.saved_mark, guest.saved_by_run, guest.saved_origins = guest.mark, False, {}
        self.stop(guest)

    def reset(self, guest: Guest) -> None:
        """A reboot from inside, or virsh reset: QEMU completes outstanding requests without the guest's answer."""
        self._release(guest)

    def tick(self) -> None:
        """Advance time by one tick."""
        for guest in self.guests.values():
            if guest.answers and not guest.paused:
                self._release(guest)

    def set_link_mode(self, name: str, index: int, mode: str) -> bool:
        for guest in self.guests.values():
            for one in guest.live or ():
                if one.nic.target == name and one.index == index:
                    one.mode = mode
                    return True
        return False

    def _release(self, guest: Guest) -> None:
        for one in [one for one in guest.live or () if one.asked is not None]:
            assert guest.live is not None
            assert one.asked is not None
            guest.live.remove(one)
            self.departures.append(Departure(guest.uuid, guest.boot, one.nic.mac, one.asked, one.by))

    def _changeable(self, guest: Guest) -> list[LiveNic]:
        if guest.live is None:
            raise RefusedError(OPERATION_INVALID, "Requested operation is not valid: domain is not running")
        if guest.job:
            raise RefusedError(
                OPERATION_TIMEOUT,
                "Timed out during operation: cannot acquire state change lock (held by monitor=remoteDispatch…)",
            )
        return guest.live

    def _check_starts(self, nic: Nic) -> None:
        if nic.model == "nonsense":
            raise RefusedError(
                INTERNAL_ERROR,
                "internal error: unable to execute QEMU command 'device_add': 'nonsense' is not a valid device model "
                "name",
            )
        if nic.type != "direct":
            return
        nic = self.connected(nic)
        if nic.source not in SOURCES:
            raise RefusedError(INTERNAL_ERROR, f"Unable to get index for interface {nic.source}: No such device")
        for guest in self.guests.values():
            for one in guest.live or ():
                if one.nic.type == "direct" and (one.nic.mac, one.nic.source) == (nic.mac, nic.source):
                    raise RefusedError(
                        OPERATION_FAILED,
                        f"error creating macvtap interface macvtap{self.counter}@{nic.source} ({nic.mac}): Device or "
                        "resource busy",
                    )
                if nic.target and one.nic.target == nic.target:
                    raise RefusedError(OPERATION_FAILED, f"error creating macvtap interface {nic.target}: File exists")

    def _plugged(self, nic: Nic, number: int, bus: int, by: int) -> LiveNic:
        self.counter += 1
        prefix = "macvtap" if nic.type == "direct" else "vnet"
        nic = self.connected(nic)
        made = replace(
            nic,
            target=nic.target or f"{prefix}{self.counter}",
            alias=nic.alias or f"net{number}",
            address=bus,
        )
        return LiveNic(made, 100 + self.counter, nic.mode, by)
