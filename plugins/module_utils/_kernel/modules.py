# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Module lists of depmod, kbuild and the running kernel: reading and parsing them."""

from __future__ import annotations

import os
import re
import typing as t

from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.config import problem_of, under
from ansible_collections.linuxvirt.macvtap.plugins.module_utils._kernel.model import MODULE, REPORTED, Source

# The last two are NixOS's, which has no /lib/modules.
_TREES = (
    "/lib/modules",
    "/usr/lib/modules",
    "/run/booted-system/kernel-modules/lib/modules",
    "/run/current-system/kernel-modules/lib/modules",
)


def module_name(path: str) -> str:
    """Return the name of the module in the file ``path``: ``kernel/drivers/net/macvtap.ko.xz`` is macvtap."""
    return os.path.basename(path).split(".ko", 1)[0].replace("-", "_")


def parse_builtin(text: str) -> frozenset[str]:
    """Return the modules in a modules.builtin: one path on each line."""
    return frozenset(module_name(line) for line in text.split())


def parse_modinfo(text: str) -> frozenset[str]:
    r"""Return the modules in a modules.builtin.modinfo: ``module.key=value`` entries, each ended by a NUL."""
    return frozenset(entry.split(".", 1)[0] for entry in text.split("\0") if "." in entry)


def parse_dep(text: str) -> dict[str, str]:
    """Return the modules in a modules.dep with their files: ``path: paths of dependencies …``."""
    files = (line.split(":", 1)[0] for line in text.splitlines() if ":" in line)
    return {module_name(file): file for file in files}


def parse_devices(text: str) -> frozenset[str]:
    """Return the names of the character devices in /proc/devices."""
    characters = text.partition("Character devices:")[2].partition("Block devices:")[0]
    return frozenset(re.findall(r"^\s*\d+\s+(\S+)\s*$", characters, re.MULTILINE))


def parse_loaded(text: str) -> frozenset[str]:
    """Return the modules in a /proc/modules."""
    return frozenset(line.split()[0] for line in text.splitlines() if line.strip())


def read_list(path: str, parse: t.Callable[[str], t.Container[str]], setting: str, root: str) -> Source:
    """Read a list of modules. Listed modules have ``setting``."""
    try:
        with open(under(root, path), encoding="utf-8", errors="replace") as file:
            names = parse(file.read())
    except OSError as exc:
        return Source(path, problem=problem_of(exc))
    return Source(path, {option: setting for option, name in REPORTED.items() if name in names})


def read_builtin(directory: str, root: str) -> tuple[Source, ...]:
    return (
        read_list(f"{directory}/modules.builtin", parse_builtin, "y", root),
        read_list(f"{directory}/modules.builtin.modinfo", parse_modinfo, "y", root),
    )


def read_dep(directory: str, root: str) -> Source:
    """Read modules.dep. A listed module whose file does not exist counts as not listed."""

    def present(text: str) -> frozenset[str]:
        files = parse_dep(text)
        return frozenset(
            name
            for name in REPORTED.values()
            if name in files and os.path.exists(under(root, os.path.join(directory, files[name])))
        )

    return read_list(f"{directory}/modules.dep", present, "m", root)


def find_tree(release: str, root: str) -> str:
    """Return the modules directory of ``release``, or "" if there is none."""
    candidates = (f"{tree}/{release}" for tree in _TREES)
    return next((path for path in candidates if os.path.isdir(under(root, path))), "")


def find_installed(root: str) -> tuple[str, ...]:
    """Return the releases that have modules or a configuration on this host."""
    found = {name for tree in _TREES for name in _list_dir(under(root, tree)) if name[:1].isdigit()}
    for directory in ("/boot", "/usr/lib/ostree-boot"):
        parts = (name.partition("config-") for name in _list_dir(under(root, directory)))
        found |= {release for before, word, release in parts if word and not before}
    return tuple(sorted(found))


def find_loaded(root: str) -> frozenset[str]:
    """Return the modules that the running kernel has loaded, without built-in ones."""
    return parse_loaded(_read_proc("/proc/modules", root))


def find_active(loaded: t.Container[str], root: str) -> tuple[str, ...]:
    """Return the files in which the running kernel shows macvtap.

    An empty result does not prove absence: a built-in macvtap is neither in /proc/modules nor in /sys/module.
    """
    devices = parse_devices(_read_proc("/proc/devices", root))
    return tuple(path for path, names in (("/proc/modules", loaded), ("/proc/devices", devices)) if MODULE in names)


def _read_proc(path: str, root: str) -> str:
    try:
        with open(under(root, path), encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def _list_dir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
