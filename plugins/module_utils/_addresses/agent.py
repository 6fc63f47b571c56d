# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Asks guest agents for addresses, over libvirt."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
import time
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import (
    AGENT,
    CONFIRMED,
    MOST_ADDRESSES,
    Guest,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import save_blockers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import connection

# libvirtd has twenty workers by default (max_workers), and each agent that does not answer keeps one busy for seconds.
_AT_ONCE = 12


class Agents:
    """The agents of a libvirt's guests. One that has not answered yet is not asked again.

    Each is asked in a thread of its own, and over a connection of its own: an agent that does not answer blocks other
    requests of the same connection (libvirt 9.0).
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._answers: dict[str, tuple[float, t.Mapping[str, t.Any]]] = {}
        self._errors: dict[str, str] = {}
        # Those of them whose turn has not come.
        self._waiting: set[str] = set()
        self._slots = threading.Semaphore(_AT_ONCE)
        self._unavailable = ""

    def ask(self, guests: t.Iterable[Guest], seconds: float) -> list[Sighting]:
        """Ask all agents that are connected, and return what those say that answer to this call within that time."""
        begin = time.monotonic()
        threads = []
        by_uuid = {guest.uuid: guest for guest in guests}
        try:
            with connection.opened(self._uri, connection.Connection, read_only=False) as opened:
                for guest in by_uuid.values():
                    if guest.runs and self._begin(opened, guest.uuid):
                        arguments = (opened.libvirt, guest.uuid, begin + seconds)
                        # A daemon: the run does not wait for it in the end.
                        threads.append(threading.Thread(target=self._ask, args=arguments, daemon=True))
        except MacvtapError as exc:
            self._unavailable = str(exc)
            return []
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, begin + seconds - time.monotonic()))
        with self._lock:
            answers = {uuid: answer for uuid, (when, answer) in self._answers.items() if when >= begin}
        return [
            sighting
            for uuid, answer in answers.items()
            if uuid in by_uuid
            for sighting in sightings(answer, by_uuid[uuid])
        ]

    def warnings(self, names: t.Mapping[str, str]) -> list[str]:
        """Return what went wrong, with the guests' ``names`` by UUID."""
        if self._unavailable:
            return [f"guest agents were not asked: {self._unavailable}"]
        with self._lock:
            silent = sorted(names[uuid] for uuid in (self._busy - self._waiting) & names.keys())
            waiting = sorted(names[uuid] for uuid in self._waiting & names.keys())
            errors = sorted((names[uuid], text) for uuid, text in self._errors.items() if uuid in names)
        found = [f"{name}: the guest agent was asked and reports: {text}" for name, text in errors]
        if silent:
            found.append(f"the guest agents of these guests did not answer in time: {_text.join_names(silent)}")
        if waiting:
            found.append(
                f"the guest agents of these guests had no turn in time, because others did not answer: "
                f"{_text.join_names(waiting)}. Set agent_timeout higher"
            )
        return found

    def _begin(self, opened: connection.Connection, uuid: str) -> bool:
        """Whether to ask a guest's agent now."""
        with self._lock:
            if uuid in self._busy:
                return False
        with contextlib.suppress(opened.libvirt.libvirtError):
            if save_blockers.has_agent(str(opened.handle.lookupByUUIDString(uuid).XMLDesc(0))):
                with self._lock:
                    self._busy.add(uuid)
                    self._waiting.add(uuid)
                return True
        return False

    def _ask(self, libvirt: t.Any, uuid: str, until: float) -> None:
        error, answer = "", None
        if not self._slots.acquire(timeout=max(0.0, until - time.monotonic())):
            with self._lock:
                self._busy.discard(uuid)
            return
        try:
            with self._lock:
                self._waiting.discard(uuid)
            with contextlib.closing(libvirt.open(self._uri)) as own:
                source = libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT
                answer = own.lookupByUUIDString(uuid).interfaceAddresses(source)
        except libvirt.libvirtError as exc:
            gone = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
            error = "" if exc.get_error_code() in gone else connection.message_of(exc)
        finally:
            self._slots.release()
        with self._lock:
            self._busy.discard(uuid)
            self._errors.pop(uuid, None)
            if error:
                self._errors[uuid] = error
            elif answer is not None:
                self._answers[uuid] = (time.monotonic(), answer)


def sightings(answer: t.Mapping[str, t.Any], guest: Guest) -> list[Sighting]:
    """Return the addresses in the answer of a guest's agent, which may say anything.

    What is no address is left out, and what it says of NICs that are not its own.
    """
    nics = {mac: nic for nic in guest.nics for mac in nic.macs}
    found: dict[str, dict[str, Sighting]] = {mac: {} for mac in nics}
    for interface in answer.values():
        mac = str(interface.get("hwaddr") or "").lower()
        for one in interface.get("addrs") or () if mac in nics else ():
            if len(found[mac]) == MOST_ADDRESSES:
                break
            address = _address(str(one.get("addr", "")))
            if address is not None:
                prefix = one.get("prefix")
                length = prefix if isinstance(prefix, int) else None
                found[mac][address] = Sighting(
                    nics[mac].mac, address, AGENT, CONFIRMED, 0.0, nics[mac].uplink or "", length
                )
    return [sighting for by_address in found.values() for sighting in by_address.values()]


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return None if address.is_loopback or address.is_unspecified or address.is_multicast else str(address)
