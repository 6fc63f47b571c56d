# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""modprobe.d as parsed here and by libkmod itself."""

from __future__ import annotations

import ctypes
import pathlib
import random
import typing as t

import pytest

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel import modprobe

NAMES = ("macvtap", "macvlan", "tap")
# What files are made of: everything that either reader might take for something else.
PIECES: tuple[str, ...] = ("install", "blacklist", "options", " ", "  ", "\t", "\n", "\n\n", "\\\n", "#", " # ", "\\")
PIECES += (*NAMES, "mac*", "ta?", "[l-n]ac[a-z]*", "a-b", "\r", "/bin/true", "/bin/false", "modprobe -i", "&&", ";")

# libkmod.h
IGNORE_LOADED, DRY_RUN = 0x8, 0x10
APPLY_BLACKLIST, APPLY_BLACKLIST_ALIAS_ONLY = 0x20000, 0x40000


def text(chance: random.Random) -> str:
    # A backslash at the very end makes libkmod 30 take the end of the file for a byte.
    return "".join(chance.choices(PIECES, k=chance.randrange(60))).rstrip("\\")


class Libkmod:
    """libkmod with its configuration in test directories, in order of precedence."""

    def __init__(self, directories: t.Sequence[pathlib.Path]) -> None:
        self._lib = ctypes.CDLL("libkmod.so.2")
        for name, result in (
            ("kmod_new", ctypes.c_void_p),
            ("kmod_config_get_blacklists", ctypes.c_void_p),
            ("kmod_config_iter_next", ctypes.c_bool),
            ("kmod_config_iter_get_key", ctypes.c_char_p),
            ("kmod_module_get_install_commands", ctypes.c_char_p),
        ):
            getattr(self._lib, name).restype = result
        paths = (ctypes.c_char_p * (len(directories) + 1))(*(str(path).encode() for path in directories), None)
        self._context = ctypes.c_void_p(self._lib.kmod_new(b"/nonexistent", paths))

    def blacklisted(self) -> set[str]:
        names = set()
        entries = ctypes.c_void_p(self._lib.kmod_config_get_blacklists(self._context))
        while self._lib.kmod_config_iter_next(entries):
            names.add(self._lib.kmod_config_iter_get_key(entries).decode())
        return names

    def install_command(self, name: str) -> str | None:
        module = ctypes.c_void_p()
        assert self._lib.kmod_module_new_from_name(self._context, name.encode(), ctypes.byref(module)) == 0
        found: bytes | None = self._lib.kmod_module_get_install_commands(module)
        return None if found is None else found.decode().strip()

    def probe(self, name: str, flags: int) -> int:
        """Return the result of a dry run of loading the module: which blacklist applied, or 0."""
        module = ctypes.c_void_p()
        assert self._lib.kmod_module_new_from_name(self._context, name.encode(), ctypes.byref(module)) == 0
        none = [None] * 4
        return int(self._lib.kmod_module_probe_insert_module(module, flags | IGNORE_LOADED | DRY_RUN, *none))


@pytest.fixture(scope="module", autouse=True)
def _there() -> None:
    try:
        ctypes.CDLL("libkmod.so.2")
    except OSError:
        pytest.skip("this machine has no libkmod")


@pytest.mark.parametrize("seed", range(200))
def test_libkmod_and_our_parser_agree(tmp_path: pathlib.Path, seed: int) -> None:
    chance = random.Random(seed)
    directories = [tmp_path / name for name in ("etc/modprobe.d", "usr/lib/modprobe.d")]
    for directory in directories:
        directory.mkdir(parents=True)
        for name in chance.sample(["10.conf", "9.conf", "b.conf", "B.conf", "ignored.txt"], 3):
            (directory / name).write_text(text(chance))
    libkmod = Libkmod(directories)
    lines = modprobe.configuration(str(tmp_path))
    blacklisted = {line.module for path, line in lines if line.command == "blacklist"}
    assert blacklisted == libkmod.blacklisted()
    for name in NAMES:
        found = modprobe.install_command(lines, name)
        assert (found[1].rest if found else None) == libkmod.install_command(name)


def test_who_obeys_a_blacklist(tmp_path: pathlib.Path) -> None:
    """systemd-modules-load obeys it, with one flag. modprobe, with the other, does not for a name."""
    (tmp_path / "x.conf").write_text("blacklist macvtap\n")
    libkmod = Libkmod([tmp_path])
    assert libkmod.probe("macvtap", APPLY_BLACKLIST) == APPLY_BLACKLIST
    assert libkmod.probe("macvtap", APPLY_BLACKLIST_ALIAS_ONLY) == 0
    assert libkmod.probe("macvlan", APPLY_BLACKLIST) == 0
