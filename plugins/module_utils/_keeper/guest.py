# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The keeper's work on one domain: it attaches the NICs that the guest has released, until no request is left.

A request is complete when the guest has released its NIC, or when the guest has ended. A saved guest has not ended:
QEMU saves the request as well, and completes it after the guest is restored.

Part of the keeper's program: standard library only, libvirt is a parameter.
"""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from xml.etree import ElementTree

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import guards, links, paused, records
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper.records import State

# How long a request to save a guest may be under way after the run that sent it was killed: libvirt waits 30 seconds
# for another job of the guest to end.
_SECONDS = 35.0
# What may have happened to a guest.
_ENDED, _SAVED, _RESTORED = "ended", "saved", "restored"
# libvirt's states with their reasons: virDomainState and vir…Reason of libvirt-domain.h. A guest that is restored or
# migrates here is paused first, and one that was saved while paused stays so. A restart of libvirtd loses the reason
# why a guest does not run.
_RUNNING_BOOTED, _STARTING_UP, _SHUT_OFF_SAVED, _SHUT_OFF_UNKNOWN = (1, 1), (3, 11), (5, 5), (5, 0)
_RUNNING_RESTORED = ((1, 3), (1, 4), (3, 2), (3, 7))


class _Live(t.NamedTuple):
    """A domain as it runs: its ``instance`` ("": it does not), and its ``<interface>`` elements by MAC address."""

    instance: str
    interfaces: t.Mapping[str, ElementTree.Element]


def boot_id() -> str:
    """Return the ID of this boot of the host."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def instance(domain: t.Any, number: int, *, local: bool) -> str:
    """Return the ID of this start of a guest, "" if it does not run: libvirt's ID and, on this host, QEMU's start time.

    libvirt's IDs alone can repeat after its restart.

    :raises OSError: that is not known now.
    """
    if number < 0:
        return ""
    if local:
        # Not every driver has the file, and QEMU may have ended just now.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
            with open(f"/run/libvirt/qemu/{domain.name()}.pid", encoding="ascii") as file:
                pid = int(file.read())
            return f"{number} {process(pid)}"
    return str(number)


def process(pid: int) -> str:
    """Return the ID of a process: its number, and when it was started.

    :raises OSError: there is no such process.
    """
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return f"{pid} {file.read().rpartition(')')[2].split()[19]}"


def look(libvirt: t.Any, connection: t.Any, directory: str, uuid: str, exclude: t.Container[str] = ()) -> bool:
    """Look at a domain once: attach released NICs that should come back, and remove completed requests.

    Nothing is done for NICs with the MAC addresses ``exclude``. Return whether libvirt refuses to attach a NIC.
    """
    with records.locked(directory, uuid):
        state = records.load(directory, uuid)
        if state is None:
            records.save(directory, uuid, None)
            return False
        before = json.dumps(state)
        local = state["local"]
        domain, live = _read(libvirt, connection, uuid, local=local)
        if state.get("pause"):
            # The run that paused it holds the lock as long as it lives.
            if _is_paused(libvirt, domain, live, state):
                records.save(directory, uuid, state)
                return "error" in state["pause"]
            del state["pause"]
            domain, live = _read(libvirt, connection, uuid, local=local)
        if live.instance != state["instance"] or (local and state.get("boot", boot_id()) != boot_id()):
            fate = _fate(libvirt, domain, live.instance, state)
            if fate != _RESTORED:
                # A guest that has ended gets the stored configuration at its next start.
                if fate == _ENDED or json.dumps(state) != before:
                    records.save(directory, uuid, state if fate == _SAVED else None)
                return False
            _adopt(state, live)
        state["nics"] = {
            mac: nic
            for mac, nic in state["nics"].items()
            if mac in exclude or _remains(libvirt, domain, live, state, mac)
        }
        if json.dumps(state) != before:
            records.save(directory, uuid, state)
        return any("error" in nic for nic in state["nics"].values())


def _remains(libvirt: t.Any, domain: t.Any, live: _Live, state: State, mac: str) -> bool:
    """Return whether something is still to be done for a NIC; what can be done now, is."""
    if mac in live.interfaces:
        return _is_outstanding(domain, mac, state, live)
    return _attach(libvirt, domain, mac, state["nics"][mac], state)


