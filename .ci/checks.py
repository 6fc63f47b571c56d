# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The checks of `make test`, by their stages, and the order in which they start. `stages.py` runs them."""

from __future__ import annotations

import os
import pathlib
import typing as t
from dataclasses import dataclass, field, replace

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The longest job starts first, because otherwise it would run alone at the end. So do quick ones that fail early. All
# others follow in the order of the stages, but for those that share what is left of the integration tests: they end
# at the same time. A job is named after its first check.
WORKER = "integration, worker {}"
WAITING_WORKER = "integration, waiting"
FIRST = ("molecule, vm", WAITING_WORKER, "ruff check", "unit tests", WORKER.format(1))
# Files of the integration tests that wait for most of their time: for answers to ARP, leases, limits, an image that
# another check builds. About half of it is processor time at most, on a quiet machine. One worker begins with them, and
# then helps with all others, which wait for a third of their time too.
WAITING = (
    "test_host_disconnect.py",
    "test_lab.py",
    "test_libvirt_direct_iface_keeper.py",
    "test_libvirt_direct_iface_pause_room.py",
    "test_macvtap_host_access.py",
    "test_macvtap_host_access_addresses.py",
    "test_macvtap_host_access_arp.py",
    "test_macvtap_host_access_cut.py",
    "test_macvtap_host_access_guest.py",
    "test_macvtap_host_access_kill.py",
    "test_macvtap_link_netns.py",
    "test_multicast.py",
    "test_pythons.py",
)
# The longest of the others, or one of them would run alone at the end.
LONG = (
    "test_benchmark.py",
    "test_collection.py",
    "test_finding_guests.py",
    "test_libvirt_direct_iface_kill.py",
    "test_libvirt_direct_iface_pause_kill.py",
    "test_libvirt_direct_iface_pending.py",
    "test_preflight.py",
    "test_readme.py",
    "test_unprivileged.py",
)
# Scenarios of molecule that `make matrix` runs, and no stage.
ONLY_MATRIX = ("security", "netplan")
# Scenarios in a virtual machine.
IN_MACHINE = ("smoke", "vm")
# A scenario is a check on each of its releases of Debian, by default on the lab's choice. These are the oldest and the
# newest that is released. Whether `make test` passes must not depend on sid, which changes every day: that is for
# `make matrix`.
RELEASES = {"smoke": ("bullseye", "trixie")}
# pytest's report of each check, to find the slowest tests, and those that failed.
REPORTS = ROOT / ".cache" / "reports"
# Which files the workers of the integration tests have begun: see tests/claimed.py.
CLAIMS = ROOT / ".cache" / "claims"


@dataclass(frozen=True)
class Check:
    name: str
    argv: t.Sequence[str]
    environment: t.Mapping[str, str] = field(default_factory=dict)
    # Relative to the checkout.
    directory: str = "."
    # Cleans up after an interrupted check. Most checks clean up themselves.
    cleanup: t.Sequence[str] = ()
    stage: str = ""
    # It mostly waits, and so runs beside the lanes.
    waits: bool = False


# Checks that share a cache or a directory run one after the other.
Job = t.List[Check]


@dataclass
class Plan:
    jobs: list[Job] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def needs_root(self, name: str) -> bool:
        if os.geteuid() == 0:
            return True
        self.skipped.append(f"{name} (needs root, for network namespaces)")
        return False


def lint(plan: Plan) -> None:
    lab = "extensions/molecule/lab"
    tests = f"tests:tests/integration:tests/benchmark:.ci:{lab}:.collections"
    docs = [
        "antsibull-docs",
        "lint-collection-docs",
        "--plugin-docs",
        ".collections/ansible_collections/linuxvirt/macvtap",
    ]
    plan.jobs.append(
        [
            Check("ruff check", ["ruff", "check", "."]),
            Check("ruff format", ["ruff", "format", "--check", "."]),
            Check("mypy, plugins", ["mypy", "--package", "ansible_collections.linuxvirt.macvtap.plugins"]),
            Check("mypy, lab", ["mypy", lab], {"MYPYPATH": f"{lab}:{lab}/guest"}),
            Check("mypy, tests", ["mypy", "tests"], {"MYPYPATH": tests}),
            Check("mypy, stages", ["mypy", ".ci/stages.py", ".ci/matrix.py"], {"MYPYPATH": tests}),
            Check("yamllint", ["yamllint", "--strict", "."]),
            Check("ansible-lint", ["ansible-lint"]),
            Check("antsibull-changelog", ["antsibull-changelog", "lint"]),
            Check("antsibull-docs", docs),
            Check("reuse", ["reuse", "lint", "--lines"]),
        ]
    )


