# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The modules on every Python that a target may have, as far as this machine has it, with old and new pyroute2."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import typing as t
import zipfile

import pytest
from interpreters import interpreter, newest_debian
from support import ROOT, ansible_path, module_environment, run_module

if t.TYPE_CHECKING:
    from namespaces import Namespace

ASKED = "MACVTAP_TEST_PYTHONS" in os.environ
VERSIONS = os.environ.get("MACVTAP_TEST_PYTHONS", "3.9 3.10 3.11 3.12 3.13").split()
# Debian 11 and EPEL 9 have 0.5.14. That of Debian 12 many other tests run with.
PYROUTE2 = os.environ.get("MACVTAP_TEST_PYROUTE2", "0.5.14 0.9.7").split()


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pathlib.Path]:
    """Where each pyroute2 is. It has nothing that is for one version of Python alone."""
    made = {release: tmp_path_factory.mktemp(release) for release in PYROUTE2}
    for release, path in made.items():
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        subprocess.run([sys.executable, *install, "--target", path, f"pyroute2=={release}"], check=True)
    return made


PAIRS = [(version, release) for version in VERSIONS for release in PYROUTE2]


def _interpreter(version: str) -> str:
    """Return the path of a Python. Only a row of the matrix makes one that this machine lacks."""
    found = interpreter(version) or (newest_debian(version) if ASKED else None)
    if found is None:
        pytest.skip(f"this machine has no Python {version}")
    return str(found)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def python(
    request: pytest.FixtureRequest, libraries: dict[str, pathlib.Path], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """An interpreter of the version, in a virtual environment with pyroute2."""
    version, release = request.param
    found = _interpreter(version)
    venv = tmp_path_factory.mktemp(f"{version}-{release}")
    subprocess.run([found, "-m", "venv", "--without-pip", venv], check=True)
    (venv / f"lib/python{version}/site-packages/pyroute2.pth").write_text(f"{libraries[release]}\n")
    return str(venv / "bin" / "python")


def test_a_link_comes_and_goes(netns: Namespace, python: str) -> None:
    wanted = {"name": "mt0", "parent": "eth0", "mode": "bridge", "tap": {"mode": "0660"}}
    assert netns.run(wanted, python=python)["changed"]
    assert not netns.run(wanted, python=python, diff=True)["changed"]
    assert netns.run({**wanted, "mode": "vepa"}, python=python, diff=True)["changed"]
    assert netns.run({"name": "mt0", "state": "absent"}, python=python)["changed"]


def test_a_shim_comes_and_goes(netns: Namespace, python: str) -> None:
    wanted = {"name": "host0", "parent": "eth0", "addresses": ["192.0.2.250", "2001:db8::250"]}
    wanted["guests"] = ["192.0.2.77", "2001:db8::/120"]
    assert netns.run(wanted, module="macvtap_host_access", python=python)["changed"]
    assert not netns.run(wanted, module="macvtap_host_access", python=python, diff=True)["changed"]
    gone = {"name": "host0", "state": "absent"}
    assert netns.run(gone, module="macvtap_host_access", python=python)["changed"]


def test_a_switch_is_asked(netns: Namespace, python: str) -> None:
    for method in ("lower", "endpoints"):
        result = netns.run({"parent": "eth0", "method": method}, module="reflective_relay_info", python=python)
        assert result["reflective_relay"] is False


def test_the_host_is_looked_at(python: str) -> None:
    assert run_module("macvtap_host_info", {}, python=python)["links"]


def test_the_kernel_is_judged(python: str) -> None:
    assert run_module("kernel_macvtap_check", {}, python=python)["supported"]


def test_all_modules_without_libvirt_are_planned(netns: Namespace, python: str) -> None:
    shim = {"name": "host0", "parent": "eth0", "addresses": ["192.0.2.250"]}
    stages: dict[str, t.Any] = {
        "kernel_macvtap_check": {},
        "macvtap_persistence": {"name": "mt0", "parent": "eth0"},
        "vlan_link": {"id": 7, "parent": "eth0", "state": "absent"},
        "macvtap_link": {"name": "mt0", "parent": "eth0", "mtu": "1400"},
        "macvtap_host_access": shim,
        "macvtap_guard": {"guards": [{"mac": "bad"}]},
    }
    given = [{"name": name, "module": name, "options": options} for name, options in stages.items()]
    result = netns.run({"stages": given}, module="macvtap_host_plan", python=python)
    (*found, refused) = result["stages"]
    assert refused["error"].startswith("stages[5].options.guards[0].mac: 'bad' is not a MAC address"), refused
    assert [(one["module"], one["error"]) for one in found if one["error"]] == []
    assert {one["name"] for one in found if one["changes"]} >= {"macvtap_link", "macvtap_host_access"}


@pytest.mark.parametrize("version", VERSIONS)
def test_all_files_are_imported_from_an_archive(version: str, tmp_path: pathlib.Path) -> None:
    """As Ansible sends them. Before Python 3.10 ``__package__`` is None while a file is imported from an archive."""
    found = _interpreter(version)
    archive, utils = (
        tmp_path / "payload.zip",
        pathlib.PurePath("ansible_collections/linuxvirt/macvtap/plugins/module_utils"),
    )
    files = [path.relative_to(ROOT / ".collections") for path in (ROOT / ".collections" / utils).rglob("*.py")]
    with zipfile.ZipFile(archive, "w") as payload:
        for package in (utils, *utils.parents[:-1]):
            payload.writestr(f"{package}/__init__.py", "")
        for path in files:
            if path != utils / "__init__.py":
                payload.write(ROOT / ".collections" / path, str(path))
    code = "import importlib, sys; [importlib.import_module(name) for name in sys.argv[1:]]"
    names = [".".join(path.with_suffix("").parts) for path in files if path.name != "__init__.py"]
    environment = {**module_environment(), "PYTHONPATH": f"{archive}:{ansible_path()}"}
    done = subprocess.run(
        [found, "-c", code, *sorted(names)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
