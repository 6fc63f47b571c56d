# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What operators write into inventories, and what the controller makes of it together with what hosts report."""

from __future__ import annotations

import json
import typing as t
from types import SimpleNamespace

from ansible.errors import AnsibleError
from fleet import declared, found, iface, mac, network

from ansible_collections.linuxvirt.macvtap.plugins.action import macvtap_host_plan
from ansible_collections.linuxvirt.macvtap.plugins.filter import (
    conflict_table,
    fleet_conflicts,
    fleet_declarations,
    fleet_gaps,
    fleet_moves,
    fleet_outcome,
    fleet_overview,
    fleet_plan,
    fleet_undeclared,
    outcome_table,
    overview_text,
)
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import connections
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._addresses import options as asked
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import segments
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Domain
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._migration import inventory
from ansible_collections.linuxvirt.macvtap.plugins.plugin_utils import role_stages
from torture.parsers import Parser

_A, _B = mac(1), mac(2)


def _host(number: int, *domains: Domain) -> t.Any:
    tap = Link("tap0", index=5, kind="macvtap", parent="eth0")
    look = found(*domains, tap, network("lan", "eth0", groups="a"), number=number)
    return json.loads(json.dumps(look, default=str))


def _domain(name: str, address: str) -> Domain:
    one = iface(address, target="macvtap0")
    return Domain(name, f"u-{name}", True, stored=(one,), live=(one,))


_LOOKS = {"hv1": _host(1, _domain("web1", _A)), "hv2": _host(2, _domain("db1", _B))}
_DECLARED = {
    **declared(
        {"domain": "web1", "mac": _A, "source": "eth0", "mode": "bridge", "guard": {"policy": "drop"}},
        {"domain": "db1", "network": "lan", "portgroup": "a", "vlan": [7], "state": "present"},
        links=[{"name": "tap0", "parent": "eth0", "vlan": 7, "mode": "private"}],
        uplink="eth0",
        segment={"default": "lan", "eth0.7": "dmz"},
        networks_networks=[{"name": "lan", "interfaces": ["eth0"], "portgroups": [{"name": "a"}]}],
        guard_guards=[{"mac": _A, "addresses": ["192.0.2.7"]}],
        host_access_shims=[{"name": "shim0", "parent": "eth0", "addresses": ["192.0.2.1/24"]}],
        domains_on_missing="skip",
        preflight=True,
    ),
    "ansible_host": "192.0.2.10",
}


def _declarations(variables: t.Any) -> None:
    """Compare a fleet one host of which declares this, and the other something else."""
    own = {**_DECLARED, "macvtap_domains_interfaces": [{"domain": "db1", "mac": _A}]}
    read = fleet_declarations.fleet_declarations({"hv1": variables, "hv2": own}, ["hv1", "hv2"])
    fleet = {host: {**one, "found": _LOOKS[host]} for host, one in read.items()}
    conflicts, gaps = fleet_conflicts.fleet_conflicts(fleet), fleet_gaps.fleet_gaps(fleet)
    conflict_table.conflict_table(conflicts, gaps)
    fleet_undeclared.fleet_undeclared(fleet)
    overview = fleet_overview.fleet_overview(fleet)
    for form in ("table", "markdown", "html"):
        overview_text.overview_text(overview, form)


_MOVES: dict[str, t.Any] = {
    "targets": ["hv2"],
    "given": {"web1": "hv2"},
    "declared": {"hv2": [{"domain": "web1", "mac": _A, "source": "eth0"}, {"domain": "web1", "network": "lan"}]},
    "apart": [["web1", "web2"]],
    "uplinks": {"hv1": "eth0", "hv2": "eth0"},
    "segments": {"hv1": "lan", "hv2": {"default": "lan"}},
    "begun": {"db1": "hv1"},
}


def _moves(given: t.Any) -> None:
    """Plan an evacuation with these options, and whether the guests come home with them as their homes."""
    if isinstance(given, dict) and given.keys() <= _MOVES.keys():
        fleet_moves.fleet_moves(_LOOKS, ["hv1"], **given)
        fleet_moves.fleet_moves(_LOOKS, homes=given.get("given"), begun=given.get("begun"))


