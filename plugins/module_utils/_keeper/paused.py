# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Brings a guest back that a run has saved to change its NICs, and that the run did not restore.

A guest that others save is theirs to restore. So a run marks the guest in its metadata before it saves it, and the
image has the mark.

Part of the keeper's program: standard library only, libvirt is a parameter.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import typing as t
from xml.etree import ElementTree
from xml.parsers import expat

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper import links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._keeper.records import State

# The namespace and the prefix of the mark in the guest's metadata.
_URI, _PREFIX = "urn:linuxvirt.macvtap:pause", "linuxvirt"
# virDomainState and virDomainPausedReason of libvirt-domain.h.
_PAUSED_TO_SAVE = (3, 3)
_OLD, _NEW = "old", "new"
_INTERFACE = ["domain", "devices", "interface"]


def mark(libvirt: t.Any, domain: t.Any, token: str) -> None:
    """Mark a running guest as being paused by the run with this ``token``."""
    kind, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
    domain.setMetadata(kind, f"<pause token='{token}'/>", _PREFIX, _URI, live)


def unmark(libvirt: t.Any, domain: t.Any) -> None:
    """Remove the mark, which the guest may no longer have."""
    with contextlib.suppress(libvirt.libvirtError):
        kind, live = libvirt.VIR_DOMAIN_METADATA_ELEMENT, libvirt.VIR_DOMAIN_AFFECT_LIVE
        domain.setMetadata(kind, None, None, _URI, live)


def record(token: str, *, running: bool, local: bool = False, **more: t.Any) -> State:
    """Return the record of a pause that begins; ``running`` is whether the guest was not paused before.

    ``local`` is whether its links are on this host. ``more`` is what others may want to know of it.
    """
    made: State = {"token": token, "running": running, "local": local, "has": _OLD}
    return {**made, "interfaces": {_OLD: {}, _NEW: {}}, "allmulticast": {_OLD: [], _NEW: []}, **more}


def with_allmulticast(pause: State, old: t.Iterable[str], new: t.Iterable[str]) -> State:
    """Return the record of a pause with the NICs (MAC addresses) whose links receive all multicast.

    A restored guest has new links, and libvirt's XML does not have it.
    """
    return {**pause, "allmulticast": {_OLD: sorted(old), _NEW: sorted(new)}}


def changed(pause: State, old: t.Mapping[str, str], new: t.Mapping[str, str]) -> State:
    """Return the record of a pause whose image gets the elements ``new`` instead of ``old``, by MAC address."""
    return {**pause, "has": _NEW, "interfaces": {_OLD: dict(old), _NEW: dict(new)}}


def unchanged(pause: State) -> State:
    """Return the record of a pause whose image was not changed after all."""
    return {**pause, "has": _OLD}


def is_changed(pause: State) -> bool:
    """Return whether the guest has the elements that the run has put into its image."""
    return bool(pause["has"] == _NEW)


def finish(libvirt: t.Any, domain: t.Any, pause: State, *, prefer_old: bool = False, restores: bool = True) -> bool:
    """Bring a guest back; return whether that is still to be done.

    It gets the NICs that its image has, or with ``prefer_old`` those from before; the others if it cannot be restored
    with these. It updates ``pause``. Without ``restores`` the run has restored it already, and it is not started again:
    others may have saved it since, with the mark that it still has.

    :raises libvirtError: libvirt does not restore it.
    """
    if domain is None:
        return False
    # First: the image of a guest that runs right after this is of no use, and would bring back an old state.
    saved = bool(domain.hasManagedSaveImage())
    if domain.isActive():
        return _is_busy(domain, pause, saved=saved)
    # A guest without an image was stopped by others, or it was restored and has stopped since.
    document = domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) if saved else ""
    if not restores or pause["token"] not in document:
        return False
    if is_host_stopping():
        return True
    if prefer_old and pause["has"] == _NEW:
        _swap(domain, pause, document)
        document = domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
    try:
        restore(domain, document, local=pause["local"])
    except libvirt.libvirtError:
        if domain.isActive() or not any(pause["interfaces"].values()):
            raise
        _swap(domain, pause, document)
        restore(domain, with_interfaces(document, pause["interfaces"][pause["has"]]), local=pause["local"])
    complete(libvirt, domain, pause)
    return False


def restore(domain: t.Any, document: str, *, local: bool) -> None:
    """Restore a guest of its image, whose XML is ``document``.

    If that fails, no source of an interface in mode passthrough keeps the guest's address (libvirt 9.0).

    :raises libvirtError: libvirt does not restore it.
    """
    with contextlib.ExitStack() as kept:
        for one in ElementTree.fromstring(document).iterfind("devices/interface") if local else ():  # noqa: S314
            # It was on a network that has gone.
            with contextlib.suppress(Exception):
                kept.enter_context(links.address_kept(ElementTree.tostring(one, encoding="unicode"), domain))
        domain.create()


def complete(libvirt: t.Any, domain: t.Any, pause: State) -> None:
    """Give the new links of a restored guest what libvirt does not know, and remove the mark."""
    receiving = pause["allmulticast"][pause["has"]] if pause["local"] else []
    if receiving:
        with contextlib.suppress(libvirt.libvirtError):
            for one in ElementTree.fromstring(domain.XMLDesc(0)).iterfind("devices/interface"):  # noqa: S314
                mac = one.find("mac")
                if mac is not None and mac.get("address", "").lower() in receiving:
                    links.set_allmulticast(links.target_of(one) or "")
    unmark(libvirt, domain)


def _is_busy(domain: t.Any, pause: State, *, saved: bool) -> bool:
    """Return whether a running guest is still being saved or restored; else complete the pause."""
    if domain.jobStats().get("type"):
        return True
    if saved:
        # libvirtd was killed while it saved or restored the guest. The guest has gone on since.
        domain.managedSaveRemove(0)
    if pause["running"] and tuple(domain.state()[:2]) == _PAUSED_TO_SAVE:
        domain.resume()
    return False


def _swap(domain: t.Any, pause: State, document: str) -> None:
    """Give the image the other NICs: the old ones instead of the new ones, or the reverse."""
    other = _OLD if pause["has"] == _NEW else _NEW
    domain.managedSaveDefineXML(with_interfaces(document, pause["interfaces"][other]), 0)
    pause["has"] = other


def with_interfaces(document: str, elements: t.Mapping[str, str]) -> str:
    """Return a domain's XML with these ``elements`` as interfaces, by MAC address; all else stays to the byte."""
    text = document.encode()
    path: list[str] = []
    edits: list[tuple[int, int, str]] = []
    begun, mac = 0, ""
    parser = expat.ParserCreate()

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal begun, mac
        path.append(name)
        if path == _INTERFACE:
            begun, mac = parser.CurrentByteIndex, ""
        elif path == [*_INTERFACE, "mac"]:
            mac = attributes.get("address", "").lower()

    def end(_name: str) -> None:
        if path == _INTERFACE and mac in elements:
            edits.append((begun, text.index(b">", parser.CurrentByteIndex) + 1, elements[mac]))
        path.pop()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.Parse(text, True)  # it takes no keyword
    for begin, stop, element in reversed(edits):
        text = text[:begin] + element.encode() + text[stop:]
    return text.decode()


def is_host_stopping() -> bool:
    """Return whether systemd is shutting the host down, so that no guest is started any more."""
    if not os.path.isdir("/run/systemd/system"):
        return False
    try:
        # The keeper has no module.
        done = subprocess.run(  # pylint: disable=ansible-bad-function
            ["systemctl", "is-system-running"], capture_output=True, check=False, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.stdout.strip() == b"stopping"
