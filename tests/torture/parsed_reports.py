# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What hosts, guests and their agents report, as the controller and the modules read it: none of them is trusted."""

from __future__ import annotations

import json
import typing as t

from ansible.errors import AnsibleError
from fleet import declared, found, iface, mac, network

from ansible_collections.linuxvirt.macvtap.plugins.filter import (
    fleet_comparison,
    fleet_conflicts,
    fleet_gaps,
    fleet_overview,
    fleet_summary,
    fleet_undeclared,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import (
    agent,
    connections,
    inventory,
    reports,
    reservations,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses.model import RUNNING, Guest, Nic
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._report import changes, page, text
from torture.parsers import Parser

_A, _B = mac(1), mac(2)
_ANSWER = {
    "lo": {"name": "lo", "hwaddr": "00:00:00:00:00:00", "addrs": [{"addr": "127.0.0.1", "prefix": 8, "type": 0}]},
    "eth0": {
        "hwaddr": _A,
        "addrs": [{"addr": "192.0.2.7", "prefix": 24, "type": 0}, {"addr": "fe80::1%2", "prefix": 64}],
    },
    "tun0": {"hwaddr": None, "addrs": None},
}
_ADDRESS = {
    "address": "192.0.2.7",
    "family": "ipv4",
    "scope": "global",
    "state": "claimed",
    "shim": None,
    "source": "arp",
}
_NIC = {
    "mac": _A,
    "uplink": "eth0",
    "network": None,
    "mode": "bridge",
    "portgroup": None,
    "vlan": 7,
    "addresses": [_ADDRESS],
}
_GUEST = {"name": "web1", "uuid": "u1", "state": "running", "interfaces": [_NIC]}
_GUESTS = [_GUEST, {**_GUEST, "name": "db1", "uuid": "u2", "interfaces": [{**_NIC, "mac": _B}]}]
_RULES = connections.Rules((), ("hypervisor", "uplink", "network", "vlan", "segment", "state"), True, "auto", ())


def _agent(answer: t.Any) -> None:
    guest = Guest("web1", "u1", RUNNING, (Nic(_A, frozenset({_A})),))
    agent.sightings(answer, guest)


def _inventory(report: t.Any) -> None:
    reported = {"hv1": reports.guests(report), "hv2": reports.guests(_GUESTS)}
    inventory.macs_for_others(reported)
    inventory.guests(reported, _RULES)


def _others(report: t.Any) -> None:
    known = inventory.with_others({"hv1": reports.guests(_GUESTS), "hv2": []}, {"hv2": reports.others(report)})
    inventory.guests(known, _RULES)


def _reservations(declared_ones: t.Any) -> None:
    parsed = reservations.parse(declared_ones)
    reservations.dnsmasq(parsed)
    for family in ("ipv4", "ipv6"):
        reservations.kea(parsed, family)
        reservations.isc(parsed, family)


def _domain() -> Domain:
    return Domain("web1", "u1", True, stored=(iface(_A),), live=(iface(_A, target="macvtap0"),))


_MORE = {
    "addresses": {"guests": _GUESTS},
    "guards": [{"mac": _A, "policy": "drop", "counters": {"mac": {"packets": 3, "bytes": 100}}}],
}
_FLEET = {
    "hv1": {
        "declared": declared(
            {"domain": "web1", "mac": _A}, {"domain": "db1", "mac": _B, "vlan": 7}, links=[{"name": "tap0"}]
        ),
        "found": {
            **found(_domain(), Link("tap0", index=5, kind="macvtap", parent="eth0"), network("lan", "eth0")),
            **_MORE,
        },
    },
    "hv2": {"declared": declared({"domain": "web2", "mac": _A}), "found": found(number=2, version=None)},
}
# As facts and results come from hosts: JSON.
_FLEETS = (json.loads(json.dumps(_FLEET, default=str)),)


def _of_hosts(fleet: t.Any) -> None:
    """Read what a host may choose: its results. Declarations are the controller's own."""
    for one in (fleet_comparison, fleet_conflicts, fleet_gaps, fleet_undeclared, fleet_summary):
        name = one.__name__.rpartition(".")[2]
        vars(one)[name](fleet)


def _of_damaged_host(result: t.Any) -> None:
    """Read the fleet with another result of its first host: the other host is reported as it is."""
    fleet = {**_FLEETS[0], "hv1": {**_FLEETS[0]["hv1"], "found": result}}
    _of_hosts(fleet)
    _overview(fleet)
    overview = fleet_overview.fleet_overview(fleet)
    page.page(overview, changes.changes(overview, overview), title="a", made="b")
    names = [host["name"] for host in overview["hosts"]]
    assert names == ["hv1", "hv2"], names


def _overview(fleet: t.Any) -> None:
    overview = fleet_overview.fleet_overview(fleet)
    text.table(overview)
    text.markdown(overview)
    changes.changes(overview, overview)


def _former(report: t.Any) -> None:
    """Read a report of an earlier run, from a file."""
    overview = fleet_overview.fleet_overview(_FLEETS[0])
    text.table(overview, changes.changes(report, overview))


_REPORT = json.loads(json.dumps(fleet_overview.fleet_overview(_FLEETS[0])))
PARSERS: t.Sequence[Parser] = (
    Parser("a guest agent's answer", (_ANSWER,), _agent, (), only_texts=True),
    Parser("guests of a hypervisor, for the inventory", (_GUESTS,), _inventory),
    Parser("what hypervisors know of others", ([_NIC],), _others),
    Parser(
        "reservations",
        ([{"mac": _A, "address": "192.0.2.7/24", "name": "web1"}, {"mac": _B, "addresses": ["2001:db8::7"]}],),
        _reservations,
    ),
    Parser("results of hosts", _FLEETS, _of_hosts, (AnsibleError,), only_texts=True),
    Parser("results of hosts, for the report", _FLEETS, _overview, (AnsibleError,), only_texts=True),
    Parser("the result of a damaged host", (_FLEETS[0]["hv1"]["found"],), _of_damaged_host, (AnsibleError,)),
    Parser("an earlier report", (_REPORT,), _former),
)
