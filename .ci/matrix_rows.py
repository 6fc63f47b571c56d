# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The rows of `make matrix`: what each runs, and on what. `matrix.py` runs them."""

from __future__ import annotations

import fcntl
import os
import pathlib
import re
import subprocess
import sys
import typing as t
from dataclasses import dataclass

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / ".cache/matrix"
sys.path += [str(ROOT / "extensions/molecule/lab"), str(ROOT / "tests")]

from interpreters import interpreter, newest_debian  # noqa: E402
from labkit import debian, image, vmimage  # noqa: E402
from labkit.shell import LabError  # noqa: E402

__all__ = ["ROOT", "WORK", "LabError", "Row", "rows"]

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
    "apparmor": "AppArmor",
    "selinux-policy-default": "SELinux policy",
    "netplan.io": "netplan",
}
# libvirt 7.0 cannot remove links on a kernel as new as this machine's may be: bullseye's runs in the virtual machine.
LIBVIRT_ON = ("trixie", "sid")
# What a file of tests has in it that runs on one of the lab's hypervisors, and so on the release's own system.
ON_HYPERVISORS = re.compile(r"\b(Hypervisor|Networks|libvirtd_fixture|managed|found_guests|moved_guests)\b")
# Which have hypervisors with different versions.
OF_VERSIONS = "tests/integration/test_libvirt_guest_migrate_versions.py"
# The newest is the newest Debian's.
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
PYROUTE2 = ("0.5.14", "0.6.13", "0.7.2", "0.7.7", "0.8.1", "0.9.7")
CORES = (("2.18", "3.11"), ("2.19", "3.11"), ("2.20", "3.12"), ("2.21", "3.13"), ("2.22", "3.13"))
# Those of CORES of which there is no release yet. Their ansible-test may need what PyPI does not have.
PRERELEASES = ("2.22",)
OLDEST = "tests/integration/test_oldest_core.py::test_it_is_the_oldest"


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
    # Removes what a row that failed, or was interrupted, has left. Most clean up by themselves.
    cleanup: t.Sequence[str] = ()


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


def on_hypervisors() -> list[str]:
    paths = sorted((ROOT / "tests/integration").glob("test_*.py"))
    found = [str(path.relative_to(ROOT)) for path in paths if ON_HYPERVISORS.search(path.read_text())]
    return [path for path in found if path != OF_VERSIONS]


def libvirt_row(release: str) -> Row:
    def root() -> pathlib.Path:
        return debian.hypervisor_root(image.cache_dir(None), release)

    return Row(
        f"libvirt, {release}",
        "all tests that use a hypervisor of the lab, on this machine's kernel",
        pytest(f"libvirt-{release}", *on_hypervisors()),
        lambda: {"Linux": plain(os.uname().release), **packages(vmimage.listing(root()))},
        lambda: {"MACVTAP_TEST_ROOT": str(root())},
    )


def versions_row(older: str, newer: str) -> Row:
    """Guests move from this machine's own release to a newer one, and back."""

    def root() -> pathlib.Path:
        return debian.hypervisor_root(image.cache_dir(None), newer)

    def found() -> dict[str, str]:
        both = [packages(vmimage.listing(path)) for path in (pathlib.Path("/"), root())]
        return {
            "Linux": plain(os.uname().release),
            **{name: f"{both[0][name]}, {both[1][name]}" for name in ("libvirt", "QEMU", "Python")},
        }

    return Row(
        f"libvirt, {older} to {newer}",
        "guests that move to newer versions and back, on this machine's kernel",
        pytest(f"libvirt-{older}-to-{newer}", OF_VERSIONS),
        found,
        lambda: {"MACVTAP_TEST_NEWER_ROOT": str(root())},
    )


def machine_row(name: str, what: str, scenario: str, release: str, variant: str = "") -> Row:
    """A scenario of molecule's in a virtual machine, or in a variant of it."""

    def found() -> dict[str, str]:
        built = vmimage.build(image.cache_dir(None), release, variant)
        return packages((built.disk.parent / vmimage.LISTED).read_text())

    def environment() -> dict[str, str]:
        return {
            "LAB_RELEASE": release,
            "LAB_VARIANT": variant,
            "MOLECULE_EPHEMERAL_DIRECTORY": f"{WORK}/molecule-{scenario}",
        }

    argv = [["molecule", command, "--scenario-name", scenario] for command in ("test", "destroy")]
    return Row(f"machine, {name}", what, argv[0], found, environment, "extensions", argv[1])


def vm_row(release: str) -> Row:
    what = "kernel, links, VLANs, guests, guards and persistence in a virtual machine that reboots"
    return machine_row(release, what, "vm", release)


def security_row(module: str, title: str, what: str) -> Row:
    what = f"kernel, links, guests, guards and persistence; {what}"
    return machine_row(f"{vmimage.RELEASE} with {title}", what, "security", vmimage.RELEASE, module)


def netplan_row() -> Row:
    what = "links, VLANs, shims and a guest on what netplan declares, by networkd and by NetworkManager"
    return machine_row(f"{vmimage.RELEASE} with netplan", what, "netplan", vmimage.RELEASE, "netplan")


