# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Interfaces on direct networks of libvirt: which are on one, and what the network gives them. Pure.

libvirt stores such an interface as one of type network. When the guest starts, it takes an uplink of the network, and
shows the interface as one of type direct, with the network's name in its source (measured with 9.0).
"""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import OF_NETWORK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host, Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Definition, Network

Networks = t.Optional[t.Mapping[str, Network]]
# The fields that say which network an interface is on, without what it gives the interface.
NAMES = OF_NETWORK
# What a network gives its interfaces beside an uplink and its mode. An interface's own values take precedence.
_SETTINGS = ("virtualport", "vlan", "bandwidth", "trust_guest_rx_filters")
_TRUST = "trust_guest_rx_filters"
# The first libvirt that was measured to connect a running guest's NIC with a network, or to take it off one, where its
# link stays as it is. 9.0 reports success and changes nothing.
_CONNECTS_LIVE = 11_003_000
# libvirt replaces the whole interface to change these in a running guest. By its source, it then chooses an uplink of
# the network again, and refuses another one than the NIC has.
TAKES_NEW_PORT = ("bandwidth", _TRUST)
GIVEN = ("source", "mode", *_SETTINGS)


def with_direct(host: Host, declared: t.Collection[str] = ()) -> Host:
    """Return ``host`` with the stored interfaces on its direct networks as direct ones.

    Where its networks are not known, as in a file, those are direct that a task has ``declared``.
    """
    names = declared if host.networks is None else direct(host)
    return replace(host, domains={name: _domain(domain, names, host.networks) for name, domain in host.domains.items()})


def direct(host: Host) -> frozenset[str]:
    """Return the names of the known direct networks."""
    return frozenset(name for name, network in (host.networks or {}).items() if network.direct)


def as_stored(ifaces: tuple[Iface, ...], names: t.Collection[str]) -> tuple[Iface, ...]:
    """Return ``ifaces`` as libvirt reads them from a stored configuration; ``names`` are the direct networks."""
    return tuple(_as_stored(iface, names) for iface in ifaces)


def storable(values: t.Mapping[str, str], desired: t.Container[str], current: Iface | None = None) -> dict[str, str]:
    """Return ``values`` without what an interface on a network does not store; ``desired`` are the declared fields.

    ``current`` is the stored interface before, if it is a direct one.
    """
    if values.get("network") is None:
        return dict(values)
    others = {"source", "mode"}
    joins = current is None or current.get("network") is None
    if joins and _TRUST not in desired and values.get(_TRUST) == "no":
        # It is the default of other interfaces. Here it would override the network's.
        others.add(_TRUST)
    return {name: text for name, text in values.items() if name not in others}


def with_own(values: t.Mapping[str, str], stored: Iface) -> dict[str, str]:
    """Return the ``values`` of a running interface without what its network gave it.

    It has what the ``stored`` one on a network has of that.
    """
    if stored.get("network") is None:
        return dict(values)
    rest = {name: text for name, text in values.items() if name.split(".")[0] not in _SETTINGS}
    return {**rest, **{name: text for name, text in stored.values.items() if name.split(".")[0] in _SETTINGS}}


def left(values: t.Mapping[str, str], current: Iface, networks: Networks, default_mode: str) -> dict[str, str]:
    """Return ``values`` with the mode that the ``current`` interface had from its network, if it leaves that."""
    if current.get("network") is None or values.get("network") is not None:
        return dict(values)
    return {_TRUST: "no", "mode": mode(current, networks) or default_mode, **values}


def any_of(ifaces: t.Iterable[Iface]) -> bool:
    """Whether any of ``ifaces`` is on a libvirt network."""
    return any(iface.get("network") is not None for iface in ifaces)


def definition(iface: Iface, networks: Networks) -> Definition | None:
    """Return the direct network of an interface as a guest gets it that starts now, None if it is on no known one."""
    network = (networks or {}).get(iface.get("network") or "") if iface.type == "direct" else None
    return None if network is None or not network.direct else network.live or network


def _trusted(iface: Iface, networks: Networks) -> Iface:
    """Return a running interface with its network's trust in the guest, which libvirt does not show."""
    given = effective(iface, networks).get(_TRUST)
    return iface if iface.type != "direct" or given != "yes" else replace(iface, values={**iface.values, _TRUST: given})


