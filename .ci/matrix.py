# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Run the tests on all that users have: releases of Debian, Pythons, versions of pyroute2 and of ansible-core.

Arguments are the beginnings of names of rows, such as libvirt; by default all. Each row prints one line when it ends.
What it found is stored in docs/compatibility.json, from which docs/compatibility.md is written. A row's output is in
.cache/matrix.
"""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache/matrix"
RECORD, PAGE = ROOT / "docs/compatibility.json", ROOT / "docs/compatibility.md"
sys.path += [str(ROOT / "extensions/molecule/lab"), str(ROOT / "tests")]

from interpreters import interpreter  # noqa: E402
from labkit import debian, image, vmimage  # noqa: E402
from labkit.shell import LabError  # noqa: E402

# Of Debian's packages, by the name that the page has for each.
SHOWN = {
    "linux-image-": "Linux",
    "libvirt-daemon": "libvirt",
    "qemu-system-x86": "QEMU",
    "systemd": "systemd",
    "network-manager": "NetworkManager",
    "nftables": "nftables",
    "python3": "Python",
    "python3-pyroute2": "pyroute2",
}
# libvirt 7.0 cannot remove links on a kernel as new as this machine's may be: bullseye's runs in the virtual machine.
LIBVIRT_ON = ("trixie", "sid")
LIBVIRT_TESTS = ("libvirt_*", "macvtap_guard*", "macvtap_host_*", "macvtap_guest_addresses*", "multicast")
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13")
PYROUTE2 = ("0.5.14", "0.6.13", "0.7.2", "0.7.7", "0.8.1", "0.9.7")
CORES = (("2.18", "3.11"), ("2.19", "3.11"), ("2.20", "3.12"), ("2.21", "3.13"))
OLDEST = "tests/integration/test_oldest_core.py::test_it_is_the_oldest"
HEAD = """\
<!-- SPDX-License-Identifier: GPL-3.0-or-later -->
<!-- Copyright (c) linuxvirt.macvtap contributors -->
# Compatibility

What the tests ran with, and when. `make matrix` runs them and writes this page from what it found; `make matrix ROWS=…`
runs some of them.

| row | versions | what ran | result | minutes | date |
|---|---|---|---|---|---|
"""


@dataclass(frozen=True)
class Row:
    name: str
    # For users: what runs.
    what: str
    argv: t.Sequence[str]
    # Makes what it needs, and returns what it found: versions by name.
    prepare: t.Callable[[], dict[str, str]]
    environment: t.Callable[[], dict[str, str]] = dict
    directory: str = "."


@dataclass
class Result:
    """What a row's end left: whether it is good, and the tests it has."""

    good: bool
    seconds: float
    passed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)


def packages(listing: str) -> dict[str, str]:
    """Return the versions, as their projects number them, in what :func:`vmimage.listing` returns."""
    found = {}
    for line in listing.splitlines():
        package, version = line.split()
        # A kernel's package has its version in its name too.
        start = "linux-image-" if re.match(r"linux-image-\d", package) else package
        if start in SHOWN:
            found[SHOWN[start]] = version.partition(":")[2] or version
    order = list(SHOWN.values())
    return {name: plain(found[name]) for name in sorted(found, key=order.index)}


def plain(version: str) -> str:
    """Return a package's version without what Debian adds to it."""
    return re.split(r"[-+~]", version, maxsplit=1)[0]


def libvirt_row(release: str) -> Row:
    def root() -> pathlib.Path:
        return debian.hypervisor_root(image.cache_dir(None), release)

    paths = sorted(
        {str(path) for glob in LIBVIRT_TESTS for path in (ROOT / "tests/integration").glob(f"test_{glob}.py")}
    )
    return Row(
        f"libvirt, {release}",
        "all tests of libvirt's modules and of guards, on this machine's kernel",
        pytest(f"libvirt-{release}", *paths),
        lambda: packages(vmimage.listing(root())),
        lambda: {"MACVTAP_TEST_ROOT": str(root())},
    )


def vm_row(release: str) -> Row:
    def found() -> dict[str, str]:
        return packages((vmimage.build(image.cache_dir(None), release).disk.parent / vmimage.LISTED).read_text())

    return Row(
        f"machine, {release}",
        "kernel, links, VLANs, guests, guards and persistence in a virtual machine that reboots",
        ["molecule", "test", "--scenario-name", "vm"],
        found,
        lambda: {"LAB_RELEASE": release, "MOLECULE_EPHEMERAL_DIRECTORY": f"{WORK}/molecule"},
        "extensions",
    )


def python_row(version: str) -> Row:
    return Row(
        f"modules, Python {version}",
        "the modules that need no libvirt, with each of these pyroute2",
        pytest(f"python-{version}", "tests/integration/test_pythons.py"),
        lambda: {"Python": version, "pyroute2": ", ".join(PYROUTE2)},
        lambda: {"MACVTAP_TEST_PYTHONS": version, "MACVTAP_TEST_PYROUTE2": " ".join(PYROUTE2)},
    )