def _looks(looks: t.Any) -> None:
    """Plan an evacuation with what hosts report."""
    fleet_moves.fleet_moves(looks, ["hv1"], **{**_MOVES, "given": {}, "targets": None})


_STAGE = {
    "interfaces": _DECLARED["macvtap_domains_interfaces"],
    "guards": [{"mac": _A, "state": "present"}],
    "links": [{"name": "tap0", "mac": _B, "allmulticast": "no"}],
    "source": "eth0",
    "allmulticast": True,
}
_RULES = [{"mac": _A, "guard": {"policy": "drop"}, "allmulticast": True}]


def _stage(options: t.Any) -> None:
    """Look for the NICs, guards and rules of a guest in what a destination declares."""
    if not isinstance(options, dict):
        # What a task gives a module is a dictionary.
        return
    stages = [SimpleNamespace(module="libvirt_direct_iface", options=options, error=None)]
    inventory.interfaces("web1", inventory.declared(stages))
    inventory.undeclared(_RULES, stages, "web1")
    inventory.there(_RULES, stages, "web1")


def _segment(value: t.Any) -> None:
    segments.read(value)


def _plugin(options: t.Any) -> None:
    """Read the inventory plugin's options, of which Ansible has made lists of texts."""
    if isinstance(options, dict):
        for name, read in _OF_PLUGIN.items():
            given = options.get(name)
            read([str(one) for one in given] if isinstance(given, list) else [], name)
    connections.jump({"inventory_hostname": "hv1", **(options if isinstance(options, dict) else {})})


_OF_PLUGIN: dict[str, t.Callable[[list[str], str], object]] = {
    "prefer": connections.preferences,
    "direct_networks": connections.networks,
    "probe_networks": asked.questions,
}
_PLAN = {
    "changed": True,
    "stages": [
        {
            "name": "links",
            "module": "macvtap_link",
            "changed": True,
            "changes": [{"target": "tap0", "field": "mtu", "before": 1500, "after": 9000, "impact": "live"}],
            "warnings": ["a"],
            "error": None,
            "skipped": None,
            "restart_required": [{"domain": "web1", "mac": _A, "fields": ["mode"]}],
            "missing_packages": ["python3-lxml"],
            "missing": ["web1"],
        }
    ],
    "to_do": ["links"],
    "roles": ["links"],
}


def _plans(plan: t.Any) -> None:
    """Show what a host says that it would do, and another one."""
    if not isinstance(plan, dict):
        # What a module returns is a dictionary.
        return
    stages = [role_stages.Stage("links", "links", "macvtap_link", {})]
    read = {"hv1": macvtap_host_plan.completed(plan, stages, {}), "hv2": _PLAN}
    fleet_plan.fleet_plan(read)
    fleet = {host: {"macvtap_plan": one} for host, one in read.items()}
    lines = outcome_table.outcome_table(fleet_outcome.fleet_outcome(list(fleet), fleet))
    assert any("hv2" in line for line in lines)


PARSERS: t.Sequence[Parser] = (
    Parser("variables of a host", (_DECLARED,), _declarations, (AnsibleError,)),
    Parser("options of an evacuation", (_MOVES,), _moves, (AnsibleError,)),
    Parser("results of hosts, for an evacuation", (_LOOKS,), _looks, (AnsibleError,), only_texts=True),
    Parser("what a destination declares", (_STAGE,), _stage),
    Parser("segments", ("lan", _DECLARED["macvtap_segment"]), _segment),
    Parser(
        "options of the inventory plugin",
        (
            {
                "prefer": ["ipv6", "192.0.2.0/24"],
                "direct_networks": ["2001:db8::/64"],
                "probe_networks": ["192.0.2.0/28"],
                "ansible_host": "192.0.2.10",
                "ansible_port": 22,
                "ansible_user": "root",
                "ansible_ssh_common_args": "-o 'ProxyJump=a b'",
            },
        ),
        _plugin,
    ),
    Parser("what a host says that it would do", (_PLAN,), _plans, ()),
)