def lanes() -> int:
    """Return how many jobs may run at once."""
    given = os.environ.get("MACVTAP_TEST_LANES", "")
    return int(given) if given.isdigit() and int(given) else min(2, os.cpu_count() or 1)


def pytest(name: str, *paths: str) -> list[str]:
    # pytest's cache is one file, so each check has its own.
    return ["pytest", *paths, "-q", "-o", f"cache_dir=.cache/pytest/{name}", f"--junitxml={REPORTS / name}.xml"]


def unit(plan: Plan) -> None:
    plan.jobs.append([Check("unit tests", pytest("unit", "tests/unit"))])


def integration(plan: Plan) -> None:
    if not plan.needs_root("integration tests"):
        return
    waiting, long = (" ".join(f"tests/integration/{name}" for name in names) for names in (WAITING, LONG))
    claims = {"MACVTAP_TEST_CLAIMS": str(CLAIMS)}
    # With one lane nothing may run beside it.
    if lanes() > 1:
        first = {**claims, "MACVTAP_TEST_FIRST": f"{waiting} {long}"}
        plan.jobs.append([Check(WAITING_WORKER, pytest("integration-waiting", "tests/integration"), first, waits=True)])
    orders = {**claims, "MACVTAP_TEST_FIRST": long, "MACVTAP_TEST_LAST": waiting}
    for number in range(1, lanes() + 1):
        plan.jobs.append([Check(WORKER.format(number), pytest(f"integration-{number}", "tests/integration"), orders)])


def sanity(plan: Plan) -> None:
    plan.jobs.append([Check("ansible-test sanity", [".ci/sanity"])])


def molecule(plan: Plan) -> None:
    if not plan.needs_root("molecule"):
        return
    scenarios = [path.parent.name for path in sorted((ROOT / "extensions/molecule").glob("*/molecule.yml"))]
    for scenario in scenarios:
        # It takes as long as the other one in the virtual machine.
        if scenario in ONLY_MATRIX:
            continue
        for release in RELEASES.get(scenario, ("",)):
            name = f"{scenario} {release}".rstrip()
            if scenario in IN_MACHINE and os.environ.get("MACVTAP_TEST_VM", "yes") == "no":
                plan.skipped.append(f"molecule, {name} (MACVTAP_TEST_VM=no)")
            else:
                plan.jobs.append([of_scenario(name, scenario, release)])


def of_scenario(name: str, scenario: str, release: str) -> Check:
    argv = [["molecule", command, "--scenario-name", scenario] for command in ("test", "destroy")]
    # Molecule's default state directory is shared by all checkouts on the machine.
    state = {"MOLECULE_EPHEMERAL_DIRECTORY": f"{ROOT}/.cache/molecule/{name.replace(' ', '-')}"}
    if release:
        state["LAB_RELEASE"] = release
    if scenario == "vm":
        # It takes longer than all others, and computes all the while: the others wait for a processor, not it.
        state["LAB_VM_NICE"] = "-10"
    return Check(f"molecule, {name}", argv[0], state, "extensions", argv[1])


STAGES: dict[str, t.Callable[[Plan], None]] = {
    "lint": lint,
    "unit": unit,
    "integration": integration,
    "sanity": sanity,
    "molecule": molecule,
}


def planned(names: t.Iterable[str]) -> Plan:
    """Return all checks of these stages, and the single checks that are named, each with the name of its stage.

    :raises KeyError: there is no such stage or check.
    """
    selected = set(names)
    plan = Plan()
    for stage, add in STAGES.items():
        part = Plan()
        add(part)
        whole = stage in selected
        jobs = [[replace(check, stage=stage) for check in job if whole or check.name in selected] for job in part.jobs]
        plan.jobs += [job for job in jobs if job]
        plan.skipped += part.skipped if whole else []
    known = {*STAGES, *(check.name for job in plan.jobs for check in job)}
    for unknown in sorted(selected - known):
        raise KeyError(unknown)
    return plan


def in_order(jobs: t.Sequence[Job]) -> list[Job]:
    """Return the jobs of FIRST, then the others in the order of the stages, then the other workers."""
    ranks = {name: rank for rank, name in enumerate(FIRST)}
    worker = WORKER.format("")
    return sorted(jobs, key=lambda job: ranks.get(job[0].name, len(ranks) + job[0].name.startswith(worker)))