def core_row(core: str, version: str) -> Row:
    venv = WORK / f"core-{core}-{version}"

    def made() -> dict[str, str]:
        found = interpreter(version)
        if found is None:
            raise LookupError(f"this machine has no Python {version}")
        if not (venv / "bin/ansible").exists():
            subprocess.run([found, "-m", "venv", "--clear", venv], check=True)
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"ansible-core=={core}.*"]
            subprocess.run([venv / "bin/python", *install], check=True)
        code = "import ansible.release; print(ansible.release.__version__)"
        done = subprocess.run([venv / "bin/python", "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        return {"ansible-core": done.stdout.strip(), "Python": version}

    return Row(
        f"controller, ansible-core {core}",
        "the playbooks, from the built collection",
        pytest(f"core-{core}", "tests/integration/test_oldest_core.py", "--deselect", OLDEST),
        made,
        lambda: {"MACVTAP_TEST_CONTROLLER": str(venv / "bin/python")},
    )


def pytest(name: str, *paths: str) -> list[str]:
    return ["pytest", "-q", "-o", f"cache_dir={WORK}/pytest", f"--junitxml={WORK / name}.xml", *paths]


def rows() -> list[Row]:
    return [
        *map(python_row, PYTHONS),
        *(core_row(*pair) for pair in CORES),
        *map(libvirt_row, LIBVIRT_ON),
        *map(vm_row, debian.RELEASES),
    ]


def run(row: Row) -> tuple[Result, dict[str, str]]:
    """Run a row, whatever becomes of it, and return what it found."""
    log, started = WORK / f"{slug(row.name)}.log", time.monotonic()
    reports = [pathlib.Path(word.partition("=")[2]) for word in row.argv if word.startswith("--junitxml=")]
    for report in reports:
        report.unlink(missing_ok=True)
    versions: dict[str, str] = {}
    with log.open("w") as output:
        try:
            versions = row.prepare()
            environment = {**os.environ, **row.environment(), "ANSIBLE_NOCOLOR": "1", "NO_COLOR": "1"}
            code = subprocess.run(
                row.argv, cwd=ROOT / row.directory, env=environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, check=False,
            ).returncode  # fmt: skip
        except (LabError, LookupError, OSError, subprocess.CalledProcessError) as exc:
            print(exc, file=output)
            code = 1
    result = Result(code == 0, time.monotonic() - started)
    for report in reports:
        count(report, result)
        # Where all tests are skipped, nothing was shown.
        result.good = result.good and result.passed > 0
    return result, versions


def count(report: pathlib.Path, result: Result) -> None:
    """Count the tests of a report of pytest's, and why some were skipped."""
    if not report.exists():
        return
    for case in ET.parse(report).iter("testcase"):  # noqa: S314
        skipped = case.find("skipped")
        if skipped is None:
            result.passed += all(case.find(tag) is None for tag in ("failure", "error"))
        else:
            reason = str(skipped.get("message"))
            result.skipped[reason] = result.skipped.get(reason, 0) + 1


def slug(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-").lower()


def page(record: t.Mapping[str, t.Any]) -> str:
    """Return docs/compatibility.md, from docs/compatibility.json."""
    lines, notes = [], []
    for name, one in record.items():
        versions = "; ".join(f"{what} {version}" for what, version in one["versions"].items())
        result = "passed" if one["good"] else "**failed**"
        tests = f", {one['passed']} test{'s' * (one['passed'] > 1)}" if one["passed"] else ""
        lines.append(f"| {name} | {versions} | {one['what']} | {result}{tests} | {one['minutes']} | {one['date']} |")
        notes += [f"- {name}: {count} skipped: {reason}" for reason, count in one["skipped"].items()]
    skipped = "\n".join(["\n## What was not run there, and why\n", *notes, ""]) if notes else ""
    return HEAD + "\n".join(lines) + "\n" + skipped


def main(names: t.Sequence[str]) -> int:
    if os.geteuid():
        print("matrix: run this as root, for network namespaces", file=sys.stderr)
        return 2
    wanted = [row for row in rows() if not names or row.name.startswith(tuple(names))]
    unknown = [name for name in names if not any(row.name.startswith(name) for row in wanted)]
    if unknown:
        names = [row.name for row in rows()]
        print(f"matrix: no row begins with {unknown[0]!r}; the rows are {'; '.join(names)}", file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{ROOT}/.venv/bin:{os.environ['PATH']}"
    failed = 0
    for row in wanted:
        result, versions = run(row)
        failed += not result.good
        where = "" if result.good else f"; see {(WORK / slug(row.name)).relative_to(ROOT)}.log"
        print(f"{row.name}: {'ok' if result.good else 'FAILED'}, {result.seconds:.0f} s{where}", flush=True)
        record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        record[row.name] = {
            "versions": versions,
            "what": row.what,
            "good": result.good,
            "passed": result.passed,
            "skipped": dict(sorted(result.skipped.items())),
            "minutes": round(result.seconds / 60),
            "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        }
        known = [one.name for one in rows() if one.name in record]
        record = {name: record[name] for name in known}
        RECORD.write_text(json.dumps(record, indent=2) + "\n")
        PAGE.write_text(page(record))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
