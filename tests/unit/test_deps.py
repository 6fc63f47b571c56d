# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The error for a missing library has the package of the host's distribution."""

from __future__ import annotations

import importlib
import pathlib
import sys

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils import _deps
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._errors import MacvtapError, MissingLibraryError
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._links import messages


@pytest.mark.parametrize(
    ("os_release", "hint"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "apt install python3-libvirt"),
        ("ID=linuxmint\nID_LIKE=ubuntu\n", "apt install python3-libvirt"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install python3-libvirt"),
        ('ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', "zypper install python3-libvirt-python"),
        ("ID=arch\n", "install the distribution's package of it (often python3-libvirt)"),
        ("", "install the distribution's package of it (often python3-libvirt)"),
    ],
)
def test_hint_names_the_distributions_package(os_release: str, hint: str) -> None:
    assert _deps.install_hint("libvirt", os_release) == hint


def test_missing_libraries_are_named_by_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("lxml", "libvirt", "nftables", "pyroute2"):
        monkeypatch.setitem(sys.modules, library, importlib)
    monkeypatch.setattr(_deps, "_read_os_release", lambda: "ID=opensuse-leap\n")
    assert _deps.missing_packages() == []
    for library in ("pyroute2", "libvirt"):
        monkeypatch.setitem(sys.modules, library, None)
    assert _deps.missing_packages() == ["python3-libvirt-python", "python3-pyroute2"]


def test_a_missing_library_is_distinguished_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lxml", None)
    with pytest.raises(MissingLibraryError, match="lxml is missing") as caught:
        _deps.load("lxml", "etree")
    assert "lxml" in caught.value.trace


def _package(directory: pathlib.Path, name: str, whole: str, part: str) -> None:
    (directory / name).mkdir()
    (directory / name / "__init__.py").write_text(whole)
    (directory / name / "part.py").write_text(part)


def test_a_part_is_loaded_without_the_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    _package(tmp_path, "light", "raise RuntimeError('the whole was imported')", "value = 7")
    monkeypatch.syspath_prepend(tmp_path)
    assert _deps.load_part("light", "part").value == 7
    # A later import gets the real library.
    with pytest.raises(RuntimeError, match="the whole was imported"):
        importlib.import_module("light")


def test_a_part_that_needs_the_whole_gets_it(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    _package(tmp_path, "heavy", "value = 7", "from heavy import value")
    monkeypatch.syspath_prepend(tmp_path)
    assert _deps.load_part("heavy", "part").value == 7


def test_a_part_of_a_missing_library_is_the_librarys_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyroute2", None)
    with pytest.raises(MissingLibraryError, match="pyroute2 is missing"):
        _deps.load_part("pyroute2", "netlink.rtnl.ifinfmsg")


def test_a_library_that_is_too_old_is_named_with_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    def old(_library: str, _part: str) -> None:
        raise AttributeError("type object 'ifinfo' has no attribute 'nla'")

    monkeypatch.setattr(_deps, "load_part", old)
    messages._message_class.cache_clear()
    for version, error, message in (
        ("0.5.13", MacvtapError, r"pyroute2 0\.5\.14 or newer is needed, found 0\.5\.13"),
        # With a version that is new enough, it is a defect.
        ("0.9.7", AttributeError, "nla"),
    ):
        monkeypatch.setattr("importlib.metadata.version", lambda _library, version=version: version)
        with pytest.raises(error, match=message):
            messages.require()


def test_an_os_release_in_another_encoding_is_not_a_defect(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    release = tmp_path / "os-release"
    release.write_bytes(b'ID=debian\nPRETTY_NAME="\xe9toile"\n')
    real = open
    monkeypatch.setattr("builtins.open", lambda path, **more: real(release if "os-release" in path else path, **more))
    monkeypatch.setitem(sys.modules, "lxml", None)
    with pytest.raises(MissingLibraryError, match="apt install python3-lxml"):
        _deps.load("lxml", "etree")
