# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The benchmark still measures what it says: each figure once, with a few links. No times are asserted."""

from __future__ import annotations

import json
import os
import pathlib
import sys
import typing as t
import xml.etree.ElementTree as ET

import pytest
from support import ROOT

sys.path.append(str(ROOT / "tests" / "benchmark"))

import figures
import harness
import report
import run

_SIZE = figures.Size(rounds=1, links=5, looped=1, growth=(2, 5))
_KEYS = {
    "1": {"create"},
    "2": {"again", "output"},
    "3": {"mode"},
    "4": {"delete"},
    "5": {"tasks_first", "tasks_again"},
    "growth": {"growth_batch", "growth_create", "growth_again"},
    "6": {"memory"},
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces")


@pytest.fixture(scope="module")
def session() -> t.Iterator[harness.Session]:
    with harness.session(sys.executable) as made:
        yield made


def test_every_figure_is_measured_and_reported(session: harness.Session, tmp_path: pathlib.Path) -> None:
    assert set(_KEYS) == set(run.GROUPS)
    found = {group: run.measure(session, _SIZE, [group]) for group in run.GROUPS}

    assert {group: {figure.key for figure in measured} for group, measured in found.items()} == _KEYS
    every = [figure for measured in found.values() for figure in measured]
    assert all(figure.parts for figure in every if figure.key not in {"output"})
    report.save(every, report.circumstances(session), tmp_path)
    saved = json.loads((tmp_path / "macvtap_link.json").read_text())
    assert {figure["key"] for figure in saved["figures"]} == set.union(*_KEYS.values())
    assert {"kernel", "python", "pyroute2", "iproute2", "cores"} <= set(saved["measured_with"])
    assert ET.parse(tmp_path / "macvtap_link.svg").getroot().tag.endswith("svg")  # noqa: S314  # our own file
    assert all(figure.what in report.table(every) for figure in every)


def test_profile_names_the_modules_functions(session: harness.Session) -> None:
    assert "macvtap_link.py" in run.profile(session, "again", 2)


def test_no_namespace_is_left_when_a_measurement_fails() -> None:
    def fail() -> None:
        with harness.session(sys.executable) as session:
            assert session.bench is not None
            made.append(session.bench.netns)
            session.bench.run(["false"])

    made: list[str] = []
    with pytest.raises(harness.BenchmarkError):
        fail()
    assert made
    assert not pathlib.Path("/run/netns", made[0]).exists()
