# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Glue for macvtap_host_info: the state of a host."""

from __future__ import annotations

import contextlib
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _glue
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import hypervisor, inspection, settled
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._fleet import report
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard import planner as guard_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.host import Guards
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.install import Installer
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._guard.known import Known
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
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft.table import Table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host as persistence
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import planner as persistence_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._reflective_relay import ask
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._runs.host_options import OPTIONS


def body(module: _glue.Module) -> dict[str, t.Any]:
    running = kernel.observe()
    # First, because it may wait: the links of released NICs are gone then.
    libvirt, (networks, domains, pending) = _libvirt(module.params["uri"], module.params["timeout"])
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
        "written": _written(),
        "guards": _guards(),
    }


def _written() -> list[dict[str, t.Any]]:
    """Return the links that are created at boot, by name, from what macvtap_persistence wrote."""
    written = persistence_planner.written_of(persistence.ours("/").values())
    return [{"name": name, "kind": one.kind or None} for name, one in sorted(written.items())]


def _guards() -> list[dict[str, t.Any]] | None:
    """Return all guards, None if they cannot be read: the library is missing, or this is not root."""
    with contextlib.suppress(MacvtapError), contextlib.closing(Table()) as table:
        host = Guards(table, Installer(), known=Known(keeps=False)).observe()
        return [guard_planner.report(state) for _mac, state in sorted(host.guards.items())]
    return None


def _reflects(relay: t.Sequence[str], links: Links) -> dict[str, bool | None]:
    # The modules that use the others report what is wrong with them.
    probed = [link for name in relay if (link := parents.lookup(name, links)) is not None]
    return {name: verdict.reflects for name, verdict in ask.verdicts(probed).items()} if probed else {}


_Found = t.Tuple[t.Optional[t.Tuple[Network, ...]], t.Tuple[Domain, ...], t.Optional[t.List[t.Dict[str, t.Any]]]]


def _libvirt(uri: str, timeout: int) -> tuple[dict[str, t.Any], _Found]:
    """Return whether libvirt answered, and the networks, domains and outstanding requests."""
    try:
        with hypervisor.connect(uri, read_only=True) as hv:
            host, outstanding = settled.observe(hv, None, timeout)
            networks = _networks(hv)
            pending = inspection.pending(outstanding) if hv.sees_requests else None
    except MacvtapError as exc:
        return {"uri": uri, "available": False, "version": None, "reason": exc.message}, (None, (), None)
    version = inspection.version_text(host.version)
    answered = {"uri": uri, "available": True, "version": version, "reason": None}
    return answered, (networks, tuple(host.domains.values()), pending)


def _networks(hv: hypervisor.Hypervisor) -> tuple[Network, ...] | None:
    """Return all networks, None if there is no driver for them, or if its daemon does not run."""
    with contextlib.suppress(MacvtapError):
        return tuple(network for _name, network in sorted(hv.networks().items()))
    return None


SPECIFICATION: _glue.Specification = {"argument_spec": OPTIONS}