def effective(iface: Iface, networks: Networks, beside: Iface | None = None) -> Iface:
    """Return an interface with what its network gives it, as the guest has it or would have it.

    Of several uplinks it is that of the interface ``beside`` it, else the first. A running interface has its own.
    """
    given = definition(iface, networks)
    if given is None:
        return iface
    group = given.portgroup(iface.get("portgroup"))
    settings = {**given.values, **(group.values if group is not None else {})}
    if iface.get("mode") is not None:
        # libvirt shows what the network gave to a running one, but for this.
        settings = {_TRUST: settings[_TRUST]} if _TRUST in settings else {}
    values = {**settings, **iface.values}
    values.setdefault(_TRUST, "no")
    if iface.get("mode") is None:
        values["mode"] = given.mode
        here = beside.get("source") if beside is not None else None
        # Of virtual functions libvirt may not show the names.
        source = here if here in given.interfaces or not given.interfaces else given.interfaces[0]
        values.update({"source": source} if source is not None else {})
    return replace(iface, values=values)


def same_network(one: Iface, other: Iface) -> bool:
    """Whether two interfaces are on one network. Which of its uplinks it gave them is then no difference."""
    return one.get("network") is not None and all(one.get(name) == other.get(name) for name in NAMES)


def off(iface: Iface) -> Iface:
    """Return a running interface as one that is on its uplink without a network."""
    return replace(iface, values={name: text for name, text in iface.values.items() if name not in NAMES})


def connects_live(live: Iface, desired: Iface, host: Host) -> bool:
    """Whether libvirt can connect the NIC of a running guest with a network, or take it off one.

    ``desired`` has the uplink and the mode that it would have. libvirt chooses among several, and refuses another one,
    also on the way back.
    """
    joins, leaves = (one.get("network") is not None for one in (desired, live))
    given = definition(desired if joins else live, host.networks)
    certain = given is not None and len(given.interfaces) == 1
    same = all(live.get(name) == desired.get(name) for name in ("source", "mode")) and live.stale_mode is None
    return host.version >= _CONNECTS_LIVE and joins != leaves and certain and same


def uplinks(iface: Iface | None, networks: Networks) -> tuple[str, ...]:
    """Return the uplinks that a direct interface has, or of which its network may give it one."""
    if iface is None or iface.type != "direct":
        return ()
    source = iface.get("source")
    given = definition(iface, networks)
    if source is not None or given is None:
        return () if source is None else (source,)
    return given.interfaces


def uplinks_of(names: t.Iterable[str], networks: Networks) -> set[str]:
    """Return the uplinks of networks."""
    found = (network for name in names if (network := (networks or {}).get(name)) is not None)
    return {uplink for network in found for uplink in (network.live or network).interfaces}


def with_trust(iface: Iface, networks: Networks) -> Iface:
    """Return an interface with its network's trust in the guest, if it has none of its own."""
    return replace(iface, values={_TRUST: effective(iface, networks).values.get(_TRUST, "no"), **iface.values})


def is_pool(iface: Iface, networks: Networks) -> bool:
    """Whether a network gives each of its interfaces one of several uplinks for itself, and this one has none yet."""
    given = definition(iface, networks) if iface.get("source") is None else None
    return given is not None and given.mode == "passthrough" and len(given.interfaces) > 1


def certain_uplinks(iface: Iface, networks: Networks) -> tuple[str, ...]:
    """As :func:`uplinks`, without those of which a network gives each interface one for itself."""
    return () if is_pool(iface, networks) else uplinks(iface, networks)


def mode(iface: Iface, networks: Networks) -> str | None:
    """Return the mode of a direct interface, None if its network is not known."""
    return effective(iface, networks).get("mode")


def unnoticed(names: t.Collection[str], final: Iface) -> bool:
    """Whether a guest cannot notice a difference in these fields: the network's name, with the same link underneath.

    ``final`` is the interface that it would have: see effective(). Of an unknown network nothing is known.
    """
    known = final.get("mode") is not None
    return known and not any(name == "type" or name.split(".")[0] in GIVEN for name in names)


def _domain(domain: Domain, names: t.Collection[str], networks: Networks) -> Domain:
    if not any_of((*domain.stored, *domain.live, *(domain.saved or ()), *(domain.defined or ()))):
        return domain
    stored = as_stored(domain.stored, names)
    defined = domain.defined
    if defined is not None:
        # The rollback goes by their being the same.
        defined = stored if defined is domain.stored else as_stored(defined, names)
    saved = as_stored(domain.saved, names) if domain.saved is not None else None
    live = tuple(_trusted(iface, networks) for iface in domain.live)
    return replace(domain, stored=stored, live=live, defined=defined, saved=saved)


def _as_stored(iface: Iface, names: t.Collection[str]) -> Iface:
    name = iface.get("network")
    if iface.type == "network" and name in names:
        return replace(iface, type="direct", origin=None)
    if iface.type == "direct" and name is not None:
        # Copied from a running guest. libvirt ignores the network in an interface of type direct.
        rest = {field: text for field, text in iface.values.items() if field not in NAMES}
        return replace(iface, values={"mode": "vepa", _TRUST: "no", **rest})
    return iface
