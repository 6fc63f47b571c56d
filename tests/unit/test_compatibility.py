# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""What the README says of versions is what `make matrix` has recorded, and what the code refuses."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from support import ROOT

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links.attributes import ROWS
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._nft import table
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._persistence import choose_backend

README = (ROOT / "README.md").read_text(encoding="utf-8")
RECORD: dict[str, t.Any] = json.loads((ROOT / "docs/compatibility.json").read_text(encoding="utf-8"))


def cells(heading: str) -> list[list[str]]:
    """Return the rows of the table under a heading."""
    (section,) = re.findall(rf"(?ms)^## {heading}$(.*?)(?=^## )", README)
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]


def passed(name: str) -> list[str]:
    """Return the versions of something that rows passed with, in order, without what is after the minor version."""
    # It runs in the virtual machine alone.
    beginning = "machine" if name == "systemd" else ""
    rows = [row for title, row in RECORD.items() if title.startswith(beginning) and row["good"]]
    found = {version for row in rows for version in row["versions"].get(name, "").split(", ") if version}
    if name != "pyroute2":
        found = {".".join(version.split(".")[: 1 if name == "systemd" else 2]) for version in found}
    return sorted(found, key=lambda version: [int(part) for part in version.split(".")])


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("ansible-core", "ansible-core"),
        ("Linux", "Linux"),
        ("Python", "Python"),
        ("libvirt", "libvirt"),
        ("systemd", "systemd"),
    ],
)
def test_the_readme_has_the_versions_that_were_recorded(name: str, what: str) -> None:
    (shown,) = (tested for _where, needed, tested in cells("Requirements") if needed.startswith(what))
    assert shown.replace(f"{name} ", "") == ", ".join(passed(name))


def test_the_readme_has_the_pyroute2_that_were_recorded() -> None:
    (shown,) = (tested for _where, needed, tested in cells("Requirements") if needed.startswith("pyroute2"))
    (versions,) = {row["versions"]["pyroute2"] for name, row in RECORD.items() if name.startswith("modules")}
    assert shown == versions


def test_the_readme_has_the_releases_that_passed_as_a_whole() -> None:
    machines = {name.removeprefix("machine, "): row for name, row in RECORD.items() if name.startswith("machine, ")}
    releases = [name for name, row in machines.items() if row["good"] and " " not in name]
    assert f"releases of Debian as a whole ({', '.join(releases)})" in " ".join(README.split())


def test_the_readme_says_what_is_refused_where() -> None:
    """All options of a link that some kernel or iproute2 does not know, and the others that depend on a version."""
    expected = {
        f"`{one.option}`": f"Linux {one.since}" + (f", and at boot iproute2 {one.ip_since}" if one.ip_since else "")
        for one in ROWS.values()
        if one.since
    }
    expected["`dhcp4` of a shim, by networkd"] = f"systemd {choose_backend.KEEPS_RUNNING}"
    (kernel, library) = re.findall(r"(\w+ [\d.]+) or newer", table.EGRESS)
    expected["guards (`guard`, and the module `macvtap_guard`)"] = f"{kernel}, {library}"
    assert dict(cells("Compatibility")[2:]) == expected
