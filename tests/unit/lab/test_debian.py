# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Where the lab gets Debian from, and what its cache keeps."""

from __future__ import annotations

import os
import sys
import typing as t
from pathlib import Path

import pytest
from support import ROOT

sys.path.append(str(ROOT / "extensions" / "molecule" / "lab"))

from labkit import debian, vmimage
from labkit.shell import LabError

MAIN, LATER, SECURITY = (
    "deb http://mirror.test/debian/ bookworm main",
    "deb http://mirror.test/debian/ bookworm-updates main",
    "deb http://mirror.test/debian-security/ bookworm-security main",
)


def test_a_key_is_of_all_that_goes_in() -> None:
    key = debian.key(b"code", {"etc/a": b"1", "etc/b": b"2"}, "trixie")
    assert key == debian.key(b"code", {"etc/b": b"2", "etc/a": b"1"}, "trixie")
    others = [
        debian.key(b"other", {"etc/a": b"1", "etc/b": b"2"}, "trixie"),
        debian.key(b"code", {"etc/a": b"1", "etc/b": b"3"}, "trixie"),
        debian.key(b"code", {"etc/a": b"1", "etc/c": b"2"}, "trixie"),
        debian.key(b"code", {"etc/a": b"1"}, "trixie"),
        debian.key(b"code", {"etc/a": b"1\0etc/b\x001\x002"}, "trixie"),
        debian.key(b"code", {"etc/a": b"1", "etc/b": b"2"}, "sid"),
    ]
    assert len({key, *others}) == 1 + len(others)


def test_no_mirror_is_part_of_the_recipe() -> None:
    argv = debian.mmdebstrap(Path("/build/root"), "trixie", debian.HYPERVISOR)
    assert "://" not in " ".join(argv)
    assert argv[-1] == "-"
    assert vmimage.KERNEL in vmimage.PACKAGES


@pytest.mark.parametrize(
    ("lines", "release", "expected"),
    [
        ([MAIN, LATER, SECURITY], "bookworm", [MAIN, LATER, SECURITY]),
        ([SECURITY, MAIN], "bookworm", [SECURITY, MAIN]),
        ([SECURITY, LATER, MAIN], "trixie", ["deb http://mirror.test/debian/ trixie main"]),
        # Contributed packages may come from elsewhere.
        (["deb http://other.test/ bookworm contrib", MAIN], "sid", ["deb http://mirror.test/debian/ sid main"]),
        ([SECURITY], "bookworm", []),
        ([], "trixie", []),
    ],
)
def test_a_release_comes_from_the_machines_own_archive(lines: list[str], release: str, expected: list[str]) -> None:
    assert debian.chosen(lines, release) == expected


def test_an_unknown_release_is_named() -> None:
    with pytest.raises(LabError, match="'buster' is none of the Debian releases bullseye, bookworm"):
        debian.required("buster")


def test_the_cache_makes_a_thing_once_and_keeps_its_newest(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(work: Path) -> Path:
        made.append(work)
        (work / "kept").mkdir()
        (work / "scrap").touch()
        return work / "kept"

    leftover = tmp_path / ".building-root-1"
    leftover.mkdir()
    first = debian.cached(tmp_path, "root", "1", make)
    assert debian.cached(tmp_path, "root", "1", make) == first
    other = debian.cached(tmp_path, "other", "1", make)
    # A lab may still run on it.
    second = debian.cached(tmp_path, "root", "2", make)
    assert first.is_dir()
    for path in (first, other):
        os.utime(path, (0, 0))
    third = debian.cached(tmp_path, "root", "3", make)
    assert len(made) == 4
    assert {path.name for path in tmp_path.iterdir()} == {".lock", *(one.name for one in (other, second, third))}


def test_the_cache_keeps_nothing_of_what_failed(tmp_path: Path) -> None:
    def fails(work: Path) -> t.NoReturn:
        (work / "half").touch()
        raise LabError("the mirror is gone")

    with pytest.raises(LabError, match="the mirror is gone"):
        debian.cached(tmp_path, "root", "1", fails)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}
