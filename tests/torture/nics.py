# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""One NIC of the model's domains, as a value and as XML."""

from __future__ import annotations

import re
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, replace

# Names of links that libvirt generates, and drops at define.
AUTOMATIC = re.compile(r"(macvtap|vnet)\d+")
# Values that only virtio has.
_MODELS_WITH_DRIVER = ("virtio",)
# The id of a running NIC's port on its network.
PORT = "6a1"


@dataclass(frozen=True)
class Nic:
    """What the model knows of one ``<interface>``, "" for what is not there; ``address`` is the PCI bus, 0 for none.

    A stored one on a direct ``network`` has neither source nor mode, and a running one has those that the network gave
    it.
    """

    mac: str
    type: str = "direct"
    source: str = "eth0"
    mode: str = "vepa"
    model: str = "rtl8139"
    target: str = ""
    alias: str = ""
    link: str = ""
    driver: str = ""
    queues: str = ""
    average: str = ""
    address: int = 0
    network: str = ""

    @property
    def plain(self) -> Nic:
        """Return the NIC without values chosen by libvirt."""
        return replace(self, target="" if AUTOMATIC.fullmatch(self.target) else self.target, address=0)


def parse(element: ET.Element) -> Nic:
    """Return the NIC as libvirt stores it, without values that it drops."""

    def attribute(path: str, name: str) -> str:
        found = element.find(path)
        return "" if found is None else found.get(name, "")

    kind = element.get("type", "")
    # In an interface of type direct libvirt ignores it.
    network = attribute("source", "network") if kind == "network" else ""
    kind = "direct" if network else kind
    model = attribute("model", "type") or "rtl8139"
    has_driver = model in _MODELS_WITH_DRIVER
    target, alias, queues = attribute("target", "dev"), attribute("alias", "name"), attribute("driver", "queues")
    return Nic(
        mac=attribute("mac", "address").lower(),
        type=kind,
        source="" if network else attribute("source", "dev") or attribute("source", "bridge"),
        mode=(attribute("source", "mode") or "vepa") if kind == "direct" and not network else "",
        model=model,
        target="" if AUTOMATIC.fullmatch(target) else target,
        alias=alias if alias.startswith("ua-") else "",
        link=attribute("link", "state").replace("up", ""),
        driver=attribute("driver", "name") if has_driver else "",
        queues=queues if has_driver and queues != "1" else "",
        average=attribute("bandwidth/inbound", "average"),
        address=int(attribute("address", "bus") or "0", 0),
        network=network,
    )


def render(nic: Nic) -> str:
    source = f"dev='{nic.source}' mode='{nic.mode}'" if nic.type == "direct" else f"bridge='{nic.source}'"
    kind = nic.type
    if nic.network and nic.source:
        source = f"network='{nic.network}' portid='{PORT}' {source}"
    elif nic.network:
        kind, source = "network", f"network='{nic.network}'"
    lines = [f"<interface type='{kind}'>", f"  <mac address='{nic.mac}'/>", f"  <source {source}/>"]
    if nic.average:
        lines += ["  <bandwidth>", f"    <inbound average='{nic.average}'/>", "  </bandwidth>"]
    if nic.target:
        lines.append(f"  <target dev='{nic.target}'/>")
    lines.append(f"  <model type='{nic.model}'/>")
    driver = "".join(f" {name}='{value}'" for name, value in (("name", nic.driver), ("queues", nic.queues)) if value)
    if driver:
        lines.append(f"  <driver{driver}/>")
    if nic.link:
        lines.append(f"  <link state='{nic.link}'/>")
    if nic.alias:
        lines.append(f"  <alias name='{nic.alias}'/>")
    if nic.address:
        lines.append(f"  <address type='pci' domain='0x0000' bus='0x{nic.address:02x}' slot='0x00' function='0x0'/>")
    return "\n    ".join([*lines, "</interface>"])


class Document(t.NamedTuple):
    """The parts of a domain's XML in the model. ``memory`` stands for everything except NICs."""

    name: str
    uuid: str
    memory: int
    nics: tuple[Nic, ...]


def parse_domain(text: str) -> Document:
    root = ET.fromstring(text)  # noqa: S314  # what the module wrote
    return Document(
        root.findtext("name") or "",
        root.findtext("uuid") or "",
        int(root.findtext("memory") or "0"),
        tuple(parse(element) for element in root.iterfind("devices/interface")),
    )


def render_domain(document: Document, number: int | None = None) -> str:
    """Return a domain's XML; ``number`` is that of a running one."""
    opening = "<domain type='kvm'>" if number is None else f"<domain type='kvm' id='{number}'>"
    nics = "".join(f"    {render(nic)}\n" for nic in document.nics)
    return (
        f"{opening}\n  <name>{document.name}</name>\n  <uuid>{document.uuid}</uuid>\n"
        f"  <memory unit='KiB'>{document.memory}</memory>\n  <devices>\n{nics}  </devices>\n</domain>\n"
    )
