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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import connection, markup, spans

_CHANNEL = "org.qemu.guest_agent.0"
# As many requests of one client does libvirtd work on at a time by default (max_client_requests).
_AT_ONCE = 5


class Agents:
    """The agents of a libvirt's guests. One that has not answered yet is not asked again."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._busy: set[str] = set()
        self._answers: dict[str, tuple[float, dict[str, t.Any]]] = {}
        self._errors: dict[str, str] = {}
        self._slots = threading.Semaphore(_AT_ONCE)
        self._unavailable = ""

    def ask(self, guests: t.Iterable[Guest], seconds: float) -> list[Sighting]:
        """Ask all agents at once, and return what those say that answer within so many seconds.

        The answers of this very call only; asks none of a guest whose agent is not connected.
        """
        begin = time.monotonic()
        running = {guest.uuid: guest.name for guest in guests if guest.runs}
        threads: list[threading.Thread] = []
        try:
            with connection.opened(self._uri, connection.Connection, read_only=False) as opened:
                for uuid, name in running.items():
                    if uuid not in self._busy and (domain := _with_agent(opened, uuid)) is not None:
                        self._busy.add(uuid)
                        # A daemon: the run does not wait for it in the end.
                        thread = threading.Thread(
                            target=self._ask, args=(opened.libvirt, domain, uuid, name), daemon=True
                        )
                        thread.start()
                        threads.append(thread)
                for thread in threads:
                    thread.join(max(0.0, begin + seconds - time.monotonic()))
        except MacvtapError as exc:
            self._unavailable = str(exc)
            return []
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

    def _ask(self, libvirt: t.Any, domain: t.Any, uuid: str, _name: str) -> None:
        error, answer = "", None
        with self._slots:
            try:
                answer = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
            except libvirt.libvirtError as exc:
                gone = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID)
                error = "" if exc.get_error_code() in gone else connection.message_of(exc)
        with self._lock:
            self._busy.discard(uuid)
            self._errors.pop(uuid, None)
            if error:
                self._errors[uuid] = error
            elif answer is not None:
                self._answers[uuid] = (time.monotonic(), answer)


def _with_agent(opened: connection.Connection, uuid: str) -> t.Any:
    """Return the libvirt domain if it has an agent that is connected, else None."""
    with contextlib.suppress(opened.libvirt.libvirtError):
        domain = opened.handle.lookupByUUIDString(uuid)
        if has_agent(str(domain.XMLDesc(0))):
            return domain
    return None


def has_agent(document: str) -> bool:
    """Whether a running domain's XML says that an agent is connected."""
    text = document.encode()
    for start, end in spans.slices(text, "devices", "channel")[1]:
        target = markup.attributes(spans.locate(text[start:end], 1)).get(("target",), {})
        if target.get("name") == _CHANNEL:
            # libvirt before 1.2.11 shows no state.
            return target.get("state", "connected") == "connected"
    return False


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
