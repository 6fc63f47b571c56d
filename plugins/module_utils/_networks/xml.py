# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Reads a network's XML and a port's. Text in, text out; no libvirt."""

from __future__ import annotations

import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _text
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import markup, spans
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK, PORTGROUP
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import (
    DIRECT_MODES,
    Definition,
    Port,
    Portgroup,
)


class Identity(t.NamedTuple):
    """The network of an XML document."""

    name: str
    uuid: str


def identity(document: str) -> Identity:
    """Return the network's name and UUID, "" for a missing one."""
    text = document.encode()
    root = _root(text, "network")
    texts = {c.name: spans.content(text, c) for c in root.children if c.name in {"name", "uuid"}}
    return Identity(texts.get("name", ""), texts.get("uuid", ""))


@functools.lru_cache(maxsize=256)
def read(document: str) -> Definition:
    """Return what the XML of a network says.

    :raises MacvtapError: it is not the XML of a network.
    """
    text = document.encode()
    root = _root(text, "network")
    values = markup.read(root, markup.attributes(root), NETWORK)
    mode = values.pop("mode", None)
    forward = root.child("forward")
    if forward is None:
        return Definition(forward="isolated")
    bridge = root.child("bridge")
    if mode not in DIRECT_MODES or (bridge is not None and "name" in bridge.attributes):
        # Without a mode libvirt's is nat.
        return Definition(forward=f"{mode or 'nat'}" + (" on a bridge" if mode in DIRECT_MODES else ""))
    uplinks = [one.attributes for one in forward.children if one.name == "interface"]
    devices = [one.get("dev", "") for one in uplinks]
    # Without elements, the uplink is an attribute of its own.
    alone = forward.attributes.get("dev")
    return Definition(
        mode=mode,
        interfaces=tuple(devices or ([alone] if alone and "pf" not in values else [])),
        pf=values.pop("pf", None),
        values=values,
        portgroups=tuple(_portgroup(text, one) for one in root.children if one.name == "portgroup"),
        forward=mode,
        connections={name: count for name, one in zip(devices, uplinks) if (count := _count(one))},
    )


def _count(uplink: t.Mapping[str, str]) -> int:
    return _text.number(uplink.get("connections", "")) or 0


def read_port(document: str, network: str) -> Port:
    """Return a port of the network of this name.

    :raises MacvtapError: it is not the XML of a port.
    """
    text = document.encode()
    root = _root(text, "networkport")
    found = markup.attributes(root)
    texts = {child.name: spans.content(text, child) for child in root.children if child.name in {"uuid", "group"}}
    owner = root.child("owner")
    owners = {child.name: spans.content(text, child) for child in owner.children} if owner is not None else {}
    plug = found.get(("plug",), {})
    values = markup.read(root, found, PORTGROUP)
    trusted = found.get(("rxfilters",), {}).get("trustGuest")
    return Port(
        network=network,
        portgroup=texts.get("group"),
        uplink=plug.get("dev", ""),
        domain=owners.get("name", ""),
        uuid=owners.get("uuid", ""),
        mac=found.get(("mac",), {}).get("address", "").lower(),
        mode=plug.get("mode", ""),
        id=texts.get("uuid", ""),
        values={**values, **({"trust_guest_rx_filters": trusted} if trusted else {})},
    )


def _root(text: bytes, name: str) -> spans.Element:
    root = spans.locate(text, markup.DEPTH)
    if root.name != name or "xmlns" in root.attributes:
        raise MacvtapError(f"the XML is not that of a {name}: its root is <{root.name}>")
    return root


def _portgroup(text: bytes, element: spans.Element) -> Portgroup:
    own = spans.bytes_of(text, element)
    located = spans.locate(own, markup.DEPTH)
    values = markup.read(located, markup.attributes(located), PORTGROUP)
    default = values.pop("default", "no") == "yes"
    return Portgroup(element.attributes.get("name", ""), default, values, own.decode())
