# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The page about costs has every option of the tables, with the impact that it has there."""

from __future__ import annotations

import re
import typing as t

import pytest
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains import impact
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.fields import FIELDS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._domains.model import Iface
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._libvirt.fields import Field
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS, VLAN_ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._networks.fields import NETWORK
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._plan import Impact


def rows_of(module: str) -> list[list[str]]:
    """Return the cells of the rows of a module's tables."""
    text = (ROOT / "docs/costs.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"(?ms)^## [^\n]*\(`{module}`\)$(.*?)(?=^## |\Z)", text)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"(?m)^\|.*\|$", section)]


def names_in(cell: str) -> set[str]:
    return {word for words in re.findall(r"`([^`]+)`", cell) for word in re.split(r"[ :]", words)[:1]}


def of_option(module: str, option: str) -> list[list[str]]:
    found = [cells for cells in rows_of(module) if option in names_in(cells[0])]
    assert found, f"{option} is not in the table of {module}"
    return found


def is_pausable(field: Field) -> bool:
    nic = Iface("52:54:00:00:00:01", "direct")
    return impact.is_pausable(field.name, nic, nic)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_field_of_an_interface_costs_a_running_guest_what_the_page_says(field: Field) -> None:
    rows = of_option("libvirt_direct_iface", field.name.partition(".")[0])
    # By what the option live allows: none, update, pause, replug.
    costs = [cells[1:] for cells in rows if len(cells) == 5]
    assert any(cost[1].startswith(EXPECTED[field.impact]) for cost in costs)
    if field.impact is Impact.REPLUG:
        assert any(cost[3].startswith("replug") for cost in costs)
        assert any(cost[2].startswith("pause") for cost in costs) is is_pausable(field)


EXPECTED = {Impact.LIVE: "live", Impact.REPLUG: "restart", Impact.RESTART: "restart"}


def options(rows: t.Iterable[t.Any]) -> set[str]:
    return {row.option.partition(".")[0] for row in rows if row.impact is Impact.RECREATE}


def test_what_recreates_a_link_is_on_the_page() -> None:
    for module, names in (("macvtap_link", options(ROWS.values())), ("vlan_link", options(VLAN_ROWS.values()))):
        assert names
        for name in names:
            assert any("`recreate`" in cells[1] for cells in of_option(module, name))


@pytest.mark.parametrize("option", NETWORK.specification())
def test_an_option_of_a_network_is_on_the_page(option: str) -> None:
    assert of_option("libvirt_direct_network", option)
