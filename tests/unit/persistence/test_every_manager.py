# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Each network manager is in each table: one that is missing somewhere would get the files or commands of none."""

from __future__ import annotations

import fnmatch
import typing as t
from dataclasses import replace

import pytest
import yaml
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._dhcp import planner as dhcp_planner
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._host_access.model import OWNER_ALIAS, DesiredShim, Shim
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.model import DesiredLink, Link
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._managed_files import File
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import host, managers, model, planner

MANAGERS = frozenset(managers.WHY_NOT)
ETH0 = Link("eth0", 2, mtu=1500)
LINK = DesiredLink("host0", kind=model.SHIM, mode="bridge", mac="52:54:00:00:00:07", alias=OWNER_ALIAS)
DESIRED = model.Desired(LINK, ETH0, "eth0", shim=Shim(ETH0, {}, dhcp4=True))
TABLES: dict[str, t.Collection[str]] = {
    "files that get a shim its address": managers.LEASES,
    "commands that get a shim its address": dhcp_planner.REQUESTS,
    "units": host._UNITS,
    "states": host._STATES,
    "values of persistence": set(model.BACKENDS) - {"auto", model.SYSTEMD, model.IFUPDOWN, "none"},
}


@pytest.mark.parametrize("table", TABLES)
def test_each_manager_is_in_each_table(table: str) -> None:
    assert set(TABLES[table]) == MANAGERS


def test_a_manager_without_files_does_not_get_those_of_another() -> None:
    with pytest.raises(KeyError, match="wicked"):
        managers.lease(replace(DESIRED, manager="wicked"), t.cast("Shim", DESIRED.shim))


@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_the_files_of_each_manager_are_recognised_later(manager: str) -> None:
    files = dict(managers.lease(replace(DESIRED, manager=manager), t.cast("Shim", DESIRED.shim)))
    assert [path for path in files if not any(fnmatch.fnmatch(path, pattern) for pattern in model.PATTERNS)] == []
    getting = [path for path, text in files.items() if managers.gets_lease(File(path, text))]
    assert len(getting) == 1
    # Each has files of its own.
    for other in MANAGERS - {manager}:
        assert getting[0] not in dict(managers.lease(replace(DESIRED, manager=other), t.cast("Shim", DESIRED.shim)))


@pytest.mark.parametrize("manager", sorted(MANAGERS))
def test_each_manager_asks_for_the_address_of_a_shim_that_is_there(manager: str) -> None:
    there = Link("host0", 9, "macvlan", "eth0", 2, mode="bridge", mac=LINK.mac, alias=OWNER_ALIAS)
    current = model.Host({"eth0": ETH0, "host0": there}, enabled=(manager,), systemd=True)
    declared = (model.Declared(DesiredShim("host0", parent="eth0", mac=LINK.mac, dhcp4=True), manager),)
    planned = planner.plan(declared, current)
    (lease,) = dhcp_planner.plan(planner.resolved_of(declared, current), current, planned, ()).leases
    assert (lease.manager, lease.asked) == (manager, True)
    assert lease.commands


def persistence_options(node: t.Any) -> t.Iterator[t.Any]:
    for name, value in node.items() if isinstance(node, dict) else ():
        if name == "persistence" or name.endswith("_persistence"):
            yield value
        yield from persistence_options(value)


@pytest.mark.parametrize("role", ["macvtap_links", "macvtap_host_access"])
def test_the_roles_have_the_values_of_persistence(role: str) -> None:
    text = (ROOT / "roles" / role / "meta/argument_specs.yml").read_text(encoding="utf-8")
    found = list(persistence_options(yaml.safe_load(text)))
    assert len(found) > 1
    assert [option for option in found if option["choices"] != list(model.BACKENDS)] == []