def python_row(version: str) -> Row:
    return Row(
        f"modules, Python {version}",
        "the modules that need no libvirt, with each of these pyroute2",
        pytest(f"python-{version}", "tests/integration/test_pythons.py"),
        lambda: {"Python": version, "pyroute2": ", ".join(PYROUTE2)},
        lambda: {"MACVTAP_TEST_PYTHONS": version, "MACVTAP_TEST_PYROUTE2": " ".join(PYROUTE2)},
    )


def core_venv(core: str, version: str) -> pathlib.Path:
    return WORK / f"core-{core}-{version}"


def core_made(core: str, version: str) -> dict[str, str]:
    """Make the virtual environment that has an ansible-core, and return the versions."""
    venv = core_venv(core, version)
    found = interpreter(version)
    if found is None:
        raise LookupError(f"this machine has no Python {version}")
    with venv.with_suffix(".lock").open("w") as lock:
        # Rows that run at the same time may need the same one.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (venv / "bin/ansible").exists():
            subprocess.run([found, "-m", "venv", "--clear", venv], check=True)
            install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"ansible-core=={core}.*"]
            more = ["--pre"] if core in PRERELEASES else []
            subprocess.run([venv / "bin/python", *install, *more], check=True)
    code = "import ansible.release; print(ansible.release.__version__)"
    done = subprocess.run([venv / "bin/python", "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return {"ansible-core": done.stdout.strip(), "Python": version}


def core_row(core: str, version: str) -> Row:
    return Row(
        f"controller, ansible-core {core}",
        "the playbooks, from the built collection",
        pytest(f"core-{core}", "tests/integration/test_oldest_core.py", "--deselect", OLDEST),
        lambda: core_made(core, version),
        lambda: {"MACVTAP_TEST_CONTROLLER": str(core_venv(core, version) / "bin/python")},
    )


def sanity_row(core: str, version: str) -> Row:
    def made() -> dict[str, str]:
        return {**core_made(core, version), "Python": ", ".join(sanity_pythons(core_venv(core, version)))}

    def environment() -> dict[str, str]:
        venv = core_venv(core, version)
        pythons = sanity_pythons(venv)
        return {
            "MACVTAP_SANITY_VENV": str(venv),
            "MACVTAP_SANITY_PYTHONS": " ".join(pythons),
            "PATH": ":".join([os.environ["PATH"], *(str(pathlib.Path(path).parent) for path in pythons.values())]),
        }

    return Row(
        f"sanity, ansible-core {core}",
        "ansible-test sanity; compiles and imports with each of these Pythons",
        [".ci/sanity"],
        made,
        environment,
    )


def sanity_pythons(venv: pathlib.Path) -> dict[str, str]:
    """Return the paths of the Pythons that there are of those that an ansible-core tests and the modules run on."""
    constants = "ansible_test._util.target.common.constants"
    code = f"import {constants} as c; print(*c.REMOTE_ONLY_PYTHON_VERSIONS, *c.CONTROLLER_PYTHON_VERSIONS)"
    done = subprocess.run([venv / "bin/python", "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    found = {}
    for version in done.stdout.split():
        path = python_path(version) if version in PYTHONS else None
        if path is not None:
            found[version] = path
    return found


def python_path(version: str) -> str | None:
    return newest_debian(version) if version == PYTHONS[-1] else interpreter(version)


def installed(*parts: str, **names: str) -> dict[str, str]:
    """Install parts of the set-up, and return the versions of these distributions by the names that the page has."""
    subprocess.run([".ci/setup", *parts], cwd=ROOT, check=True)
    code = "import importlib.metadata as m, sys; print(*map(m.version, sys.argv[1:]))"
    argv = [".venv/bin/python", "-c", code, *names.values()]
    done = subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return dict(zip(names, done.stdout.split()))


def publishing_rows() -> list[Row]:
    return [
        Row(
            "publishing, archive",
            "what Galaxy checks of an archive, without a warning; ansible-builder; a signed example project",
            [".venv/bin/python", ".ci/importer.py"],
            lambda: installed(
                *("gpg", "release"),
                **{name: name for name in ("galaxy-importer", "ansible-builder", "ansible-sign")},
            ),
        ),
        Row(
            "publishing, site",
            "every page of the site and of the report in a browser",
            pytest("browser", "tests/browser"),
            lambda: installed("chromium", "browser", "docs", Sphinx="sphinx", Playwright="playwright"),
        ),
    ]


def pytest(name: str, *paths: str) -> list[str]:
    return ["pytest", "-q", "-o", f"cache_dir={WORK}/pytest", f"--junitxml={WORK / name}.xml", *paths]


def rows() -> list[Row]:
    return [
        *map(python_row, PYTHONS),
        *(core_row(*pair) for pair in CORES),
        *(sanity_row(*pair) for pair in CORES if pair[0] not in PRERELEASES),
        *map(libvirt_row, LIBVIRT_ON),
        *(versions_row("bookworm", release) for release in LIBVIRT_ON),
        *map(vm_row, debian.RELEASES),
        security_row("apparmor", "AppArmor", "Debian's profiles deny none of it"),
        security_row("selinux", "SELinux", "Debian's policy with the rules of docs/guard.md denies none of it"),
        netplan_row(),
        *publishing_rows(),
    ]