def _is_paused(libvirt: t.Any, domain: t.Any, live: _Live, state: State) -> bool:
    """Bring back a guest whose run was killed while it paused it; return whether that is still to be done."""
    pause = state["pause"]
    pause.pop("error", None)
    try:
        waits = paused.finish(libvirt, domain, pause)
    except libvirt.libvirtError as exc:
        pause["error"] = str(exc.get_error_message() or exc).strip()
        return True
    if live.instance == state["instance"] and state.get("boot") == boot_id() and not waits:
        # libvirt may not have seen the killed run's request yet, and the mark must be in the image then.
        waits = time.monotonic() < pause.setdefault("until", time.monotonic() + _SECONDS)
    if not waits and domain is not None:
        paused.complete(libvirt, domain, pause)
    return waits


def _read(libvirt: t.Any, connection: t.Any, uuid: str, *, local: bool) -> tuple[t.Any, _Live]:
    try:
        domain = connection.lookupByUUIDString(uuid)
        return domain, _live(domain, local=local)
    except libvirt.libvirtError as exc:
        if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None, _Live("", {})


def _live(domain: t.Any, *, local: bool) -> _Live:
    document = domain.XMLDesc(0)
    # Without an id it is the stored XML of a guest that has just stopped.
    number = int(ElementTree.fromstring(document).get("id", -1))  # noqa: S314  # libvirt's own
    return _Live(instance(domain, number, local=local), _interfaces(document) if number >= 0 else {})


def _interfaces(document: str) -> dict[str, ElementTree.Element]:
    found = {}
    # It is libvirt's own.
    for one in ElementTree.fromstring(document).iterfind("devices/interface"):  # noqa: S314
        mac = one.find("mac")
        if mac is not None:
            found[mac.get("address", "").lower()] = one
    return found


def _fate(libvirt: t.Any, domain: t.Any, here: str, asked: State) -> str:
    """Return what happened to the guest of a request; ``here`` is the instance that runs now, if any.

    It updates ``asked``: ``saved`` is whether the guest was saved, ``managed`` whether libvirt has the image. If that
    image is gone and no guest was restored from it, it was discarded. ``domain`` is None if it no longer exists.
    """
    if domain is None:
        return _ENDED
    reason = tuple(domain.state()[:2])
    saved = asked.get("saved", False)
    if here:
        if reason == _STARTING_UP:
            asked["saved"] = True
            return _SAVED
        return _RESTORED if (reason != _RUNNING_BOOTED if saved else reason in _RUNNING_RESTORED) else _ENDED
    managed = _has_managed_save(libvirt, domain)
    by_hand = reason == _SHUT_OFF_SAVED or (saved and reason == _SHUT_OFF_UNKNOWN)
    if managed or (by_hand and not asked.get("managed")):
        asked.update(saved=True, managed=managed)
        return _SAVED
    return _ENDED


def _has_managed_save(libvirt: t.Any, domain: t.Any) -> bool:
    try:
        return bool(domain.hasManagedSaveImage())
    except libvirt.libvirtError as exc:
        if exc.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return False


def _adopt(state: State, live: _Live) -> None:
    """Continue with a restored guest, which has new links."""
    state.update(instance=live.instance, saved=False, managed=False, **({"boot": boot_id()} if state["local"] else {}))
    for mac, nic in state["nics"].items():
        target = links.target_of(live.interfaces[mac]) if mac in live.interfaces else None
        nic.update(target=target, ifindex=links.ifindex(target) if state["local"] else None)


def _is_held(nic: State, interface: ElementTree.Element, *, local: bool) -> bool:
    """Return whether the guest still holds a NIC that it was asked for, and not another one in its place."""
    target = links.target_of(interface)
    nic.pop("error", None)
    # It may change until the NIC is released, and libvirt's XML does not have it.
    receives_all = links.allmulticast(target or "") if local else None
    if receives_all is not None:
        nic["allmulticast"] = receives_all
    # A missing link proves nothing: the guest may have released the NIC right after it was read.
    return not local or nic["ifindex"] is None or links.ifindex(target) in {None, nic["ifindex"]}


