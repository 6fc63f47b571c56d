# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The page that leads from a question to what answers it knows all that only looks, and what that returns."""

from __future__ import annotations

import importlib
import re
import typing as t

import pytest
import yaml
from support import MODULES, ROOT

PAGE = (ROOT / "docs/looking.md").read_text(encoding="utf-8")
INFO = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*_info.py"))
# It is for preflight, which has a row of its own.
FOR_PREFLIGHT = "macvtap_host_info"
# What is shown of a module, by the heading.
SHOWN = {
    "A link": "macvtap_link_info",
    "A guest's NIC": "libvirt_direct_iface_info",
    "A guard": "macvtap_guard_info",
    "Addresses": "macvtap_guest_addresses_info",
}


def returned(module: str) -> set[str]:
    """Return the keys of all that a module returns."""
    keys: set[str] = set()

    def collect(values: t.Mapping[str, t.Any]) -> None:
        for name, value in values.items():
            keys.add(name)
            collect(value.get("contains") or {})

    found = importlib.import_module(f"{MODULES}.{module}")
    collect(yaml.safe_load(found.RETURN))
    # Two kinds of frames.
    return keys | {"arp", "address"}


@pytest.mark.parametrize("module", [name for name in INFO if name != FOR_PREFLIGHT])
def test_each_module_that_only_looks_answers_a_question(module: str) -> None:
    assert re.search(rf"(?m)^\| [^|]*\?[^|]*\| [^|]*\b{module}\b", PAGE)
    assert f"linuxvirt.macvtap.{module}" in PAGE


@pytest.mark.parametrize(("heading", "module"), SHOWN.items())
def test_what_is_shown_of_a_module_is_what_it_returns(heading: str, module: str) -> None:
    (section,) = re.findall(rf"(?ms)^### {heading}$(.*?)(?=^##|\Z)", PAGE)
    (block,) = re.findall(r"(?ms)^```text\n(.*?)^```", section)
    shown = set(re.findall(r"(?m)^[ -]*([a-z_]+):", block))
    assert len(shown) > 5
    assert shown - returned(module) == set()
