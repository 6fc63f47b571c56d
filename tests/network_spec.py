# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the XML of a direct network says, and how libvirt edits it: a part of network_model.py."""

from __future__ import annotations

import uuid as uuids
from dataclasses import dataclass, replace
from xml.etree import ElementTree

# Codes of libvirt's errors.
INTERNAL_ERROR, XML_ERROR, OPERATION_FAILED, NO_DOMAIN, NO_NETWORK, OPERATION_INVALID = 1, 27, 9, 42, 43, 55
_MODES = ("bridge", "vepa", "private", "passthrough")


class LibvirtError(Exception):
    """Like libvirt.libvirtError."""

    def __init__(self, message: str, code: int = INTERNAL_ERROR) -> None:
        super().__init__(message)
        self._code = code

    def get_error_code(self) -> int:
        return self._code

    def get_error_message(self) -> str:
        return str(self)

    def get_int1(self) -> int:
        return 0


def element_of(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314  # it is the tests' own


@dataclass(frozen=True)
class Spec:
    """What one XML of a network has. ``portgroups`` and ``rest`` (all else) are texts of elements."""

    mode: str
    interfaces: tuple[str, ...] = ()
    pf: str = ""
    portgroups: tuple[str, ...] = ()
    rest: str = ""

    @property
    def groups(self) -> dict[str, ElementTree.Element]:
        elements = map(element_of, self.portgroups)
        return {element.get("name", ""): element for element in elements}

    def trusted(self, portgroup: str) -> str:
        """Return whether a NIC that chooses this portgroup ("": the default one) is trusted, "" if nothing says so."""
        for name, element in self.groups.items():
            if name == portgroup or (not portgroup and element.get("default") == "yes"):
                return element.get("trustGuestRxFilters", "")
        return ""


def with_uplink(spec: Spec, command: str, root: ElementTree.Element) -> Spec:
    device = root.get("dev", "")
    there = device in spec.interfaces
    if spec.pf or there == (command == "add"):
        raise LibvirtError(f"Requested operation is not valid: there is{'' if there else ' no'} interface {device}", 55)
    if command == "add":
        return replace(spec, interfaces=(*spec.interfaces, device))
    return replace(spec, interfaces=tuple(one for one in spec.interfaces if one != device))


def with_group(spec: Spec, command: str, root: ElementTree.Element, element: str) -> Spec:
    name, there = root.get("name", ""), spec.groups
    if (name in there) == (command == "add"):
        raise LibvirtError(f"Requested operation is not valid: portgroup {name!r}", OPERATION_INVALID)
    others = [group for other, group in there.items() if other != name]
    if command != "remove" and root.get("default") == "yes" and any(one.get("default") == "yes" for one in others):
        raise LibvirtError("Requested operation is not valid: there already is a default portgroup", OPERATION_INVALID)
    if command == "add":
        return replace(spec, portgroups=(*spec.portgroups, element))
    places = dict(zip(there, spec.portgroups))
    if command == "remove":
        del places[name]
    else:
        places[name] = element
    return replace(spec, portgroups=tuple(places.values()))


def parsed(document: str) -> tuple[str, str, Spec]:
    """Return the name, the UUID and the rest of a network's XML, as libvirt accepts it."""
    root = element_of(document)
    forward = root.find("forward")
    mode = forward.get("mode", "nat") if forward is not None else ""
    pf = forward.find("pf") if forward is not None else None
    devices = tuple(one.get("dev", "") for one in root.iterfind("forward/interface"))
    alone = forward.get("dev") if forward is not None else None
    if mode in _MODES and not (devices or alone or pf is not None):
        raise LibvirtError("XML error: a direct network has no interface", XML_ERROR)
    if alone and devices and alone != devices[0]:
        raise LibvirtError("XML error: forward dev must match first interface element dev", XML_ERROR)
    groups = [ElementTree.tostring(one, encoding="unicode").strip() for one in root.iterfind("portgroup")]
    defaults = [one for one in root.iterfind("portgroup") if one.get("default") == "yes"]
    if len(defaults) > 1:
        raise LibvirtError("XML error: multiple default <portgroup> elements", XML_ERROR)
    known = {"name", "uuid", "forward", "portgroup"}
    rest = "".join(ElementTree.tostring(one, encoding="unicode").strip() for one in root if one.tag not in known)
    uuid = root.findtext("uuid") or str(uuids.uuid5(uuids.NAMESPACE_DNS, document))
    spec = Spec(mode, devices or ((alone,) if alone else ()), pf.get("dev", "") if pf is not None else "")
    return root.findtext("name", ""), uuid, replace(spec, portgroups=tuple(groups), rest=rest)
