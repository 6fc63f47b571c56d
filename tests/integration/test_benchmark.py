# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The benchmark still measures what it says: each figure once, of a few links and domains. No times are asserted."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t
import xml.etree.ElementTree as ET

import pytest
from support import ROOT

sys.path.append(str(ROOT / "tests" / "benchmark"))

import figures
import harness
import netns
import report
import run

_SIZE = figures.Size(
    live=False,
    rounds=1,
    links=5,
    looped=1,
    growth=(2, 5),
    domains=3,
    one_by_one=1,
    hosts=4,
    # Each hypervisor is two hosts.
    fleets=(4,),
    memories=(192,),
    guests=(1, 2),
    recorded=(1, 2),
)
_KEYS = {
    "macvtap_link": {
        "1": {"create"},
        "netns": {"elsewhere"},
        "2": {"again", "output"},
        "3": {"mode"},
        "4": {"delete"},
        "5": {"tasks_first", "tasks_again"},
        "growth": {"growth_batch", "growth_create", "growth_again"},
        "6": {"memory"},
    },
    "libvirt_direct_iface": {
        "1": {"again", "again_virt-xml", "again_virsh"},
        "tasks": {"again_tasks"},
        "2": {"mode"},
        "3": {"replug", "live_mode"},
    },
    "pauses": {"pause": {"pause_192", "pause_restart_192", "forecast_192"}},
    "migration": {"moves": {"silence", "silence_median", "silence_ratio", "off_bridge", "duration"}},
    "macvtap_guard": {
        "load": {"guard_load"},
        "second": {"guard_again", "guard_one"},
        "frames": {"guard_frames_60", "guard_frames_1400", "guard_dropped_60"},
    },
    "guarded_guest": {"guest": {"guarded_stream", "guarded_frames", "guarded_answer"}},
    "preflight": {"compare": {"compare", "compare large"}},
    "fleet": {"again": {"site 4"}},
    "recorded": {"again": {"recorded 4", "recorded growth"}},
    "finding": {"addresses": {"addresses"}, "inventory": {"inventory"}},
}
# The others may be missing: a peer that is not installed is not measured.
_MEASURED = set.union(*(keys for groups in _KEYS.values() for keys in groups.values())) - {
    "again_virt-xml",
    "again_tasks",
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for network namespaces")


@pytest.fixture(scope="module", params=_KEYS)
def module(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if name in {"libvirt_direct_iface", "pauses", "migration", "fleet", "finding", "guarded_guest"} and not all(
        map(shutil.which, ("libvirtd", "qemu-system-x86_64"))
    ):
        pytest.skip("needs libvirtd and qemu-system-x86_64")
    return name


@pytest.fixture(scope="module")
def session(module: str) -> t.Iterator[t.Any]:
    with run.SUITES[module].session(sys.executable) as made:
        yield made


def test_every_figure_is_measured_and_reported(module: str, session: harness.Session, tmp_path: pathlib.Path) -> None:
    suite, keys = run.SUITES[module], _KEYS[module]
    found = {group: run.measure(suite, session, _SIZE, [group]) for group in suite.groups}

    assert {group: {figure.key for figure in measured} for group, measured in found.items()} == keys
    every = [figure for measured in found.values() for figure in measured]
    assert all(figure.value is not None for figure in every if figure.key in _MEASURED)
    assert all(figure.parts or figure.note for figure in every if figure.key != "output")
    report.save(module, every, report.circumstances(session), tmp_path)
    saved = json.loads((tmp_path / f"{module}.json").read_text())
    assert {figure["key"] for figure in saved["figures"]} == set.union(*keys.values())
    assert {"kernel", "python", "pyroute2", "libvirt", "iproute2", "cores"} <= set(saved["measured_with"])
    assert ET.parse(tmp_path / f"{module}.svg").getroot().tag.endswith("svg")  # noqa: S314  # our own file
    assert all(figure.what in report.table(every) for figure in every)
    assert all(figure.note in report.table(every) for figure in every if figure.value is None)


@pytest.mark.parametrize("module", [name for name, suite in run.SUITES.items() if suite.cases], indirect=True)
def test_profile_names_the_modules_functions(module: str, session: harness.Session) -> None:
    case, file = ("compare", "compare") if module == "preflight" else ("again", module)
    assert f"{file}.py" in run.profile(run.SUITES[module], session, case, _SIZE)


def test_no_namespace_is_left_when_a_measurement_fails() -> None:
    def fail() -> None:
        with netns.session(sys.executable) as session:
            assert session.bench is not None
            made.append(session.bench.netns)
            session.bench.run(["false"])

    made: list[str] = []
    with pytest.raises(harness.BenchmarkError):
        fail()
    assert made
    assert not pathlib.Path("/run/netns", made[0]).exists()


def test_it_runs_as_make_bench_runs_it() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    argv = [sys.executable, run.__file__, "--help"]
    done = subprocess.run(argv, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
