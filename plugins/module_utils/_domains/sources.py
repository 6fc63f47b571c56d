# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Finds the link for a source given by MAC address, PCI address or a long alternative name. Pure.

libvirt finds a source by its name only, or by an alternative name of up to 15 bytes (measured with 9.0 and 11.3). So
a link that is declared in another way is stored by its current name. A name that libvirt accepts is stored as declared:
an alternative name still fits after the link is renamed, and on another host.
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Desired, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.selection import same_source
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, join_path
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt import uplinks
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import parents
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links


def named(declared: t.Iterable[Desired], host: Host) -> list[Desired]:
    """Return ``declared`` with names that libvirt can use as sources. A source that is not found stays as it is."""
    return [_named(desired, host) for desired in declared]


def validated(declared: t.Iterable[Desired], host: Host) -> list[Desired]:
    """As :func:`named`, if each source that matters is found, and only once.

    Whether a link of that name exists is checked later, and only for an interface that is not on it yet.

    :raises MacvtapError: it is not, with the path of the option.
    """
    return [resolve(desired, host) if _matters(desired, host) else _named(desired, host) for desired in declared]


def resolve(desired: Desired, host: Host) -> Desired:
    """Return ``desired`` with a name that libvirt can use as its source.

    :raises MacvtapError: there is no such link, or several, or the links of the guests' host are not known.
    """
    declared = desired.given.get("source")
    if declared is None or uplinks.is_usable(declared, host.links):
        return desired
    path = join_path(desired.path, "source")
    if host.links is None:
        raise MacvtapError(uplinks.unknown(declared, host.links_unknown), path=path)
    name = parents.find(declared, host.links, path=path).name
    return replace(
        desired,
        given={**desired.given, "source": name},
        key=name if desired.by == "source" else desired.key,
        looked_up=True,
    )


def as_stored(desired: Desired, stored: Iface | None, links: Links | None) -> dict[str, str | None]:
    """Return the declared values; if the source was looked up, with the name by which ``stored`` is on that link."""
    values = dict(desired.given)
    if desired.looked_up and stored is not None and stored.type == "direct":
        name = stored.get("source")
        values["source"] = name if same_source(name, values["source"], links) else values["source"]
    return values


def _matters(desired: Desired, host: Host) -> bool:
    return desired.present or (desired.by == "source" and desired.domain in host.domains)


def _named(desired: Desired, host: Host) -> Desired:
    try:
        return resolve(desired, host)
    except MacvtapError:
        return desired
