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
    Guest,
    Sighting,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import save_blockers
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import connection

# libvirtd has twenty workers by default (max_workers), and each agent that does not answer keeps one busy for seconds.
_AT_ONCE = 5


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
        self._slots = threading.Semaphore(_AT_ONCE)
        self._unavailable = ""

    def ask(self, guests: t.Iterable[Guest], seconds: float) -> list[Sighting]:
        """Ask all agents that are connected, and return what those say that answer to this call within that time."""
        begin = time.monotonic()
        threads = []
        try:
            with connection.opened(self._uri, connection.Connection, read_only=False) as opened:
                for guest in guests:
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
            answers = [answer for when, answer in self._answers.values() if when >= begin]
        return [sighting for answer in answers for sighting in sightings(answer)]

    def warnings(self, names: t.Mapping[str, str]) -> list[str]:
        """Return what went wrong, with the guests' ``names`` by UUID."""
        if self._unavailable:
            return [f"guest agents were not asked: {self._unavailable}"]
        with self._lock:
            silent = sorted(names[uuid] for uuid in self._busy & names.keys())
            errors = sorted((names[uuid], text) for uuid, text in self._errors.items() if uuid in names)
        found = [f"{name}: the guest agent was asked and reports: {text}" for name, text in errors]
        if silent:
            found.append(f"the guest agents of these guests did not answer in time: {_text.join_names(silent)}")
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
                return True
        return False

    def _ask(self, libvirt: t.Any, uuid: str, until: float) -> None:
        error, answer = "", None
        # Whoever has no turn in time stays among those that have not answered.
        if not self._slots.acquire(timeout=max(0.0, until - time.monotonic())):
            return
        try:
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


def sightings(answer: t.Mapping[str, t.Any]) -> list[Sighting]:
    """Return the addresses in an agent's answer, which is a guest's: whatever is no address is left out."""
    found = []
    for interface in answer.values():
        mac = str(interface.get("hwaddr") or "").lower()
        for one in interface.get("addrs") or ():
            text = str(one.get("addr", "")).partition("%")[0]
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                continue
            if mac and not (address.is_loopback or address.is_unspecified or address.is_multicast):
                prefix = one.get("prefix")
                found.append(
                    Sighting(
                        mac, str(address), AGENT, CONFIRMED, 0.0, prefix=prefix if isinstance(prefix, int) else None
                    )
                )
    return found
