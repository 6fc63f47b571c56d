# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The adapter that finds the link of a domain's NIC, as libvirt has it: a guest may have changed its MAC address."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import markup, spans, uris
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.connection import Connection, opened
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._text import did_you_mean, suggest

_OWN = "qemu:///system"


class Asked(t.NamedTuple):
    """A NIC of a domain, and the path of its options. If it is not ``expected``, there may be no such NIC."""

    path: str
    domain: str
    mac: str
    expected: bool = True


def links(asked: t.Sequence[Asked], uri: str) -> dict[str, str]:
    """Return the links of the NICs of running guests, by path.

    :raises MacvtapError: there is no such domain, or it has no such NIC; or libvirt is not known to be this host's,
        whose links may have the same names.
    """
    if not asked:
        return {}
    found = {}
    uris.validate(uri)
    if uris.names_host(uri):
        raise _elsewhere(uri)
    with opened(uri, Connection, read_only=True) as connection:
        # An alias may stand for any URI.
        if not connection.local:
            raise _elsewhere(uri)
        for one in asked:
            link = _link(connection, one)
            if link:
                found[one.path] = link
    return found


def owners(macs: t.Collection[str], uri: str) -> dict[str, tuple[str, ...]]:
    """Return which domains have a NIC with one of these MAC addresses now, or will have at their next start.

    Without ``uri``, those of the host's own libvirt if there is one.

    :raises MacvtapError: libvirt cannot be asked, or does not let this user read a domain.
    """
    if not macs:
        return {}
    found: dict[str, list[str]] = {}
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(opened(uri or _OWN, Connection, read_only=True))
        except MacvtapError:
            if uri:
                raise
            return {}
        with connection.translate_errors("cannot read the domains"):
            for domain in connection.handle.listAllDomains():
                for mac in {*_addresses(connection, domain)} & {*macs}:
                    found.setdefault(mac, []).append(str(domain.name()))
    return {mac: tuple(sorted(names)) for mac, names in found.items()}


def _addresses(connection: Connection, domain: t.Any) -> set[str]:
    """Return the MAC addresses of a domain's NICs, none if it is gone meanwhile."""
    libvirt = connection.libvirt
    try:
        documents = [str(domain.XMLDesc(0))]
        documents += [str(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))] if domain.isPersistent() else []
    except libvirt.libvirtError as exc:
        if exc.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return set()
    return {mac for document in documents for mac in _nics(document)}


def _elsewhere(uri: str) -> MacvtapError:
    message = (
        f"{uri} is not known to be this host's own libvirt, and a guard is on the host of the guest. Run the task "
        "there, or remove domain"
    )
    return MacvtapError(message, path="uri")


def _link(connection: Connection, one: Asked) -> str:
    with connection.translate_errors("cannot read the domains", join_path(one.path, "domain")):
        domains = {each.name(): each for each in connection.handle.listAllDomains()}
        domain = domains.get(one.domain)
        if domain is None and not one.expected:
            return ""
        if domain is None:
            message = f"there is no domain {one.domain!r}{did_you_mean(suggest(one.domain, domains))}"
            raise MacvtapError(message, path=join_path(one.path, "domain"))
        live = str(domain.XMLDesc(0))
        stored = str(domain.XMLDesc(connection.libvirt.VIR_DOMAIN_XML_INACTIVE)) if domain.isPersistent() else live
        is_running = bool(domain.isActive())
    nics = _nics(live if is_running else stored)
    if one.expected and one.mac not in nics and one.mac not in _nics(stored):
        has = f"it has {', '.join(sorted(nics))}" if nics else "it has none"
        message = f"domain {one.domain!r} has no direct interface with the MAC address {one.mac}; {has}"
        raise MacvtapError(message, path=join_path(one.path, "mac"))
    return nics.get(one.mac, "") if is_running else ""


def _nics(document: str) -> dict[str, str]:
    """Return the links of a domain's NICs by MAC address, "" for a NIC without: direct ones, and those on networks."""
    text = document.encode()
    found = {}
    for start, end in spans.slices(text, "devices", "interface")[1]:
        attributes = markup.attributes(spans.locate(text[start:end], markup.DEPTH))
        if attributes.get((), {}).get("type") in ("direct", "network"):
            mac = attributes.get(("mac",), {}).get("address", "").lower()
            found[mac] = attributes.get(("target",), {}).get("dev", "")
    return found
