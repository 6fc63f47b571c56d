# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_host_info: the state of a host."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue, _values
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import after_release, hypervisor, inspection
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain, Host
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import reading
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.reach import RouteMonitor
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import host as kernel
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import planner as kernel_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import support
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import (
    netlink,
    parents,
    rtnetlink,
    speed,
    sriov,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Links
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.model import Network
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import copies
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host as persistence
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner as persistence_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import ask
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.host_options import OPTIONS


def body(module: _glue.Module) -> dict[str, t.Any]:
    finder = _finder(module.params)
    running = kernel.observe()
    # First, because it may wait: the links of released NICs are gone then.
    libvirt, (networks, domains, pending), addresses = _libvirt(module.params["uri"], module.params["timeout"], finder)
    with netlink.session() as session, rtnetlink.open_socket() as sock:
        # Only named links are checked for being wireless.
        links = session.observe((), parents=frozenset(session.observe(())))
        reach = RouteMonitor(sock).observe()
    relay = module.params["relay"]
    if module.params["relay_vepa"]:
        relay = [*relay, *report.below_vepa(links, domains, networks or ())]
    return {
        "changed": False,
        "kernel": kernel_planner.returned(running, support.evaluate(running)),
        "links": report.links(
            links, _reflects(relay, links), reach, functions=sriov.functions(links), speeds=speed.speeds(links)
        ),
        "connections": report.connections(links, reach),
        "libvirt": libvirt,
        "networks": None if networks is None else report.networks(networks),
        "domains": report.domains(domains),
        "pending": pending,
        "written": _written(links),
        **_guards(counters=module.params["guests"]),
        **addresses,
    }


def _written(links: Links) -> list[dict[str, t.Any]]:
    """Return the links that are created at boot, by name, from what macvtap_persistence wrote."""
    files = copies.ordered(persistence.ours("/"), links)
    copied = copies.of(files, links)
    written = persistence_planner.written_of(file for path, file in files.items() if path not in copied)
    return [{"name": name, "kind": one.kind or None} for name, one in sorted(written.items())]


def _guards(*, counters: bool) -> dict[str, t.Any]:
    """Return all guards, or why they cannot be read: the library is missing, or this is not root."""
    try:
        return {"guards": reading.guards(counters=counters), "guards_reason": None}
    except MacvtapError as exc:
        return {"guards": None, "guards_reason": _glue.message_of(exc)}


_Finder = t.Callable[[hypervisor.Hypervisor, t.Optional[Host]], t.Dict[str, t.Any]]


def _finder(params: t.Mapping[str, t.Any]) -> _Finder | None:
    """Return what finds the addresses of the guests over a connection, None if they are not asked for.

    If the networks or the rate are not valid, it raises the error: all else of the host is known.

    :raises MacvtapError: networks are set, and guests are not.
    """
    networks = params["probe_networks"]
    if not params["guests"]:
        if networks:
            raise MacvtapError("is only used with guests: true. Set that too, or remove this", path="probe_networks")
        return None
    # Most runs do without.
    from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import options, run

    rate = params["probe_rate"]
    try:
        questions = options.questions(networks, "probe_networks")
        _values.check_range(rate, *options.RATES, "probe_rate")
    except MacvtapError as exc:
        return functools.partial(_refuse, exc)
    return run.Search(run.Request(params["uri"], probe=bool(networks), probe_for=questions, probe_rate=rate)).search


def _refuse(error: MacvtapError, _hv: hypervisor.Hypervisor, _host: Host | None) -> t.NoReturn:
    raise error


def _addresses(find: _Finder, hv: hypervisor.Hypervisor, host: Host) -> dict[str, t.Any]:
    """Return the guests with their addresses, or why they cannot be found."""
    try:
        found = find(hv, host)
    except MacvtapError as exc:
        return {"addresses": {"guests": None, "reason": _glue.message_of(exc)}}
    return {"addresses": {"guests": found["guests"], "reason": None}, "warnings": found["warnings"]}


def _reflects(relay: t.Sequence[str], links: Links) -> dict[str, bool | None]:
    # The modules that use the others report what is wrong with them.
    probed = [link for name in relay if (link := parents.lookup(name, links)) is not None]
    return {name: verdict.reflects for name, verdict in ask.verdicts(probed).items()} if probed else {}


_Found = t.Tuple[t.Optional[t.Tuple[Network, ...]], t.Tuple[Domain, ...], t.Optional[t.List[t.Dict[str, t.Any]]]]


def _libvirt(uri: str, timeout: int, find: _Finder | None) -> tuple[dict[str, t.Any], _Found, dict[str, t.Any]]:
    """Return whether libvirt answered; the networks, domains and outstanding requests; what ``find`` finds."""
    try:
        with hypervisor.connect(uri, read_only=True) as hv:
            host, outstanding = after_release.observe(hv, None, timeout)
            networks = _networks(hv)
            pending = inspection.pending(outstanding) if hv.sees_requests else None
            addresses = _addresses(find, hv, host) if find else {}
            free = hv.free_memory()
    except MacvtapError as exc:
        unknown = {"addresses": {"guests": None, "reason": exc.message}} if find else {}
        return (
            {"uri": uri, "available": False, "version": None, "memory_free": None, "reason": exc.message},
            (None, (), None),
            unknown,
        )
    version = inspection.version_text(host.version)
    memory = None if free is None else free >> 20
    answered = {"uri": uri, "available": True, "version": version, "memory_free": memory, "reason": None}
    return answered, (networks, tuple(host.domains.values()), pending), addresses


def _networks(hv: hypervisor.Hypervisor) -> tuple[Network, ...] | None:
    """Return all networks, None if there is no driver for them, or if its daemon does not run."""
    with contextlib.suppress(MacvtapError):
        return tuple(network for _name, network in sorted(hv.networks().items()))
    return None


SPECIFICATION: _glue.Specification = {"argument_spec": OPTIONS}