def _is_outstanding(domain: t.Any, mac: str, state: State, live: _Live) -> bool:
    """Return whether it is still to be seen what becomes of a NIC that the guest has."""
    nic, interface = state["nics"][mac], live.interfaces[mac]
    is_held = records.is_asked(nic) and _is_held(nic, interface, local=state["local"])
    if (is_held and not nic.get("unguarded")) or _has_gone_since(domain, mac, state):
        return True
    nic["asked"] = is_held
    # A run or a keeper that has attached it was killed before it could do this, or it failed.
    return _is_unguarded(nic, guards.Guards(nic.get("guard"), mac), links.target_of(interface) or "") or is_held


def _is_unguarded(nic: State, guard: guards.Guards, link: str) -> bool:
    """Put the guard on the link of a NIC that the guest has; return whether that failed, and write it down."""
    for name in ("unguarded", "error"):
        nic.pop(name, None)
    error = guard.open(link)
    if error:
        nic.update(unguarded=True, error=error)
    return bool(error)


def _has_gone_since(domain: t.Any, mac: str, state: State) -> bool:
    """Return whether a NIC disappeared just now, so that another link may have its name."""
    live = _live(domain, local=state["local"])
    return live.instance != state["instance"] or mac not in live.interfaces


def _attach(libvirt: t.Any, domain: t.Any, mac: str, nic: State, state: State) -> bool:
    """Attach a released NIC, if it should come back; return whether that, or its guard, is still to do."""
    if not records.is_asked(nic):
        # Somebody has removed it since.
        return False
    elements = _elements(libvirt, domain, mac, nic)
    guard = guards.Guards(nic.get("guard"), mac)
    for element in elements:
        closes = state["local"] and links.may_be_macvtap(element, domain)
        # Before the guest is looked at: it takes a while.
        name = links.free_target(element, nic["ifindex"]) if closes else None
        with guard.closed(name) if closes else contextlib.nullcontext("") as link:
            live = _live(domain, local=state["local"])
            if live.instance != state["instance"] or mac in live.interfaces:
                # The next look handles it.
                return True
            try:
                own = nic["ifindex"]
                named = links.with_free_target(element, own, link) if state["local"] else element
                with links.address_kept(named, domain) if state["local"] else contextlib.nullcontext():
                    domain.attachDeviceFlags(named, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            except libvirt.libvirtError as exc:
                nic["error"] = str(exc.get_error_message() or exc).strip()
                if exc.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:
                    break
            else:
                return _complete(domain, mac, nic, guard, local=state["local"])
    return bool(elements)


def _complete(domain: t.Any, mac: str, nic: State, guard: guards.Guards, *, local: bool) -> bool:
    """Give the new link of a NIC that was just attached what libvirt does not know; return whether it has no guard."""
    made = _live(domain, local=local).interfaces.get(mac) if local and (nic["allmulticast"] or guard.exists) else None
    link = (links.target_of(made) if made is not None else None) or ""
    nic["asked"] = False
    unguarded = _is_unguarded(nic, guard, link)
    if link and nic["allmulticast"]:
        links.set_allmulticast(link)
    return unguarded


def _elements(libvirt: t.Any, domain: t.Any, mac: str, nic: State) -> list[str]:
    """Return the elements to attach for a released NIC, the best first; [] if it should not come back."""
    stored = None
    if domain.isPersistent():
        stored = _interfaces(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).get(mac)
    if stored is not None:
        elements = [ElementTree.tostring(stored, encoding="unicode")]
        address = stored.find("address")
        if address is not None:
            stored.remove(address)
            elements.append(ElementTree.tostring(stored, encoding="unicode"))
    elif nic["returns"]:
        # Another editor has removed it from the stored configuration, which does not take it from the running guest.
        elements = [nic["desired"]] if nic.get("desired") else []
    else:
        return []
    return [*elements, nic["element"], *([nic["off_network"]] if nic.get("off_network") else [])]
