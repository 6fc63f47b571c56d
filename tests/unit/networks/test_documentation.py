# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What is written twice says the same: options of two modules, and an example with the page that shows it."""

from __future__ import annotations

import importlib
import re
import typing as t

import pytest
import yaml
from support import MODULES, ROOT

EXAMPLE = ROOT / "docs/example/networks"
PAGE = (ROOT / "docs/networks.md").read_text(encoding="utf-8")


def options(module: str) -> dict[str, t.Any]:
    documented = yaml.safe_load(importlib.import_module(f"{MODULES}.{module}").DOCUMENTATION)
    return t.cast("dict[str, t.Any]", documented["options"])


def test_both_modules_document_a_virtual_port_and_bandwidth_alike() -> None:
    # A documentation fragment cannot hold what both have below an option.
    of_iface, of_network = options("libvirt_direct_iface"), options("libvirt_direct_network")
    portgroup = of_network["portgroups"]["suboptions"]
    for of in (of_network, of_network["networks"]["suboptions"], portgroup):
        assert of["virtualport"]["suboptions"] == of_iface["virtualport"]["suboptions"]
    for direction, limits in of_iface["bandwidth"]["suboptions"].items():
        other = portgroup["bandwidth"]["suboptions"][direction]["suboptions"]
        for name, limit in limits["suboptions"].items():
            # What clears a default matters for interfaces alone.
            assert limit["description"].startswith(other[name]["description"])
            assert limit["type"] == other[name]["type"]


def whole() -> dict[str, t.Any]:
    """Return the example's variables by file."""
    files = (file for file in EXAMPLE.rglob("*_vars/*.yml"))
    return {str(file.relative_to(EXAMPLE)): yaml.safe_load(file.read_text(encoding="utf-8")) for file in files}


def is_part(shown: t.Any, of: t.Any) -> bool:
    if isinstance(shown, dict):
        return all(is_part(value, of.get(name)) for name, value in shown.items())
    if isinstance(shown, list):
        return len(shown) == len(of) and all(map(is_part, shown, of))
    return bool(shown == of)


BLOCKS = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE)[:2]


@pytest.mark.parametrize("file", sorted(whole()))
def test_the_page_shows_the_example(file: str) -> None:
    parts = dict(re.findall(r"(?ms)^# (\S+\.yml)\n(.*?)(?=^# |\Z)", BLOCKS[0]))
    assert set(parts) == set(whole())
    assert is_part(yaml.safe_load(parts[file]), whole()[file])
    assert set(yaml.safe_load(parts[file])) == set(whole()[file])


def test_the_page_shows_the_portgroup_of_the_example() -> None:
    example = whole()
    shown = yaml.safe_load(BLOCKS[1])
    together = {**example["group_vars/hypervisors.yml"], **example["host_vars/hv1.yml"]}
    assert is_part(shown, together)
    assert "portgroup" in str(shown)


def test_the_molecule_scenario_runs_the_example() -> None:
    scenario = (ROOT / "extensions/molecule/networks/molecule.yml").read_text(encoding="utf-8")
    assert "/docs/example/networks\n" in scenario
